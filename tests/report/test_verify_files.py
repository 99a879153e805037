import pytest

from benchmark.report.verify_files import compare_csv, first_other, same_text

STORED = "rank,expected,method\r\n3,83.12599649016951,mult\r\n"


def test_numbers_may_differ_in_their_last_digits():
    assert same_text(STORED, STORED.replace("16951", "1695"))
    assert same_text(STORED, STORED)


@pytest.mark.parametrize(
    ("old", "new"),
    [("83.12599649016951", "83.1259966"), ("mult", "misa"), ("3,", "4,"), ("3,", ","), ("\r\n", "\n"), (",mult", "")],
)
def test_nothing_else_may(old, new):
    assert not same_text(STORED, STORED.replace(old, new))


def test_where_texts_part_is_told_by_the_first_difference_that_counts():
    again = STORED.replace("16951", "1695").replace("mult", "misa")
    told = first_other(STORED + "1,2,a", again + "1,3,a")
    assert told.startswith("line 2 says") and "mult" in told and "misa" in told
    assert first_other(STORED + "1,2,a", STORED.replace("16951", "1695") + "1,3,a").startswith("line 3 says '1,2,a'")
    assert first_other(STORED, STORED.replace("\r\n", "\n")) == "its line ends are others"


def test_csv_files_are_compared_number_by_number(tmp_path):
    stored, again = tmp_path / "scores.csv", tmp_path / "again.csv"
    stored.write_text("method,value\nmult,1.0\n")
    again.write_text("method,value\nmult,1.0000000000001\n")
    assert list(compare_csv(stored, again)) == []
    again.write_text("method,value\nmult,1.1\n")
    assert list(compare_csv(stored, again)) == ["scores.csv, line 2 (mult): value is 1.0, not 1.1"]
    again.write_text("method,value\n")
    assert "has 1 lines of 2 columns" in next(compare_csv(stored, again))
