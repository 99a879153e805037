"""What F1 is lost to, as table, figure and note."""

import io

import numpy as np
import pandas as pd
import pytest

from benchmark.protocol.missing import Setting
from benchmark.report.tables import build_tables, to_csv
from benchmark.report.thresholds import COLOURS, tell_unknown, threshold_figure, threshold_table
from tests.report.test_tables import make_scores
from tests.report_frames import FIVE, RATIOS, make_losses

METHODS = [method for method in FIVE if method != "constant"]


@pytest.fixture(scope="module")
def losses():
    return make_losses(METHODS)


def test_the_table_has_the_loss_of_the_average_and_its_parts_and_the_csv_file_all_conditions(losses):
    table = threshold_table(build_tables(make_scores(FIVE))[0], losses, ["lnln"])
    assert table.stem == "mosi_threshold" and set(table.methods) == set(METHODS), "floors lose nothing"
    own = losses.query("condition == 'Avg.'").set_index("method")
    for method, cells in table.blocks[0].rows:
        values = [own.loc[method, part] for part in ("loss", "threshold", "information")]
        assert [cell.value for cell in cells] == [f"{value:.2f}" for value in values]
        assert [cell.spread for cell in cells] == ["± 2.00", "± 1.50", "± 1.00"]
    csv = pd.read_csv(io.StringIO(to_csv(table)))
    assert set(csv["condition"]) == set(losses["condition"]) and "information" in csv
    assert "Not known of lnln, whose cells were made before" in table.caption and "3 seeds" in table.caption
    assert threshold_table(build_tables(make_scores(FIVE))[0], losses.query("condition != 'Avg.'")) is None
    assert threshold_table(build_tables(make_scores(FIVE))[0], pd.DataFrame()) is None


def test_bars_stand_on_each_other_and_end_where_the_loss_is(losses):
    picture = threshold_figure(losses, FIVE, prefix="mosi")
    panels = [axes for axes in picture.figure.axes if axes.get_title()]
    assert {axes.get_title() for axes in panels} == set(METHODS)
    names = [label.get_text() for label in panels[-1].get_xticklabels()]
    six = [Setting(s).condition for s in ("l", "a", "v", "la", "lv", "av")]
    assert names == [*six, "Avg.", *(Setting(ratio=r).condition for r in RATIOS[1:])]
    for axes in panels:
        own = losses[losses["method"] == axes.get_title()].set_index("condition").loc[names]
        information, threshold = axes.containers
        assert information[0].get_facecolor()[:3] == pytest.approx((0, 0x72 / 255, 0xB2 / 255))
        np.testing.assert_allclose([bar.get_height() for bar in information], own["information"])
        np.testing.assert_allclose([bar.get_height() for bar in threshold], own["threshold"])
        both = (own["information"] > 0) & (own["threshold"] > 0)
        tops = [bar.get_y() + bar.get_height() for bar in threshold]
        np.testing.assert_allclose(np.array(tops)[both], own["loss"][both])
        np.testing.assert_allclose(axes.lines[0].get_ydata(), own["loss"])
    assert [text.get_text() for text in picture.figure.legends[0].get_texts()] == ["loss", *COLOURS]
    pd.testing.assert_frame_equal(picture.numbers, losses.drop(columns=["task", "source"]))


def test_where_it_is_known_of_nothing_a_note_stands_there(losses):
    assert "--fresh computes them anew" in tell_unknown(pd.DataFrame(), ["mult"])
    assert tell_unknown(losses, ["mult"]) == tell_unknown(pd.DataFrame(), []) == ""
    assert threshold_figure(pd.DataFrame(), prefix="mosi") is None
    assert threshold_figure(losses.query("condition == '{l,a,v}'"), prefix="mosi") is None
