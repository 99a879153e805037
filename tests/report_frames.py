"""Data frames of the kind that figures are made of, with made-up numbers."""

import numpy as np
import pandas as pd

from benchmark.evidence.collect import Representation
from benchmark.protocol.missing import PATTERNS, SUBSETS, Setting

FIVE = ["corrkd", "mult", "misa", "tfr_net", "constant"]
FOURTEEN = [
    "corrkd", "corrkd-mrm", "w/o SCD", "w/o CPD & RCD", "w/o MRM_$x$_", "mult", "mult+mrm", "misa", "misa+mrm", "tfr_net",
    "self_mm_variant", "gcnet_longnames", "dicmor", "constant",
]  # fmt: skip
RATIOS = [round(0.1 * i, 1) for i in range(11)]
PLAIN = [Setting(s) for s in SUBSETS[:-1]] + [Setting(ratio=r) for r in RATIOS]
CROSSED = [Setting(s, r, p) for p in PATTERNS for s in SUBSETS for r in RATIOS]
METRICS = {
    "mosi": ["f1", "accuracy", "f1_nonneg"],
    "mosei": ["f1", "accuracy", "f1_nonneg"],
    "iemocap": ["f1", "accuracy", "f1_happy", "f1_sad", "f1_angry", "f1_neutral"],
    "mosi_intensity": ["mae", "corr", "acc7", "acc5", "acc2_nonneg", "f1_nonneg", "acc2", "f1"],
}
CATEGORIES = {
    1: ["negative"],
    2: ["negative", "non-negative"],
    4: ["happy", "sad", "angry", "neutral"],
    6: ["happiness", "sadness", "anger", "surprise", "disgust", "fear"],
}


def make_statistics(
    methods=FIVE, tasks=("mosi",), *, settings=PLAIN, metrics=None, source="simulated", seeds=5, intervals=True
):
    """One row per task, method, metric and condition; means fall with the ratio and with modalities gone."""
    rng = np.random.default_rng(0)
    rows = []
    for task in tasks:
        for m, method in enumerate(methods):
            for metric in metrics or METRICS[task]:
                floor = 55.0 if metric == "accuracy" else 25.0
                top = floor if method == "constant" else 82.0 - 2.0 * m + rng.normal(0, 0.5)
                scores = {}
                for setting in dict.fromkeys(settings):
                    worth = 0.1 + 0.6 * ("l" in setting.available) + 0.15 * (len(setting.available) - 1)
                    left = 1 - setting.ratio ** (
                        1.5 if setting.pattern == "scattered" else 1.2 if setting.pattern == "burst" else 0.9
                    )
                    mean = floor + (top - floor) * min(1.0, worth) * left + (method != "constant") * rng.normal(0, 0.4)
                    scores[setting.kind, setting.available, setting.ratio, setting.condition] = mean
                gone = [scores[k] for k in scores if k[1] != "lav" and k[2] == 0]
                if len(gone) == 6:
                    scores["derived", "", np.nan, "Avg."] = float(np.mean(gone))
                    scores["derived", "", np.nan, "drop"] = top - float(np.mean(gone))
                scores["derived", "", np.nan, "AUDC"] = (floor + top) / 2
                for (kind, available, ratio, condition), mean in scores.items():
                    std = 0.0 if method == "constant" else rng.uniform(0.5, 3.0)
                    rows.append(
                        (task, source, method, metric, kind, available, ratio, condition, mean,
                         std if seeds > 1 else np.nan, seeds,
                         *((mean - 1.5 * std, mean + 1.1 * std) if intervals else (np.nan, np.nan)), 656)
                    )  # fmt: skip
    columns = ["task", "source", "method", "metric", "kind", "available", "ratio", "condition", "mean", "std", "seeds"]
    frame = pd.DataFrame(rows, columns=[*columns, "low", "high", "n"])
    for metric, scale, middle in (("mae", -1 / 50, 2.0), ("corr", 1 / 100, 0.0)):  # from per cents
        own = frame["metric"] == metric
        numbers = frame.loc[own, ["mean", "std", "low", "high"]] * scale
        numbers[["mean", "low", "high"]] += np.where(frame.loc[own, ["condition"]] == "drop", 0.0, middle)
        frame.loc[own, ["mean", "std"]] = numbers[["mean", "std"]].assign(std=numbers["std"].abs()).to_numpy()
        frame.loc[own, ["low", "high"]] = np.sort(numbers[["low", "high"]], axis=1)
    return frame


def make_accounts(methods=FIVE, *, task="mosi", source="simulated", seeds=2):
    """Cells as the manifest lists them; each method costs twice as much as the one before, and `constant` nothing."""
    return [
        {
            "task": task, "source": source, "method": method, "seed": seed, "parameters": 1000 * (m + 1),
            "training_seconds": 10.0 * (seed + 1), "epochs": 10,
            "account": {
                "device": "cpu", "samples": 16, "threads": 1, "repeats": 3, "seconds": 1e-5 * 2**m * (1 + seed) ** 2,
                "operations": 0.0 if method == "constant" else 1e5 * 2**m, "uncounted": [], "memory": 2**20 * (m + 1),
                "fault": "",
            },
        }
        for m, method in enumerate(methods)
        for seed in range(seeds)
    ]  # fmt: skip


