"""Pickles made by hand: every way known to get round an unpickler that allows only some names."""

from __future__ import annotations

import contextlib
import copyreg
import struct
from collections.abc import Iterator
from itertools import product

MANY = 20_000
EXTENSIONS = {0x7A: b"\x82\x7a", 0x127A: b"\x83\x7a\x12", 0x1234567A: b"\x84\x7a\x56\x34\x12"}


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def dtype(kind: str) -> bytes:
    return name("numpy", "dtype") + b"(" + text(kind) + b"tR(I3\n" + text("<") + b"NNNI-1\nI-1\nI0\ntb"


EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
"""An array that waits for its state."""


def array(shape: bytes, content: bytes, kind: str = "f4") -> bytes:
    """An array whose state is written by hand; `content` is what puts the content there."""
    return EMPTY + b"(I1\n(" + shape + b"t" + dtype(kind) + b"I00\n" + content + b"tb"


def claims(opcode: bytes, number: int, size: str) -> bytes:
    """An instruction that says that much more follows than does."""
    return b"\x80\x05" + opcode + struct.pack(size, number) + b"abc."


def laughs(levels: int, width: int = 10, first: bytes = b"K\x01") -> bytes:
    """Lists of lists of lists, each of `width` times the one before: `width` ** `levels` items, few bytes."""
    steps = b"](" + first * width + b"eq\x00"
    for level in range(1, levels):
        steps += b"](" + (b"h" + bytes([level - 1])) * width + b"eq" + bytes([level])
    return steps


