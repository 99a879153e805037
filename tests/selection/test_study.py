import numpy as np
import pandas as pd
import pytest

from benchmark.data import load_task
from benchmark.running.cell import build_method
from benchmark.running.training import train
from tests.running.small_grid import small_grid
from tests.selection.study import CPU, PAGE, STORED, choices, differences, halves, in_page, read, tables, watch


def test_the_halves_share_no_video_and_hold_no_test(small_mosi):
    chosen, judged = (part.splits for part in halves(small_mosi))
    ids = [set(part["valid"].ids) for part in (chosen, judged)]
    assert ids[0] | ids[1] == set(small_mosi.splits["valid"].ids) and not ids[0] & ids[1]
    videos = [{sample.partition("$_$")[0] for sample in own} for own in ids]
    assert not videos[0] & videos[1] and min(map(len, ids)) >= 0.3 * len(ids[0] | ids[1])
    assert not len(chosen["test"]) and not len(judged["test"])


def test_every_epoch_is_judged_and_looking_at_it_changes_nothing(tmp_path):
    grid = small_grid(tmp_path, "mult")
    (cell,) = grid.cells
    found = watch(cell, grid.settings, grid.draw)
    assert found["epoch"].tolist() == [1, 2, 3, 4] and found["judged"].between(0, 100).all()
    chosen, _ = halves(load_task(cell.task))
    method, config = build_method(cell, chosen, CPU), cell.training.model_copy(update={"selection": "last"})
    history = train(method, chosen, trains_on=cell.row.trains_on, config=config, seed=cell.seed, device=CPU)
    for name in ("valid_loss", "valid_score"):
        assert found[name].tolist() == [epoch[name] for epoch in history]


PLANTED = pd.DataFrame(
    {
        "method": "planted", "seed": np.repeat([0, 1], 8), "stage": ["teacher", *["student"] * 7] * 2,
        "epoch": [9, *range(1, 8)] * 2,
        #             one, two, ...: loss and score have their best in different epochs
        "valid_loss": [0.0, 0.1, 0.3, 0.3, 0.9, 0.2, 0.4, 0.1, 0.0, 0.5, 0.4, 0.3, 0.9, 0.2, 0.4, 0.1],
        "valid_score": [99.0, 50.0, 60.0, 60.0, 55.0, 55.0, 58.0, 70.0] * 2,
        "judged": [99.0, 41.0, 42.0, 43.0, 44.0, 45.0, 46.0, 47.0, 99.0, 51.0, 52.0, 53.0, 54.0, 55.0, 56.0, 57.0],
        "patience": 3, "idle": 2, "lower_is_better": False,
    }
)  # fmt: skip


def test_what_each_rule_keeps_is_told_from_the_stored_epochs():
    kept = choices(PLANTED).pivot(index="rule", columns="seed", values="epoch")
    # seed 0: the loss of epoch 1 is best until patience ends at 4; from 5 on epoch 7 comes
    assert kept[0].to_dict() == {"loss": 1, "score": 2, "last": 7, "loss from 5": 7, "score from 5": 7}
    assert kept[1].to_dict() == {"loss": 7, "score": 2, "last": 7, "loss from 5": 7, "score from 5": 7}


def test_the_tables_hold_means_deviations_and_who_is_too_early():
    page = in_page("before\n<!-- study -->\nold\n<!-- end of study -->\nafter", PLANTED)
    assert page.startswith("before") and page.endswith("after") and "old" not in page
    assert in_page(page, PLANTED) == page
    # loss keeps epochs 1 and 7, judged 41 and 57: mean 49, deviation 16 / sqrt(2); one of the two is not after epoch 2
    assert "| loss | 11.31 | 11.31 | 0 | 49.00 | 0 | 4 | 1 |" in page
    assert "| score | 7.07 | 7.07 | 1 | 47.00 | 0 | 2 | 2 |" in page
    assert "| last | 7.07 | 7.07 | 1 | 52.00 | 1 | 7 | 0 |" in page
    assert "| planted | 49.0 ± 11.3 (4) | 47.0 ± 7.1 (2) | 52.0 ± 7.1 (7) |" in tables(PLANTED)


def test_rules_are_compared_with_the_chosen_one_over_methods():
    found = pd.DataFrame(
        [
            (method, seed, rule, judged, False)
            for method, by_rule in {
                "steady": {"loss": (50, 54), "score from 5": (60, 60)},
                "loose": {"loss": (40, 60), "score from 5": (49, 51)},
                "once": {"loss": (50,), "score from 5": (49,)},  # one seed has no deviation
            }.items()
            for rule, judged_of in {**dict.fromkeys(("score", "last", "loss from 5"), (1, 1)), **by_rule}.items()
            for seed, judged in enumerate(judged_of)
            if method != "once" or seed == 0
        ],
        columns=["method", "seed", "rule", "judged", "lower_is_better"],
    )
    loss = differences(found).loc["loss"]
    # variances 8 and 200 against 0 and 2; means 52, 50, 50 against 60, 50, 49
    assert loss["deviation"] == pytest.approx(104**0.5 - 1)
    assert loss["deviation_low"] == pytest.approx(8**0.5) and loss["deviation_high"] == pytest.approx(200**0.5 - 2**0.5)
    assert loss["score"] == pytest.approx(-7 / 3) and (loss["better"], loss["worse"]) == (1, 1)
    half = 4.302653 * np.std([-8, 0, 1], ddof=1) / 3**0.5  # t with two degrees of freedom
    assert loss["score_high"] - loss["score"] == pytest.approx(half) == loss["score"] - loss["score_low"]
    turned = differences(found.assign(judged=-found["judged"], lower_is_better=True)).loc["loss"]
    assert (turned["better"], turned["worse"]) == (1, 1) and turned["score"] == -loss["score"]


def test_the_page_is_what_the_stored_epochs_say():
    text = PAGE.read_text(encoding="utf-8")
    assert in_page(text, read(STORED)) == text
