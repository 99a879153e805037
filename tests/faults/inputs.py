"""Damaged and hostile files: each is read as a valid one or refused in one line; none runs code or takes memory at will.

A row of the table is one way to damage one kind of file. What was read is checked, too: a data set that comes out of a
damaged file has finite features, unique ids, lengths within its frames. All damage is drawn from fixed seeds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import pickletools
import resource
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmark import registry
from benchmark.collect import read_scores
from benchmark.config import GRIDS, load_grid
from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.pickles import load_pickle
from benchmark.errors import BenchmarkError
from benchmark.manifest import provenance, read_manifest
from benchmark.missing import MODALITIES, Setting
from benchmark.store import Predictions, Store, write_predictions
from tests.data_files import mmsa_content, mult_content
from tests.faults import Trial

SECONDS = 5.0
"""What no input of this size may take."""

MEMORY = 32 * 2**20, 256
"""What reading a data file may take at most: bytes, and times the file's size."""

CONTENTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "MulT aligned": (lambda: mult_content(), "mosi"),
    "MulT unaligned": (lambda: mult_content(aligned=False), "mosi"),
    "MulT aligned, emotions": (lambda: mult_content("iemocap"), "iemocap"),
    "MulT unaligned, emotions": (lambda: mult_content("iemocap", aligned=False), "iemocap"),
    "MMSA aligned": (lambda: mmsa_content(aligned=True), "mosi"),
    "MMSA unaligned": (lambda: mmsa_content(), "mosi"),
}
PROTOCOLS = (2, 3, 4, 5)


class TooLong(BaseException):
    """Raised by the clock; no reader catches it."""


# What may not happen while a file is read. An audit hook cannot be removed, so there is one, and it is switched.
_events: list[str] | None = None
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove", "os.rename", "os.mkdir",
              "os.putenv", "subprocess.Popen", "socket.", "ctypes.", "pickle.find_class", "shutil.", "pty.spawn")  # fmt: skip
CANARY = "canary_of_the_inputs"
"""A module that nothing but a hostile file imports."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    evaluates = event == "exec" and arguments[0].co_filename == "<string>"
    if writes or evaluates or event.startswith(_FORBIDDEN) or (event == "import" and CANARY in str(arguments[0])):
        _events.append(f"{event} {arguments[0]!r:.60}")


_hooked = False


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What is done in the block that no reading of a file has to do."""
    global _events, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _events = found = []
    try:
        yield found
    finally:
        _events = None


