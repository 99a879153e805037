import math

import pytest

from benchmark.evidence.collect import collect
from benchmark.running.selection import Keeper, kept, rule_of, tell
from benchmark.running.store import Store
from tests.stored_cells import write_cell

EPOCHS = [
    {"epoch": 1, "valid_loss": 0.4, "valid_score": math.nan},
    {"epoch": 2, "valid_loss": 0.5, "valid_score": 70.0},
    {"epoch": 3, "valid_loss": 0.4, "valid_score": 60.0},
    {"epoch": 4, "valid_loss": 0.6, "valid_score": 70.0},
]


@pytest.mark.parametrize(
    ("rule", "least", "lower", "epoch"),
    [
        ("loss", 1, False, 1), ("loss", 2, False, 3), ("loss", 4, False, 4), ("score", 1, False, 2),
        ("score", 3, False, 4), ("score", 1, True, 3), ("last", 1, False, 4), ("loss", 9, False, 0),
    ],
)  # fmt: skip
def test_each_rule_keeps_its_epoch_and_ties_go_to_the_earlier(rule, least, lower, epoch):
    assert kept(EPOCHS, Keeper(rule, least, lower)) == epoch


def test_patience_counts_from_the_first_epoch_that_may_be_kept():
    epochs = [{"epoch": i, "valid_loss": loss} for i, loss in enumerate([0.1, 0.3, 0.4, 0.5, 0.2, 0.9], start=1)]
    assert [kept(epochs, Keeper("loss", least, False, 2)) for least in (1, 2, 3)] == [1, 2, 5]


def test_where_no_score_is_defined_an_epoch_is_kept_all_the_same():
    undefined = [{"epoch": i, "valid_loss": 0.1, "valid_score": None} for i in (1, 2)]
    assert kept(undefined, Keeper("score", 1, False)) == 1


def test_captions_say_whose_rule_is_which():
    usual = ("loss", 1)
    assert tell({"a": usual, "b": usual}) == tell({"old": rule_of({"trains_on": "complete"})}) and tell({}) == ""
    mixed = tell({"late": ("last", 1), "a": usual, "b": usual})
    assert mixed.startswith("loss (") and "; of late: last (" in mixed


def test_stored_epochs_say_which_was_kept(tmp_path):
    write_cell(tmp_path, "k1", epochs=3)
    write_cell(tmp_path, "k2", label="z", epochs=3, training={"trains_on": "complete", "selection": "last"})
    histories = collect(Store(tmp_path)).histories
    assert histories["kept"].tolist() == [True, False, False, False, False, True]
