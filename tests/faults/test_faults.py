"""A short selection of the faults; `make faults` causes all of them."""

import re
from pathlib import Path

import pytest

from tests.faults import Trial, __main__, cells, crashes, guided, storage, together


def assert_nothing_lost(trials):
    found = list(trials)
    assert found and all(isinstance(trial, Trial) for trial in found)
    for trial in found:
        assert not trial.lost, trial
    return {trial.fault: trial for trial in found}


def test_crashes(tmp_path):
    found = assert_nothing_lost(crashes.trials(tmp_path, 0.1))
    assert sum(trial.times for trial in found.values()) == 3


def test_two_runs_on_one_folder(tmp_path):
    assert len(assert_nothing_lost(together.trials(tmp_path, 0.25))) == 2


def test_storage(tmp_path):
    found = assert_nothing_lost(storage.trials(tmp_path, 0.1))
    said = found["permission to write to cells/ lost in mid-run"].said
    assert re.match(r"error: cannot write to \S+: Permission denied; make it writable", said)
    if not storage.has_namespaces():
        pytest.skip("no namespaces here: full and read-only disks were not tried")
    assert "No space left on device; make room there" in found["a disk that runs full, at different moments"].said
    assert "Read-only file system" in found["a disk that becomes read-only in mid-run"].said


def test_cells_that_die_or_hang(tmp_path):
    assert len(assert_nothing_lost(cells.trials(tmp_path, 0.25))) == 1


@pytest.mark.skipif(not guided.is_there(), reason="atheris is not installed")
def test_inputs_found_by_following_the_code(tmp_path):
    found = assert_nothing_lost(guided.trials(tmp_path, 0.0))
    assert all(trial.times for trial in found.values()) and len(found) == len(guided.READERS)


@pytest.mark.skipif(not guided.is_there(), reason="atheris is not installed")
def test_following_the_code_finds_what_is_wrong(tmp_path, monkeypatch):
    """A reader that refuses nothing, in the place of the real one."""
    monkeypatch.setattr(guided, "READERS", {"scores": (".csv", 600)})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "from benchmark.evidence import scores\nscores.read_scores = lambda path: path.read_bytes().decode('ascii')\n"
    )
    (trial,) = guided.trials(tmp_path, 1.0)
    assert trial.lost and "found-" in trial.lost


def test_without_atheris_nothing_is_followed_and_this_is_said(monkeypatch, capsys):
    monkeypatch.setattr(guided, "is_there", lambda: False)
    assert __main__.main(["--only", "guided"]) == 0
    assert "atheris is not installed" in capsys.readouterr().out


def test_the_table_tells_what_was_lost_and_keeps_its_other_parts():
    parts = {
        "Storage": __main__.section("Storage", [Trial("a | b", 3, "", "error: <x>"), Trial("c", 2, "all", "")], 60.0),
        "Inputs": __main__.section("Inputs", [Trial("d", 1000, "", "")], 30.0),
    }
    text = __main__.table(parts)
    assert "| a \\| b | 3 | nothing | <code>error: &lt;x></code> |" in text and "| c | 2 | all |  |" in text
    assert "5 faults and 1,000 fuzzed inputs, in 2 minutes" in text and "Lost in 1 of 3 kinds" in text
    assert __main__.sections(text) == parts and __main__.table(__main__.sections(text)) == text


def test_the_stored_table_is_of_all_faults_and_nothing_was_lost():
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    faults, inputs = re.search(r"(\d+) faults and ([\d,]+) fuzzed inputs", text).groups()
    assert int(faults) >= 200 and int(inputs.replace(",", "")) >= 10_000
    assert re.search(r"Lost in 0 of \d+ kinds", text)
    assert all(f"## {title}" in text for title in __main__.MODULES.values())