@contextlib.contextmanager
def clock(seconds: float = SECONDS) -> Iterator[None]:
    """Ends the block when it takes longer."""

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(read: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Read a file: what was said, where it was refused, and what was wrong about that (empty: nothing)."""
    with watched() as events, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning is a line that nobody asked for
        try:
            with clock():
                read(path)
        except BenchmarkError as error:
            said, wrong = str(error), ""
            if not said.isprintable() or len(said) > 1000 or path.name not in said:
                wrong = "refused, but not in one line that names the file"
        except TooLong:
            said, wrong = "", f"took more than {SECONDS:g} seconds"
        except Exception as error:
            said, wrong = "", f"{type(error).__name__}: {error}"
        else:
            said, wrong = "", ""
    if events:
        wrong = f"did {events[0]}"
    return said, wrong


class Row:
    """Counts the inputs of one kind, and keeps those that got through."""

    def __init__(self, fault: str, work: Path, suffix: str, read: Callable[[Path], None]) -> None:
        self.fault, self.read = fault, read
        self.path = work / f"input{suffix}"
        self.times, self.lost = 0, ""
        self._said: dict[str, int] = {}

    def put(self, content: bytes) -> None:
        self.times += 1
        self.path.write_bytes(content)
        said, wrong = outcome(self.read, self.path)
        if wrong and not self.lost:
            kept = self.path.with_name(f"{'_'.join(self.fault.split()[:4])}_{self.times}{self.path.suffix}")
            kept.write_bytes(content)
            self.lost = f"{wrong[:200]} ({kept.name})"
        if said:
            self._said.setdefault(said, self.times)

    def trial(self) -> Trial:
        """The line shown is one of middling length: neither the barest nor the longest."""
        lines = sorted(self._said, key=lambda line: (len(line), line))
        said = lines[len(lines) // 2].replace(str(self.path), self.path.name) if lines else ""
        return Trial(self.fault, self.times, self.lost, said)


# --- Readers, with a look at what comes out --------------------------------------------------------------------------


def read_data(path: Path) -> None:
    """Both ways to read a data file must agree on whether it can be used."""
    try:
        report = inspect_file(path)
    except BenchmarkError as told:
        try:
            read_dataset(path, "mosi")
        except BenchmarkError as error:
            assert str(error) == str(told)
            raise
        raise AssertionError("--inspect refuses what can be read") from told
    usable = report.splitlines()[-1].startswith("no fault; can be used as ")
    assert usable or "for which the file is refused" in report
    try:
        dataset = read_dataset(path, "iemocap" if "can be used as iemocap" in report else "mosi")
    except BenchmarkError:
        assert not usable, "--inspect finds no fault in what is refused"
        raise
    check_dataset(dataset)


def check_dataset(dataset: Any) -> None:
    """A valid task, as :class:`benchmark.data.dataset.Dataset` describes it."""
    for split in dataset.splits.values():
        ids = split.ids.tolist()
        assert len(ids) == len(set(ids)) == len(split.labels) > 0, "ids are not unique"
        "".join(ids).encode()
        for m in MODALITIES:
            x, lengths = split.features[m], split.lengths[m]
            assert x.dtype == np.float32 and x.ndim == 3 and len(x) == len(lengths) == len(ids) and x.size
            assert np.isfinite(x).all(), "features are not finite"
            assert ((lengths >= 0) & (lengths <= x.shape[1])).all() and not x[~split.frames(m)].any(), "padding"
        assert np.isfinite(split.labels).all()
        if dataset.kind == "emotion":
            assert ((split.labels >= 0) & (split.labels < 4)).all()
    assert all(line.isprintable() for line in dataset.warnings), "a warning is not one line"
    assert len({split.features[m].shape[2] for split in dataset.splits.values() for m in "l"}) == 1


def read_pickle(path: Path) -> None:
    """A pickle alone, whatever it holds."""
    check_plain(load_pickle(path))


def check_plain(value: Any) -> None:
    """Nothing but plain values."""
    assert type(value) in (dict, list, tuple, str, bytes, bool, int, float, type(None), np.ndarray), type(value)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biufSUO"
        value = value.ravel().tolist() if value.dtype == object else []
    for item in value if isinstance(value, list | tuple) else ():
        check_plain(item)


def read_grid(path: Path) -> None:
    """A grid file, and the settings that it asks for."""
    _, grid = load_grid(str(path))
    assert grid.settings and 1 <= grid.seeds and all(0 <= ratio <= 1 for ratio in grid.ratios)


def read_card(path: Path) -> None:
    """A plug-in's card, and what is made of it where methods are listed."""
    entry = registry.Entry(path.stem, "paper", "complete", path.parent.parent / "plugin.py")
    registry.groups({path.stem: entry})
    registry.by_year([registry.Row(path.stem, path.stem, "complete")], {path.stem: entry})


def read_stored_manifest(path: Path) -> None:
    """A manifest, and what the command line takes from it."""
    manifest = read_manifest(path)
    "\n".join(filter(None, [manifest.get("command"), manifest.get("grid"), manifest.get("against")]))
    assert sum(cell["seconds"] for cell in manifest.get("cells", ())) is not None
    assert {row["label"]: row["description"] for row in manifest.get("methods", [])} is not None
    provenance(manifest, {}, [])


def read_stored_scores(path: Path) -> None:
    """Scores, as tables are made of them."""
    frame = read_scores(path)
    assert np.isfinite(frame["value"].to_numpy(dtype=float)).all()
    for kind, available, ratio in set(zip(frame["kind"], frame["available"], frame["ratio"], strict=True)):
        assert Setting(available, ratio) and kind


# --- Damage -----------------------------------------------------------------------------------------------------------


def base_files() -> list[bytes]:
    """A small file of each layout in each protocol."""
    return [pickle.dumps(make(), protocol) for make, _ in CONTENTS.values() for protocol in PROTOCOLS]


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Half of the time near the beginning of an instruction, where damage tells."""
    place = int(rng.integers(len(content)))
    return place if rng.random() < 0.5 else min(place, int(rng.integers(min(400, len(content)))))


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        damaged[_place(content, rng)] = int(rng.integers(256))
    return bytes(damaged)


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def inserted(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + rng.bytes(int(rng.integers(1, 9))) + content[place:]


def removed(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + content[place + int(rng.integers(1, 9)) :]


def spliced(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))] + other[int(rng.integers(len(other))) :]


def mixed(content: bytes, rng: np.random.Generator) -> bytes:
    return (flipped, truncated, inserted, removed)[int(rng.integers(4))](content, rng)


OPCODES = [op.code.encode("latin1") for op in pickletools.opcodes]


def instruction_starts(content: bytes) -> list[int]:
    return [place for _, _, place in pickletools.genops(content) if place is not None]


def swapped(content: bytes, starts: list[int], rng: np.random.Generator) -> bytes:
    """One to three instructions become others, or change places."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        first, second = (starts[int(rng.integers(len(starts)))] for _ in range(2))
        if rng.random() < 0.5:
            damaged[first] = OPCODES[int(rng.integers(len(OPCODES)))][0]
        else:
            damaged[first], damaged[second] = damaged[second], damaged[first]
    return bytes(damaged)


_leaf = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5), st.binary(max_size=5)
)
_nested = st.recursive(
    _leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
_dtypes = st.sampled_from(["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", "f16", ">f4", "S3", "U3", "O", "M8[D]", "c8"])
_shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 12]), max_size=4).map(tuple)


