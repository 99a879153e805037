import numpy as np
import pandas as pd
import pytest
from scikit_posthocs import posthoc_nemenyi_friedman

from benchmark.report.content import lead
from benchmark.report.ranks import critical_difference
from tests.report.pictures import assert_legible
from tests.report_frames import FIVE, FOURTEEN, make_blocks


def bars_of(figure):
    """The x ranges of the thick bars under a diagram."""
    lines = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    return sorted((min(line.get_xdata()), max(line.get_xdata())) for line in lines)


@pytest.mark.parametrize("methods", [FIVE, FOURTEEN], ids=len)
def test_bars_join_what_the_nemenyi_test_does_not_tell_apart(methods):
    blocks = make_blocks(methods)
    picture = critical_difference(blocks, about=lead("mosi", "simulated"))
    ranks = blocks.rank(axis=1, ascending=False).mean()
    assert ranks.idxmin() in methods[:2]  # the best ones by construction: a high score is a low rank
    alike = posthoc_nemenyi_friedman(blocks.set_axis(range(len(methods)), axis=1)).to_numpy() > 0.05
    bars = bars_of(picture.figure)
    for i in range(len(methods)):
        for j in range(i):
            low, high = sorted(ranks.iloc[[i, j]])
            assert alike[i, j] == any(a <= low + 1e-9 and high - 1e-9 <= b for a, b in bars)
    labels = {text.get_text() for text in picture.figure.axes[0].texts}
    assert {f"{method} ({ranks[method]:.2f})" for method in methods} <= labels
    for part in ("60 blocks", "Friedman", "Nemenyi", "α = 0.05", "not told apart"):
        assert part in picture.caption


def test_no_pair_is_told_apart_where_friedman_sees_nothing():
    rng = np.random.default_rng(1)
    blocks = pd.DataFrame(rng.normal(size=(12, 4)), columns=list("abcd"))
    picture = critical_difference(blocks, about=lead("mosi", "simulated"))
    ranks = blocks.rank(axis=1, ascending=False).mean()
    np.testing.assert_allclose(bars_of(picture.figure), [(ranks.min(), ranks.max())])
    assert "no pair was tested" in picture.caption and "CD" not in picture.caption
    assert_legible(critical_difference(blocks * 0, about=lead("mosi", "simulated")).figure)


def test_too_few_blocks_or_methods_make_no_diagram():
    blocks = make_blocks(FIVE, 10)
    assert critical_difference(blocks, about="mosi.") is not None
    assert critical_difference(blocks.iloc[:9], about="mosi.") is None
    assert critical_difference(blocks[FIVE[:2]], about="mosi.") is None
    blocks.iloc[3, 2] = np.nan
    assert critical_difference(blocks, about="mosi.") is None
