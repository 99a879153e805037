"""The matrix of all pairs, and that ranks are the same everywhere."""

import pandas as pd
import pytest

from benchmark.evidence.statistics import average_draws, rank_blocks
from benchmark.report.comparisons import overall_table
from benchmark.report.content import lead
from benchmark.report.matrix import comparison_matrix
from benchmark.report.ranks import critical_difference
from tests.report.pictures import assert_legible
from tests.report.test_tables import make_scores
from tests.report_frames import FIVE, FOURTEEN, make_blocks, make_pairs

SIXTEEN = [*FOURTEEN, "random", "lnln"]
ABOUT = lead("mosi", "simulated")


@pytest.mark.parametrize("methods", [[*FIVE, "random"], SIXTEEN], ids=len)
def test_every_cell_says_difference_wins_and_p(methods):
    picture = comparison_matrix(make_blocks(methods), make_pairs(methods), about=ABOUT)
    texts = assert_legible(picture.figure)
    numbers = picture.numbers.set_index(["method", "against"])
    first, second = methods[0], methods[2]
    row = numbers.loc[(first, second)]
    assert f"+8.0\n{row['wins']}/{row['ties']}/{row['losses']}\np=.003" in texts and len(numbers) == len(methods) * (
        len(methods) - 1
    )
    bold = {text.get_text() for text in picture.figure.axes[0].texts if text.get_fontweight() == "bold"}
    assert all("p=.003" in text or "p<.001" in text for text in bold) and any("p=.003" in text for text in bold)
    assert not any("p=.300" in text for text in bold)


def test_too_many_for_numbers_are_colours_alone():
    many = [f"m{i}" for i in range(26)]
    picture = comparison_matrix(
        make_blocks(many), make_pairs(many), about=ABOUT, stem="matrix_tuned", rows="tuned methods"
    )
    assert not any(text.get_text() for text in picture.figure.axes[0].texts) and len(picture.numbers) == 26 * 25
    assert picture.caption.endswith("colours are the differences, tables/matrix_tuned.csv has all.")
    assert picture.stem == "matrix_tuned" and picture.title == "Each pair of tuned methods"


def test_without_a_test_there_is_no_p_and_the_caption_says_so():
    picture = comparison_matrix(make_blocks(FIVE), make_pairs(FIVE).assign(p=float("nan")), about=ABOUT)
    assert "Nothing is tested: that takes three seeds of each method." in picture.caption
    assert not any("p" in text.get_text() for text in picture.figure.axes[0].texts)
    assert comparison_matrix(make_blocks(FIVE[:2]), make_pairs(FIVE[:2]), about=ABOUT) is None
    assert comparison_matrix(make_blocks(FIVE), pd.DataFrame(), about=ABOUT) is None


@pytest.mark.parametrize(("tasks", "counted"), [(2, "over 30 pairs of task and condition"), (10, "over 10 data sets")])
def test_the_table_the_matrix_and_the_diagram_give_the_same_ranks(tasks, counted):
    names = [f"t{i}" for i in range(tasks)]
    scores = pd.concat([make_scores(FIVE, seeds=1).assign(task=name) for name in names])
    scores["value"] += scores["task"].str[1:].astype(int) * scores["method"].map(FIVE.index) / 10
    table, blocks = overall_table(scores, FIVE), rank_blocks(average_draws(scores))
    printed = {method: cells[0].value for method, cells in table.blocks[0].rows}
    pairs = pd.concat([make_pairs(FIVE, name) for name in names])
    pictures = [comparison_matrix(blocks, pairs, about=ABOUT)]
    if tasks == 10:
        pictures.append(critical_difference(blocks, about=ABOUT))
    for picture in pictures:
        texts = [text for axes in picture.figure.axes for text in (*axes.texts, *axes.get_yticklabels())]
        assert {f"{method} ({rank})" for method, rank in printed.items()} <= {text.get_text() for text in texts}
    assert counted in table.caption.lower() and counted in pictures[0].caption
    assert ("Conditions of a task are not independent" in table.caption) == (tasks == 2)
    wins = pictures[0].numbers.groupby("method")[["wins", "ties"]].sum()
    share = 100 * (wins["wins"] + wins["ties"] / 2) / (len(blocks) * (len(FIVE) - 1))
    assert share.to_dict() == pytest.approx(table.summary.set_index("method")["wins"].to_dict())
