"""Cells an hour on one core of a CPU: five models in a stack beside one after another, in turns, for every method.

    python -m tests.speed.stacking --out results/reference/speed/stacking.md

Both ways train an epoch of each stage with the method's own settings, validation included, again and again in turns, so
that what else the machine does meets both. Workers compute cells side by side either way, one core each, so that the
gain of a worker is the gain of all. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark import methods
from benchmark.data.batches import SplitTensors, task_spec
from benchmark.data.dataset import Dataset
from benchmark.methods.hyperparameters import hyperparameters
from benchmark.protocol.answers import stages_of
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.arithmetic import NATIVE, processor
from benchmark.running.stack import NotTogether
from benchmark.running.stackable import WORTH, gain
from benchmark.running.stacked import Member, train_together
from benchmark.running.training import Course, train
from tests.speed import contender

CPU = torch.device("cpu")
HEADER = (
    "| method | batch | alone, s | stacked, s | gain | least | most | cells an hour, alone | stacked | with `auto` |"
)


def trained_names() -> list[str]:
    """The methods that are trained."""
    return [name for name, entry in methods.catalogue().items() if entry.augmentable]


def mosi_sized(samples: int) -> Dataset:
    """Random numbers in MOSI's shape with so many training samples, and as many for validation in proportion."""
    in_proportion = max(4, samples * contender.SIZES["valid"] // contender.SIZES["train"])
    return contender.mosi_sized("full", {"train": samples, "valid": in_proportion, "test": 4})


def made(
    name: str, dataset: Dataset, device: torch.device, seed: int, epochs: int, *, drops: bool = True, **settings: Any
) -> Member:
    """An untrained model of a method with its own settings, to be trained so many epochs a stage.

    Unless it `drops`, nothing is dropped by chance.
    """
    cls = methods.load(methods.catalogue()[name])
    constructor, training = hyperparameters(cls, name, dataset.task, [])
    if not drops:
        constructor |= {key: 0.0 for key in constructor if "drop" in key}
    config = TrainingConfig.model_validate(training.model_dump() | {"epochs": epochs, "min_epochs": 1} | settings)
    torch.manual_seed(seed)
    return Member(cls(task_spec(dataset), **constructor).to(device), config, seed, torch.get_rng_state())


def seconds_an_epoch(member: Member) -> float:
    """An epoch of each stage of a model that was trained, each by the median of its epochs but the first, if any."""
    by_stage: dict[str, list[float]] = {}
    for epoch in member.history:
        by_stage.setdefault(epoch["stage"], []).append(epoch["seconds"])
    return sum(statistics.median(seconds[1:] or seconds) for seconds in by_stage.values())


def beside(name: str, dataset: Dataset, models: int, rounds: int) -> dict[str, Any]:
    """Seconds of one model's epoch of each stage alone and of all in a stack, by round, and what `auto` would do.

    A round before the first does not count.
    """
    trains_on = methods.catalogue()[name].trains_on
    found: dict[str, Any] = {"method": name, "models": models, "alone": [], "stacked": [], "why": "", "auto": False}
    for number in range(rounds + 1):
        if number == 1:
            found |= {"alone": [], "stacked": []}
        one = made(name, dataset, CPU, 0, 1)
        one.history = train(one.method, dataset, trains_on=trains_on, config=one.config, seed=0, device=CPU)
        found["alone"].append(seconds_an_epoch(one))
        found["batch"] = one.config.batch_size
        if found["why"]:
            continue
        members = [made(name, dataset, CPU, seed, 1) for seed in range(models)]
        try:
            train_together(members, dataset, trains_on=trains_on, device=CPU)
        except NotTogether as error:
            found["why"] = str(error)
            continue
        if faults := [member.fault for member in members if member.fault]:
            raise faults[0]
        found["stacked"].append(seconds_an_epoch(members[0]))
    if found["stacked"]:
        found["auto"] = gain(begun(name, dataset, models, trains_on)) >= WORTH
    return found


def begun(name: str, dataset: Dataset, models: int, trains_on: str) -> list[Course]:
    """The courses of models in the first of their stages that trains something."""
    tensors = [SplitTensors(dataset, split, CPU) for split in ("train", "valid")]
    members = [made(name, dataset, CPU, seed, 1) for seed in range(models)]
    for stage in range(len(stages_of(members[0].method))):
        courses = [Course(m.method, dataset, *tensors, stage, trains_on, m.config, m.seed) for m in members]
        if courses[0].parameters:
            return courses
    raise ValueError(f"{name} trains nothing")


def row(found: dict[str, Any], epochs: int) -> str:
    """A method's line of the table; a cell trains `epochs` of each stage."""
    name, alone = found["method"], statistics.median(found["alone"])
    start = f"| {name} | {found['batch']} | {alone:.3g} |"
    rate = f"{3600 / (alone * epochs):.3g}"
    if not found["stacked"]:
        return f"{start} – | – | – | – | {rate} | – | cannot be |"
    stacked = statistics.median(found["stacked"])
    # Rounds stand beside each other, since what else the machine does meets both ways of one round alike.
    gains = [found["models"] * a / s for a, s in zip(found["alone"], found["stacked"], strict=True)]
    middle, least, most = (f"{x:.2f}" for x in (statistics.median(gains), min(gains), max(gains)))
    each = 3600 / (stacked * epochs / found["models"])
    used = "stacked" if found["auto"] else "alone"
    return f"{start} {stacked:.3g} | {middle} | {least} | {most} | {rate} | {each:.3g} | {used} |"


def table(rows: Sequence[str], samples: int, models: int, rounds: int, epochs: int) -> str:
    """The page."""
    where = f"{processor(NATIVE)['model']}, {platform.system()}, torch {torch.__version__}"
    return f"""# Stacking on a CPU

`python -m tests.speed.stacking`, on {where}; one thread.
{samples} training samples of MOSI's real shape, {models} models in a stack, {rounds} rounds in turns.

Seconds are of an epoch of each stage, validation included: of one model alone, and of {models} in a stack. The gain is
{models} times the first by the second, by round. Cells an hour are of one core, with {epochs} epochs a stage of as many
samples. The last column is what `--together auto` finds by timing {models} models' first steps both ways, as each run
does anew; `cannot be`: the method's structure does not allow a stack.

{HEADER}
|---|{"---:|" * 8}---|
""" + "".join(f"{line}\n" for line in rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure method by method; the page is written anew behind each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/reference/speed/stacking.md"))
    parser.add_argument("--methods", nargs="+", help="default: all that are trained")
    parser.add_argument("--samples", type=int, default=320, help="to train on (default: 320)")
    parser.add_argument("--models", type=int, default=5, help="in a stack (default: 5)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dataset, lines = mosi_sized(options.samples), []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.methods or trained_names():
        lines.append(row(beside(name, dataset, options.models, options.rounds), TrainingConfig().epochs))
        print(lines[-1], flush=True)
        page = table(lines, options.samples, options.models, options.rounds, TrainingConfig().epochs)
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
