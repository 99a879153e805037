"""Damage: bytes, instructions, values and words of a file in order become others. All of it from fixed seeds."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.data_files import dialogue_content, neutral_content
from tests.faults import hostile
from tests.faults.originals import CONTENTS, PROTOCOLS


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


def rewritten(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes that are not zero become others, where a file is mostly zeros; or it is cut off."""
    if rng.random() < 0.1:
        return truncated(content, rng)
    damaged, written = bytearray(content), np.flatnonzero(np.frombuffer(content, dtype=np.uint8))
    for _ in range(int(rng.integers(1, 6))):
        new = int(rng.integers(256)) if rng.random() < 0.6 else (0, 1, 127, 128, 255)[int(rng.integers(5))]
        damaged[int(rng.choice(written))] = new
    return bytes(damaged)


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
    if kind == "ids" and not (isinstance(value, np.ndarray) and value.ndim == 0):
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


@st.composite
def damaged_dialogues(draw: Any) -> bytes:
    """DialogueRNN's tuple, in which one to three things are wrong, well pickled."""
    content: list[Any] = [dict(sorted(v.items())) if isinstance(v, dict) else sorted(v) for v in dialogue_content()]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(content) - 1))
        held = content[place]
        where = draw(st.sampled_from(["place", "dialogue", "dialogue", "utterance", "utterance", "drop", "shift"]))
        if where == "shift":
            content.insert(place, draw(_nested))
        elif where == "place" or not isinstance(held, dict) or not held:
            content[place] = draw(_changed(held))
        else:
            name = draw(st.sampled_from(sorted(map(str, held))))
            own = held.get(name)
            if where == "drop":
                held.pop(name, None)
            elif where == "dialogue" or not isinstance(own, list) or not own:
                held[name] = draw(_changed(own))
            else:
                row = draw(st.integers(0, len(own) - 1))
                own[row] = draw(_changed(own[row]))
    kind = draw(st.sampled_from([tuple, tuple, list]))
    return pickle.dumps(kind(content), draw(st.sampled_from(PROTOCOLS)))


@st.composite
def damaged_archives(draw: Any) -> bytes:
    """The neutral layout in which one to three things are wrong, well written."""
    content: Any = neutral_content()
    for _ in range(draw(st.integers(1, 3))):
        split = content[draw(st.sampled_from(sorted(content)))]
        key = draw(st.sampled_from(sorted(split)))
        where = draw(st.sampled_from(["value", "value", "value", "drop", "rename"]))
        if where == "value":
            split[key] = draw(_changed(split[key]))
        elif len(split) > 1:
            value = split.pop(key)
            if where == "rename":
                split[draw(st.sampled_from(["labels", "ids", "text", "audio_lengths", "a/b", "a\nb", ""]))] = value
    buffer = io.BytesIO()
    arrays = {f"{name}/{key}": _as_array(x) for name, split in content.items() for key, x in split.items()}
    draw(st.sampled_from([np.savez, np.savez_compressed]))(buffer, **arrays)
    return buffer.getvalue()


def _as_array(value: Any) -> Any:
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):  # ragged
        return np.array([value], dtype=object)


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
