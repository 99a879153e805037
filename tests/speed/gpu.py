"""What one GPU gives: agreement with the CPU, seconds an epoch by each way, memory, the quick grid, an estimate.

    python -m tests.speed.gpu --out results/reference/gpu

Each part is a JSON file of its own and is not measured again where it is there. Each has its share of the time; what
takes longer is broken off, and after `--seconds` in all no part is begun any more. Where there is no GPU it says so, and
goes through all parts on the CPU in small, which says what stacking gives there. `--small` does so on a GPU as well.
Needs no network.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

import benchmark
from benchmark import methods
from benchmark.data import find_task, find_tasks, load_task
from benchmark.data.dataset import Dataset
from benchmark.protocol.missing import Setting
from benchmark.running.evaluation import predict_settings
from benchmark.running.expected import ALONE, GpuTimes
from benchmark.running.recorded import Ways
from benchmark.running.stack import NotTogether
from benchmark.running.stacked import train_together
from benchmark.running.training import train
from tests.speed import contender
from tests.speed.stacking import made, mosi_sized, seconds_an_epoch, trained_names

SAMPLES = {"mosi": 1284, "mosei": 16326, "iemocap": 2717}
"""Training samples of the real tasks, for the estimate."""
LARGE = ("corrkd", "mult", "transm")  # measured with MOSEI's samples as well, and in bfloat16 and compiled
PEAK = 67e12  # operations a second of an H100 in float32, from its data sheet
SEEDS = 5
WAYS = {
    "stacked": Ways(graphs=False),
    "graphs": Ways(),
    "bf16": Ways(bf16=True),
    "compiled": Ways(compiled=True),
}
USUAL = (ALONE, "stacked", "graphs")


@dataclass(frozen=True)
class Part:
    """What is measured for one file, and the seconds that it may take."""

    work: Callable[[], dict[str, Any]]
    seconds: float


class TooLong(BaseException):
    """A part takes longer than it may; no Exception, which a cell would take for a fault of its own."""


def simulated(train_samples: int) -> Dataset:
    """The simulator's MOSI, small."""
    tasks, _ = find_tasks([find_task("mosi")], None, asked=True, sizes=(train_samples, 16, 16))
    return load_task(tasks[0])


@cache
def real(samples: int) -> Dataset:
    """Random numbers in MOSI's shape, made once."""
    return mosi_sized(samples)


def speed(
    name: str, dataset: Callable[[], Dataset], device: torch.device, ways: Sequence[str], seeds: int, epochs: int
) -> dict[str, Any]:
    """Seconds of an epoch of each stage by some ways: of one model alone, or of `seeds` at once.

    A way that a method cannot go is told in ``why``; what a way says of itself, in ``notes``.
    """
    trains_on, data = methods.catalogue()[name].trains_on, dataset()
    found: dict[str, Any] = {"method": name, "samples": len(data.splits["train"]), "seeds": seeds}
    found |= {"seconds": {}, "valid_loss": {}, "mib": {}, "why": {}, "notes": {}}
    for way in ways:
        members = [made(name, data, device, seed, epochs) for seed in range(1 if way == ALONE else seeds)]
        found["batch"] = members[0].config.batch_size
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            one = members[0]
            try:
                if way == ALONE:
                    of = {"trains_on": trains_on, "config": one.config, "seed": 0, "device": device}
                    one.history = train(one.method, data, **of)
                else:
                    train_together(members, data, trains_on=trains_on, device=device, ways=WAYS[way])
            except NotTogether as error:
                found["why"][way] = str(error).partition("\n")[0]
                continue
        if one.fault is not None:
            raise one.fault
        if notes := sorted({str(w.message).partition("\n")[0] for w in said if "recorded" in str(w.message)}):
            found["notes"][way] = notes
        found["seconds"][way] = seconds_an_epoch(one)
        found["valid_loss"][way] = one.history[-1]["valid_loss"]
        if device.type == "cuda":
            found["mib"][way] = torch.cuda.max_memory_allocated() / 2**20
    return found


def agreement(name: str, device: torch.device) -> dict[str, Any]:
    """The largest difference of a logit from a model trained alone on the CPU, by each way here; without dropout."""
    dataset, trains_on, settings = simulated(32), "missing", [Setting(), Setting("l", 0.5)]
    found: dict[str, Any] = {"method": name, "difference": {}, "why": {}}

    def untrained(where: torch.device) -> Any:
        return made(name, dataset, where, 0, 2, drops=False, learning_rate=1e-4, batch_size=8)

    def logits(member: Any, where: torch.device) -> Any:
        return predict_settings(member.method, dataset, settings, draw=0, device=where)

    def alone(where: torch.device) -> Any:
        one = untrained(where)
        train(one.method, dataset, trains_on=trains_on, config=one.config, seed=0, device=where)
        return logits(one, where)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = alone(torch.device("cpu"))
        found["difference"][ALONE] = float(np.abs(alone(device) - expected).max())
        for way in ("stacked", "graphs") if device.type == "cuda" else ("stacked",):
            members = [untrained(device) for _ in range(2)]
            try:
                train_together(members, dataset, trains_on=trains_on, device=device, ways=WAYS[way])
            except NotTogether as error:
                found["why"][way] = str(error).partition("\n")[0]
                continue
            if members[1].fault is not None:
                raise members[1].fault
            found["difference"][way] = float(np.abs(logits(members[1], device) - expected).max())
    return found


