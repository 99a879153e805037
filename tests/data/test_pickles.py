import _codecs
import os
import pickle
import pickletools
import re
import struct
from collections import OrderedDict
from pathlib import PurePosixPath

import numpy as np
import pytest

from benchmark.data.pickles import load_pickle
from benchmark.errors import BenchmarkError

PLAIN = {
    "c": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array(["a", b"x", 3, None], dtype=object),
    "scalar": np.float32(3.5),
    "big_endian": np.arange(3, dtype=">f4"),
    "bool": np.array([True, False]),
    "no_axis": np.array(5),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "nested": [1, (2.5, None, {"x": b"y"}), [], True],
    "ordered": OrderedDict(a=1),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_comes_back_as_it_was(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol))
    read = load_pickle(path)
    assert read.keys() == PLAIN.keys()
    for key, value in PLAIN.items():
        assert np.array_equal(np.asarray(read[key], dtype=object), np.asarray(value, dtype=object)), key
        if isinstance(value, np.ndarray):
            assert read[key].dtype == value.dtype or key == "big_endian"
            assert read[key].shape == value.shape
            read[key].copy()[...] = 0
    assert type(read["ordered"]) is dict


@pytest.mark.parametrize("protocol", range(6))
def test_sets_come_as_lists_in_the_files_order(tmp_path, protocol):
    """Nothing is hashed; and the order of a set of texts differs from process to process, that of a file does not."""
    sets = {"set": {"b", "a", "c"}, "frozen": frozenset([3, 1, 2]), "empty": set(), "none": frozenset()}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(sets, protocol))
    read = load_pickle(path)
    assert all(type(value) is list for value in read.values())
    assert {name: len(value) for name, value in read.items()} == {"set": 3, "frozen": 3, "empty": 0, "none": 0}
    assert read["set"] == list(sets["set"]) and read["frozen"] == list(sets["frozen"])


def test_a_pickle_of_python_2(tmp_path):
    """Protocol 2 as Python 2 wrote it: byte strings as text, under numpy.core's names."""
    array = np.arange(4, dtype="<f4").reshape(2, 2)
    content = array.tobytes()
    text = b"(dp0\nS'x'\np1\n"
    text += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nI2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR"
    text += b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS" + repr(content)[1:].encode("ascii") + b"\ntbs."
    path = tmp_path / "x.pkl"
    path.write_bytes(text)
    assert np.array_equal(load_pickle(path)["x"], array)


class _Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(tmp_path):
    marker = tmp_path / "marker"
    run = f"open({str(marker)!r}, 'w')"
    dtype = np.dtype("f4")

    class Persistent(pickle.Pickler):
        def persistent_id(self, value):
            return "outside" if value == "token" else None

    def persistent():
        import io

        buffer = io.BytesIO()
        Persistent(buffer).dump(["token"])
        return buffer.getvalue()

    def array_with(shape, kind=b"f4", content=b"\0" * 16):
        """An array whose state is made by hand."""
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(" + shape + b"tcnumpy\ndtype\n(C"
            + struct.pack("<B", len(kind)) + kind + b"I0\nI1\ntR(I3\nC\x01<NNNI-1\nI-1\nI0\ntbI00\nC"
            + struct.pack("<B", len(content)) + content + b"tb."
        )  # fmt: skip

    return marker, {
        "os.system": pickle.dumps(_Calls(os.system, f"touch {marker}")),
        "eval": pickle.dumps(_Calls(eval, run)),
        "exec": pickle.dumps(_Calls(exec, run)),
        "getattr": pickle.dumps(_Calls(getattr, "text", "upper")),
        "numpy function": pickle.dumps(_Calls(np.loadtxt, str(marker))),
        "class": pickle.dumps(PurePosixPath("/")),
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
        "dotted through allowed": b"\x80\x04\x8c\x07_codecs\x8c\x0eencode.__self__\x93.",
        "copyreg": b"ccopyreg\n_reconstructor\n.",
        "extension registry": b"\x82\x01.",
        "persistent id": persistent(),
        "protocol 0 persistent id": b"Pabc\n.",
        "object with state": b"cnumpy\ndtype\n(S'f4'\ntR}S'x'\nS'y'\nsb.",
        "state of a class": b"cnumpy\ndtype\n}S'__call__'\nI1\nsb.",
        "object in an array": pickle.dumps(np.array([PurePosixPath("/")], dtype=object)),
        "call in an object array": pickle.dumps(np.array([_Calls(os.system, f"touch {marker}")], dtype=object)),
        "record dtype": pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])),
        "date": pickle.dumps(np.array(["2020-01-01"], dtype="M8[D]")),
        "huge shape": array_with(b"I1000000\nI1000000\n"),
        "negative shape": array_with(b"I-1\nI4\n"),
        "shape of no numbers": array_with(b"S'x'\nI4\n"),
        "content too short": array_with(b"I2\nI4\n"),
        "dtype of nonsense": array_with(b"I2\nI2\n", b"f4,(1e9)i8"),
        "array without state": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR.",
        "ndarray called": b"cnumpy\nndarray\n((I9\nttR.",
        "reconstruct as value": b"cnumpy.core.multiarray\n_reconstruct\n.",
        "holds itself": b"]p0\ng0\na.",
        "scalar of an object": pickle.dumps(_Calls(_scalar(), np.dtype("O"), b"12345678")),
        "wrong scalar": pickle.dumps(_Calls(_scalar(), dtype, b"123")),
        "nothing": b"",
        "no pickle": b"hello world\n" * 10,
        "zip": b"PK\x03\x04" + b"\0" * 50,
        "truncated": pickle.dumps(PLAIN)[:-40],
        "deep": b"(" * 5000 + b"t" * 5000 + b".",
    }  # fmt: skip


