import math
import re

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files.csvfiles import number, read_csv, text, whole

COLUMNS = {
    "name": text(),
    "kind": text({"inter", "intra"}),
    "available": text({"l", "la"}, empty=True),
    "n": whole(),
    "p": number(0, 1, empty=True),
    "mean": number(),
}
GOOD = {"name": "mult", "kind": "inter", "available": "la", "n": "3", "p": "0.5", "mean": "-2e3"}


def write(tmp_path, rows, header=tuple(COLUMNS)):
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(",".join(row) for row in (header, *rows)) + "\n", encoding="utf-8", newline="")
    return path


def test_columns_are_read_by_name_and_others_left_out(tmp_path):
    rows = [GOOD, GOOD | {"available": "", "p": "", "n": "0", "name": "'=x"}]
    header = ["more", *reversed(COLUMNS)]
    path = write(tmp_path, [["?", *(row[name] for name in header[1:])] for row in rows], header)
    frame = read_csv(path, COLUMNS)
    assert list(frame) == list(COLUMNS) and frame["n"].tolist() == [3, 0] and frame["n"].dtype == "int64"
    assert frame["name"].tolist() == ["mult", "=x"], "a quote keeps a spreadsheet from computing; it is no part of it"
    assert frame["available"].tolist() == ["la", ""] and frame["mean"].tolist() == [-2e3, -2e3]
    assert frame["p"][0] == 0.5 and math.isnan(frame["p"][1])


@pytest.mark.parametrize(
    ("name", "field", "said"),
    [
        ("name", "", "name: '' is unknown"),
        ("kind", "both", "kind: 'both' is unknown"),
        ("kind", "", "kind: '' is unknown"),
        ("available", "lx", "available: 'lx' is unknown"),
        ("n", "-1", "n: -1 is below 0"),
        ("n", "1.5", "n: invalid literal"),
        ("n", "9" * 30, "n: "),
        ("p", "1.01", "p: 1.01 is not in 0 to 1"),
        ("p", "-0.1", "p: -0.1 is not in 0 to 1"),
        ("p", "nan", "p: nan is not in 0 to 1"),
        ("mean", "", "mean: could not convert"),
        ("mean", "inf", "mean: inf is not in"),
        ("mean", '"', "unexpected end of data"),
    ],
)
def test_a_field_that_no_report_writes_is_refused_with_its_line(tmp_path, name, field, said):
    path = write(tmp_path, [GOOD.values(), (GOOD | {name: field}).values()])
    line = re.escape(f"{path}, line 3: {said}") if field != '"' else re.escape(f"{path}, line 2: {said}")
    with pytest.raises(BenchmarkError, match=f"^{line}[^\n]*; the file must be as a report writes it$"):
        read_csv(path, COLUMNS)


@pytest.mark.parametrize("row", [["mult"], [*GOOD.values(), "more"]])
def test_a_row_has_as_many_fields_as_the_first_line(tmp_path, row):
    with pytest.raises(BenchmarkError, match=rf"line 2: {len(row)} fields where the first line has 6"):
        read_csv(write(tmp_path, [row]), COLUMNS)


def test_a_file_without_the_columns_may_only_be_empty(tmp_path):
    path = write(tmp_path, [], ["name"])
    assert read_csv(path, COLUMNS, may_be_empty=True).empty
    path.write_bytes(b"")
    assert read_csv(path, COLUMNS, may_be_empty=True).empty
    with pytest.raises(BenchmarkError, match="lacks the column 'name'"):
        read_csv(path, COLUMNS)
    path = write(tmp_path, [["mult"]], ["name"])
    with pytest.raises(BenchmarkError, match="lacks the column 'kind'"):
        read_csv(path, COLUMNS, may_be_empty=True)
    path = write(tmp_path, [])
    assert list(read_csv(path, COLUMNS, may_be_empty=True)) == list(COLUMNS)
    path = write(tmp_path, [GOOD.values()] * 3)
    assert len(read_csv(path, COLUMNS, may_be_empty=True)) == 3


def test_what_is_no_readable_text_is_told(tmp_path):
    path = write(tmp_path, [GOOD.values()])
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(BenchmarkError, match=r"scores\.csv is no UTF-8 text"):
        read_csv(path, COLUMNS)
    with pytest.raises(BenchmarkError, match="cannot be read: Is a directory"):
        read_csv(tmp_path, COLUMNS)
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv", COLUMNS)
