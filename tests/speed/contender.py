"""One contender: a process that trains an epoch, or evaluates, when it is told to.

Reads a word a line (``train``, ``together``, ``apart``) and answers with a JSON line of seconds and peak memory, so
that contenders can be timed in turns, one working while the others wait. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Mapping

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from benchmark import methods
from benchmark.data import known_tasks
from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.dataset import Dataset, Split
from benchmark.protocol.method import Method
from benchmark.protocol.missing import MODALITIES, MRM, Setting
from benchmark.running.evaluation import _NUMBERS_A_BATCH, mask, predict_settings
from benchmark.running.grid_file import load_grid
from benchmark.running.training import train_epoch, training_batches
from tests.plain import PlainCorrKD, PlainMulT

SIZES = {"train": 1284, "valid": 229, "test": 686}
FRAMES, DIMS = 50, {"l": 300, "a": 74, "v": 35}
CPU = torch.device("cpu")


def mosi_sized(lengths: str, sizes: Mapping[str, int] = SIZES) -> Dataset:
    """Random numbers in MOSI's shape: all of 50 frames (``full``), or 1 to 50 and few of them long (``varied``)."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, n in sizes.items():
        drawn = np.full(n, FRAMES) if lengths == "full" else np.clip(rng.gamma(2.5, 5.0, n).astype(int), 1, FRAMES)
        real = np.arange(FRAMES)[None, :, None] < drawn[:, None, None]
        features = {m: (rng.standard_normal((n, FRAMES, d)) * real).astype(np.float32) for m, d in DIMS.items()}
        ids = np.array([f"{name}{i}" for i in range(n)])
        labels = rng.uniform(-3, 3, n).astype(np.float32)
        splits[name] = Split(ids, features, {m: drawn.astype(np.int64) for m in MODALITIES}, labels)
    return Dataset(known_tasks()["mosi"], "simulated", splits, "speed", "random numbers")


def build(name: str, dataset: Dataset, overrides: dict[str, object]) -> Method:
    """A method by its name, or ``plain_mult`` and ``plain_corrkd``; ready to train its last stage."""
    torch.manual_seed(0)
    entry = methods.catalogue()[name.removeprefix("plain_")]
    method = methods.load(entry)(task_spec(dataset), **overrides)
    training = SplitTensors(dataset, "train", CPU)

    class Passes:
        def __iter__(self):
            return training.in_order(256)

    with torch.no_grad():
        for stage in method.stages:
            method.eval()
            method.start_stage(stage, Passes())
    if name.startswith("plain_"):
        method = {"plain_mult": PlainMulT, "plain_corrkd": PlainCorrKD}[name](method)
    return method


class Contender:
    """Trains and evaluates one method."""

    def __init__(self, name: str, batch_size: int, lengths: str, overrides: dict[str, object]):
        torch.set_num_threads(1)
        self.dataset = mosi_sized(lengths)
        self.method = build(name, self.dataset, overrides)
        self.batch_size = batch_size
        self.training = SplitTensors(self.dataset, "train", CPU)
        parameters = [p for p in self.method.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-3) if parameters else None
        last = self.method.stages[-1].trains_on
        trains_on = last or methods.catalogue()[name.removeprefix("plain_")].trains_on
        self.mrm = MRM() if trains_on == "missing" else None
        self.epoch = 0

    def batches(self):
        """The next epoch's."""
        self.epoch += 1
        return training_batches(self.training, self.mrm, self.batch_size, 0, 0, self.epoch)

    def train(self) -> None:
        """One epoch of the last stage; validation is not in it."""
        if self.optimiser is not None:
            train_epoch(self.method, self.optimiser, self.batches(), 0.8)

    def settings(self) -> list[Setting]:
        """Those of the full grid."""
        return load_grid("full")[1].settings

    def together(self) -> None:
        """All settings, as the benchmark evaluates."""
        predict_settings(self.method, self.dataset, self.settings(), draw=0, device=CPU)

    @torch.no_grad()
    def apart(self) -> None:
        """Setting by setting, in the split's order, in batches of as many rows as `together` takes."""
        test = SplitTensors(self.dataset, "test", CPU)
        settings = self.settings()
        rows_a_batch = len(settings) * max(1, _NUMBERS_A_BATCH // (FRAMES * sum(DIMS.values()) * len(settings)))
        self.method.eval()
        for setting in settings:
            kept = {m: mask(test.split, m, setting, 0) for m in MODALITIES}
            for start in range(0, len(test), rows_a_batch):
                rows = np.arange(start, min(start + rows_a_batch, len(test)))
                self.method.predict(test.batch(rows, {m: kept[m][rows] for m in MODALITIES}, training=False))

    def operations(self) -> float:
        """Floating-point operations of one epoch: those of a few batches, scaled up; NaN where nothing is trained."""
        from torch.overrides import TorchFunctionMode
        from torch.utils.flop_counter import FlopCounterMode

        if self.optimiser is None:
            return float("nan")
        inside = 0

        class InsideLSTMs(TorchFunctionMode):
            def __torch_function__(self, function, types, arguments=(), keywords=None):
                nonlocal inside
                if getattr(function, "__name__", "") == "lstm":
                    inside += lstm_operations(*arguments)
                return function(*arguments, **(keywords or {}))

        batches = list(self.batches())
        some = batches[:4]
        with InsideLSTMs(), FlopCounterMode(display=False) as counter:
            train_epoch(self.method, torch.optim.SGD(self.optimiser.param_groups[0]["params"], lr=0.0), some, 0.8)
        return (counter.get_total_flops() + inside) * sum(map(len, batches)) / sum(map(len, some))


def lstm_operations(x: torch.Tensor, *arguments: object) -> int:
    """Floating-point operations of an LSTM's matrix products, which torch's counter does not see; its GRUs' it does.

    Parameters
    ----------
    x, arguments
        As torch's own ``lstm`` has them: a batch and its first state, or the frames of a packed one, how many samples
        have each, and the first state; then the weights, whether there are biases, and so on.

    Returns
    -------
    int
        Forwards, and where there are gradients also backwards, to the weights and to what they are multiplied with.
    """
    frames = x.numel() // x.shape[-1]
    is_packed = isinstance(arguments[0], torch.Tensor)
    weights, has_biases, _, _, _, is_bidirectional = arguments[2:8] if is_packed else arguments[1:7]
    size = sum(weight.numel() for weight in weights if weight.dim() == 2)
    if not torch.is_grad_enabled():
        return 2 * frames * size
    of_one = 4 if has_biases else 2
    read_x = weights[: of_one * (1 + is_bidirectional) : of_one]
    return 2 * frames * (3 * size - (0 if x.requires_grad else sum(weight.numel() for weight in read_x)))


def serve(contender) -> None:
    """Answer commands from standard input until it ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        result = getattr(contender, line.strip())()
        answer = {"seconds": time.perf_counter() - started, "result": result}
        answer["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lengths", choices=("full", "varied"), default="full")
    parser.add_argument("--set", type=json.loads, default={})
    arguments = parser.parse_args()
    serve(Contender(arguments.name, arguments.batch_size, arguments.lengths, arguments.set))
