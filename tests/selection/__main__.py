"""``python -m tests.selection``: train on validation halves, store every epoch, and write the table of docs/selection.md.

    python -m tests.selection --out results/selection [--methods mult misa] [--seeds 5] [--no-write]

A model that is stored is not trained again, so that the study may be run in several sittings, or by several processes
that share `--out` and have methods of their own. The last call, without `--methods`, writes the table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmark import methods
from benchmark.evidence.statistics import FLOORS
from benchmark.files.atomic import replace_file
from benchmark.running.choice import choose
from benchmark.running.training import TrainingError
from tests.selection.study import PAGE, in_page, read, watch


def main() -> None:
    """Train what is not stored, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/selection"))
    parser.add_argument("--methods", nargs="+", metavar="METHOD")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="leave docs/selection.md as it is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = [name for name in methods.catalogue() if name not in FLOORS]
    grid = choose("full", methods=options.methods or trained, tasks=["mosi"], seeds=options.seeds).build()
    failed: list[str] = []
    for cell in grid.cells:
        place = options.out / f"{cell.row.label}-{cell.seed}.csv"
        if not place.exists():
            try:
                epochs = watch(cell, grid.settings, grid.draw)
            except TrainingError as error:  # of one model; the others are not lost by it
                failed.append(f"{cell.title}: {error}")
                continue
            replace_file(place, epochs.to_csv(index=False).encode())
        print(place, flush=True)
    if failed:
        sys.exit("not trained to their end, and the table is not written:\n" + "\n".join(failed))
    if not options.no_write:
        text = PAGE.read_text(encoding="utf-8")
        replace_file(PAGE, in_page(text, read(options.out)).encode())


if __name__ == "__main__":
    main()
