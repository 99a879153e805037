"""Names and the page: a short selection of the trials, and for each guard a test that fails without it."""

import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from benchmark import methods
from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.scores import read_scores
from benchmark.evidence.stored import Evidence, read_evidence, write_evidence
from benchmark.files import csvfiles
from benchmark.names import LONGEST, check_name, visible, without_formulas
from benchmark.report.diagnostics import training_curves
from benchmark.report.figures import fitting_size, method_looks, text_width
from benchmark.report.heatmaps import confusion_matrices
from benchmark.report.page import render_page
from benchmark.report.tables import escape_latex, escape_markdown, to_csv
from benchmark.report.write import write_report
from benchmark.running.store import Store, write_record
from tests.browser import CHROMIUM
from tests.faults import page
from tests.faults.handed_run import write_run
from tests.faults.hostile_names import SHOWN, UNSEEN
from tests.faults.likeness import put
from tests.faults.outlines import Outline, first_difference, read_csv, read_latex, read_markdown
from tests.report.test_tables import make_scores, table_of
from tests.report_frames import make_confusions, make_histories


def test_hostile_names_are_shown_as_such(tmp_path):
    found = list(page.shown_trials(tmp_path, 0.0))
    assert len(found) >= 7 and all(trial.times == 2 for trial in found)
    assert [f"{trial.fault}: {trial.lost}" for trial in found if trial.lost] == []


@pytest.mark.parametrize("kind", ["refused", "link", "policy", "registration"])
def test_the_other_trials_lose_nothing(tmp_path, kind):
    arguments = (tmp_path, 0.1) if kind == "refused" else (tmp_path,)
    found = list(getattr(page, f"{kind}_trials")(*arguments))
    if kind == "policy" and CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    assert found and all(trial.times > 0 for trial in found)
    assert [f"{trial.fault}: {trial.lost}" for trial in found if trial.lost] == []


def test_the_hostile_names_are_many_and_have_their_places():
    assert len(set(SHOWN)) >= 30 and all(0 < len(name) <= LONGEST for name in SHOWN)
    for name in SHOWN:
        check_name(name, "row", "here")
        assert visible(name) == name
    assert all(visible(text) != text or re.search(r"\s", text) for text in UNSEEN)


def test_a_difference_is_seen():
    """The comparison itself: unescaped, each format reads otherwise than the harmless name."""
    for read, before, after in [
        (lambda text: Outline(text).parts, "<p>qqnameqq</p>", "<p><b></p>"),
        (read_markdown, "qqnameqq", "__a__"),
        (read_latex, "qqnameqq & 1", "a & b & 1"),
        (read_csv, "qqnameqq,1\n", "a,b,1\n"),
    ]:
        name = {"<p><b></p>": "<b>", "__a__": "__a__", "a & b & 1": "a & b", "a,b,1\n": "a,b"}[after]
        assert first_difference(put(read(before), name, ""), read(after))
    assert first_difference([1], [1, 2]) and not first_difference([1, 2], [1, 2])


@pytest.mark.parametrize("text", [*UNSEEN, "\ufeffbom", "soft\xadhyphen", "\u2066isolate", "\x7f"])
def test_what_cannot_be_seen_is_written_out_in_every_format(text):
    provenance = {"grid": text, "command": text, "tasks": [{"origin": text}]}
    source = render_page(pd.DataFrame(), [], {}, provenance=provenance, failures=[{"error": text}])
    table = table_of(make_scores(seeds=1).assign(task=text))
    for written in (source, escape_markdown(text), escape_latex(text), to_csv(table)):
        assert visible(written) == written
        written.encode()
    assert not re.search(r"[\r\n\t]", escape_markdown(text) + escape_latex(text))


def test_what_can_be_seen_stays_as_it_is():
    for text in ("plain", "Ünï 漢字 עברית नमस्ते", "👩‍🔬", "a\u200cb", "two\nlines\tand tabs\r\n", "\u00a0"):
        assert visible(text) == text