def _scalar():
    return np.float32(1).__reduce__()[0]


CASES = list(hostile(__import__("pathlib").Path("/nonexistent"))[1])


@pytest.mark.parametrize("case", CASES)
def test_hostile_and_broken_files_are_refused_in_one_line_and_run_nothing(tmp_path, case):
    marker, cases = hostile(tmp_path)
    path = tmp_path / "x.pkl"
    path.write_bytes(cases[case])
    with pytest.raises(BenchmarkError) as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value) and "x.pkl" in str(caught.value)
    assert not marker.exists()


def test_the_hostile_files_are_hostile(tmp_path):
    """The test above means something: the plain unpickler runs what these files hold."""
    marker, cases = hostile(tmp_path)
    for case in ("os.system", "eval", "exec", "call in an object array"):
        pickle.loads(cases[case])
        assert marker.exists(), case
        marker.unlink()


def test_what_the_message_says(tmp_path, monkeypatch):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(_Calls(os.system, "true")))
    with pytest.raises(BenchmarkError, match=r"refused: it holds the name (posix|nt).system; .*convert it first"):
        load_pickle(path)
    with pytest.raises(BenchmarkError, match=r"cannot read .*: No such file"):
        load_pickle(tmp_path / "absent.pkl")
    with pytest.raises(BenchmarkError, match=r"^cannot read .*: it is no file; name a data file$"):
        load_pickle(tmp_path)
    path.write_bytes(b"\x80\x02\xff.")
    with pytest.raises(
        BenchmarkError, match=r"is no pickle, or damaged \(there is no instruction 0xff\); fetch it again"
    ):
        load_pickle(path)

    def load(self):
        raise MemoryError

    monkeypatch.setattr("benchmark.data.pickles._Unpickler.load", load)
    with pytest.raises(BenchmarkError, match="does not fit into memory; use a machine that has more"):
        load_pickle(path)


class _Made:
    """What a pickle calls, with which arguments, and the state it gives to the result."""

    def __init__(self, function, arguments=(), state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


F4 = np.dtype("f4")


def _array(*state):
    return _Made(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), state)


def _dtype(name, state=(3, "<", None, None, None, -1, -1, 0)):
    return _Made(np.dtype, (name, False, True), state)


_encode = _codecs.encode
OF_BYTES = b"\x80\x02c__builtin__\nbytes\n"