# What each holds, and what is said of it. Where two guards stand behind one another, the words tell which has spoken.
WAYS: dict[str, tuple[bytes, str]] = {
    "a name called by REDUCE": (name("posix", "system") + b"(" + text("true") + b"tR.", "the name posix.system"),
    "a name from the stack": (b"\x80\x04" + text("builtins") + text("eval") + b"\x93.", "the name builtins.eval"),
    "a dotted name": (b"\x80\x04" + text("numpy") + text("ndarray.tofile") + b"\x93.", "the name numpy.ndarray.tofile"),
    "a dotted name through a class": (name("collections", "OrderedDict.__init__"), "the name collections.OrderedDict._"),
    "a module of an allowed name": (name("numpy.core.multiarray", "fromfile") + b".", "the name .*fromfile"),
    "copyreg's constructor": (name("copyreg", "_reconstructor") + b".", "the name copyreg._reconstructor"),
    "extension code, one byte": (EXTENSIONS[0x7A] + b")R.", "the instruction ext1"),
    "extension code, two bytes": (EXTENSIONS[0x127A] + b")R.", "the instruction ext2"),
    "extension code, four bytes": (EXTENSIONS[0x1234567A] + b")R.", "the instruction ext4"),
    "persistent id": (b"Pabc\n.", "the instruction persid"),
    "persistent id from the stack": (text("abc") + b"Q.", "the instruction binpersid"),
    "INST": (b"(inumpy\ndtype\n.", "the instruction inst"),
    "OBJ": (b"(" + name("numpy", "dtype") + b"o.", "the instruction obj"),
    "NEWOBJ": (name("numpy", "dtype") + b")\x81.", "the instruction newobj"),
    "NEWOBJ_EX": (name("numpy", "dtype") + b")}\x92.", "the instruction newobj_ex"),
    "a call of what is no name": (text("x") + b")R.", "a call of a str"),
    "a call with what is no tuple": (name("numpy", "dtype") + b"]" + text("f4") + b"aR.", "a call of a name"),
    "a call with very many arguments": (name("numpy", "dtype") + b"(" + text("f4") + b"N" * 100 + b"tR.", "a call of a name"),
    "attributes of an allowed name": (name("numpy", "dtype") + b"}" + text("make") + b"Nsb.", "a name with a state of its"),
    "slots of an allowed name": (name("numpy", "dtype") + b"N}" + text("make") + b"Ns\x86b.", "a name with a state of its"),
    "a state of a dictionary": (b"}}" + text("x") + b"Nsb.", "a dict with a state of its own"),
    "an allowed name as a value": (name("numpy", "dtype") + b".", "holds a name;"),
    "ndarray called": (name("numpy", "ndarray") + b"(I9\ntR.", "made in an unusual way"),
    "items of an array": (
        name("numpy.core.numeric", "_frombuffer") + b"(C\x04abcd" + dtype("f4") + b"I1\n\x85" + text("C") + b"tRK\x00K\x00s.",
        "a ndarray that is used as a dictionary",
    ),
    "a dictionary as a list": (b"}K\x01a.", "a dict that is used as a list"),
    "a byte array as a list": (b"\x80\x05\x96\x01" + b"\0" * 7 + b"a(K\x01e.", "a bytearray that is used as a list"),
    "a set with items of a name": (b"\x80\x04\x8f(" + name("numpy", "dtype") + b"\x90.", "holds a name;"),
    "a name of a set's": (name("builtins", "set.__init__") + b".", "the name builtins.set.__init__"),
    "a set of what is no list": (name("builtins", "set") + text("ab") + b"\x85R.", "a set of unknown form"),
    "a set that holds itself": (b"\x80\x04\x8f\x94(h\x00\x90.", "nested more than 20 deep"),
    "very deep sets": (b"\x80\x04" + b"\x8f" * MANY + b"a" * (MANY - 1) + b".", "nested more than 20 deep"),
    "many sets of one list": (
        b"](" + b"K\x01" * 20_000 + b"eq\x000](" + (name("builtins", "set") + b"h\x00\x85R") * 80 + b"e.", "sets, more than"
    ),
    "a buffer outside the file": (b"\x80\x05\x97.", "the instruction next_buffer"),
    "a buffer made read-only": (b"\x80\x05C\x01a\x98.", "the instruction readonly_buffer"),
    "claimed size, BINBYTES8": (claims(b"\x8e", 2**40, "<Q"), "is no pickle, or damaged"),
    "claimed size, BINUNICODE8": (claims(b"\x8d", 2**40, "<Q"), "is no pickle, or damaged"),
    "claimed size, BYTEARRAY8": (claims(b"\x96", 2**40, "<Q"), "is no pickle, or damaged"),
    "claimed size, FRAME": (claims(b"\x95", 2**40, "<Q"), "is no pickle, or damaged"),
    "claimed size, BINBYTES": (claims(b"B", 2**31 - 1, "<I"), "is no pickle, or damaged"),
    "claimed size, LONG4": (claims(b"\x8b", 2**31 - 1, "<i"), "is no pickle, or damaged"),
    "claimed shape": (array(b"I1000000\nI1000000\n", b"C\x04abcd"), "an array of shape .1000000, 1000000., more than"),
    "claimed shape of nothing": (array(b"I0\nI1000000000\nI5\n", b"C\x00"), "an array of shape .0, 1000000000, 5., more"),
    "many arrays of one content": (
        b"B" + struct.pack("<I", 400_000) + b"a" * 400_000 + b"q\x000(I1\n(J" + struct.pack("<i", 100_000) + b"t"
        + dtype("f4") + b"I00\nh\x00tq\x010](" + (EMPTY + b"h\x01b") * 60 + b"e.",
        "an array of shape .100000,., more than",
    ),
    "many copies of one text": (
        text("a" * 500_000) + b"q\x000](" + (name("_codecs", "encode") + b"h\x00\x85R") * 80 + b"e.",
        "byte strings, more than",
    ),
    "many dictionaries of one list": (
        b"](" + b"K\x01K\x02\x86" * 20_000 + b"eq\x000](" + (name("collections", "OrderedDict") + b"h\x00\x85R") * 80 + b"e.",
        "dictionaries, more than",
    ),
    "lists of lists of lists": (laughs(6) + b".", "more than 32 times the file"),
    "lists of lists in an array of objects": (
        laughs(6) + b"0" + array(b"K\x02", b"](h\x05h\x05e", "O8") + b".", "more than 32 times the file"
    ),
    "lists of lists for a type": (laughs(9) + b"0" + name("numpy", "dtype") + b"h\x08\x85R.", "of type 'list'"),
    "lists of lists for an array's type": (
        laughs(9) + b"0" + name("numpy.core.multiarray", "scalar") + b"h\x08C\x01a\x86R.", "an array whose type is a list"
    ),
    "a list that holds itself": (b"]q\x00h\x00a.", "nested more than 20 deep"),
    "a dictionary that holds itself": (b"}q\x00K\x01h\x00s.", "nested more than 20 deep"),
    "very deep lists": (b"]" * MANY + b"a" * (MANY - 1) + b".", "nested more than 20 deep"),
    "very deep tuples": (b")" + b"\x85" * MANY + b".", "nested more than 20 deep"),
    "a very deep key": (b"})" + b"\x85" * (10 * MANY) + b"Ns.", "a dictionary with a tuple for a key"),
    "a tuple for a key of an ordered dictionary": (
        name("collections", "OrderedDict") + b"])K\x01\x86a\x85R.", "a dictionary with a tuple for a key"
    ),
    "a huge integer": (b"\x8b" + struct.pack("<i", 1000) + b"\x7f" * 1000 + b".", "a number of more than 64 bits"),
    "a huge integer in hexadecimal": (b"I0x" + b"f" * 5000 + b"\n.", "a number of more than 64 bits"),
    "a huge integer in digits": (b"I" + b"9" * 5000 + b"\n.", "is no pickle, or damaged"),
    "text of no characters": (array(b"K\x01", b"C\x04\xff\xff\xff\xff", "U1"), "text of what are no characters"),
    "a type of several": (dtype("f4,i8") + b".", "an array of type 'f4,i8'"),
    "a type that is a date": (dtype("M8[D]") + b".", "an array of type 'M8"),
    "content that does not fit": (array(b"K\x02", b"C\x04abcd"), "whose content does not fit its shape"),
    "objects that do not fit": (array(b"K\x02", b"](Ne", "O8"), "an array of objects of unknown form"),
    "an array without a state": (EMPTY + b".", "an array without content"),
}  # fmt: skip


