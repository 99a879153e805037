"""Damaged and hostile files: each is read as a valid one or refused in one line, and none runs code.

A row of the table is one way to damage one kind of file. What was read is checked, too: a data set that comes out of a
damaged file has finite features, unique ids, lengths within its frames. All damage is drawn from fixed seeds.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import pickletools
import re
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import nn

from benchmark import methods
from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.pickles import load_pickle
from benchmark.errors import BenchmarkError
from benchmark.evidence.comparisons import read_evidence
from benchmark.evidence.scores import read_scores
from benchmark.files.manifest import read_manifest
from benchmark.protocol.missing import MODALITIES, Setting
from benchmark.report.comparisons import augmentation_table, interval_table, with_evidence
from benchmark.report.manifest import provenance
from benchmark.report.tables import build_tables
from benchmark.running.grid_file import GRIDS, load_grid
from benchmark.running.store import Predictions, Store, write_predictions, write_record
from tests.data_files import mmsa_content, mult_content
from tests.faults import Trial, hostile

SECONDS = 5.0
"""Of the processor, which no input of this size may take."""

MEMORY = 32 * 2**20, 128
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
def clock(seconds: float) -> Iterator[None]:
    """Ends the block when it takes longer."""

    def ring(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(read: Callable[[Path], None], path: Path) -> tuple[str, str]:
    """Read a file: what was said, where it was refused, and what was wrong about that (empty: nothing)."""
    with watched() as events, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning is a line that nobody asked for
        warnings.simplefilter("ignore", ResourceWarning)  # of NumPy's, about an archive that it refuses
        try:
            with clock(SECONDS):
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
            kept = self.path.with_name(re.sub(r"\W+", "_", self.fault)[:40] + f"_{self.times}{self.path.suffix}")
            kept.write_bytes(content)
            self.lost = f"{wrong[:200]} ({kept.name})"
        if said:
            self._said.setdefault(said, self.times)

    @property
    def said(self) -> set[str]:
        """All lines that were said."""
        return set(self._said)

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
    assert grid.settings and grid.seeds >= 1 and all(0 <= ratio <= 1 for ratio in grid.ratios)


def read_card(path: Path) -> None:
    """A plug-in's card, and what is made of it where methods are listed."""
    entry = methods.Entry(path.stem, "paper", "complete", path.parent.parent / "plugin.py")
    methods.groups({path.stem: entry})
    methods.by_year([methods.Row(path.stem, path.stem, "complete")], {path.stem: entry})


def read_stored_manifest(path: Path) -> None:
    """A manifest, and what the command line takes from it."""
    manifest = read_manifest(path)
    "\n".join(filter(None, [manifest.get("command"), manifest.get("grid"), manifest.get("against")]))
    assert np.isfinite(sum(cell["seconds"] for cell in manifest.get("cells", ())))
    "".join(row["label"] + row["description"] for row in manifest.get("methods", []))
    provenance(manifest, {}, [])


def read_stored_scores(path: Path) -> None:
    """Scores, as tables are made of them."""
    frame = read_scores(path)
    assert np.isfinite(frame["value"].to_numpy(dtype=float)).all()
    for kind, available, ratio in set(zip(frame["kind"], frame["available"], frame["ratio"], strict=True)):
        assert Setting(available, ratio) and kind


def read_stored_evidence(path: Path) -> None:
    """Intervals or comparisons, and the tables that show them."""
    scores = read_scores(path.parent / "scores.csv")
    evidence = read_evidence(path.parent, scores)
    for table in build_tables(scores, selection=""):
        with_evidence(table, evidence, "corrkd")
        interval_table(table, evidence, "corrkd")
        augmentation_table(table, evidence)


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
    try:
        array = np.atleast_1d(np.asarray(value))
    except ValueError:  # ragged from a change before
        return draw(_nested)
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
        return draw(st.sampled_from([array.T, array[None], array[..., None], array.ravel(), array[::-1], array[:1]]))
    if kind == "cut":
        return array[: draw(st.integers(0, len(array)))]
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