def grid(name: str, device: torch.device, **chosen: Any) -> dict[str, Any]:
    """A grid from end to end, its report with it."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        results = benchmark.run(
            name, out=out, device=device.type, together="auto", jobs=1, portable=False, say=lambda _: None, **chosen
        )
    return {"grid": name, "seconds": time.perf_counter() - started, "failed": results.failed}


def operations(name: str) -> dict[str, Any]:
    """Floating-point operations of an epoch at MOSI's real size, counted on the CPU; in its last stage."""
    return {"method": name, "operations": contender.Contender(name, 32, "full", {}).operations()}


def parts(device: torch.device, names: Sequence[str], *, small: bool) -> dict[str, Part]:
    """What is measured, by the name of its file; the most needed first, and each within its share of eight minutes."""
    on_gpu = device.type == "cuda"
    usual = USUAL if on_gpu else USUAL[:2]  # the others are ways of a GPU
    found = {f"agreement-{n}": Part(partial(agreement, n, device), 20 if on_gpu else 300) for n in names}
    if small:
        data = partial(real, 64)
        found |= {f"speed-{n}-64": Part(partial(speed, n, data, device, usual, SEEDS, 1), 300) for n in names}
        found["smoke"] = Part(partial(grid, "smoke", device, methods=["constant", *names[:2]]), 300)
        return found | {f"operations-{n}": Part(partial(operations, n), 60) for n in names[:2]}
    # Two epochs where the first records: the second counts.
    of = {
        n: [partial(speed, n, partial(real, 1284), device, [w], SEEDS, 1 + (w == "graphs")) for w in usual]
        for n in names
    }
    found |= {f"speed-{n}-1284": Part(partial(_merged, works), 30) for n, works in of.items()}
    found["quick"] = Part(partial(grid, "quick", device), 100)
    large = [n for n in LARGE if n in names]
    for n in large:
        found[f"speed-{n}-16326"] = Part(partial(speed, n, partial(real, 16326), device, ["graphs"], SEEDS, 1), 40)
    for way, seconds in (("bf16", 15), ("compiled", 60)):
        for n in large if way == "bf16" else large[:1]:
            found[f"{way}-{n}"] = Part(partial(speed, n, partial(real, 1284), device, [way], SEEDS, 2), seconds)
    return found | {f"operations-{n}": Part(partial(operations, n), 10) for n in names}