def make_histories(methods=FIVE, *, seeds=5, source="simulated"):
    """`corrkd` and its variants train in two stages, and `constant` not at all."""
    rng = np.random.default_rng(0)
    rows = []
    for m, method in enumerate(methods):
        if method == "constant":
            continue
        stages = ["teacher", "student"] if "corrkd" in method or method.startswith("w/o") else ["training"]
        for seed in range(seeds):
            for s, stage in enumerate(stages):
                start, least = ((0.9, 0.4), (8.0, 1.5))[s]
                for epoch in range(1, int(rng.integers(12, 18)) + (20 if s else 2 * m)):
                    train = least * 0.8 + (start - least) * np.exp(-0.2 * epoch) + rng.normal(0, 0.02)
                    valid = 0.5 + 0.3 * np.exp(-0.3 * epoch) + 0.006 * epoch + rng.normal(0, 0.02)
                    rows.append(("mosi", source, method, seed, stage, epoch, train, valid, 70.0))
    columns = ["task", "source", "method", "seed", "stage", "epoch", "train_loss", "valid_loss", "valid_score"]
    made = pd.DataFrame(rows, columns=columns)
    best = made.groupby(["method", "seed", "stage"])["valid_loss"].transform("min") if rows else None
    return made.assign(kept=made["valid_loss"] == best)


def make_confusions(methods=FIVE, categories=2, *, source="simulated"):
    rng = np.random.default_rng(0)
    names = CATEGORIES[categories]
    conditions = [Setting().condition, Setting("l").condition, Setting(ratio=0.5).condition]
    rows = [
        ("iemocap", source, method, condition, truth, predicted, int(rng.integers(0, 40) + 100 * (truth == predicted)))
        for method in methods
        for condition in conditions
        for truth in names
        for predicted in names
    ]
    return pd.DataFrame(rows, columns=["task", "source", "method", "condition", "truth", "predicted", "count"])


def make_representations(methods=FIVE, categories=2, *, samples=60, source="simulated"):
    rng = np.random.default_rng(0)
    labels = np.array(CATEGORIES[categories])[np.arange(samples) % categories]
    centres = rng.normal(0, 3, size=(categories, 8))
    return [
        Representation(
            "mosi", source, method, 0, Setting(), tuple(CATEGORIES[categories]), labels,
            (centres[np.arange(samples) % categories] * (2 - i / 20) + rng.normal(size=(samples, 8))).astype(np.float32),
        )
        for i, method in enumerate(m for m in methods if m != "constant")
    ]  # fmt: skip


def make_losses(methods=FIVE, task="mosi", settings=PLAIN, source="simulated"):
    """What is lost to a threshold where one modality is there, and as information where frames are gone."""
    rng = np.random.default_rng(0)
    rows = []
    for method in methods:
        for setting in dict.fromkeys([*settings, None]):  # None: the average of the six
            where = ("Avg.", "derived", "", np.nan)
            if setting is not None:
                where = (setting.condition, setting.kind, setting.available, setting.ratio)
            threshold, information = (
                rng.normal(6, 4),
                20 * (where[3] if setting is not None else 0.5) + rng.normal(0, 1),
            )
            if setting == Setting():
                threshold = information = 0.0
            loss = threshold + information
            rows.append(
                (
                    task,
                    source,
                    method,
                    *where,
                    80 - loss,
                    81 - information,
                    loss,
                    threshold,
                    information,
                    2.0,
                    1.5,
                    1.0,
                    3,
                )
            )
    names = [
        "f1",
        "f1_moved",
        "loss",
        "threshold",
        "information",
        "std_loss",
        "std_threshold",
        "std_information",
        "seeds",
    ]
    return pd.DataFrame(rows, columns=["task", "source", "method", "condition", "kind", "available", "ratio", *names])


def make_blocks(methods=FIVE, blocks=60):
    rng = np.random.default_rng(0)
    quality = np.linspace(1.5, -1.5, len(methods))
    where = pd.MultiIndex.from_product([["mosi"], ["simulated"], range(blocks)], names=["task", "source", "block"])
    return pd.DataFrame(rng.normal(size=(blocks, len(methods))) + quality, index=where, columns=list(methods))


def make_pairs(methods=FIVE, task="mosi", metric="f1", condition="Avg."):
    """A difference of 4 points a place in the list; neighbours are not told apart."""
    rows = [
        (task, "simulated", metric, a, condition, b, 4.0 * (j - i), 4.0 * (j - i) - 5, 4.0 * (j - i) + 5,
         0.3 if j == i + 1 else 0.3 * 10.0 ** (i - j), 6.0)
        for i, a in enumerate(methods)
        for j, b in enumerate(methods)
        if i < j
    ]  # fmt: skip
    columns = ["task", "source", "metric", "method", "condition", "against", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=[*columns, "detectable"])