# --- Instructions at random, and text ---------------------------------------------------------------------------------

_PIECES = [
    hostile.name("numpy", "dtype"), hostile.name("numpy", "ndarray"), hostile.name("_codecs", "encode"),
    hostile.name("collections", "OrderedDict"), hostile.name("numpy.core.multiarray", "_reconstruct"),
    hostile.name("numpy.core.multiarray", "scalar"), hostile.name("numpy.core.numeric", "_frombuffer"),
    hostile.name("posix", "system"), hostile.EMPTY, hostile.dtype("f4"), hostile.dtype("U2"), hostile.dtype("O8"),
    hostile.array(b"K\x01", b"C\x04abcd"), hostile.text("f4"), hostile.text("latin1"), b"C\x04abcd", b"U\x02ab", b"S'x'\n",
    b"K\x01", b"K\x02", b"I3\n", b"L5L\n", b"F1e999\n", b"G\x7f\xf0\0\0\0\0\0\0", b"N", b"\x88", b"]", b"}", b")", b"(", b"(",
    b"t", b"l", b"d", b"e", b"u", b"a", b"s", b"0", b"1", b"2", b"\x85", b"\x86", b"\x87", b"R", b"R", b"b", b"b", b"q\x00",
    b"q\x01", b"h\x00", b"h\x00", b"h\x01", b"\x94", b"r\xff\xff\xff\x7f", b"j\0\0\0\0", b"p999999999\n", b"\x80\x05", b"\x93",
    b"\x81", b"o", b"c", b"\x95\x09\0\0\0\0\0\0\0", b"\x96\x02\0\0\0\0\0\0\0ab", b"\x8b\x02\0\0\0ab", b"\x8f", b"\x97", b"Q",
]  # fmt: skip


def program(rng: np.random.Generator) -> bytes:
    """Instructions in any order, with a few values before them so that they do not all run dry."""
    pieces = [_PIECES[i] for i in rng.integers(len(_PIECES), size=int(rng.integers(3, 40)))]
    return b"(]}N" + hostile.text("f4") + b"q\x00" + b"".join(pieces) + b"."


_NASTY = [
    "&a", "*a", "<<: *a", "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary x", "!!set {a}",
    "!!int x", "!!float [1]", "!!bool maybe", "!!timestamp x", "!x y", "1e999", "1.0e+999", ".nan", ".inf", "-.inf", "0x_",
    "2020-99-99", "2020-01-01", "1:99:99", "[", "]", "{", "}", "\t", "%YAML 9.9", "---", "...", "? ", "- ", ": ", "|", ">",
    "'", '"', '"\\UFFFFFFFF"', "~", "null", "yes", "-1", "0", "true", "NaN", "-Infinity", "[" * 2000, "- " * 2000, "{a: " * 2000,
    "[[[[]]]]", "{}", "[]", '"\\ud800"', "a" * 3000, "9" * 5000, "\x00", "\x1b[2J", "\u2028", "#", ",", ",,,", "\n", "\r", "é",
    "name", "tasks", "seeds", "set", "training", "variants", "simulator", "epochs", "d", "l", "lav", "10000000000000000000000",
]  # fmt: skip


def reworded(text: str, rng: np.random.Generator) -> bytes:
    """One to three words or signs become others, stand twice or are gone; or a line does."""
    parts = re.findall(r"\w+|[^\w\s]|\s+", text)
    for _ in range(int(rng.integers(1, 4))):
        place, kind = int(rng.integers(len(parts))), rng.random()
        nasty = _NASTY[int(rng.integers(len(_NASTY)))]
        if kind < 0.6:
            parts[place] = nasty
        elif kind < 0.7:
            parts[place] += nasty
        elif kind < 0.85:
            parts[place] = parts[int(rng.integers(len(parts)))]
        else:
            lines = "".join(parts).split("\n")
            lines.insert(int(rng.integers(len(lines))), lines[int(rng.integers(len(lines)))])
            parts = re.findall(r"\w+|[^\w\s]|\s+", "\n".join(lines))
    return "".join(parts).encode("utf-8", "replace")