def _merged(works: Sequence[Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """What several measurements of one method on the same samples found, as one."""
    found, *others = [work() for work in works]
    for other in others:
        for what in ("seconds", "valid_loss", "mib", "why", "notes"):
            found[what] |= other[what]
    return found


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Break the block off when it takes longer; again and again, in case it catches that."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TooLong(f"it took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(out: Path, wanted: Mapping[str, Part], seconds: float, card: str) -> list[str]:
    """Measure the parts that are not there yet while there is time; gives the names of those that are left.

    A part that fails is stored with its error, and measured again the next time; so is one that took too long.
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
        began = time.monotonic()
        try:
            with within(min(part.seconds, end - began)):
                found = part.work()
        except (Exception, TooLong) as error:
            found = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
        found["took"] = round(time.monotonic() - began, 2)
        file.write_text(json.dumps({"card": card, **found}, indent=1) + "\n", encoding="utf-8")
        print(name, found, flush=True)
    return left


def estimate(times: GpuTimes, samples: Mapping[str, int], seeds: int, epochs: int) -> tuple[float, int]:
    """Seconds that a grid of all measured methods trains, each as fast as it was measured, and how many there are."""
    names = sorted({speed["method"] for speed in times.speeds if speed["seconds"]})
    each = [times.epoch(name, n, seeds) or 0.0 for name in names for n in samples.values()]
    return sum(each) * seeds * epochs, len(names)


def table(found: Mapping[str, dict[str, Any]], times: GpuTimes) -> str:
    """Everything measured, as Markdown."""
    fine = {name: part for name, part in found.items() if "error" not in part}
    cards = sorted({part["card"] for name, part in fine.items() if not name.startswith("operations-")})
    lines = [
        f"Measured on {', '.join(cards) or 'nothing'}. Seconds are of an epoch of each stage, validation included."
    ]
    lines += ["", "| method | samples | batch | alone, s | stacked, s | with graphs, s | models | gain | MiB |"]
    lines[-1] += " of the peak | off the CPU, alone | stacked | with graphs |"
    lines += ["|---|" + "---:|" * 12]
    for s in sorted(times.speeds, key=lambda s: (s["method"], s["samples"])):
        alone = s["seconds"].get(ALONE)
        stacks = [s["seconds"][way] for way in USUAL[1:] if way in s["seconds"]]
        gain = f"{alone * s['seeds'] / min(stacks):.1f}" if stacks and alone else "–"
        work = fine.get(f"operations-{s['method']}", {}).get("operations")
        best = min([x / s["seeds"] for x in stacks] + [alone] * bool(alone), default=None)
        share = f"{work * s['samples'] / SAMPLES['mosi'] / best / PEAK:.2%}" if work and best else "–"
        off = fine.get(f"agreement-{s['method']}", {}).get("difference", {})
        cells = [s["method"], s["samples"], s["batch"], *(_number(s["seconds"].get(way)) for way in USUAL)]
        cells += [s["seeds"], gain, _number(max(s["mib"].values(), default=None)), share]
        lines.append("| " + " | ".join(map(str, [*cells, *(_off(off.get(way)) for way in USUAL)])) + " |")
    seconds, count = estimate(times, SAMPLES, SEEDS, 30)
    lines += [
        "",
        f"Training of {count} methods on MOSI, MOSEI and IEMOCAP at their real sizes, {SEEDS} seeds, 30 epochs a",
    ]
    lines[-1] += f" stage, none of which stops early: {seconds / 3600:.1f} hours, by these epochs."
    for name in ("quick", "smoke"):
        if name in fine:
            lines += ["", f"The {name} grid, from end to end: {fine[name]['seconds']:.0f} s."]
    lines += [""] + [line for name, part in fine.items() for line in _option(name, part, fine)]
    lines += [f"- {name}: {' '.join(notes)}" for name, s in fine.items() for notes in s.get("notes", {}).values()]
    lines += [f"- {name} failed: {part['error']}" for name, part in found.items() if "error" in part]
    return "\n".join(lines).rstrip() + "\n"


def _option(name: str, part: Mapping[str, Any], fine: Mapping[str, dict[str, Any]]) -> list[str]:
    """What bfloat16, or compiled code, gives beside graphs alone."""
    way, _, method = name.partition("-")
    if way not in ("bf16", "compiled"):
        return []
    if way not in part["seconds"]:
        return [f"- {way}, {method}: {part['why'].get(way, 'nothing')}"]
    beside = fine.get(f"speed-{method}-{SAMPLES['mosi']}", {})
    said = [f"{part['seconds'][way]:.3g} s", f"validation loss {part['valid_loss'][way]:.4f}"]
    if "graphs" in beside.get("seconds", {}):
        plain = beside["seconds"]["graphs"], beside["valid_loss"]["graphs"]
        said.append(f"with graphs alone {plain[0]:.3g} s and {plain[1]:.4f}")
    return [f"- {way}, {method}: {'; '.join(said)}"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _off(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def plot(times: GpuTimes, file: Path) -> None:
    """Seconds of one model's epoch, alone and in a stack."""
    rows = [s for s in times.speeds if s["seconds"]]
    rows.sort(key=lambda s: (s["samples"], s["seconds"].get(ALONE, 0.0)))
    ways = [way for way in USUAL if any(way in s["seconds"] for s in rows)]
    figure, axes = plt.subplots(figsize=(7, 1.2 + 0.32 * len(rows)), layout="constrained")
    places, width = np.arange(len(rows)), 0.8 / max(1, len(ways))
    for i, way in enumerate(ways):
        share = [s["seconds"].get(way, math.nan) / (1 if way == ALONE else s["seeds"]) for s in rows]
        label = {ALONE: "alone", "stacked": "in a stack, for each model"}.get(way, "with graphs, for each model")
        axes.barh(places + 0.4 - width * (i + 0.5), share, width, label=label)
    axes.set_yticks(places, [f"{s['method']}, {s['samples']}" for s in rows])
    axes.set(xscale="log", xlabel="seconds an epoch of each stage", ylim=(-0.6, max(len(rows), 1) - 0.4))
    if rows:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.5 / (0.32 * len(rows) + 1)), ncols=len(ways), frameon=False
        )
    figure.savefig(file, dpi=110)
    plt.close(figure)


def stored(out: Path) -> dict[str, dict[str, Any]]:
    """The parts that are there, by name."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(out.glob("*.json"))}


def main(arguments: list[str] | None = None) -> None:
    """Measure what is lacking, and write table and plot of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=450.0, help="that all may take (default: 450)")
    parser.add_argument("--methods", nargs="+", help="default: all that are trained")
    parser.add_argument("--small", action="store_true", help="all parts in small, to see that they work")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    card = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    small, out, seconds = options.small or device.type == "cpu", options.out, options.seconds
    if device.type == "cpu":
        print("There is no GPU that torch can use: all is gone through on the CPU, on 64 samples.", flush=True)
        seconds = math.inf if options.seconds == parser.get_default("seconds") else options.seconds
    if small:  # never beside what was measured at full size, nor a CPU beside a GPU
        out = out.with_name(f"{out.name}-small-{device.type}")
    left = measure(out, parts(device, options.methods or trained_names(), small=small), seconds, card)
    times, found = GpuTimes(out), stored(out)
    (out / "README.md").write_text(f"# {'One GPU' if device.type == 'cuda' else 'No GPU'}\n\n" + table(found, times))
    plot(times, out / "speed.png")
    print(table(found, times))
    if left:
        print(f"left for the next time: {', '.join(left)}")


if __name__ == "__main__":
    main()