FORMULAS = ["=cmd()", "+1", "-1", "@x", "\tx", "\nx", "\r\nx", "＝1", "＋1", "－1", "＠x"]
QUOTED = ["'=1", "''=1", "'''@x"]
NO_FORMULAS = ["mult", "mult+mrm", "corrkd-mrm", "w/o SCD", "'tis", "'", "''", " =1", "{l,a}", "p=0.3", "NA", "1", "1e5", "None", ""]  # fmt: skip


def test_csv_files_hold_no_formulas_and_are_read_back_the_same(tmp_path):
    texts = [*FORMULAS, *QUOTED, *NO_FORMULAS]
    frame = pd.DataFrame({"method": texts, "value": np.linspace(-5, 5, len(texts)), "seed": 1})
    frame.loc[0, "value"] = np.nan
    written = without_formulas(frame)
    assert list(written["method"]) == ["'" + text for text in [*FORMULAS, *QUOTED]] + NO_FORMULAS
    assert written[["value", "seed"]].equals(frame[["value", "seed"]])
    written.to_csv(tmp_path / "x.csv", index=False)
    read = csvfiles.read_csv(
        tmp_path / "x.csv",
        {"method": csvfiles.text(empty=True), "value": csvfiles.number(empty=True), "seed": csvfiles.whole()},
    )
    assert list(read["method"]) == texts
    assert list(without_formulas(pd.DataFrame({"x": ["a\rb", "\r=1"]}))["x"]) == ["a\\rb", "\\r=1"]
    pd.testing.assert_frame_equal(read[["value", "seed"]], frame[["value", "seed"]])


def test_every_csv_file_of_a_report_goes_through_it(tmp_path):
    scores = make_scores(["=a()", "NA", "007"], seeds=1)
    without_formulas(scores).to_csv(tmp_path / "scores.csv", index=False)
    assert list(read_scores(tmp_path / "scores.csv")["method"]) == list(scores["method"])
    intervals = scores[["task", "source", "method", "metric"]].drop_duplicates()
    intervals = intervals.assign(condition="Avg.", kind="derived", available="", ratio=np.nan, mean=50.0, std=np.nan)
    intervals = intervals.assign(seeds=1, low=40.0, high=60.0, n=383)
    comparisons = intervals.assign(purpose="reference", against="=a()", difference=-1.0, p=0.5, p_holm=0.5, family=2)
    write_evidence(Evidence(intervals, comparisons), tmp_path)
    found = read_evidence(tmp_path, scores)
    assert list(found.intervals["method"]) == list(intervals["method"])
    assert set(found.comparisons["against"]) == {"=a()"} and set(found.intervals["available"]) == {""}
    for name in ("scores.csv", "intervals.csv", "comparisons.csv"):
        assert "'=a()" in (tmp_path / name).read_text() and not re.search("(^|,)=", (tmp_path / name).read_text(), re.M)
    assert set(pd.read_csv(io.StringIO(to_csv(table_of(scores))))["method"].dropna().astype(str)) >= {"'=a()"}


@pytest.mark.parametrize("name", ["__c__", "_a_", "__a", "a__b", "_", "é_ _ü", "*a*", "a_b", "[x](y)", "\\_a_", "`a`"])
def test_markdown_shows_a_name_as_it_is(name):
    parts = read_markdown(f"| x | y |\n| --- | --- |\n| {escape_markdown(name)} | 1 |\n")
    assert ("text", name) in parts
    assert {part[0] for part in parts if len(part) == 3} == set()


@pytest.mark.parametrize(
    "name", ["w--o", "---", "``q''", "?`!`", ",,", "''", "\\input{/etc/passwd}", "a\\\\[1cm]", "$x^2_3~%#&{}", "", "-"]
)
def test_latex_prints_a_name_as_it_is(name):
    assert read_latex(escape_latex(name)) == ([("text", name)] if name else [])