ODD = {
    "state that is a list": (
        _Made(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), [1, (1,), F4, False, b"1234"]),
        "an array of unknown form",
    ),
    "state too short": (_array(1, (1,), F4, False), "an array of unknown form"),
    "shape that is a list": (_array(1, [1], F4, False, b"1234"), "an array of unknown shape"),
    "too many axes": (_array(1, (1,) * 33, F4, False, b"1234"), "an array of unknown shape"),
    "truth as a size": (_array(1, (True,), F4, False, b"1234"), "an array of unknown shape"),
    "fraction as a size": (_array(1, (1.0,), F4, False, b"1234"), "an array of unknown shape"),
    "negative sizes": (_array(1, (-1, -1), F4, False, b"1234"), "an array of unknown shape"),
    "content that is a list": (_array(1, (1,), F4, False, [0, 0, 0, 0]), "an array of unknown form"),
    "objects that are bytes": (
        _array(1, (8,), np.dtype("O"), False, b"12345678"),
        "an array of objects of unknown form",
    ),
    "too few objects": (_array(1, (2,), np.dtype("O"), False, [1]), "an array of objects of unknown form"),
    "content too long": (_array(1, (1,), F4, False, b"12345678"), "content does not fit its shape"),
    "no characters": (_array(1, (1,), np.dtype("<U1"), False, b"\xff" * 4), "text of what are no characters"),
    "scalar that is an object": (_Made(_scalar(), (np.dtype("O"), b"12345678")), "an array of unknown form"),
    "type that is text": (_array(1, (1,), "f4", False, b"1234"), "an array whose type is a str"),
    "type of nothing": (_array(1, (1,), _dtype(3), False, b"1234"), "an array of type 'int'"),
    "type that NumPy has not": (_dtype("f12345"), "an array of type 'f12345'"),
    "type that NumPy has not on this machine": (_dtype("U999999999"), "an array of type 'U999999999'"),
    "dates": (_array(1, (1,), _dtype("M8[D]"), False, b"12345678"), "an array of type 'M8[D]'"),
    "a name among objects": (_array(1, (1,), np.dtype("O"), False, [OrderedDict]), "a name"),
    "type with a list for a state": (_dtype("f4", [3, "<"]), "an array type of unknown form"),
    "type with a short state": (_dtype("f4", (3,)), "an array type of unknown form"),
    "bytes of no text": (_Made(_encode, (b"ab", "latin1")), "a byte string of unknown form"),
    "bytes in a strange encoding": (_Made(_encode, ("ab", "rot13")), "a byte string of unknown form"),
    "bytes with arguments": (OF_BYTES + b"K\x05\x85R.", "a byte string of unknown form"),
    "ordered dictionary of a number": (_Made(OrderedDict, (3,)), "a dictionary of unknown form"),
    "ordered dictionary with a tuple as key": (
        _Made(OrderedDict, ([((1, 2), 3)],)),
        "a dictionary with a tuple for a key",
    ),
    "dictionary with a tuple as key": ({(1, 2): 3}, "a dictionary with a tuple for a key"),
    "dictionary with None as key": ({None: 3}, "a dictionary with a nonetype for a key"),
    "call with many arguments": (_Made(OrderedDict, tuple(range(9))), "a call of a name"),
    "call of a number": (b"\x80\x02K\x05)R.", "a call of a int"),
    "call with a list": (b"\x80\x02ccollections\nOrderedDict\n]R.", "a call of a name"),
    "call of what was called": (b"\x80\x02c__builtin__\nbytes\n)R)R.", "a call of a bytes"),
    "state for a list": (b"\x80\x02]}b.", "a list with a state of its own"),
    "state for a name": (b"\x80\x02cnumpy\ndtype\n}b.", "a name with a state of its own"),
    "append to a number": (b"\x80\x02K\x05K\x06a.", "a int that is used as a list"),
    "append to an array": (pickle.dumps(np.zeros(1), 2)[:-1] + b"K\x06a.", "a shell that is used as a list"),
    "item of a list": (b"\x80\x02]K\x05K\x06s.", "a list that is used as a dictionary"),
    "number of 65 bits": (2**64, "a number of more than 64 bits"),
    "negative number of 65 bits": (-(2**63) - 1, "a number of more than 64 bits"),
    "array without content": (_Made(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b")), "an array without content"),
    "name as a value": (b"\x80\x02ccollections\nOrderedDict\n.", "a name"),
    "type as a value": (_dtype("f4"), "a dtype"),
    "deep lists": (b"\x80\x02" + b"]" * 22 + b"a" * 21 + b".", "containers nested more than 20 deep"),
    "array called": (_Made(np.ndarray, ((9,),)), "an array made in an unusual way"),
    "set of a number": (_Made(set, (3,)), "a set of unknown form"),
    "set of a dictionary": (_Made(frozenset, ({},)), "a set of unknown form"),
    "items put into a number": (b"\x80\x04K\x05(K\x06\x90.", "a int that is used as a list"),
    "a method of a set": (b"c__builtin__\nset.pop\n.", "the name __builtin__.set.pop"),
    "huge array": (_array(1, (2**40,), F4, False, b"1234"), "more than 32 times the file"),
    "huge empty array": (_array(1, (0, 2**40), F4, False, b""), "more than 32 times the file"),
    "huge array of objects": (_array(1, (2**40,), np.dtype("O"), False, []), "more than 32 times the file"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_refused_for_what_it_is(tmp_path, case):
    content, message = ODD[case]
    path = tmp_path / "x.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
    with pytest.raises(BenchmarkError) as caught:
        load_pickle(path)
    assert re.search(rf"x\.pkl is refused: it holds .*{re.escape(message)}", str(caught.value))


def test_what_is_unusual_but_harmless_is_read(tmp_path):
    path = tmp_path / "x.pkl"
    cases = {
        "type named in bytes": (_array(1, (1,), _dtype(b"f4"), False, np.float32(3).tobytes()), [3.0]),
        "big-endian by bytes": (_array(1, (1,), _dtype("f4", (3, b">")), False, np.array(3, ">f4").tobytes()), [3.0]),
        "empty text": (_array(1, (0,), np.dtype("U2"), False, b""), []),
        "bytes of nothing": (OF_BYTES + b")R.", b""),
        "largest numbers": ([2**64 - 1, -(2**63)], [2**64 - 1, -(2**63)]),
        "twenty deep": (b"\x80\x02" + b"]" * 21 + b"a" * 20 + b".", None),
    }
    for case, (content, expected) in cases.items():
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
        found = load_pickle(path)
        found = found.tolist() if isinstance(found, np.ndarray) else found
        assert expected is None or found == expected, case


def test_text_may_inflate_but_not_without_bound(tmp_path):
    """NumPy holds text with four bytes a character at the longest item's width; a file may be that much smaller."""
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(np.array(["a"] * 500 + ["b" * 40])))
    assert load_pickle(path).shape == (501,)


def test_every_plain_opcode_of_numpys_pickles_is_covered():
    names = {
        arg
        for protocol in range(6)
        for op, arg, _ in pickletools.genops(pickle.dumps(PLAIN, protocol))
        if op.name == "GLOBAL"
    }
    assert any("_reconstruct" in name for name in names)