def text_bombs(first: str) -> list[bytes]:
    """YAML that is small and would become large or deep, behind a first line that is in order."""
    laughs = "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n" + "".join(
        f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    merges = "x0: &x0 {a: 1, b: 2}\n" + "".join(
        f"x{i}: &x{i}\n  <<: [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    long = "a" * 100_000
    bombs = [
        laughs, merges, f"x: &x {long}\ny: [{', '.join(['*x'] * 3000)}]\n", "x: &x [*x]\n", "x: &x {y: *x}\n",
        "x: " + "[" * 100_000, "x: " + "{a: " * 50_000, "- " * 100_000, "? " * 100_000, "x:\n" + "".join(" " * i + "a:\n" for i in range(1, 400)),
        "x: " + "9" * 200_000, "x: " + "1:" * 100_000 + "1", "x: 0x" + "f" * 200_000, f"x: {long}{long}{long}", "x: '" + "\n" * 200_000,
        "".join(f"k{i}: 1\n" for i in range(25_000)), "x: [" + "a, " * 60_000 + "]", "&a " * 50_000, "!t " * 50_000, "# " * 130_000,
        "x: |\n" + " a\n" * 60_000, "x: \"" + "\\x41" * 50_000 + '"', "%TAG ! " + "a" * 100_000 + "\n--- x: 1", "%YAML " + "9" * 5000 + ".1\n--- 1",
    ]  # fmt: skip
    return [(first + bomb).encode() for bomb in bombs]


# --- Memory -----------------------------------------------------------------------------------------------------------


def hungry(size: int) -> dict[str, bytes]:
    """Pickles of about `size` bytes that make as much of them as can be made, and small ones that claim as much."""
    n = size
    shell = hostile.EMPTY + b"q\x00" + hostile.dtype("f4") + b"q\x010"
    return {
        "lists": b"(" + b"]" * n + b"l.",
        "dictionaries": b"(" + b"}" * n + b"l.",
        "marks": b"(" * n + b".",
        "lists in the memo": b"\x80\x04(" + b"]\x94" * (n // 2) + b"l.",
        "tuples": b"(" + b"N\x85" * (n // 2) + b"l.",
        "tuples of three": b"(" + b"NNN\x87" * (n // 4) + b"l.",
        "tuples in tuples": b"N" + b"\x85" * n + b".",
        "short texts": b"(" + b"U\x02ab" * (n // 4) + b"l.",
        "short numbers": b"(" + b"M\xff\xff" * (n // 3) + b"l.",
        "numbers in the memo": b"(" + b"".join(b"Nr" + struct.pack("<I", 997 * i) for i in range(n // 6)) + b"l.",
        "the same again": b"](" + b"K\x01" * (n // 4) + b"lq\x00" + b"2a" * (n // 4) + b".",
        "duplicates": b"(N" + b"2" * n + b"l.",
        "dictionaries of one": b"(" + b"}K\x01Ns" * (n // 5) + b"l.",
        "empty arrays": shell + b"(" + (hostile.name("numpy.core.multiarray", "_reconstruct") + b")R") * (n // 40) + b"l.",
        "arrays of one content": b"B" + struct.pack("<I", n // 2) + b"a" * (n // 2) + b"q\x000(I1\n(J" + struct.pack("<i", n // 8)
        + b"t" + hostile.dtype("f4") + b"I00\nh\x00tq\x010](" + (hostile.EMPTY + b"h\x01b") * (n // 2 // len(hostile.EMPTY)) + b"e.",
        "encoded again": b"X" + struct.pack("<I", n // 2) + b"a" * (n // 2) + b"q\x000" + hostile.name("_codecs", "encode")
        + b"q\x010](" + b"h\x01h\x00\x85R" * (n // 12) + b"e.",
        "laughs": hostile.laughs(9) + b"." + b" " * n,
        "laughs of text": hostile.laughs(9, first=hostile.text("a" * (n // 20))) + b".",
        "claimed bytes": hostile.claims(b"\x8e", 2**35, "<Q") + b" " * n,
        "claimed text": hostile.claims(b"\x8d", 2**35, "<Q") + b" " * n,
        "claimed byte array": hostile.claims(b"\x96", 2**35, "<Q") + b" " * n,
        "claimed frame": hostile.claims(b"\x95", 2**35, "<Q") + b" " * n,
        "claimed integer": hostile.claims(b"\x8b", 2**31 - 1, "<i") + b" " * n,
        "claimed place in the memo": b"Nr\xff\xff\xff\x0f" + b"r\xff\xff\xff\xff0N." + b" " * n,
        "claimed shape": hostile.array(b"I1000000\nI100000\n", b"C\x04abcd") + b"." + b" " * n,
        "escapes": b"S'" + b"\\x41" * (n // 4) + b"'\n.",
        "digits": b"I0x" + b"f" * n + b"\n.",
    }  # fmt: skip


def hungry_layouts(samples: int) -> dict[str, bytes]:
    """Files of a known layout that are small for what they hold."""

    def content(**replaced: Any) -> bytes:
        split = {key: np.ones((samples, 20, 2), dtype=bool) for key in ("text", "audio", "vision")}
        split |= {"labels": np.ones(samples, dtype=bool), "id": list(range(samples))} | replaced
        return pickle.dumps({"train": split, "valid": split, "test": split}, 4)

    return {
        "truth values": content(),
        "one long text among numbers": content(text=["a" * 20 * samples, *["b"] * (samples - 1)]),
        "one long text among labels": content(labels=["a" * 20 * samples, *["b"] * (samples - 1)]),
        "one long id": content(id=["a" * 20 * samples, *["b"] * (samples - 1)]),
        "one long part of an id": content(id=[["a" * 20 * samples, *["b"] * 99]] * samples),
        "frames without features": content(text=np.ones((samples, 10**6, 0), dtype=bool)),
        "one row for all": content(audio=[[[0.5] * 1000] * 20] * samples),
        "numbers as lists": content(vision=np.ones((samples, 20, 2)).tolist()),
        "numbers as objects": content(vision=np.ones((samples, 20, 2)).astype(object)),
    }


def cost(read: Callable[[Path], None], path: Path) -> tuple[int, str]:
    """What reading takes at most, in bytes, and what was wrong: read in a process that cannot have much more."""
    allowed = MEMORY[0] + MEMORY[1] * path.stat().st_size
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        wrong = "the process ended"
        try:
            os.close(receiver)
            pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (pages + allowed + 2**26,) * 2)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                with clock(20.0):
                    read(path)
                wrong = ""
            except BenchmarkError as error:
                wrong = "reached the limit of memory" if "fit into memory" in str(error) else ""
            except TooLong:
                wrong = "took more than 20 seconds"
            except BaseException as error:
                wrong = f"{type(error).__name__}: {error}"[:200]
            peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            os.write(sender, struct.pack("<q", peak) + wrong.encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    if len(answer) < 8:
        return 0, f"the process ended with status {status}"
    peak = struct.unpack("<q", answer[:8])[0]
    wrong = answer[8:].decode()
    return peak, wrong or (f"took {peak / 2**20:.0f} MiB" if peak > allowed else "")


def memory_trial(work: Path, scale: float) -> Trial:
    """Reads what is hungry, each in a process of its own, forked from one that has not yet read anything else."""
    command = [sys.executable, "-m", "tests.faults.inputs", str(work), str(scale)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    fault = "pickles that claim or make as much memory as they can, 10 to 400 kB"
    if done.returncode:
        return Trial(fault, 0, f"the process ended: {done.stderr.strip()[-200:]}", "")
    told = json.loads(done.stdout)
    return Trial(fault, told["times"], told["lost"], told["said"])


def _measure(work: Path, scale: float) -> dict[str, Any]:
    times, lost, most = 0, "", (0.0, "")
    path = work / "hungry.pkl"
    for size in [10_000, 100_000, 400_000][: 1 if scale < 0.1 else 3]:
        inputs = [(name, content, read_pickle) for name, content in hungry(size).items()]
        inputs += [(name, content, read_data) for name, content in hungry_layouts(size // 200).items()]
        for name, content, read in inputs:
            path.write_bytes(content)
            peak, wrong = cost(read, path)
            times += 1
            share = peak / (MEMORY[0] + MEMORY[1] * len(content))
            most = max(most, (share, f"{peak / 2**20:.0f} MiB for a file of {len(content) / 1000:.0f} kB ({name})"))
            if wrong and not lost:
                kept = work / f"hungry_{'_'.join(name.split())}_{size}.pkl"
                kept.write_bytes(content)
                lost = f"{wrong} ({kept.name})"
    allowed = f"{MEMORY[0] // 2**20} MiB and {MEMORY[1]} times the file"
    return {"times": times, "lost": lost, "said": f"nearest to what is allowed, {allowed}: {most[1]}"}


# --- Stored results ---------------------------------------------------------------------------------------------------


def read_stored(path: Path) -> None:
    """A cell of which one file is damaged: only what was written may be read."""
    store = Store(path.parents[2])
    record, predictions = store.read("key"), store.predictions("key")
    assert record is not None and record["number"] == 1 and predictions.logits.shape == (3, 12, 2)
    assert store.history("key") == [{"epoch": 1, "valid_loss": 0.5}]
    nn.Linear(8, 4).load_state_dict(load_tensors(store.weights("key")))


def read_archive(path: Path) -> None:
    """An archive under a data file's name, which nothing unpacks."""
    before = sorted(path.parent.iterdir())
    try:
        read_data(path)
    finally:
        assert sorted(path.parent.iterdir()) == before


def archives() -> list[bytes]:
    """Archives that would write a file, as each of the usual tools makes them."""
    found = []
    for kind in ("w", "w:gz", "w:bz2", "w:xz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=kind) as tar:
            for name in ("../escaped", "/tmp/escaped", "inside"):
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../escaped", "x")
        archive.writestr("data.pkl", pickle.dumps(mult_content()))
    return [*found, buffer.getvalue(), gzip.compress(pickle.dumps(mult_content())), _npz()]


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _write_cell(folder: Path) -> None:
    rng = np.random.default_rng(3)
    settings_ = tuple((Setting("lav", ratio), 0) for ratio in (0.0, 0.5, 1.0))
    ids = np.array([f"video$_${row}" for row in range(12)])
    write_predictions(folder, Predictions(ids, np.linspace(-3, 3, 12), settings_, rng.random((3, 12, 2), np.float32)))
    (folder / "history.jsonl").write_text('{"epoch": 1, "valid_loss": 0.5}\n', encoding="utf-8")
    save_file(nn.Linear(8, 4).state_dict(), folder / "model.safetensors")
    write_record(folder, {"key": "key", "state": "done", "number": 1, "text": "words"})


# --- The table --------------------------------------------------------------------------------------------------------


def trials(work: Path, scale: float = 1.0) -> Iterator[Trial]:
    """Each kind of damage; at scale 1 more than 10,000 inputs in all.

    Parameters
    ----------
    work : Path
        An existing folder to write into; what got through is kept there.
    scale : float
        How many inputs, as a share.
    """
    yield from pickle_trials(work, scale)
    yield memory_trial(work, scale)
    yield from text_trials(work, scale)
    yield from stored_trials(work, scale)


def _times(number: int, scale: float) -> range:
    return range(max(3, round(number * scale)))


def _warmed(row: Row, content: bytes) -> Row:
    """`row` after one file that is in order and one that is not: modules imported late are no deeds of a file's."""
    for text in (content, b"\x80\x04nothing: ["):
        row.path.write_bytes(text)
        with contextlib.suppress(BenchmarkError):
            row.read(row.path)
    return row


def pickle_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Data files of every layout in protocols 2 to 5, and pickles made by hand."""
    files = base_files()
    whole = Row("data files in order, of every layout and protocol", work, ".pkl", read_data)
    for content in files:
        _warmed(whole, content).put(content)
    assert not whole._said, whole._said
    yield whole.trial()
    kinds: list[tuple[str, int, Callable[[bytes, np.random.Generator], bytes]]] = [
        ("one to five bytes changed", 1200, flipped),
        ("cut off somewhere", 600, truncated),
        ("up to eight bytes put in", 800, inserted),
        ("up to eight bytes taken out", 800, removed),
        ("begun as one file and ended as another", 600, lambda c, r: spliced(c, files[int(r.integers(len(files)))], r)),
    ]
    for seed, (fault, number, damage) in enumerate(kinds):
        row, rng = Row(f"data files, {fault}", work, ".pkl", read_data), np.random.default_rng(seed)
        for i in _times(number, scale):
            row.put(damage(files[i % len(files)], rng))
        yield row.trial()
    row, rng = Row("data files, instructions replaced or exchanged", work, ".pkl", read_data), np.random.default_rng(10)
    starts = [instruction_starts(content) for content in files]
    for i in _times(1000, scale):
        row.put(swapped(files[i % len(files)], starts[i % len(files)], rng))
    yield row.trial()
    row = Row("data files with other values, shapes, types and keys", work, ".pkl", read_data)
    drawn(damaged_contents(), len(_times(2000, scale)), row.put)
    yield row.trial()
    row, rng = Row("pickles of instructions in any order", work, ".pkl", read_pickle), np.random.default_rng(11)
    with hostile.extensions(os.system):
        for _ in _times(1500, scale):
            row.put(program(rng))
        yield row.trial()
        row = Row("pickles that name or call what runs code", work, ".pkl", read_refused)
        every = list(hostile.dangerous_pickles())
        for content in every[:: max(1, round(4 / scale))]:
            row.put(content)
        yield row.trial()
        row = Row("every known way round an unpickler", work, ".pkl", read_refused)
        for content, _ in hostile.WAYS.values():
            row.put(content)
        yield row.trial()
    row = Row("archives under the name of a data file", work, ".pkl", read_archive)
    for content in archives():
        row.put(content)
    yield row.trial()


def read_refused(path: Path) -> None:
    """What must not be read at all."""
    load_pickle(path)
    raise AssertionError("it was read")


def grid_files() -> list[bytes]:
    """Those that come with the benchmark."""
    return [path.read_bytes() for path in sorted(GRIDS.glob("*.yaml"))]


def stored_manifest() -> bytes:
    """A small ``manifest.json``."""
    manifest = {
        "command": "python run_benchmark.py", "grid": "quick", "selection": "loss", "against": None,
        "methods": [{"label": "mult", "description": "MulT"}], "versions": [{"torch": "2"}], "machine": {"cores": 2},
        "git_commit": "0", "tasks": [{"name": "mosi", "samples": {"test": 3}}], "started": "", "finished": "",
        "superseded": 0, "failed": 0, "cells": [{"method": "mult", "task": "mosi", "seconds": 1.5, "seed": 0}],
    }  # fmt: skip
    return json.dumps(manifest, indent=1).encode()


def stored_scores() -> bytes:
    """A small ``scores.csv``."""
    scores = "task,source,method,seed,kind,available,ratio,draw,metric,value,n,key\n" + "".join(
        f"mosi,simulated,mult,{seed},intra,lav,0.{seed},0,f1,25.1457{seed},383,21e057e0e53f\n" for seed in range(5)
    )
    return scores.encode()


def text_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Grid files, cards, manifests and tables of scores."""
    root = GRIDS.parent.parent
    grids = grid_files()
    cards = [path.read_bytes() for path in sorted(root.glob("*/cards/*.yaml"))]
    first = "name: x\n"
    (work / "cards").mkdir(exist_ok=True)
    kinds = [
        ("grid files", work, ".yaml", read_grid, grids, 700),
        ("cards", work / "cards", ".yaml", read_card, [card[:3000] for card in cards], 500),
        ("manifests", work, ".json", read_stored_manifest, [stored_manifest()], 600),
        ("tables of scores", work, ".csv", read_stored_scores, [stored_scores()], 600),
    ]
    for seed, (what, folder, suffix, read, files, number) in enumerate(kinds):
        rng = np.random.default_rng(20 + seed)
        row = _warmed(Row(f"{what}, bytes changed, put in or taken out, or cut off", folder, suffix, read), files[0])
        for i in _times(number // 2, scale):
            row.put(mixed(files[i % len(files)], rng))
        yield row.trial()
        row = Row(f"{what}, words and lines replaced by others", folder, suffix, read)
        for i in _times(number, scale):
            row.put(reworded(files[i % len(files)].decode(errors="replace"), rng))
        yield row.trial()
    yield from evidence_trials(work / "evidence", scale)
    for what, folder, read in (("grid files", work, read_grid), ("cards", work / "cards", read_card)):
        row = Row(f"{what} that would become large or deep", folder, ".yaml", read)
        for content in text_bombs(first)[:: 1 if scale >= 0.1 else 3]:
            row.put(content)
        yield row.trial()


def evidence_trials(folder: Path, scale: float) -> Iterator[Trial]:
    """Intervals and comparisons that belong to stored scores."""
    folder.mkdir(exist_ok=True)
    for name, text in zip(("scores", "intervals", "comparisons"), evidence_files(), strict=True):
        (folder / f"{name}.csv").write_text(text)
    for seed, name in enumerate(("intervals", "comparisons")):
        good, rng = (folder / f"{name}.csv").read_bytes(), np.random.default_rng(40 + seed)
        row = Row(
            f"{name}.csv, bytes changed, put in or taken out, words and lines replaced",
            folder,
            "",
            read_stored_evidence,
        )
        row.path = folder / f"{name}.csv"
        row = _warmed(row, good)
        for i in _times(300, scale):
            row.put(mixed(good, rng) if i % 3 == 0 else reworded(good.decode(), rng))
        row.path.write_bytes(good)
        yield row.trial()


def evidence_files() -> tuple[str, str, str]:
    """Two methods' scores at two ratios, with intervals and comparisons, as csv."""
    where, ratios = "mosi,simulated,f1", {"{l,a,v}": 0.0, "p=0.5": 0.5}
    scores = "task,source,metric,method,seed,kind,available,ratio,draw,value,n,key\n" + "".join(
        f"{where},{method},{seed},intra,lav,{ratio},0,6{seed}.5,383,key\n"
        for method in ("corrkd", "mult") for seed in range(2) for ratio in ratios.values()
    )  # fmt: skip
    intervals = "task,source,metric,method,condition,kind,available,ratio,mean,std,seeds,low,high,n\n" + "".join(
        f'{where},{method},"{name}",{setting},61.0,1.5,2,50.5,70.5,383\n'
        for method in ("corrkd", "mult")
        for name, setting in [(n, f"intra,lav,{ratio}") for n, ratio in ratios.items()] + [("AUDC", "derived,,")]
    )
    comparisons = (
        "task,source,metric,method,condition,purpose,against,difference,low,high,p,p_holm,family\n" + "".join(
            f'{where},mult,"{name}",reference,corrkd,-1.5,-7.25,4.5,0.04,0.04,1\n' for name in (*ratios, "AUDC")
        )
    )  # fmt: skip
    return scores, intervals, comparisons


def stored_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Every file of a stored cell: its record, predictions, epochs and weights."""
    folder = work / "cells" / "key"
    folder.mkdir(parents=True, exist_ok=True)
    _write_cell(folder)
    read_stored(folder / "cell.json")
    for seed, name in enumerate(("cell.json", "predictions.npz", "history.jsonl", "model.safetensors")):
        row, rng = Row(f"{name} of a stored cell, damaged", folder, "", read_stored), np.random.default_rng(30 + seed)
        row.path = folder / name
        good = row.path.read_bytes()
        for _ in _times(300, scale):
            row.put(mixed(good, rng))
        row.path.write_bytes(good)
        yield row.trial()


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), float(sys.argv[2]))))
