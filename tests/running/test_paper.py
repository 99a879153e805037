"""What a table for a paper may be asked to show, on the command line, in a grid file and from Python."""

import pytest

from benchmark.errors import BenchmarkError
from benchmark.running.grid_file import load_grid
from benchmark.running.paper import PaperTable, as_tables, parse_tables, told


def test_the_command_line_says_the_same_as_a_mapping():
    typed = parse_tables(
        [
            ["main", "columns=l,{l,a},Avg.", "methods=mult, corrkd", "decimals=1", "marks=false", "caption=A: b, c"],
            ["other", "cite.mult=tsai2019", "cite.corrkd=li_2024", "show=interval", "width=two", "note="],
        ]
    )
    assert typed == as_tables(
        {
            "main": {
                "columns": ["l", "{l,a}", "Avg."],
                "methods": ["mult", "corrkd"],
                "decimals": 1,
                "marks": False,
                "caption": "A: b, c",
            },
            "other": {
                "cite": {"mult": "tsai2019", "corrkd": "li_2024"},
                "show": "interval",
                "width": "two",
                "note": "",
            },
        },
        "tables",
    )
    assert as_tables(told(typed), "manifest") == typed
    assert told({"main": PaperTable()}) == {"main": {}} and as_tables(None, "tables") == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["columns=l"], "--table columns=l has no name before its keys; write --table NAME KEY=VALUE ..."),
        (["a/b"], "--table: the table's name 'a/b' must be of letters, digits, _ and -, at most 40"),
        (["x", "decimals"], "--table x: 'decimals' cannot be read; write KEY=VALUE, such as decimals=1, or cite.METHOD=KEY"),
        (["x", "cite=k"], "--table x: 'cite=k' cannot be read"),
        (["x", "decimal=1"], "--table x: unknown key 'decimal'; did you mean decimals? there are: caption, cite, columns, "),
        (["x", "decimals=7"], "--table: table 'x': key 'decimals': input should be less than or equal to 4 (given: 7)"),
        (["x", "decimals=one"], "--table: table 'x': key 'decimals': input should be a valid integer (given: 'one')"),
        (["x", "show=all"], "--table: table 'x': key 'show': input should be 'mean', 'deviation' or 'interval' (given: 'all')"),
        (["x", "width=three"], "--table: table 'x': key 'width': input should be 'one' or 'two' (given: 'three')"),
        (["x", "columns=l,a", "columns=v"], "--table x: 'columns' stands there twice; give it once, as in columns=l,a"),
        (["x", "cite.mult=a", "cite.mult=b"], "--table x: 'cite.mult' stands there twice; give it once"),
        (["x", "methods=mult,corrkd,mult"], "--table: table 'x': key 'methods': 'mult' stands there twice; name it once"),
        (["x", "metrics=f1,f1"], "--table: table 'x': key 'metrics': 'f1' stands there twice; name it once"),
        (["x", "cite.mult=}"], "--table: table 'x': key 'cite': '}' cannot be a key of \\cite; use letters, digits"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(options, said):
    with pytest.raises(BenchmarkError) as caught:
        parse_tables([options])
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_table_has_one_name_and_has_keys():
    with pytest.raises(BenchmarkError, match=r"^--table x stands there twice; "):
        parse_tables([["x"], ["x", "decimals=1"]])
    with pytest.raises(BenchmarkError, match=r"^--table: tables 'main' and 'Main' differ in case alone; rename one"):
        parse_tables([["main"], ["Main"]])
    with pytest.raises(BenchmarkError, match=r"^tables: table 'x' must have keys, such as columns: "):
        as_tables({"x": ["l"]}, "tables")
    with pytest.raises(BenchmarkError, match=r"^tables: .* must name tables and what each shows"):
        as_tables(["x"], "tables")


def test_a_grid_file_has_tables_and_a_wrong_key_is_told_with_its_line(tmp_path):
    path = tmp_path / "own.yaml"
    text = "description: d\ntasks: [mosi]\nseeds: 1\ntables:\n  main:\n    columns: inter\n    {}: 1\n"
    path.write_text(text.format("decimals"))
    assert load_grid(path)[1].tables == {"main": PaperTable(columns=["inter"], decimals=1)}
    path.write_text(text.format("decimal"))
    with pytest.raises(BenchmarkError, match=r"own.yaml, line 7: unknown key 'tables.main.decimal'; did you mean deci"):
        load_grid(path)
    path.write_text(text.replace("main", "../x").format("decimals"))
    with pytest.raises(
        BenchmarkError, match=r"own.yaml, line 4: key 'tables': tables: the table's name '../x' must be"
    ):
        load_grid(path)
