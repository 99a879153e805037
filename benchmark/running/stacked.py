"""Several models of one class trained at once, as one model with a dimension more.

Each has its own weights, batches, masks, dropout, clipping, state of Adam, early stopping and checkpoint, and comes out
as it would alone but for rounding and for which coins its dropout throws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.data.batches import SplitTensors
from benchmark.data.dataset import Dataset
from benchmark.protocol.answers import stages_of
from benchmark.protocol.method import Method
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.recorded import USUAL, Ways
from benchmark.running.stack import NotTogether, Stack, training_fields
from benchmark.running.stackable import WORTH, gain, try_out
from benchmark.running.training import Course, Ended, TrainingError, means_of


@dataclass
class Member:
    """One of the models that train at once.

    Parameters
    ----------
    method : Method
        Trained in place.
    config : TrainingConfig
        All members' have one `batch_size`.
    seed : int
    random : Tensor
        State of torch's generator of the CPU behind the making of the method.
    on_epoch, on_stage : callable
        As of :func:`benchmark.running.training.train`. What they raise ends this member alone.

    Attributes
    ----------
    history : list of dict
        As `train` gives it.
    fault : Exception or None
        Why the member failed.
    """

    method: Method
    config: TrainingConfig
    seed: int
    random: Tensor
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_stage: Callable[[Ended], None] = lambda ended: None
    history: list[dict[str, Any]] = field(default_factory=list, init=False)
    fault: Exception | None = field(default=None, init=False)


def train_together(
    members: Sequence[Member],
    dataset: Dataset,
    *,
    trains_on: str,
    device: torch.device,
    ways: Ways = USUAL,
    if_faster: bool = False,
) -> None:
    """Train models of one class in place, as :func:`benchmark.running.training.train` does each.

    Parameters
    ----------
    members : sequence of Member
        Alike but for seeds and for what `TrainingConfig` says besides the size of a batch.
    dataset : Dataset
    trains_on : {"complete", "missing"}
    device : torch.device
    ways : Ways
        How a GPU computes a step.
    if_faster : bool
        Only where a step of all is measured to take less time than theirs one after another.

    Raises
    ------
    NotTogether
        If the method's structure does not allow it, or they would not be faster. The members are then of no more use.
    """
    if len({m.config.batch_size for m in members}) > 1:
        raise NotTogether("their batches differ in size")
    training, validation = (SplitTensors(dataset, name, device) for name in ("train", "valid"))
    for number in range(len(stages_of(members[0].method))):
        courses = {}
        for at, member in enumerate(members):
            if member.fault is None:
                with _RandomOf(member):
                    of = (member.method, dataset, training, validation, number, trains_on, member.config, member.seed)
                    courses[at] = Course(*of)
        if not courses or not any(course.parameters for course in courses.values()):
            continue
        base = members[next(iter(courses))].method
        tried = [try_out(base, course) for course in courses.values()]
        if if_faster and (gained := gain([*courses.values()])) < WORTH:
            much = f"{1 / gained:.2f} times as long as theirs one after another"
            raise NotTogether(f"a step of all takes {much}; it is worth it from {1 / WORTH:.2f} on")
        if_faster = False  # measured once
        _train_stage(members, courses, ways.on(device), predicts=all(tried))
    for member in members:
        member.method.eval()


def _train_stage(members: Sequence[Member], courses: Mapping[int, Course], ways: Ways, *, predicts: bool) -> None:
    going = list(courses)
    stack = Stack([members[at].method for at in going], [members[at].config for at in going], ways)
    while going:
        started = time.perf_counter()
        own = [courses[at] for at in going]
        names, numbers, sizes = stack.epoch(training_fields(own, ways.multiple))
        outputs = stack.outputs(own) if predicts else [None] * len(own)
        over = []
        for row, at in enumerate(going):
            member, course = members[at], courses[at]
            try:
                with _RandomOf(member):
                    terms = means_of(names, numbers[:, :, row], sizes)
                    member.history.append(course.examine(terms, started, outputs[row]))
                    member.on_epoch(member.history[-1])
            except Exception as error:  # of this member alone
                member.fault = course.told(error) if isinstance(error, TrainingError) else error
            if member.fault is not None or course.over:
                over.append(row)
        if over:
            stack.leave(over)
            for row in over:
                member = members[going[row]]
                if member.fault is None:
                    _end(member, courses[going[row]])
            going = [at for row, at in enumerate(going) if row not in over]


def _end(member: Member, course: Course) -> None:
    try:
        with _RandomOf(member):
            if (ended := course.end()) is not None:
                member.on_stage(ended)
    except Exception as error:
        member.fault = error


class _RandomOf:
    """What is drawn on the CPU within is drawn from the member's own generator."""

    def __init__(self, member: Member) -> None:
        self.member = member

    def __enter__(self) -> None:
        self.shared = torch.get_rng_state()
        torch.set_rng_state(self.member.random)

    def __exit__(self, *_: object) -> None:
        self.member.random = torch.get_rng_state()
        torch.set_rng_state(self.shared)
