"""A measurement of hours that is stopped goes on where it was; no contender is timed here."""

import json
import sys

import pandas as pd
import pytest

from tests.speed import __main__ as speed

ROW = {"seconds": 1.0, "least": 0.9, "most": 1.1, "ours / this": 1.0, "peak MiB": 500.0}


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Starts the suite on some methods, and tells which it measured."""
    asked = []

    def measure(method, contenders, rounds):
        asked.append(method)
        more = {"Gop an epoch": 1.0, "share of matmul rate": 0.5}
        return [{"method": method, "who": who, **ROW, **more} for who in contenders]

    def evaluation(method, rounds):
        return {"method": method, "together": 1.0, "apart": 2.0, "together / apart": 0.5, "peak MiB": 500.0}

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(speed, "evaluation", evaluation)
    monkeypatch.setattr(speed, "starts", lambda rounds: [{"command": "a", "seconds": 1.0, "least": 1.0, "most": 1.0}])
    monkeypatch.setattr(speed, "matmul_rate", lambda: 1e9)

    def start(*methods, more=()):
        asked.clear()
        command = ["speed", "--out", str(tmp_path), "--skip-workers", "--methods", *methods, *more]
        monkeypatch.setattr(sys, "argv", command)
        speed.main()
        return list(asked)

    return start


def test_it_goes_on_and_measures_what_is_missing_or_has_other_code(measured, tmp_path):
    assert measured("mult", "constant") == ["mult", "constant"]
    assert measured("mult", "constant", "random") == ["random"]
    assert pd.read_csv(tmp_path / "training.csv")["method"].tolist() == ["constant", "mult", "mult", "random"]
    assert measured("constant", "mult", more=["--mmsa", "python"]) == ["mult"], "it has more contenders now"

    facts = json.loads((tmp_path / "facts.json").read_text())
    facts["code"]["random"] = "another"
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    assert measured("constant") == []
    assert measured("constant", "random") == ["random"]
    assert pd.read_csv(tmp_path / "evaluation.csv")["method"].tolist() == ["constant", "mult", "random"]
    assert "| random | ours | 1 |" in (tmp_path / "speed.md").read_text()


def test_another_machine_needs_another_folder(measured, tmp_path, monkeypatch):
    measured("constant")
    monkeypatch.setattr(speed, "_processor", lambda: "another one, 2 cores")
    with pytest.raises(SystemExit, match=r"is of machine .*, and this of another one, 2 cores; give another --out"):
        measured("constant")
    assert pd.read_csv(tmp_path / "training.csv")["method"].tolist() == ["constant"]
