import errno
from pathlib import Path

import pytest

from benchmark.errors import StorageError, one_line, storage_fault, storing, unknown

OUT = Path("results/mine")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("name", [None, OUT / "cells" / "k1", OUT.absolute()])
def test_a_failing_disk_is_told_in_one_line(number, name):
    error = OSError(number, "x", name)
    line = f"^cannot write to {OUT}: .*the same command goes on from there$"
    with pytest.raises(StorageError, match=line) as caught, storing(OUT):
        raise error
    assert str(caught.value) == str(storage_fault(error, OUT)) and caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no matter of disks"),
        OSError(errno.ECONNRESET, "nor this"),
        OSError("without a number"),
        OSError(errno.ENOSPC, "another folder", "results/mine-too/cells"),
    ],
    ids=str,
)
def test_what_is_no_matter_of_this_folder_stays_as_it_is(error):
    assert storage_fault(error, OUT) is None
    with pytest.raises(type(error)) as caught, storing(OUT):
        raise error
    assert caught.value is error


def test_what_a_file_holds_stays_on_one_line_and_is_cut():
    assert one_line("a\nb\x1b[31mc\u202ed") == "a b [31mc d"
    assert one_line("x" * 100) == "x" * 100 and one_line("x" * 101) == "x" * 99 + "…"
    assert one_line("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MOSI", "did you mean mosi?"),
        ("MulT", "did you mean mult?"),
        ("Tfr_Net", "did you mean tfr_net?"),
        ("mutl", "did you mean mult?"),
        ("xyzzy", "there are:"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_whatever_their_case(name, hint):
    said = unknown("thing", name, ["mosi", "mosei", "mult", "tfr_net"])
    assert said.startswith(f"unknown thing {name!r}; {hint}") and said.endswith("there are: mosei, mosi, mult, tfr_net")


def test_names_that_differ_in_case_alone_are_all_there():
    assert "did you mean A" in unknown("thing", "a", ["A", "b"]) and unknown("thing", "z", ["A", "a"]).endswith("A, a")


def test_of_names_joined_by_commas_it_is_said_that_they_are_written_apart():
    said = unknown("thing", "MulT, mosi", ["mosi", "mosei", "mult"])
    assert "'MulT, mosi'; these are names joined by commas: write each apart, with blanks" in said
    assert "commas" not in unknown("thing", "mult,other", ["mosi", "mult"])


@pytest.mark.parametrize("name", [3, None, 1.5])
def test_so_is_a_name_that_is_no_text(name):
    assert unknown("thing", name, ["mosi"]) == f"unknown thing {name!r}; there are: mosi"


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "tables").touch()
    with pytest.raises(StorageError, match=r"tables: File exists; move it away"), storing(tmp_path):
        (tmp_path / "tables").mkdir()
    (tmp_path / "page").mkdir()
    with pytest.raises(StorageError, match=r"page: Is a directory; move it away"), storing(tmp_path):
        (tmp_path / "tables").replace(tmp_path / "page")
