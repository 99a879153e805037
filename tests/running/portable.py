"""Small cells in portable arithmetic, of each kind of network; ``python -m tests.running.portable`` prints their digests.

Run so under an emulated processor, it gives the same lines. When a method's numbers change on purpose,
``python -m tests.running.portable > tests/running/portable.txt`` keeps the new ones.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmark.running import arithmetic

KINDS = {
    "linear": "regression by scikit-learn",
    "corrkd": "convolutions, Transformers, a teacher and a student",
    "mult": "Transformers across modalities",
    "misa": "packed LSTMs",
    "gcnet": "LSTMs and graphs",
    "tfr_net": "GRUs",
    "cubemlp": "MLPs",
    "smil": "inner gradient steps",
    "mctn": "sequence to sequence",
}
GRID = {
    "name": "portable",
    "tasks": ["mosi"],
    "seeds": 1,
    "ratios": [0.0, 0.5],
    "subsets": ["l", "av"],
    "simulator": {"train": 8, "valid": 8, "test": 8},
    "training": {"epochs": 2, "batch_size": 4, "validation_draws": 1},  # four steps: an emulated processor is slow
    "portable": True,
}
SIZES = {  # of those that an emulated processor would take longest for
    "gcnet": {"hidden": 16, "num_windows": 2},
    "tfr_net": {"d": 12, "layers": 1, "fusion_layers": 1, "head_hidden": 32},
}


def digests(names: list[str]) -> dict[str, str]:
    """What the cells of some methods give, computed in this process."""
    from benchmark.files.manifest import outputs_digest
    from benchmark.running.cell import Work, run_cell
    from benchmark.running.choice import choose
    from benchmark.running.store import Store

    grid = choose({**GRID, "methods": names, "set": {name: SIZES[name] for name in names if name in SIZES}}).build()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(grid.settings, grid.draw, Path(folder), "cpu", fresh=False, timeout=None)
        for cell in grid.cells:
            outcome = run_cell(cell, "", work)
            record = Store(Path(folder)).read(cell.key)
            assert record is not None
            found[cell.row.label] = outputs_digest(record["outputs"]) if "outputs" in record else outcome.error
    return found


if __name__ == "__main__":
    arithmetic.have_this_process()
    for name, digest in digests(sys.argv[1:] or list(KINDS)).items():
        print(name, digest, flush=True)
