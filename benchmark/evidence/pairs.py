"""Each pair of methods: by how much they differ, how often one wins, and whether a test tells them apart.

The numbers of the Multiple Comparison Matrix (Ismail-Fawaz et al., "An approach to multiple comparison benchmark
evaluations that is stable under manipulation of the comparate set", arXiv 2305.11921, 2023). What is said of a pair is
made of that pair alone: p is not corrected, and no rank among others is in it. Where the paper has a signed-rank test
over data sets, p is here of the benchmark's own paired test, since there are few data sets.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd

from benchmark.protocol.metrics import metric

_LEAST = 1e-300  # p below which the normal quantile would be infinite


def matrix_of_pairs(blocks: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What the matrix shows, a row for each ordered pair of methods.

    Parameters
    ----------
    blocks : DataFrame
        As :func:`benchmark.evidence.statistics.rank_blocks` returns it.
    pairs : DataFrame
        As in :class:`benchmark.evidence.stored.Evidence`. Those of tasks that no block is of are left out.

    Returns
    -------
    DataFrame
        ``method, against, difference, wins, ties, losses, blocks, p, tasks, condition``. `difference` is that of the
        primary metric in `condition`, a mean over tasks, turned so that more is better; where some tasks have it in per
        cents, only over these. `p` is two-sided; of several tasks it is combined by Stouffer's method, which takes
        tasks to be independent. Empty where a pair is in no task.
    """
    counted = set(zip(*(blocks.index.get_level_values(name) for name in ("task", "source")), strict=True))
    own = pairs if pairs.empty else pairs[pd.MultiIndex.from_frame(pairs[["task", "source"]]).isin(counted)]
    if own.empty:
        return pd.DataFrame()
    own = own[own["condition"] == sorted(own["condition"].unique(), reverse=True)[0]]  # `Avg.` before `AUDC`
    signs = {name: -1.0 if metric(name).lower_is_better else 1.0 for name in own["metric"].unique()}
    own = own.assign(difference=own["difference"] * own["metric"].map(signs))
    turned = own.rename(columns={"method": "against", "against": "method"}).assign(difference=-own["difference"])
    grouped = dict(list(pd.concat([own, turned]).groupby(["method", "against"], sort=False)))
    scores = blocks.round(6)  # as ranks do: what differs by less is a tie
    rows = []
    for one, other in permutations(blocks.columns, 2):
        tests = grouped.get((one, other))
        if tests is None:
            return pd.DataFrame()
        percent = tests["metric"].map(lambda name: metric(name).percent)
        ahead = scores[one] - scores[other]
        rows.append(
            {
                "method": one,
                "against": other,
                "difference": tests.loc[percent, "difference"].mean() if percent.any() else tests["difference"].mean(),
                "wins": int((ahead > 0).sum()),
                "ties": int((ahead == 0).sum()),
                "losses": int((ahead < 0).sum()),
                "blocks": len(blocks),
                "p": _combined(tests),
                "tasks": len(tests),
                "condition": tests["condition"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def _combined(tests: pd.DataFrame) -> float:
    if len(tests) == 1:
        return float(tests["p"].iloc[0])
    from scipy import stats  # most of a second

    z = np.sign(tests["difference"]) * stats.norm.isf(np.maximum(tests["p"], _LEAST) / 2)
    return float(2 * stats.norm.sf(abs(z.sum(skipna=False)) / len(tests) ** 0.5))
