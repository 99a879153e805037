"""What one GPU gives: agreement with the CPU, seconds an epoch alone and stacked, memory, the quick grid, an estimate.

    python -m tests.speed.gpu --out results/reference/gpu

Each part is a JSON file of its own and is not measured again where it is there; after `--seconds` no part is begun any
more. Where there is no GPU it says so, and measures on the CPU, in small, what stacking gives. Needs no network.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import benchmark
from benchmark import methods
from benchmark.data import find_task, find_tasks, load_task
from benchmark.data.batches import task_spec
from benchmark.data.dataset import Dataset
from benchmark.protocol.missing import Setting
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.evaluation import predict_settings
from benchmark.running.stack import NotTogether
from benchmark.running.stacked import Member, train_together
from benchmark.running.training import train
from tests.batches import without_dropout
from tests.speed import contender

SAMPLES = {"mosi": 1284, "mosei": 16326, "iemocap": 2717}
"""Training samples of the real tasks, for the estimate."""
LARGE = ("corrkd", "mult", "transm")  # measured with MOSEI's samples as well
PEAK = 67e12  # operations a second of an H100 in float32, from its data sheet
SEEDS = 5


def simulated(train_samples: int) -> Dataset:
    """The simulator's MOSI, small."""
    tasks, _ = find_tasks([find_task("mosi")], None, asked=True, sizes=(train_samples, 16, 16))
    return load_task(tasks[0])


def made(name: str, dataset: Dataset, device: torch.device, seed: int, epochs: int) -> Member:
    """An untrained model of a method, to be trained so many epochs a stage."""
    torch.manual_seed(seed)
    method = methods.load(methods.catalogue()[name])(task_spec(dataset)).to(device)
    return Member(method, TrainingConfig(epochs=epochs), seed, torch.get_rng_state())


def seconds_an_epoch(member: Member) -> float:
    """The median of its epochs but the first, or of all where there is one."""
    times = [epoch["seconds"] for epoch in member.history]
    return statistics.median(times[1:] or times)