DANGEROUS = [
    ("posix", "system"), ("os", "system"), ("nt", "system"), ("os", "popen"), ("os", "execv"), ("posix", "open"),
    ("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "eval"), ("builtins", "open"), ("builtins", "getattr"),
    ("builtins", "__import__"), ("builtins", "compile"), ("builtins", "breakpoint"), ("subprocess", "Popen"),
    ("importlib", "import_module"), ("canary_of_the_inputs", "anything"), ("pickle", "loads"), ("_pickle", "loads"),
    ("marshal", "loads"), ("functools", "partial"), ("operator", "attrgetter"), ("types", "FunctionType"),
    ("ctypes", "CDLL"), ("torch", "load"), ("pandas", "read_pickle"), ("numpy", "load"), ("numpy", "fromfile"),
    ("numpy", "memmap"), ("numpy.testing._private.utils", "runstring"), ("numpy.core.multiarray", "fromfile"),
    ("numpy", "ndarray.tofile"), ("numpy", "dtype.__class__.__mro__"), ("_codecs", "encode.__self__"),
    ("_codecs", "lookup"), ("collections", "OrderedDict.__init__.__globals__"), ("copyreg", "__newobj__"),
    ("copyreg", "_reconstructor"), ("io", "open"), ("pathlib", "Path"), ("shutil", "rmtree"), ("sys", "modules"),
    ("webbrowser", "open"), ("code", "interact"), ("pip", "main"), ("pty", "spawn"), ("asyncio", "run"),
]  # fmt: skip
"""Names that run code, or lead to what does."""


def dangerous_pickles() -> Iterator[bytes]:
    """Each of these names by each of the ways to name and to call something."""
    arguments = [text("true"), text("import canary_of_the_inputs"), text("canary_of_the_inputs") + text("w")]
    for (module, attribute), argument, head in product(DANGEROUS, arguments, (b"", b"\x80\x02", b"\x80\x04")):
        plain = name(module, attribute)
        stacked = text(module) + text(attribute) + b"\x93"
        for named in (plain, stacked):
            yield head + named + b"(" + argument + b"tR."
            yield head + named + b"(" + argument + b"t\x81."
            yield head + named + b"(" + argument + b"t}\x92."
            yield head + b"(" + named + argument + b"o."
            yield head + b"}" + named + b"(" + argument + b"tRNs."
            yield head + name("numpy", "dtype") + b"(" + named + b"tR."
            yield head + EMPTY + named + b"b."
        yield head + b"(" + argument + f"i{module}\n{attribute}\n.".encode()


@contextlib.contextmanager
def extensions(value: object) -> Iterator[None]:
    """Extension codes that are known to the process and stand for `value`."""
    cache: dict[int, object] = copyreg._extension_cache  # type: ignore[attr-defined]
    cache.update(dict.fromkeys(EXTENSIONS, value))
    try:
        yield
    finally:
        for code in EXTENSIONS:
            del cache[code]
