"""Every method on unaligned data of real length: seconds of an epoch, and the memory that it takes.

    python -m tests.speed.lengths --write lengths.md

Modalities of unequal length, as in the unaligned files that people pass around: 50 frames of language, 400 or 375 of
audio, 55 or 500 of vision. Each method trains one epoch of each of its stages and is tested in 17 settings, on random
features, in a process of its own with one thread, one after another.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmark import methods
from benchmark.data.batches import task_spec
from benchmark.data.dataset import Dataset, Split, standardise
from benchmark.data.task import known_tasks
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.arithmetic import NATIVE, processor
from benchmark.running.evaluation import predict_settings
from benchmark.running.grid_file import load_grid
from benchmark.running.training import train

LENGTHS = {"50 / 400 / 55": (50, 400, 55), "50 / 375 / 500": (50, 375, 500)}
DIMS = (768, 74, 35)  # BERT, COVAREP, Facet
SIZES = {"train": 96, "valid": 32, "test": 64}
LARGEST = 4096  # MiB that a worker may take
CPU = torch.device("cpu")


def unaligned(lengths: tuple[int, int, int]) -> Dataset:
    """Random features; the longest sample of each split has all frames, as in files that are padded to a length."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, n in SIZES.items():
        real = {m: rng.integers(t // 4, t + 1, n) for m, t in zip("lav", lengths, strict=True)}
        for m, t in zip("lav", lengths, strict=True):
            real[m][0] = t
        features = {
            m: rng.standard_normal((n, t, d)).astype(np.float32) * (np.arange(t) < real[m][:, None])[:, :, None]
            for m, t, d in zip("lav", lengths, DIMS, strict=True)
        }
        labels = np.where(np.arange(n) % 2, 1.0, -1.0).astype(np.float32)
        splits[name] = Split(np.array([f"{name}{i}" for i in range(n)]), features, real, labels)
    return Dataset(known_tasks()["mosi"], "file", standardise(splits), "lengths", "random")


def measure(name: str, lengths: tuple[int, int, int]) -> dict[str, float]:
    """Seconds of training (an epoch a stage) and of evaluation, and the most MiB that this process took in each."""
    torch.set_num_threads(1)
    dataset, entry = unaligned(lengths), methods.catalogue()[name]
    cls = methods.load(entry)
    constructor, training = hyperparameters(cls, name, dataset.task, [])
    config = TrainingConfig.model_validate(training.model_dump() | {"epochs": 1, "min_epochs": 1})
    method = cls(task_spec(dataset), **constructor)
    started = time.perf_counter()
    train(method, dataset, trains_on=entry.trains_on, config=config, seed=0, device=CPU)
    trained, training_peak = time.perf_counter(), _peak()
    predict_settings(method, dataset, load_grid("quick")[1].settings, draw=0, device=CPU)
    return {
        "batch": config.batch_size,
        "train": trained - started,
        "test": time.perf_counter() - trained,
        "train_mib": training_peak,
        "test_mib": _peak(),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The measurements as Markdown."""
    head = ["method", "batch", *(f"{name}: {what}" for name in LENGTHS for what in ("train s", "test s", "MiB"))]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for method, by_length in found.items():
        cells = [f"{next(iter(by_length.values()))['batch']:.0f}"]
        for name in LENGTHS:
            own = by_length[name]
            cells += [f"{own['train']:.1f}", f"{own['test']:.1f}", f"{own['test_mib']:.0f}"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure all methods, or one in this process; status 1 where one takes more than `LARGEST`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=sorted(methods.catalogue()), metavar="METHOD")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "LENGTHS"), help="in this process")
    parser.add_argument("--write", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], LENGTHS[options.one[1]])))
        return 0
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method in options.methods:
        for name in LENGTHS:
            command = [sys.executable, "-m", "tests.speed.lengths", "--one", method, name]
            ended = subprocess.run(command, capture_output=True, text=True, check=True)
            found.setdefault(method, {})[name] = json.loads(ended.stdout)
            print(f"{method}, {name}: {found[method][name]}", flush=True)
    largest = max(own["test_mib"] for by_length in found.values() for own in by_length.values())
    samples = " / ".join(map(str, SIZES.values()))
    text = (
        f"{platform.system()}, {processor(NATIVE)['model']}, torch {torch.__version__}, one thread; {samples} samples; "
        f"lengths of language / audio / vision in frames, features {' / '.join(map(str, DIMS))}; train: one epoch of each stage; test: 17 settings; "
        f"MiB: the most that the process took.\n\n{table(found)}\n"
    )
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    return int(largest > LARGEST)


if __name__ == "__main__":
    sys.exit(main())