def speed(name: str, dataset: Dataset, device: torch.device, seeds: int, epochs: int = 2) -> dict[str, Any]:
    """Seconds an epoch of one model alone, and of `seeds` in a stack; None where a method cannot be stacked."""
    trains_on = methods.catalogue()[name].trains_on
    one = made(name, dataset, device, 0, epochs)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    one.history = train(one.method, dataset, trains_on=trains_on, config=one.config, seed=0, device=device)
    found: dict[str, Any] = {"method": name, "samples": len(dataset.splits["train"]), "seeds": seeds, "stacked": None}
    if not one.history:
        return found | {"alone": None}
    found["alone"] = seconds_an_epoch(one)
    members = [made(name, dataset, device, seed, epochs) for seed in range(seeds)]
    try:
        train_together(members, dataset, trains_on=trains_on, device=device)
        found["stacked"] = seconds_an_epoch(members[0])
    except NotTogether as error:
        found["why"] = str(error)
    if device.type == "cuda":
        found["mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def agreement(name: str, device: torch.device) -> dict[str, Any]:
    """The largest difference of a logit, trained and tested here and on the CPU, without dropout."""
    dataset = simulated(64)
    logits = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        method = without_dropout(methods.load(methods.catalogue()[name])(task_spec(dataset))).to(where)
        config = TrainingConfig(epochs=2, learning_rate=1e-4, batch_size=16)
        train(method, dataset, trains_on="missing", config=config, seed=0, device=where)
        logits.append(predict_settings(method, dataset, [Setting(), Setting("l", 0.5)], draw=0, device=where))
    return {"method": name, "difference": float(np.abs(logits[0] - logits[1]).max())}


def quick(device: torch.device) -> dict[str, Any]:
    """The quick grid from end to end, its report with it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        results = benchmark.run("quick", out=out, device=device.type, together="auto", jobs=1, say=lambda _: None)
    return {"seconds": time.perf_counter() - started, "failed": len(results.failed)}


def operations(name: str) -> dict[str, Any]:
    """Floating-point operations of an epoch at MOSI's real size, counted on the CPU."""
    return {"method": name, "operations": contender.Contender(name, 32, "full", {}).operations()}


def parts(device: torch.device, names: list[str]) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is measured, by the name of its file; the most needed first."""
    if device.type == "cpu":
        return {f"speed-{n}-64": lambda n=n: speed(n, simulated(64), device, SEEDS) for n in names}
    real = contender.mosi_sized("full")
    found = {f"agreement-{n}": lambda n=n: agreement(n, device) for n in names}
    found |= {f"speed-{n}-1284": lambda n=n: speed(n, real, device, SEEDS) for n in names}
    found["quick"] = lambda: quick(device)
    found |= {f"speed-{n}-16326": lambda n=n: speed(n, simulated(16326), device, SEEDS, 1) for n in LARGE}
    return found | {f"operations-{n}": lambda n=n: operations(n) for n in names}


def measure(out: Path, wanted: Mapping[str, Callable[[], dict[str, Any]]], seconds: float, card: str) -> list[str]:
    """Measure the parts that are not there yet while there is time; gives the names of those that are left.

    A part that fails is stored with its error, and measured again the next time.
    """
    out.mkdir(parents=True, exist_ok=True)
    end, left = time.monotonic() + seconds, []
    for name, part in wanted.items():
        file = out / f"{name}.json"
        if file.exists() and "error" not in json.loads(file.read_text(encoding="utf-8")):
            continue
        if time.monotonic() > end:
            left.append(name)
            continue
        try:
            found = part()
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        file.write_text(json.dumps({"card": card, **found}, indent=1) + "\n", encoding="utf-8")
        print(name, found, flush=True)
    return left


def estimate(speeds: list[dict[str, Any]], samples: Mapping[str, int], seeds: int, epochs: int) -> tuple[float, int]:
    """Seconds that a grid of all measured methods trains, each as fast as it was measured, and how many there are.

    An epoch's time grows with its samples; of the measurements of a method the largest below counts.
    """
    total, names = 0.0, sorted({s["method"] for s in speeds if s.get("alone")})
    for name in names:
        own = sorted((s for s in speeds if s["method"] == name and s.get("alone")), key=lambda s: s["samples"])
        for n in samples.values():
            nearest = ([s for s in own if s["samples"] <= n] or own[:1])[-1]
            of_all = nearest["alone"] * seeds
            if nearest["stacked"]:
                of_all = min(of_all, nearest["stacked"] * math.ceil(seeds / nearest["seeds"]))
            total += of_all * n / nearest["samples"] * epochs
    return total, len(names)


def table(found: Mapping[str, dict[str, Any]]) -> str:
    """Everything measured, as Markdown."""
    cards = sorted({part["card"] for part in found.values()})
    speeds = [part for name, part in found.items() if name.startswith("speed-") and "error" not in part]
    lines = [f"Measured on {', '.join(cards) or 'nothing'}.", ""]
    lines += [
        "| method | samples | alone, s an epoch | stacked, s an epoch | models | gain | MiB | of the peak | off the CPU |"
    ]
    lines += ["|---|" + "---:|" * 8]
    for s in sorted(speeds, key=lambda s: (s["method"], s["samples"])):
        together, alone = s["stacked"], s["alone"]
        gain = f"{alone * s['seeds'] / together:.1f}" if together and alone else "–"
        work = found.get(f"operations-{s['method']}", {}).get("operations")
        best = min(filter(None, (alone, together and together / s["seeds"])), default=None)
        share = f"{work * s['samples'] / SAMPLES['mosi'] / best / PEAK:.2%}" if work and best else "–"
        off = found.get(f"agreement-{s['method']}", {}).get("difference")
        cells = [s["method"], s["samples"], _number(alone), _number(together), s["seeds"], gain, _number(s.get("mib"))]
        lines.append("| " + " | ".join(map(str, [*cells, share, "–" if off is None else f"{off:.1e}"])) + " |")
    seconds, count = estimate(speeds, SAMPLES, SEEDS, 30)
    lines += [
        "",
        f"Training of {count} methods on MOSI, MOSEI and IEMOCAP at their real sizes, {SEEDS} seeds, 30 epochs a stage",
    ]
    lines[-1] += f": {seconds / 3600:.1f} hours, by these epochs. Stages beyond the first are not in it."
    if "seconds" in found.get("quick", {}):
        lines += ["", f"The quick grid, from end to end: {found['quick']['seconds']:.0f} s."]
    lines += [f"\n{name} failed: {part['error']}" for name, part in found.items() if "error" in part]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def plot(found: Mapping[str, dict[str, Any]], file: Path) -> None:
    """Seconds an epoch of one model, alone and in a stack."""
    rows = [s for n, s in found.items() if n.startswith("speed-") and s.get("alone")]
    rows.sort(key=lambda s: (s["samples"], s["alone"]))
    figure, axes = plt.subplots(figsize=(7, 1 + 0.3 * len(rows)), layout="constrained")
    places = np.arange(len(rows))
    axes.barh(places + 0.2, [s["alone"] for s in rows], 0.4, label="alone")
    axes.barh(
        places - 0.2, [(s["stacked"] or math.nan) / s["seeds"] for s in rows], 0.4, label="stacked, for each model"
    )
    axes.set_yticks(places, [f"{s['method']}, {s['samples']}" for s in rows])
    axes.set(xscale="log", xlabel="seconds an epoch")
    axes.legend()
    figure.savefig(file)
    plt.close(figure)


def stored(out: Path) -> dict[str, dict[str, Any]]:
    """The parts that are there, by name."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*.json"))}


def main(arguments: list[str] | None = None) -> None:
    """Measure what is lacking, and write table and plot of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=420.0, help="after which no part is begun (default: 420)")
    parser.add_argument("--methods", nargs="+")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    card = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    out = options.out
    if device.type == "cpu":
        print("There is no GPU that torch can use: stacking is measured on the CPU, on 64 samples.", flush=True)
        out = out.with_name(out.name + "-cpu")  # never beside what a GPU gave
    names = options.methods or [n for n, entry in methods.catalogue().items() if entry.augmentable]
    left = measure(out, parts(device, names), options.seconds, card)
    found = stored(out)
    (out / "README.md").write_text("# One GPU\n\n" + table(found) if device.type == "cuda" else table(found))
    plot(found, out / "speed.png")
    print(table(found))
    if left:
        print(f"left for the next time: {', '.join(left)}")


if __name__ == "__main__":
    main()
