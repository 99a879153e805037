import re

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files.yamlfiles import line_of, read_value, read_yaml


def read(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path, "grid file")


def test_plain_values_come_with_the_line_of_each_key(tmp_path):
    content, lines = read(tmp_path, "a: 1\nb:\n  - x\n  - {c: null, d: true}\n\ne: 0.5\n'1': ~\nf: !!str 2\n")
    assert content == {"a": 1, "b": ["x", {"c": None, "d": True}], "e": 0.5, "1": None, "f": "2"}
    assert lines[()] == 1 and lines["a",] == 1 and lines["b",] == 2 and lines["b", 1] == 4 and lines["e",] == 6
    assert line_of(("b", 1, "d"), lines) == 4 and line_of(("b", "no", 1, "d", "more"), lines) == 4
    assert line_of(("no",), lines) == 1 and line_of(("no",), {}) is None


def test_what_was_read_is_ones_own_and_a_file_that_was_changed_is_read_anew(tmp_path):
    content, lines = read(tmp_path, "a: [1]\n")
    content["a"].append(2)
    lines.clear()
    again, lines = read(tmp_path, "a: [1]\n")
    assert again == {"a": [1]} and lines["a",] == 1
    assert read(tmp_path, "a: [3]\n")[0] == {"a": [3]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\n", "^cannot read grid file .*: it is no UTF-8 text"),
        ("a: '" + "x" * 2**18 + "'", "is larger than 256 KiB; shorten it"),
        ("- a\n- b\n", "must hold keys and their values"),
        ("", "must hold keys and their values"),
        ("a: 1\nb: [1,\n", "line 3 is no YAML: "),
        ("a: 1\n---\nb: 2\n", "line 2 is no YAML: "),
        ("a: \x00\n", "is no YAML: "),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "line 2 is no YAML: "),
        ("a: 1\nb: " + "[" * 3000 + "]" * 3000, "line 2 is no YAML: it is nested too deeply"),
        ("a: " + "[" * 21 + "]" * 21, "line 1: values nested more than 20 deep"),
        ("a: [" + "1, " * 20_000 + "]", "line 1: too many values"),
        ("a: &a [" + "1, " * 200 + "]\nb: [" + "*a, " * 100 + "]", "line 1: too many values"),
        ("a: &a " + "x" * 10_000 + "\nb: [" + "*a, " * 110 + "]", "too many values"),
        (
            "a: 1\nb: !!python/object/apply:os.getcwd []\n",
            "line 2: the type 'python/object/apply:os.getcwd' is no YAML",
        ),
        ("a: 1\nb: !mine {c: 1}\n", "line 2: the type '!mine' is no YAML for a plain value"),
        ("a: 1\nb: !mine x\n", "line 2: the type '!mine' is no YAML for a plain value"),
        ("a: !!int [1]\n", "line 1: the type 'int' is no YAML"),
        ("a: !!set {x, y}\n", "line 1: the type 'set' is no YAML"),
        ("a: !!omap [x: 1]\n", "line 1: the type 'omap' is no YAML"),
        ("a: !!seq x\n", "line 1: the type 'seq' is no YAML"),
        ("a: !!map x\n", "line 1: the type 'map' is no YAML"),
        ("a: !!map [x]\n", "line 1: the type 'map' is no YAML"),
        ("a: !!seq {x: 1}\n", "line 1: the type 'seq' is no YAML"),
        ("a: !!str [x]\n", "line 1: the type 'str' is no YAML"),
        ("a: 2020-01-01\n", "line 1: the type 'timestamp' is no YAML"),
        ("a: !!binary aGk=\n", "line 1: the type 'binary' is no YAML"),
        ("a:\n  1: x\n", "line 2: a key that is no text; put it in quotes"),
        ("a:\n  !mine k: x\n", "line 2: a key that is no text; put it in quotes"),
        ("? [x]\n: 1\n", "line 1: a key that is no text; put it in quotes"),
        ("? !!str [x]\n: 1\n", "line 1: a key that is no text; put it in quotes"),
        ("<<: {a: 1}\n", "line 1: a key that is no text; put it in quotes"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' stands there already, in line 1; remove one"),
        ("a:\n  b: 2\n  b: 2\n", "line 3: key 'a.b' stands there already, in line 2; remove one"),
        ("a: " + "1" * 41, "line 1: a value of 41 characters that is no text"),
        ("a: !!int x\n", "line 1: 'x' is no int; leave its tag out"),
        ("a: !!float x\n", "line 1: 'x' is no float; leave its tag out"),
        ("a: !!bool maybe\n", "line 1: 'maybe' is no bool; leave its tag out"),
        ("a: !!int ''\n", "line 1: '' is no int; leave its tag out"),
    ],
)
def test_anything_else_is_refused_with_its_line(tmp_path, content, said):
    with pytest.raises(BenchmarkError, match=said) as caught:
        read(tmp_path, content)
    assert re.search(r"grid file .*mine\.yaml", str(caught.value)) and "\n" not in str(caught.value)


def test_as_much_as_is_allowed_is_read(tmp_path):
    assert read(tmp_path, "a: " + "[" * 19 + "1" + "]" * 19)[0]["a"]
    assert len(read(tmp_path, "a: [" + "1, " * 19_000 + "]")[0]["a"]) == 19_000
    assert read(tmp_path, "a: " + "1" * 40)[0]["a"] == int("1" * 40)
    assert read(tmp_path, "a: &a [1, 2]\nb: *a\n")[0] == {"a": [1, 2], "b": [1, 2]}


def test_a_value_by_itself_is_read_as_strictly():
    values = {"3": 3, "0.5": 0.5, "kl": "kl", "": None, "'3'": "3", "{a: [1, no]}": {"a": [1, False]}}
    assert {text: read_value(text, "--set") for text in values} == values
    for text in ("2024-01-01", "{a: 1, a: 2}", "&a [*a]", "!!python/name:os.system x", "1" * 41, "[", "a: b: c"):
        with pytest.raises(BenchmarkError, match=r"^--set, line 1"):
            read_value(text, "--set")


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_yaml(tmp_path / "none.yaml", "card")
    with pytest.raises(BenchmarkError, match=r"^cannot read card .*: Is a directory"):
        read_yaml(tmp_path, "card")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5e1", 5.0),
        ("1e", "1e"),
        ("1e3x", "1e3x"),
        ("'1e-3'", "1e-3"),
    ],
)
def test_powers_of_ten_are_numbers_as_one_writes_them(text, value):
    found = read_value(text, "--set")
    assert found == value and type(found) is type(value)
