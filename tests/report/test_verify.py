"""A run whose numbers are true, and one planted change for each thing that a verification looks at."""

import json
import shutil
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.cli import main
from benchmark.errors import BenchmarkError
from benchmark.report import findings
from benchmark.report.findings import DIFFERS, FILE, RIGHT, UNKNOWN, WRONG, tell_recomputed
from benchmark.report.marks import digests_of, read_mark
from benchmark.running import evaluation
from benchmark.running.store import Store, write_record
from tests.running.portable import GRID

pytestmark = pytest.mark.usefixtures("unpictured")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of three cheap methods, two seeds, native so that it computes in this process."""
    out = tmp_path_factory.mktemp("ran") / "out"
    grid = {
        **GRID,
        "portable": False,
        "simulator": {"train": 24, "valid": 12, "test": 12},
        "seeds": 2,
        "ratios": [0.0, 0.5, 1.0, {"l": 0.1, "a": 0.5, "v": 0.9}],
        "noise": [2.0, {"l": 1.0}],
        "random": True,
        "subsets": ["l", "a", "v", "la", "lv", "av"],
        "tables": {"main": {"decimals": 1}},
    }
    benchmark.run(grid, methods=["constant", "random", "linear"], out=out, jobs=1, say=lambda line: None)
    return out


@pytest.fixture
def run(ran, tmp_path):
    return shutil.copytree(ran, tmp_path / "run")


def silent(line):
    pass


def first_cell(run, label="linear"):
    store = Store(run)
    return store, next(key for key in store.stored_keys() if store.read(key)["label"] == label)


def write_again(store, key, arrays=None, **changed):
    """A cell with other predictions or another record, whose checksums are right."""
    folder, record = store.path(key), store.read(key)
    if arrays is not None:
        np.savez_compressed(folder / "predictions.npz", **arrays)
    (folder / "cell.json").unlink()
    write_record(folder, {n: v for n, v in (record | changed).items() if n not in ("files", "checksum")})


def wrong(verdict):
    assert not verdict.sound
    return {finding.check: finding.what for finding in verdict.findings if finding.state == WRONG}


def test_a_run_as_it_was_written_is_sound_and_so_it_says(run, capsys):
    assert main(["--verify", str(run)]) == 0
    told = capsys.readouterr().out
    assert told.strip().endswith(f"{run}: nothing is wrong") and told.count("right ") == 7 and "wrong:" not in told
    written = json.loads((run / "verify.json").read_text())
    assert written["verdict"] == "sound" and written["findings"] == [] and written["processor"]["threads"] >= 1
    assert {check["check"]: check["state"] for check in written["checks"]} == dict.fromkeys(
        ("cells", "code", "data and masks", "scores", "tables", "origin", "completeness"), RIGHT
    )


def test_a_verification_writes_nothing_but_its_verdict_and_whose_it_is(run):
    def contents():
        return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    before = contents()
    benchmark.verify(run, say=silent)
    after = contents()
    assert after.pop(run / FILE) and after == before
    written = json.loads((run / FILE).read_text())
    assert written["files"] == digests_of(run) and {"scores.csv", "cells", "tables/mosi_inter.csv"} <= set(
        written["files"]
    )
    assert datetime.fromisoformat(written["date"]).tzinfo is not None and len(written["git_commit"]) in (0, 40, 41)
    assert read_mark(run).verified
    scores = (run / "scores.csv").read_text()
    (run / "scores.csv").write_text(scores.replace("linear", "Linear", 1))
    assert read_mark(run).text == "changed since it was verified: scores.csv"
    (run / "scores.csv").write_text(scores)
    shutil.rmtree(run / "cells")
    assert read_mark(run).verified


def test_what_was_found_with_the_cells_holds_without_them_for_numbers_that_are_the_same(run):
    benchmark.verify(run, say=silent)
    date = json.loads((run / FILE).read_text())["date"]
    shutil.rmtree(run / "cells")
    for _ in range(2):  # the second time it is told as it was the first
        verdict = benchmark.verify(run, say=silent)
        assert {verdict.state(c) for c in ("cells", "data and masks", "scores")} == {RIGHT}
        assert verdict.checked["scores"].endswith(f"pairs.csv and scores.csv (when the cells were here, on {date})")
        assert read_mark(run).verified
    table = run / "tables" / "mosi_inter.md"
    table.write_text(table.read_text() + " ")
    assert not read_mark(run).verified and "tables/mosi_inter.md" in wrong(benchmark.verify(run, say=silent))["tables"]
    benchmark.report(run, say=silent)
    assert benchmark.verify(run, say=silent).sound and read_mark(run).verified, "a table may be written anew"
    made_of_outputs = run / "tables" / "mosi_threshold.csv"
    made_of_outputs.write_text(made_of_outputs.read_text() + " ")
    assert benchmark.verify(run, say=silent).sound
    assert read_mark(run).text == "changed since it was verified: tables/mosi_threshold.csv"


def test_a_number_that_is_another_one_leaves_nothing_of_what_was_found_with_the_cells(run):
    benchmark.verify(run, say=silent)
    shutil.rmtree(run / "cells")
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text() + " ")
    assert benchmark.verify(run, say=silent).state("scores") == UNKNOWN
    assert read_mark(run).text == "scores were not compared with outputs"


def test_where_the_verdict_cannot_be_written_a_line_says_so(run, capsys):
    (run / FILE).mkdir()
    assert main(["--verify", str(run)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"warning: verify.json cannot be written to {run} (Is a directory)")
    assert told.strip().endswith("nothing is wrong") and list((run / FILE).iterdir()) == []


def test_one_changed_byte_of_a_file_is_found(run):
    store, key = first_cell(run)
    file = store.path(key) / "predictions.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "not what its checksum says" in wrong(benchmark.verify(run, say=silent))["cells"]


def test_one_changed_output_is_found_though_its_checksum_is_right(run):
    store, key = first_cell(run)
    arrays = dict(np.load(store.path(key) / "predictions.npz"))
    arrays["logits"][0, 0] = arrays["logits"][0, 0][::-1]  # the other category
    write_again(store, key, arrays)
    found = wrong(benchmark.verify(run, say=silent))
    assert "its outputs are not those that were computed" in found["cells"]
    assert "scores.csv" in found["scores"] or "intervals.csv" in found["scores"]


def test_a_definition_that_is_another_one_is_found(run):
    store, key = first_cell(run)
    write_again(store, key, seed=5)
    assert "not the one that its definition says" in wrong(benchmark.verify(run, say=silent))["cells"]


@pytest.mark.parametrize("name", ["scores.csv", "intervals.csv"])
def test_one_changed_score_is_found(run, name):
    stored = pd.read_csv(run / name)
    column = "value" if name == "scores.csv" else "mean"
    row = stored.index[~stored[column].isin([0.0, 100.0]) & stored[column].notna()][0]
    stored.loc[row, column] += 1e-4
    stored.to_csv(run / name, index=False)
    assert f"{name}, line {row + 2} " in wrong(benchmark.verify(run, say=silent))["scores"]


def test_a_line_of_scores_that_is_gone_is_found(run):
    lines = (run / "scores.csv").read_text().splitlines()
    (run / "scores.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert "has " in wrong(benchmark.verify(run, say=silent))["scores"]


def test_one_changed_cell_of_a_table_is_found(run):
    """One in each of these files, and nothing else."""
    names = [f"tables/{stem}.{suffix}" for stem in ("mosi_inter", "paper/main") for suffix in ("csv", "md", "tex")]
    for name in names:
        text = (run / name).read_text()
        digit = next(i for i in range(len(text) - 1, -1, -1) if text[i].isdigit())
        (run / name).write_text(text[:digit] + ("1" if text[digit] == "0" else "0") + text[digit + 1 :])
    verdict = benchmark.verify(run, say=silent)
    assert not verdict.sound and {finding.state for finding in verdict.findings} == {WRONG}
    assert sorted(finding.what.partition(": line ")[0] for finding in verdict.findings) == sorted(names)
    assert all(": line " in finding.what for finding in verdict.findings)


def test_a_table_for_a_paper_that_is_gone_or_that_nobody_asked_for_is_told(run):
    shutil.move(run / "tables" / "paper" / "main.md", run / "tables" / "paper" / "other.md")
    told = {finding.what for finding in benchmark.verify(run, say=silent).findings if finding.state == UNKNOWN}
    assert "tables/paper/main.md is not here; --report-only writes it" in told
    assert "tables/paper/other.md: none of this report, such as --metrics and --table give" in told


@pytest.mark.parametrize("name", ["lav@0.5#0", "lav@0.1/0.5/0.9#0", "lav@0.0~1.0/0.0/0.0#0", "lav?@0.5#0"])
def test_a_mask_or_noise_that_is_not_that_of_its_ids_is_found(run, name):
    store, key = first_cell(run)
    masks = store.read(key)["masks"]
    assert name in masks
    write_again(store, key, masks=masks | {name: "0" * 16})
    assert f"masks of {name} are not those" in wrong(benchmark.verify(run, say=silent))["data and masks"]


def test_a_setting_of_scores_that_is_another_one_is_found(run):
    scores = (run / "scores.csv").read_text()
    (run / "scores.csv").write_text(scores.replace("lav@0.1/0.5/0.9", "lav@0.5/0.1/0.9"))
    assert "scores.csv" in wrong(benchmark.verify(run, say=silent))["scores"]


def test_samples_of_another_test_split_are_found(run):
    store, key = first_cell(run)
    arrays = dict(np.load(store.path(key) / "predictions.npz"))
    arrays["labels"] = arrays["labels"][::-1].copy()
    write_again(store, key, arrays)
    assert "samples are not those" in wrong(benchmark.verify(run, say=silent))["data and masks"]


def test_a_seed_that_is_gone_is_found(run):
    store, key = first_cell(run)
    seed = store.read(key)["seed"]
    shutil.rmtree(store.path(key))
    assert f"linear on mosi (simulated) lacks seed {seed}" in wrong(benchmark.verify(run, say=silent))["completeness"]


def test_other_code_data_and_versions_are_told_and_are_no_fault(run, monkeypatch):
    store, key = first_cell(run)
    record = store.read(key)
    write_again(store, key, source="0" * 16, benchmark="0.0.1", task=record["task"] | {"fingerprint": "other"})
    verdict = benchmark.verify(run, say=silent)
    told = [finding.what for finding in verdict.findings if finding.state == DIFFERS]
    assert any("the code of linear is another one" in what for what in told) and any(
        "version 0.0.1" in what for what in told
    )
    assert any("data other of task mosi are not here" in what for what in told)


def test_without_cells_tables_are_held_to_the_scores_and_the_rest_is_told_to_be_open(run):
    shutil.rmtree(run / "cells")
    verdict = benchmark.verify(run, say=silent)
    assert (
        verdict.sound
        and {verdict.state(c) for c in ("cells", "data and masks", "scores")} == {UNKNOWN}
        and verdict.state("tables") == UNKNOWN  # what is made of outputs, such as the thresholds
    )
    table = run / "tables" / "mosi_inter.csv"
    table.write_text(table.read_text().replace("constant", "konstant"))
    assert "tables/mosi_inter.csv" in wrong(benchmark.verify(run, say=silent))["tables"]


def test_tables_of_metrics_that_were_asked_for_are_held_to_the_scores_with_or_without_cells(run):
    shutil.rmtree(run / "tables")
    benchmark.report(run, metrics=["f1", "auroc"], say=silent)
    with_cells = benchmark.verify(run, say=silent)
    assert with_cells.sound and not with_cells.findings
    shutil.rmtree(run / "cells")
    verdict = benchmark.verify(run, say=silent)
    assert verdict.sound
    assert all("threshold" in f.what for f in verdict.findings if f.check == "tables")  # which is made of outputs
    benchmark.report(run, say=silent)
    assert {path.stem for path in (run / "tables").glob("mosi_inter_*")} == {"mosi_inter_f1", "mosi_inter_auroc"}


def test_cells_computed_again_are_compared_bit_by_bit(run):
    said = []
    verdict = benchmark.verify(run, recompute=0, jobs=1, say=said.append)
    assert verdict.state("recomputed") == RIGHT and len(said) == 6 and "6 of 6 cells" in verdict.checked["recomputed"]
    store, key = first_cell(run)
    arrays = dict(np.load(store.path(key) / "predictions.npz"))
    arrays["logits"][0, 0, 0] += 0.25
    write_again(store, key, arrays)
    verdict = benchmark.verify(run, recompute=0, jobs=1, say=silent)
    (found,) = (finding for finding in verdict.findings if finding.check == "recomputed")
    assert f"Computed again: {verdict.checked['recomputed']}; 1 findings, such as: {found.what}." == tell_recomputed(
        run
    )
    page = benchmark.report(run, say=silent).out / "report.html"
    assert (
        "Computed again: 6 of 6 cells" in page.read_text()
        and "From seed to seed, Avg. of a method moves" in page.read_text()
    )
    assert found.state == DIFFERS and f"({key}): outputs differ by up to 0.25" in found.what  # it is native


@pytest.mark.parametrize("name", ["lav@0.0~2.0#0", "lav@0.0~1.0/0.0/0.0#0", "lav@0.1/0.5/0.9#0", "lav?@0.5#0"])
def test_an_output_of_a_setting_of_any_kind_is_compared_when_it_is_computed_again(run, name):
    for key in Store(run).stored_keys():
        if key != first_cell(run)[1]:
            shutil.rmtree(Store(run).path(key))  # one is enough
    store, key = first_cell(run)
    arrays = dict(np.load(store.path(key) / "predictions.npz"))
    arrays["logits"][list(arrays["settings"]).index(name), 0, 0] += 0.25
    write_again(store, key, arrays)
    verdict = benchmark.verify(run, recompute=0, jobs=1, say=silent)
    (found,) = (finding for finding in verdict.findings if finding.check == "recomputed")
    assert f"({key}): outputs differ by up to 0.25" in found.what


def test_noise_that_is_another_one_when_it_is_computed_again_is_found(run, monkeypatch):
    usual = evaluation.frame_noise
    monkeypatch.setattr(evaluation, "frame_noise", lambda *arguments: -usual(*arguments))
    verdict = benchmark.verify(run, recompute=0, jobs=1, say=silent)
    told = [finding.what for finding in verdict.findings if finding.check == "recomputed"]
    assert len(told) == 2 and all(what.startswith("linear on mosi") and "outputs differ" in what for what in told)


def test_a_portable_cell_that_comes_out_otherwise_is_wrong(tmp_path):
    out = tmp_path / "out"
    benchmark.run(GRID, methods=["random"], out=out, jobs=1, say=silent)
    assert benchmark.verify(out, recompute=1, jobs=1, say=silent).sound
    store, key = first_cell(out, "random")
    arrays = dict(np.load(store.path(key) / "predictions.npz"))
    arrays["logits"][0, 0, 0] = np.nextafter(arrays["logits"][0, 0, 0], np.float32(9))
    outputs = {**store.read(key)["outputs"]}
    write_again(store, key, arrays, outputs=outputs)
    assert "outputs differ" in wrong(benchmark.verify(out, recompute=1, jobs=1, say=silent))["recomputed"]


@pytest.mark.parametrize(
    ("condition", "changed", "said"),
    [
        ("{l}", {"mean": 1.0, "low": 1.0}, "in {l}: mean is 1, and scores.csv gives "),
        ("Avg.", {"std": 3.25}, "in Avg.: std is 3.25, and scores.csv gives "),
        ("p=0.5", {"seeds": 9}, "in p=0.5: seeds is 9, and scores.csv gives 2"),
        ("{l}", {"mean": 250.0, "low": 240.0, "high": 260.0}, "cannot be 250 [240, 260]"),
        ("drop", {"low": 99.0}, "cannot be "),
    ],
)
def test_without_cells_means_are_held_to_the_scores(run, condition, changed, said):
    shutil.rmtree(run / "cells")
    intervals = pd.read_csv(run / "intervals.csv")
    row = intervals.query("method == 'linear' and metric == 'f1' and condition == @condition").index[0]
    for name, value in changed.items():
        intervals.loc[row, name] = value
    intervals.to_csv(run / "intervals.csv", index=False)
    assert said in wrong(benchmark.verify(run, say=silent))["scores"]


def test_digests_in_the_manifest_serve_where_the_cells_are_gone(tmp_path, monkeypatch):
    out = tmp_path / "smoke"
    benchmark.run("smoke", methods=["linear", "constant"], tasks=["mosi"], out=out, jobs=1, say=silent)
    shutil.rmtree(out / "cells")
    verdict = benchmark.verify(out, recompute=0, jobs=1, say=silent)
    assert verdict.state("recomputed") == RIGHT and "2 of 2 cells" in verdict.checked["recomputed"]
    file = out / "manifest.json"
    content = json.loads(file.read_text())
    content["cells"][0]["outputs"] = "0" * 16
    file.write_text(json.dumps(content))
    assert benchmark.verify(out, recompute=0, jobs=1, say=silent).state("recomputed") == DIFFERS


def test_what_cannot_be_verified_is_refused_in_one_line(tmp_path, capsys):
    for arguments, told in (
        (["--verify", str(tmp_path / "none")], "there is no folder"),
        (["--verify", str(tmp_path)], "nothing is stored in"),
        (["--grid", "smoke", "--recompute"], "--recompute goes with --verify DIR"),
        (["--verify", str(tmp_path), "--grid", "smoke"], "--verify makes no use of --grid"),
        (["--verify", str(tmp_path), "--recompute", "x"], "must be a whole number"),
    ):
        assert main(arguments) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(BenchmarkError, match="must be a number of cells"):
        benchmark.verify(tmp_path, recompute=-1)


def test_many_findings_of_one_check_are_counted():
    verdict = findings.Verdict(None, {"cells": "x"}, [findings.Finding("cells", WRONG, str(i)) for i in range(7)])
    assert "and 2 more, in verify.json" in str(verdict) and str(verdict).splitlines()[-1].endswith("something is wrong")


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", '{"checks": []}', '{"checks": [{"check": "recomputed"}]}'])
def test_a_file_that_is_no_verdict_says_nothing_of_cells(tmp_path, content):
    assert tell_recomputed(tmp_path) == ""
    (tmp_path / FILE).write_text(content)
    assert tell_recomputed(tmp_path) == ""