def test_widths_are_those_of_the_text_as_it_is_drawn():
    """Outside the figures' style too, where dollar signs would make a formula, or an error."""
    for name in ("$\\nosuch{$", "$x$_2^3"):
        assert text_width(name, 7) > 0.8 * text_width(name.replace("$", "S"), 7)
        figure = confusion_matrices(make_confusions([name, "constant"])).figure
        assert name in [axes.get_title() for axes in figure.axes]
    assert 0 < fitting_size(["\u2800", "\u200d"], 1.0, 8) <= 8  # without any width
    assert fitting_size(["W" * 60], 0.1, 8) == 2.0  # smaller, no font can be drawn


def test_stages_have_room_and_no_control_characters():
    histories = make_histories(["corrkd"], seeds=1)
    histories["stage"] = histories["stage"].replace({"teacher": "x" * 500, "student": "\ud800\x1b\n"})
    picture = training_curves(histories, method_looks(["corrkd"]))
    texts = [text.get_text() for axes in picture.figure.axes for text in axes.texts]
    assert texts == ["x" * 23 + "…", "\\ud800\\x1b"]


def test_a_name_of_a_file_or_of_two_tasks_takes_no_other_ones_place(tmp_path):
    tasks = ["my task", "my/task", "../../../mosi", "mosi"]
    scores = pd.concat([make_scores(["a"], seeds=1, task=t, settings=[("lav", 0.0)]) for t in tasks])
    out = tmp_path / "a" / "b"
    written = write_report(scores, out, provenance={})
    assert len(set(written)) == len(written) and len([p for p in written if p.suffix == ".md"]) == len(tasks)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert all(out in path.resolve().parents for path in written)


def test_a_source_leads_nowhere_even_if_nobody_checked_it(tmp_path):
    scores = pd.concat(
        [make_scores(["a"], seeds=1, source=s, settings=[("lav", 0.0)]) for s in ("file", "/../../../x")]
    )
    out = tmp_path / "a" / "b"
    written = write_report(scores, out, provenance={})
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert all(out in path.resolve().parents for path in written)


def test_a_link_among_the_folders_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "tables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchmarkError, match="tables leads out of"):
        write_report(make_scores(["a"], seeds=1, settings=[("lav", 0.0)]), out, provenance={})
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_row_without_a_key_of_another_is_a_dash():
    source = render_page(pd.DataFrame(), [], {}, provenance={"tasks": [{"items": "x", "keys": "y"}, {"name": "mosi"}]})
    assert "built-in" not in source


def test_a_citation_is_one_line(tmp_path):
    path = tmp_path / "mine.py"
    for paper in ("two\nlines", "\x1b[31m", "\ud800"):
        path.write_text(f"@register('mine', paper={paper!a}, trains_on='complete')\nclass A: ...\n")
        with pytest.raises(BenchmarkError, match="one line"):
            methods.catalogue([path])
    path.write_text("@register({[1]: 2}, paper='x', trains_on='complete')\nclass A: ...\n")
    with pytest.raises(BenchmarkError, match="literal strings only"):
        methods.catalogue([path])
    path.write_text("@register('mine', paper='<script>=cmd() 漢字', trains_on='complete')\nclass A: ...\n")
    assert methods.catalogue([path])["mine"].paper == "<script>=cmd() 漢字"


def test_tasks_that_the_benchmark_does_not_know_come_last(tmp_path):
    write_run(tmp_path / "run", "<b>", "x")
    assert set(collect(Store(tmp_path / "run")).scores["task"]) == {"<b>"}


def test_an_error_is_printed_without_control_characters(tmp_path):
    write_run(tmp_path / "run", "a", "\x1b[31m\ud800")
    (failure,) = collect(Store(tmp_path / "run")).failures
    assert failure["error"] == "\\x1b[31m\\ud800"


def test_what_a_cell_trains_on_is_known(tmp_path):
    write_run(tmp_path / "run", "a", "x")
    path = next(tmp_path.glob("run/cells/*/cell.json"))
    for training in ({"trains_on": "<script>"}, {}, None):
        write_record(path.parent, json.loads(path.read_text()) | {"training": training})
        with pytest.raises(BenchmarkError, match="trains on complete or on missing"):
            collect(Store(tmp_path / "run"))
