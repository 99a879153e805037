"""Inputs found by following the code: what reaches a new line of a reader is kept, and damaged further.

By atheris, where it is installed (``pip install -e '.[fuzz]'``); it is not pinned, since it is not there for all
platforms. What is wrong with an input is decided as in :mod:`tests.faults.watch`. The search takes a time and not a
number of inputs, so two runs of it differ.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.faults import Trial

ROOT = Path(__file__).resolve().parents[2]
READERS = {"data files": (".pkl", 40), "grid files": (".yaml", 20), "manifests": (".json", 15), "scores": (".csv", 15)}
"""The ending of each kind of file, and the seconds to search."""


def is_there() -> bool:
    """Whether atheris is installed."""
    return find_spec("atheris") is not None


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """Each kind of file, read in a process of its own, which ends at the first input that does what it must not."""
    for kind, (_, seconds) in READERS.items():
        folder = work / kind.replace(" ", "_")
        folder.mkdir()
        (folder / "said").touch()
        command = [sys.executable, "-m", "tests.faults.guided", kind, str(folder), str(max(2, round(seconds * scale)))]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
        lost = ""
        if ended.returncode != 0 or counted is None:
            told = re.findall(r"^(?:AssertionError: |==\d+== ERROR: )(.*)$", ended.stderr, flags=re.M)
            kept = [path.name for path in sorted(folder.glob("found-*"))]
            lost = f"{(told or [ended.stderr[-200:]])[-1][:200]} ({', '.join(kept)})"
        said = sorted((folder / "said").read_text(encoding="utf-8").splitlines(), key=len)
        shown = said[len(said) // 2] if said else ""  # a damaged manifest counts as none, and nothing is said
        yield Trial(f"{kind}, inputs that reach new lines", int(counted[1]) if counted else 0, lost, shown)


def search(kind: str, folder: Path, seconds: int) -> None:
    """Look for an input that is read wrongly; does not return."""
    import atheris

    with atheris.instrument_imports(include=["benchmark", "yaml", "json"]):
        from tests.faults import originals, readers
        from tests.faults.watch import Row

    reader, seeds = {
        "data files": (readers.read_data, originals.data_files),
        "grid files": (readers.read_grid, originals.grid_files),
        "manifests": (readers.read_stored_manifest, lambda: [originals.stored_manifest()]),
        "scores": (readers.read_stored_scores, lambda: [originals.stored_scores()]),
    }[kind]
    row, told = Row(kind, folder, READERS[kind][0], reader), folder / "said"
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds()):
        (corpus / f"{number}").write_bytes(content)
        row.put(content)  # also, modules that are imported late are no deeds of a file's
    known: set[str] = set()

    def one(content: bytes) -> None:
        row.put(content)
        assert not row.lost, row.lost
        for line in row.said - known:
            known.add(line)
            with told.open("a", encoding="utf-8") as log:
                log.write(line.replace(str(row.path), row.path.name) + "\n")

    options = [
        f"-max_total_time={seconds}",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/found-",
        "-max_len=32768",
    ]
    atheris.Setup([sys.argv[0], *options, "-seed=1", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    search(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
