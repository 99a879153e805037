"""Everything that is called JSON is JSON, and files are there whole or not at all."""

import json
import math

import pytest

from benchmark.files.atomic import json_line, json_text, plain, replace_file

HELD = {"a": math.nan, "b": [1.0, math.inf, {"c": -math.inf}], "d": (math.nan, "NaN"), "e": None, "f": True, "g": 2}
SHOWN = {"a": None, "b": [1.0, None, {"c": None}], "d": [None, "NaN"], "e": None, "f": True, "g": 2}


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("written", [json_text, json_line])
def test_what_is_no_number_is_null(written):
    assert strict(written(HELD)) == SHOWN == plain(HELD)
    assert written is json_text or written(HELD).count("\n") == 1


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "file"
    replace_file(path, b"first")
    assert path.read_bytes() == b"first"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"second")
    assert path.read_bytes() == b"first" and [p.name for p in path.parent.iterdir()] == ["file"]
