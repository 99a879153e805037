"""Parts of a grid, each of which may run anywhere, are together what one run is."""

import re
from pathlib import Path

import pandas as pd
import pytest

import benchmark
import run_benchmark
from benchmark import BenchmarkError
from tests.api_calls import GRID, TINY, in_order, keys, manifest, quiet, report, run

pytestmark = pytest.mark.usefixtures("unpictured")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_shards_in_folders_of_their_own_are_one_run_together(tmp_path, capsys):
    whole = run(out=tmp_path / "whole", seeds=4)  # eight cells, which hardly all fall to one shard
    capsys.readouterr()
    lines, folders = [], [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        part = f"{number}/3" if number < 3 else (3, 3)
        planned = benchmark.plan(GRID, seeds=4, shard=part, out=folder, jobs=1, say=quiet)
        run(out=folder, seeds=4, shard=part, say=lines.append)
        done = re.findall(r"^\[(\d)/(\d)\] done", capsys.readouterr().out, flags=re.M)
        assert done == [(str(place), str(len(keys(folder)))) for place in range(1, len(keys(folder)) + 1)]
        assert keys(folder) == set(planned.cells["key"]) and not (folder / "report.html").exists()
        assert f"shard {number}/3: {len(keys(folder))} of 8 cells" in lines
        lacking = 8 - len(keys(folder))
        assert any(line.startswith(f"{lacking} cells of other shards are not here, so no report") for line in lines)
    held = [key for folder in folders for key in keys(folder)]
    assert sorted(held) == sorted(keys(whole.out)), "each cell is in one of them"
    together = report(*folders, out=tmp_path / "all")
    assert in_order(together.scores).equals(in_order(whole.scores))
    pd.testing.assert_frame_equal(together.table("mosi", "intervals"), whole.table("mosi", "intervals"))
    assert (manifest(together)["against"], manifest(together)["grid"]) == ("linear", "grid")
    commands = manifest(together)["command"].split("\n")
    called = zip(("'1/3')", "'2/3')", "[3, 3])"), folders, strict=True)  # one may be empty, as the keys are
    assert [c.rpartition("shard=")[2] for c in commands] == [said for said, folder in called if keys(folder)]


def test_a_shard_without_a_cell_does_no_harm(tmp_path):
    folders = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        run(TINY, out=folder, shard=(number, 2))
    assert sorted(len(keys(folder)) for folder in folders) == [0, 1]
    assert len(report(*folders, out=tmp_path / "all").scores["key"].unique()) == 1


def test_on_one_folder_the_last_shard_writes_the_report(tmp_path):
    cells = benchmark.plan(TINY, seeds=3, say=quiet).cells
    for number in (1, 2, 3):
        assert not (tmp_path / "out" / "report.html").exists()
        results = run(TINY, seeds=3, out=tmp_path / "out", shard=(number, 3))
        if keys(results.out) == set(cells["key"]):
            break
    assert (tmp_path / "out" / "report.html").is_file() and set(results.scores["key"]) == set(cells["key"])
    assert len(manifest(results)["command"].split("\n")) == number, "all of them are needed to get it again"


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1", "1/2/3", "-1/3", "1/0", "", (0, 3), (4, 3), 3, (1,)])
def test_bad_shards_are_refused(capsys, shard):
    said = r"^shard .* must be of the form I/N with 1 <= I <= N, such as 2/8$"
    for function in (run, benchmark.plan):
        with pytest.raises(BenchmarkError, match=said):
            function(GRID, shard=shard)
    if isinstance(shard, str):
        assert run_benchmark.main(["--grid", "smoke", f"--shard={shard}"]) == 2
        assert re.fullmatch(rf"error: {said[1:-1]}\n", capsys.readouterr().err)
    assert not Path("results").exists()
