"""Stacking beside one after another on a CPU, on planted seconds and in small."""

import pytest

from tests.speed import stacking

FOUND = {"method": "mult", "models": 5, "batch": 24, "alone": [2.0, 4.0, 3.0], "stacked": [5.0, 5.0, 10.0]}


def test_a_row_has_gains_by_round_and_cells_an_hour():
    assert stacking.row(FOUND | {"auto": True}, 30) == "| mult | 24 | 3 | 5 | 2.00 | 1.50 | 4.00 | 40 | 120 | stacked |"
    assert stacking.row(FOUND | {"auto": False}, 30).endswith("| alone |")
    assert stacking.row(FOUND | {"stacked": []}, 30) == "| mult | 24 | 3 | – | – | – | – | 40 | – | cannot be |"


def test_data_are_cut_in_proportion():
    dataset = stacking.mosi_sized(1400)  # more than MOSI has
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 1400, "valid": 249, "test": 4}
    assert dataset.splits["train"].features["v"].shape == (1400, 50, 35)


def test_seconds_are_of_an_epoch_of_each_stage_but_the_first():
    epochs = [("a", 9.0), ("a", 1.0), ("a", 3.0), ("b", 5.0)]
    one = type("Trained", (), {"history": [{"stage": stage, "seconds": seconds} for stage, seconds in epochs]})
    assert stacking.seconds_an_epoch(one) == pytest.approx(2.0 + 5.0)


def test_it_measures_what_can_be_stacked_and_what_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(stacking, "gain", lambda courses: 2.0 if len(courses) == 2 else 0.0)
    out = tmp_path / "speed" / "stacking.md"
    stacking.main(
        ["--out", str(out), "--methods", "moddrop", "smil", "--samples", "8", "--models", "2", "--rounds", "1"]
    )
    page = out.read_text()
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith(("| moddrop", "| smil"))]
    assert lines[0][-1] == "stacked |" and float(lines[0][4]) > 0
    assert lines[1][-1] == "cannot be |" and float(lines[1][2]) > 0
    assert "8 training samples" in page and "2 models in a stack" in page