@st.composite
def _arrays(draw: Any) -> Any:
    shape, dtype, fill = draw(_shapes), draw(_dtypes), draw(st.sampled_from([0, 1, 3, 7]))
    array = np.full(shape, fill).astype("i8" if dtype == "M8[D]" else dtype)
    if array.size and array.dtype.kind == "f":
        array.ravel()[draw(st.integers(0, array.size - 1))] = draw(st.floats(width=16))
    return array.astype(dtype)


@st.composite
def _changed(draw: Any, value: Any) -> Any:
    """Something like `value`, or nothing like it."""
    kind = draw(st.sampled_from(["nested", "array", "list", "dtype", "shape", "cut", "number", "object", "ids"]))
    if kind == "nested" or not hasattr(value, "__len__"):
        return draw(_nested)
    if kind == "array" or isinstance(value, dict):
        return draw(_arrays())
    if kind == "ids":
        return [draw(st.sampled_from(["a", "a#2", "b\0", "\ud800", "x" * 300, b"a", 3, ("a", 1), None])) for _ in value]
    array = np.asarray(value)
    if kind == "list":
        rows = array.tolist()
        if rows and draw(st.booleans()):
            rows[draw(st.integers(0, len(rows) - 1))] = draw(_nested)
        return rows
    if kind == "dtype" and array.dtype.kind in "biuf":
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return array.astype(draw(st.sampled_from(["?", "i1", "u8", "f2", "f8", "f16", ">f8", "S8", "U8", "O"])))
    if kind == "shape":
        return draw(st.sampled_from([array.T, array[None], array[..., None], array.ravel(), array[:, ...], array[:1]]))
    if kind == "cut":
        return array[: draw(st.integers(0, len(array)))] if array.ndim else array
    if kind == "object":
        objects = array.astype(object)
        if objects.size:
            objects.ravel()[draw(st.integers(0, objects.size - 1))] = draw(_leaf)
        return objects
    if array.dtype.kind == "f" and array.size:
        array = array.astype(np.float64)
        array.ravel()[draw(st.integers(0, array.size - 1))] = draw(st.floats())
    return array


@st.composite
def damaged_contents(draw: Any) -> bytes:
    """A file of a known layout in which one to three things are wrong, well pickled."""
    make, _ = CONTENTS[draw(st.sampled_from(sorted(CONTENTS)))]
    content: Any = make()
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(map(str, content))))
        split = content.get(name)
        where = draw(st.sampled_from(["value", "value", "value", "value", "drop", "split", "rename"]))
        if where == "split" or not isinstance(split, dict) or not split:
            content[name] = draw(_changed(split))
        elif where == "drop":
            split.pop(draw(st.sampled_from(sorted(split))))
        elif where == "rename":
            key = draw(st.sampled_from(sorted(split)))
            split[draw(st.sampled_from(["labels", "id", "audio_lengths", "text_bert", "a\nb", "text_lengths"]))] = (
                split[key]
            )
        else:
            key = draw(st.sampled_from(sorted(split)))
            split[key] = draw(_changed(split[key]))
    return pickle.dumps(content, draw(st.sampled_from(PROTOCOLS)))


def drawn(strategy: st.SearchStrategy[bytes], number: int, put: Callable[[bytes], None]) -> None:
    """`put` so many examples, the same in every run."""

    @settings(
        max_examples=max(number, 1), derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def each(content: bytes) -> None:
        put(content)

    each()
