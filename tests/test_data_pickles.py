import os
import pickle
import pickletools
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


def test_what_the_message_says(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(_Calls(os.system, "true")))
    with pytest.raises(BenchmarkError, match=r"refused: it holds the name (posix|nt).system; .*convert it first"):
        load_pickle(path)
    with pytest.raises(BenchmarkError, match=r"cannot read .*: No such file"):
        load_pickle(tmp_path / "absent.pkl")
    with pytest.raises(BenchmarkError, match="cannot read"):
        load_pickle(tmp_path)


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
