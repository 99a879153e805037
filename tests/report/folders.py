"""Output folders with a report but without cells, made of made-up scores."""

import json

import pandas as pd

from benchmark.evidence.statistics import AVERAGE, average_draws, average_inter
from benchmark.evidence.stored import Evidence, write_evidence
from benchmark.names import without_formulas
from benchmark.protocol.missing import Setting
from benchmark.report.findings import FILE, Finding, Verdict
from benchmark.report.marks import digests_of


def write_folder(folder, scores, *, widths=1.0, fingerprint="f0", described=(), **manifest):
    """``scores.csv``, ``intervals.csv`` with ends `widths` around the means, and ``manifest.json``."""
    folder.mkdir(parents=True)
    without_formulas(scores).to_csv(folder / "scores.csv", index=False)
    values = average_draws(scores)
    values["condition"] = [Setting(a, r).condition for a, r in zip(values["available"], values["ratio"], strict=True)]
    values = pd.concat([values, average_inter(values).assign(condition=AVERAGE, kind="derived", available="")])
    columns = ["task", "source", "metric", "method", "condition", "kind", "available", "ratio"]
    means = values.groupby(columns, sort=False, dropna=False)["value"].agg(mean="mean", std="std", seeds="count")
    means = means.reset_index().assign(n=9, groups=9, unit="sample", best=float("nan"), collapsed=0)
    means = means.assign(low=means["mean"] - widths, high=means["mean"] + widths)
    write_evidence(Evidence(means), folder)
    places = scores[["task", "source"]].drop_duplicates().itertuples(index=False, name=None)
    content = {
        "benchmark": "0.2.0",
        "grid": "quick",
        "git_commit": "0123456789abcdef",
        "finished": "2026-11-27T09:36:22.788+00:00",
        "tasks": [{"name": task, "source": source, "fingerprint": fingerprint} for task, source in places],
        "methods": [{"label": label, "description": text} for label, text in dict(described).items()],
    }
    (folder / "manifest.json").write_text(json.dumps(content | manifest))
    return folder


def by_means(means, *, seeds=2, task="mosi", source="simulated", settings=(("lav", 0.0), ("l", 0.5))):
    """Scores of methods with a given mean F1 in every setting, 5 less with each modality that is missing."""
    all_settings = dict.fromkeys([*settings, *((s, 0.0) for s in ("l", "a", "v", "la", "lv", "av"))])
    rows = [
        (task, source, method, seed, "intra" if a == "lav" else "inter", a, ratio, 0, "f1",
         mean - 5 * (3 - len(a)) - 10 * ratio + (seed - (seeds - 1) / 2), 9, f"{method}-{seed}", "polarity", "lav")
        for method, mean in means.items()
        for seed in range(seeds)
        for a, ratio in all_settings
    ]  # fmt: skip
    columns = [
        "task",
        "source",
        "method",
        "seed",
        "kind",
        "available",
        "ratio",
        "draw",
        "metric",
        "value",
        "n",
        "key",
        "target",
        "modalities",
    ]
    return pd.DataFrame(rows, columns=columns)


def write_verdict(folder, *findings, checked=("cells", "scores"), **changed):
    """A ``verify.json`` of the files as they are."""
    verdict = Verdict(folder, dict.fromkeys(checked, "all of it"), [Finding(*own) for own in findings])
    verdict.files = digests_of(folder)
    (folder / FILE).write_text(json.dumps(verdict.record() | changed))
    return folder
