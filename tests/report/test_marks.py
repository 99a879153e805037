"""A mark belongs to files as they were looked at; whatever has changed since takes it away."""

import json

import pytest

from benchmark.report.findings import DIFFERS, FILE, UNKNOWN, WRONG
from benchmark.report.marks import CELLS, digests_of, read_mark
from tests.report.folders import by_means, write_folder, write_verdict


@pytest.fixture
def folder(tmp_path):
    folder = write_folder(tmp_path / "run", by_means({"mult": 60.0}))
    (folder / "tables" / "paper").mkdir(parents=True)
    (folder / "tables" / "paper" / "mosi.tex").write_text("\\end")
    (folder / "tuning.json").write_text("{}")
    (folder / "tables" / "mosi_inter.csv").write_text("method\n")
    (folder / "cells" / "abc").mkdir(parents=True)
    (folder / "cells" / "abc" / "cell.json").write_text("{}")
    return write_verdict(folder)


def test_what_is_as_it_was_verified_has_its_mark(folder):
    assert set(digests_of(folder)) == {
        *("scores.csv", "intervals.csv", "comparisons.csv", "pairs.csv", "manifest.json", "tables/mosi_inter.csv"),
        *("tables/paper/mosi.tex", "tuning.json"),
        CELLS,
    }
    mark = read_mark(folder)
    assert mark.verified and mark.there and mark.text == "scores follow from the outputs"


@pytest.mark.parametrize("name", ["scores.csv", "intervals.csv", "manifest.json", "tables/mosi_inter.csv", "cells/abc/cell.json"])  # fmt: skip
def test_a_file_that_has_changed_takes_the_mark(folder, name):
    (folder / name).write_text((folder / name).read_text() + " ")
    mark = read_mark(folder)
    assert not mark.verified and mark.text == f"changed since it was verified: {name.split('/abc')[0]}"


def test_a_file_that_is_new_takes_the_mark_and_one_that_is_gone_does_not(folder):
    for path in (folder / "cells" / "abc" / "cell.json", folder / "tables" / "mosi_inter.csv"):
        path.unlink()
    (folder / "cells" / "abc").rmdir()
    assert read_mark(folder).verified
    (folder / "tables" / "other.csv").write_text("")
    assert read_mark(folder).text == "changed since it was verified: tables/other.csv"


def test_a_verdict_that_does_not_hold_scores_against_outputs_gives_no_mark(folder):
    for findings, told in (
        ([("tables", WRONG, "x")], "something was wrong"),
        ([("scores", UNKNOWN, "x")], "scores were not compared with outputs"),
        ([("scores", DIFFERS, "x")], "scores were not compared with outputs"),
    ):
        mark = read_mark(write_verdict(folder, *findings))
        assert (mark.verified, mark.text) == (False, told)
    assert not read_mark(write_verdict(folder, checked=["tables"])).verified
    assert read_mark(write_verdict(folder, files={})).text == "verify.json names no files; verify again"


@pytest.mark.parametrize(("findings", "told"), [([], "the same bits"), ([("recomputed", DIFFERS, "x")], "other bits")])
def test_a_mark_says_what_was_computed_again(folder, findings, told):
    mark = read_mark(write_verdict(folder, *findings, checked=["scores", "recomputed"]))
    assert mark.verified and mark.text == f"computed again, {told}: all of it"


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[]", b"{}", b"\xff", b'{"verdict": 1, "checks": [], "files": {}}', b"[" * 99999]
)
def test_what_is_no_verdict_gives_no_mark(folder, content):
    (folder / FILE).write_bytes(content)
    assert read_mark(folder).text == "verify.json cannot be read"
    (folder / FILE).unlink()
    mark = read_mark(folder)
    assert (mark.verified, mark.text, mark.there) == (False, "not verified", False)


def test_digests_are_written_as_they_were_taken(folder):
    assert json.loads((folder / FILE).read_text())["files"] == digests_of(folder)
