"""One pass of a run over the cells of a grid, and the passes of a tuned grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmark.errors import storing
from benchmark.running.cell import DAMAGED, EXTEND, state_of
from benchmark.running.choice import is_of_shard
from benchmark.running.cluster import Cluster
from benchmark.running.grid import Cell, Grid
from benchmark.running.progress import Display
from benchmark.running.runner import run_grid
from benchmark.running.store import DONE, Store
from benchmark.running.tuned import write_tuning
from benchmark.running.tuning import Tuning


@dataclass(frozen=True)
class Means:
    """How a run computes its cells.

    Parameters
    ----------
    jobs : int
        Worker processes.
    device : {"auto", "cpu", "cuda"}
    fresh : bool
        Compute done cells anew.
    timeout : float or None
        Seconds that a cell may take.
    part : (int, int) or None
        The shard that is computed.
    cluster : Cluster or None
    say : callable
    together : int or "auto"
        How many cells may be trained at once where they differ in little.
    """

    jobs: int
    device: str
    fresh: bool
    timeout: float | None
    part: tuple[int, int] | None
    cluster: Cluster | None
    say: Callable[[str], None]
    together: int | str = 1

    def left(self, grid: Grid, store: Store) -> list[Cell]:
        """The cells of the shard that are not done; tells of damaged ones, and how many fall to the shard."""
        own = self.own(grid)
        states = {cell.key: state_of(store, cell, grid) for cell in own}
        for key, fault in store.damaged(states).items():
            states[key] = DAMAGED
            self.say(f"warning: {fault}; the cell moves to {store.out / 'replaced'} and is computed anew")
        if self.part is not None:
            self.say(f"shard {self.part[0]}/{self.part[1]}: {len(own)} of {len(grid.cells)} cells")
        return [cell for cell in own if self.fresh or states[cell.key] != DONE]

    def compute(self, grid: Grid, store: Store, todo: list[Cell]) -> int:
        """Compute cells; returns how many failed."""
        display = Display(replace(grid, cells=self.own(grid)), store, todo, self.jobs, fresh=self.fresh)
        with storing(store.out), display.shown():
            return run_grid(
                grid,
                store,
                todo,
                jobs=self.jobs,
                device=self.device,
                fresh=self.fresh,
                on_outcome=display.ended,
                on_wait=display.waits,
                timeout=self.timeout,
                cluster=self.cluster,
                together=self.together,
            )

    def extend(self, grid: Grid, store: Store) -> int:
        """Test the done cells of a grid that lack some of its settings; trains nothing. Returns how many failed."""
        again = replace(self, fresh=False, say=lambda line: None)
        todo = [cell for cell in again.left(grid, store) if state_of(store, cell, grid) == EXTEND]
        return again.compute(grid, store, todo) if todo else 0

    def own(self, grid: Grid) -> list[Cell]:
        """The cells that fall to the shard; all of them without one."""
        return [cell for cell in grid.cells if is_of_shard(cell, self.part)]


def try_all(tuning: Tuning, means: Means) -> dict[str, Any] | None:
    """Compute the trials that are not there, and choose; None where those of other shards are not there yet."""
    grid, begun, tried = tuning.trials, set[str](), set[str]()
    if means.fresh and (again := sum(bool(tuning.store.stamp(cell.key)) for cell in means.own(grid))):
        trials = "1 stored trial is" if again == 1 else f"{again} stored trials are"
        means.say(
            f"--fresh: {trials} computed again, and choices are made of the new ones; nothing is deleted: what is done "
            f"moves to {tuning.store.out / 'replaced'}"
        )
    given_up = set() if means.fresh else tuning.given_up()
    while True:  # where a time is divided, what is due depends on what the trials before took
        due = [cell for cell in tuning.due() if cell.key not in begun]
        if not due:
            break
        asked = replace(grid, cells=due)
        todo = [cell for cell in means.left(asked, tuning.store) if cell.key not in given_up]
        begun |= {cell.key for cell in due}
        tried |= {cell.key for cell in todo}
        if todo:
            means.compute(asked, tuning.store, todo)
    # What was tried here and still lacks something has failed in a setting more than it was stored with.
    if others := [cell for cell in tuning.lacking() if cell.key not in tried]:
        trials = "1 trial of another shard is" if len(others) == 1 else f"{len(others)} trials of other shards are"
        means.say(
            f"{trials} not in {tuning.store.out}, so nothing can be chosen yet; when all are there (copied together, "
            "where shards have folders of their own), give this command again"
        )
        return None
    chosen = tuning.choices()
    write_tuning(tuning.out, chosen)
    for line in tuning.remarks(chosen):
        means.say(line)
    return chosen


def open_test(tuning: Tuning, chosen: dict[str, Any], means: Means) -> int:
    """Open the test split for the trials, now that every choice is stored, and test those that are done.

    Returns how many failed.
    """
    return means.extend(tuning.opened(chosen), tuning.store)
