"""The neutral layout: what is read of it, and what is refused, in one line and without a crash."""

import io
import os
import signal
import struct
import zipfile

import h5py
import numpy as np
import pytest

from benchmark.data import neutral
from benchmark.data.guarded import ALWAYS, INFLATION
from benchmark.data.inspection import inspect_file
from benchmark.errors import BenchmarkError
from benchmark.protocol.missing import MODALITIES
from tests.data_files import SIZES, dump, neutral_content, read, write_hdf5, write_npz

WRITERS = {
    "npz": write_npz,
    "npz, compressed": lambda path, content: write_npz(path, content, np.savez_compressed),
    "HDF5": write_hdf5,
    "HDF5, compressed": lambda path, content: write_hdf5(path, content, compression="gzip"),
}
each_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def refusal(path, task="mosi"):
    with pytest.raises(BenchmarkError) as caught:
        read(path, task)
    text = str(caught.value)
    assert text.isprintable() and path.name in text and len(text) < 400 + len(str(path))
    with pytest.raises(BenchmarkError) as inspected:
        inspect_file(path)
    assert str(inspected.value) == text
    return text


@each_writer
@pytest.mark.parametrize("name", ["x.npz", "x.h5", "x.pkl", "x"])
def test_it_is_told_by_its_content_and_read_as_the_same_in_a_pickle(tmp_path, write, name):
    content = neutral_content()
    expected = read(dump(tmp_path / "y.pkl", content))
    dataset = read(write(tmp_path / name, content))
    assert dataset.origin == f"{name}, neutral" and dataset.warnings == () == expected.warnings
    for split_name, split in dataset.splits.items():
        other = expected.splits[split_name]
        assert np.array_equal(split.ids, other.ids) and np.array_equal(split.labels, other.labels)
        for m in MODALITIES:
            assert np.array_equal(split.features[m], other.features[m])
            assert np.array_equal(split.lengths[m], other.lengths[m])
        assert split.lengths["a"][1] == 0


@each_writer
def test_other_names_and_forms_are_known_too(tmp_path, write):
    content = neutral_content()
    content["dev"] = content.pop("valid")
    for split in content.values():
        split["text"], split["text_lengths"] = split.pop("language"), split.pop("language_lengths")
        split["audio"] = split["audio"].mean(1)  # one vector a sample
        del split["audio_lengths"]
        split["id"] = np.array([name.encode() for name in split.pop("ids").tolist()])
    dataset = read(write(tmp_path / "x", content), "mosi_intensity")
    assert dataset.max_frames["a"] == 1 and dataset.splits["valid"].ids[0] == "valid0$_$0"
    assert dataset.splits["test"].lengths["l"].tolist() == content["test"]["text_lengths"].tolist()


@each_writer
def test_labels_may_be_text(tmp_path, write):
    content = neutral_content()
    for name, n in SIZES.items():
        content[name]["labels"] = np.resize(np.array(["böse", "gut"]), n)
    task = {"name": "mine", "target": {"kind": "category", "names": ["gut", "böse"]}}
    assert read(write(tmp_path / "x", content), task).splits["valid"].labels.tolist() == [1, 0, 1, 0, 1, 0]


@each_writer
def test_what_nobody_asks_for_is_not_read(tmp_path, write):
    content = neutral_content()
    for split in content.values():
        split["text"] = np.array(["some words"] * len(split["labels"]))  # language is there
        split["wave"] = np.zeros((len(split["labels"]), 5))
        if write in (write_npz, WRITERS["npz, compressed"]):
            split["notes"] = np.array([{"a": 1}] * len(split["labels"]), dtype=object)
    assert read(write(tmp_path / "x", content)).warnings == ()


@each_writer
def test_keys_of_the_task_name_other_arrays(tmp_path, write):
    content = neutral_content()
    for split in content.values():
        split["glove"], split["n"] = split.pop("language"), split.pop("language_lengths")
        split["mark"] = split.pop("labels")
        split["name"] = split.pop("ids")
    content["dev"], content["held out"] = content.pop("valid"), content.pop("test")
    keys = {"language": "glove", "language_lengths": "n", "labels": "mark", "ids": "name", "test": "held out"}
    task = {"name": "mine", "target": {"kind": "polarity"}, "keys": keys}
    dataset = read(write(tmp_path / "x", content), task)
    assert dataset.warnings == ()
    assert dataset.splits["test"].lengths["l"].tolist() == content["held out"]["n"].tolist()
    assert dataset.splits["train"].ids[0] == "train0$_$0"
    for key, wrong in (("language", "bert"), ("language_lengths", "len"), ("ids", "key"), ("labels", "y")):
        with pytest.raises(BenchmarkError, match=rf"lacks '{wrong}'.*correct"):
            read(tmp_path / "x", task | {"keys": keys | {key: wrong}})


def test_places_in_a_tuple_say_nothing_of_this_layout(tmp_path):
    """A task whose usual file is a tuple may have its data in this layout too."""
    content = neutral_content()
    for name, n in SIZES.items():
        content[name]["labels"] = np.arange(n) % 6
    dataset = read(write_npz(tmp_path / "iemocap6.npz", content), "iemocap6")
    assert dataset.splits["test"].labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


# --- What is refused --------------------------------------------------------------------------------------------------


def put(key, value, split="test"):
    def change(content):
        content[split][key] = value

    return change


def only_flat(content):
    for name in list(content):
        content[name] = {"": content[name]["labels"]}


REFUSED = {
    "no split": (lambda c: c.pop("valid"), "lacks the split 'valid'; it holds test, train; docs/own-data.md shows"),
    "no labels": (lambda c: c["test"].pop("labels"), "split 'test' lacks 'regression_labels' or 'labels'; it holds aud"),
    "no audio": (lambda c: c["test"].pop("audio"), "split 'test' lacks 'audio'; .*if the data have no audio, say so"),
    "counts": (lambda c: put("audio", c["test"]["audio"][1:])(c), "7 audio.*8 labels"),
    "text for features": (put("audio", np.array(["a"] * 8)), "audio: holds <U1 where numbers are expected"),
    "four axes": (put("audio", np.ones((8, 2, 2, 2))), r"audio: shape \(8, 2, 2, 2\) where"),
    "token ids": (put("language", np.arange(48).reshape(8, 6) + 99), "language: whole numbers of shape .8, 6. are token"),
    "lengths": (put("audio_lengths", np.full(8, 99)), "audio lengths: 8 outside 0 to 9"),
    "half a frame": (put("audio_lengths", np.full(8, 1.5)), "audio_lengths: holds what is no whole number"),
    "one label": (put("labels", np.array(3.0)), "one number where one a sample is expected"),
    "a long id": (put("ids", np.array(["a" * 201, *"bcdefgh"])), "row 0 has more than 200 characters"),
}  # fmt: skip


@each_writer
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, write, case):
    change, said = REFUSED[case]
    content = neutral_content()
    change(content)
    with pytest.raises(BenchmarkError, match=said) as caught:
        read(write(tmp_path / "x", content))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([{}] * 8, dtype=object), "as 'test/audio.npy' an array of Python objects; write numbers, or text"),
        (np.zeros(8, dtype=[("a", "f4")]), r"an array of type \[\('a', '<f4'\)\]"),
        (np.zeros(8, dtype="M8[D]"), "an array of type datetime64"),
        (np.zeros(8, dtype="c8"), "an array of type complex64"),
        (np.zeros(8, dtype="V4"), "an array of type |V4"),
    ],
)
def test_arrays_that_are_no_numbers_or_text_are_refused(tmp_path, value, said):
    content = neutral_content()
    content["test"]["audio"] = value
    assert said.split("[")[0].replace("\\", "") in refusal(write_npz(tmp_path / "x.npz", content))


def member(header, content=b"", version=b"\x01\x00"):
    """An array in .npy, written by hand."""
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + content


def header(shape, descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


def archive(path, *audio, **options):
    """A good file but for ``test/audio``."""
    content = neutral_content()
    del content["test"]["audio"]
    write_npz(path, content)
    with zipfile.ZipFile(path, "a", **options) as file:
        for one in audio:
            file.writestr("test/audio.npy", one)
    return path


ARRAYS = {
    "a claimed shape": (member(header("(1000000, 1000000)")), "an array of shape .1000000, 1000000., more than 32 times"),
    "a claimed shape of nothing": (member(header("(0, 1000000000, 5)")), "an array of shape .*more than 32 times"),
    "a longer shape": (member(header("(8, 9, 4)"), bytes(100)), "whose content does not fit its shape"),
    "a shorter shape": (member(header("(8, 1, 4)"), bytes(1000)), "whose content does not fit its shape"),
    "a negative shape": (member(header("(-8, 9, 4)"), bytes(1152)), "an array of unknown shape"),
    "a shape of truth": (member(header("(True, 9)"), bytes(36)), "an array of unknown shape"),
    "a shape of no tuple": (member(header("'x'")), "whose description is damaged"),
    "many axes": (member(header("(1,) * 40")), "whose description is damaged"),
    "forty axes": (member(header(str((1,) * 40)), bytes(4)), "an array of unknown shape"),
    "a huge shape": (member(header(f"({2**70},)")), "an array of unknown shape"),
    "a huge item": (member(header("(8,)", "'<U500000000'")), "an array of shape .8,., more than"),
    "objects": (member(header("(8,)", "'|O'"), bytes(64)), "an array of Python objects"),
    "records": (member(header("(8,)", "[('a', '<f4')]"), bytes(32)), "an array of type"),
    "an array of arrays": (member(header("(8,)", "('<f4', (9, 4))"), bytes(1152)), "whose description is damaged|an array of type"),
    "no characters": (member(header("(8,)", "'<U1'"), b"\xff" * 32), "text of what are no characters"),
    "code": (member(header("__import__('os').system('true')")), "whose description is damaged"),
    "deep code": (member(header("(" * 3000)), "whose description is damaged"),
    "many signs": (member(header("-" * 9000 + "1")), "whose description is damaged"),
    "a long header": (member(header("(8,)") + b" " * 20_000, bytes(32)), "whose description is damaged"),
    "no header": (b"", "whose description is damaged"),
    "another version": (member(header("(8,)"), bytes(32), b"\x03\x00"), "whose description is damaged"),
    "no version": (member(header("(8,)"), bytes(32), b"\x09\x00"), "whose description is damaged"),
    "no array": (b"cos\nsystem\n(S'true'\ntR.", "whose description is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_written_by_hand_are_refused_for_what_they_are(tmp_path, case):
    content, said = ARRAYS[case]
    path = archive(tmp_path / "x.npz", content)
    with pytest.raises(BenchmarkError, match=said):
        read(path)
    refusal(path)


def test_numbers_of_other_machines_are_read(tmp_path):
    content = neutral_content()
    expected = read(write_npz(tmp_path / "x.npz", content))
    for split in content.values():
        split["audio"] = np.asfortranarray(split["audio"].astype(">f8"))
        split["labels"] = split["labels"].astype(">f4")
    dataset = read(write_npz(tmp_path / "y.npz", content))
    for name, split in dataset.splits.items():
        assert np.array_equal(split.features["a"], expected.splits[name].features["a"])
        assert np.array_equal(split.labels, expected.splits[name].labels)


def test_a_bomb_is_not_unpacked(tmp_path):
    """A thousandth of it on disk; its size stands in the directory, and is more than a file may take."""
    content = neutral_content()
    for split in content.values():
        split["audio"] = np.zeros((len(split["labels"]), 1000, 1000), dtype=np.float32)
    path = write_npz(tmp_path / "x.npz", content, np.savez_compressed)
    assert 100 * path.stat().st_size < content["test"]["audio"].nbytes > ALWAYS + INFLATION * path.stat().st_size
    assert "of 48000128 bytes, far more than the file has; write it with numpy.savez" in refusal(path)


def test_a_bomb_in_hdf5_is_not_unpacked(tmp_path):
    def bomb(file, audio):
        file.create_dataset(
            "test/audio", data=np.zeros((8, 1000, 1000), "f4"), compression="gzip", chunks=(8, 1000, 100)
        )

    path = changed(tmp_path / "x.h5", bomb)
    assert ALWAYS + INFLATION * path.stat().st_size < 32_000_000
    assert "far larger than the file; write it uncompressed" in refusal(path)


def test_a_size_that_is_too_small_in_the_directory_is_no_way_round(tmp_path):
    content = member(header("(8, 1000, 1000)"), bytes(32_000_000))
    path = archive(tmp_path / "x.npz", content, compression=zipfile.ZIP_DEFLATED)
    told = path.read_bytes()
    size = struct.pack("<I", len(content))
    assert told.count(size) == 2  # beside the member, and in the directory
    path.write_bytes(told.replace(size, struct.pack("<I", 1000)))
    assert "damaged" in refusal(path)


def test_archives_that_are_odd_are_refused(tmp_path):
    good = member(header("(8, 9, 4)"), bytes(1152))
    with pytest.warns(UserWarning, match="Duplicate name"):
        assert "'test/audio' twice; leave one" in refusal(archive(tmp_path / "twice.npz", good, good))
    for compression in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = archive(tmp_path / f"{compression}.npz", good, compression=compression)
        assert "packed in an unusual way; write it with numpy.savez" in refusal(path)
    path = archive(tmp_path / "secret.npz", good)
    told = bytearray(path.read_bytes())
    place = told.rindex(b"PK\x01\x02")
    told[place + 8] |= 1
    path.write_bytes(told)
    assert "packed in an unusual way" in refusal(path)
    whole = write_npz(tmp_path / "x.npz", neutral_content()).read_bytes()
    for end in (len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.npz").write_bytes(whole[:end])
        assert "is NumPy's .npz, but damaged (File is not a zip file); fetch" in refusal(tmp_path / "cut.npz")


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
def test_arrays_outside_of_splits_are_told(tmp_path, write):
    path = tmp_path / "x"
    if write is write_npz:
        np.savez(path.open("wb"), train=np.ones(3), labels=np.ones(3))
    else:
        with h5py.File(path, "w") as file:
            file["train"], file["labels"] = np.ones(3), np.ones(3)
    assert "holds 'train', but not as a group of arrays (train/language, train/labels, …)" in refusal(path)
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    path.write_bytes(buffer.getvalue())
    assert "lacks the split 'train'; it holds a; docs/own-data.md shows" in refusal(path)


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def changed(path, change):
    """A good file with ``test/audio`` made in another way."""
    content = neutral_content()
    write_hdf5(path, content)
    with h5py.File(path, "a") as file:
        audio = file["test/audio"][()]
        del file["test/audio"]
        change(file, audio)
    return path


def external_link(file, audio):
    file["test/audio"] = h5py.ExternalLink("other.h5", "test/audio")


def soft_link(file, audio):
    file["test/elsewhere"] = audio
    file["test/audio"] = h5py.SoftLink("/test/elsewhere")


def external_numbers(file, audio):
    file.create_dataset("test/audio", audio.shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(file, audio):
    layout = h5py.VirtualLayout(audio.shape, "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", audio.shape)
    file.create_virtual_dataset("test/audio", layout)


def huge(file, audio):
    file.create_dataset("test/audio", (2**20, 2**20, 2**10), "f4", chunks=(1, 1024, 1024))


def null(file, audio):
    file["test/audio"] = h5py.Empty("f4")


def reference(file, audio):
    file.create_dataset("test/audio", (8,), h5py.ref_dtype)


def ragged(file, audio):
    data = file.create_dataset("test/audio", (8,), h5py.vlen_dtype(np.float32))
    for row, x in enumerate(audio):
        data[row] = x.ravel()[: row + 1]


def records(file, audio):
    file["test/audio"] = np.zeros(8, dtype=[("a", "f4")])


def rows(file, audio):
    file.create_dataset("test/audio", (8,), np.dtype(("f4", (9, 4))))


def group(file, audio):
    file.create_group("test/audio")


def a_type(file, audio):
    file["test/audio"] = np.dtype("f4")


def long_texts(file, audio):
    file["test/audio"] = ["a" * 1_000_000, *["b"] * 500]


HDF5 = {
    external_link: "a link as 'audio'; copy into it what the link leads to",
    soft_link: "a link as 'audio'",
    external_numbers: "an array 'audio' whose numbers stand in another file",
    virtual: "an array 'audio' whose numbers stand in another file",
    huge: "an array 'audio' of shape (1048576, 1048576, 1024), far larger than the file",
    null: "no array as 'audio'; write one",
    reference: "an array 'audio' of type object; write numbers or text",
    ragged: "an array 'audio' of type object; write numbers or text",
    records: "an array 'audio' of type",
    rows: "an array 'audio' of type",
    group: "no array as 'audio'",
    a_type: "no array as 'audio'",
    long_texts: "texts of up to 1000000 characters as 'audio'; shorten them",
}


@pytest.mark.parametrize("change", HDF5, ids=lambda change: change.__name__)
def test_what_an_hdf5_file_may_not_hold(tmp_path, change):
    assert HDF5[change] in refusal(changed(tmp_path / "x.h5", change))


def test_a_split_that_is_a_link_is_told(tmp_path):
    path = write_hdf5(tmp_path / "x.h5", neutral_content())
    with h5py.File(path, "a") as file:
        del file["test"]
        file["test"] = h5py.ExternalLink("other.h5", "test")
    assert "holds 'test', but not as a group" in refusal(path)


def test_truth_values_and_small_numbers_are_read(tmp_path):
    content = neutral_content()
    for split in content.values():
        split["vision"] = split["vision"] > 3
        split["audio"] = split["audio"].astype(np.float16)
    assert read(write_hdf5(tmp_path / "x.h5", content)).feature_dims["v"] == 3


def test_damaged_hdf5_is_told(tmp_path):
    path = tmp_path / "x.h5"
    whole = write_hdf5(path, neutral_content()).read_bytes()
    path.write_bytes(whole[:1000])
    assert "is HDF5, but damaged (OSError: Unable to" in refusal(path)
    path.write_bytes(whole[:8] + bytes(100))
    assert "is HDF5, but damaged" in refusal(path)


BREAKS_OFF = "is HDF5, but damaged, so that reading it breaks off; fetch or write it again"


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (f"os.kill(os.getpid(), {signal.SIGSEGV.value})", BREAKS_OFF),
        ("os._exit(0)", BREAKS_OFF),
        ("while True: pass", BREAKS_OFF),
        ("sys.stdout.buffer.write(b'no json' + bytes(2 ** 21)); sys.stdout.flush(); os._exit(0)", BREAKS_OFF),
        ("raise ValueError('a\\nb')", "is HDF5, but damaged (ValueError: a b); fetch or write it again"),
        ("raise MemoryError", "does not fit into memory; use a machine that has more"),
        ("bytearray(2 ** 40)", "does not fit into memory; use a machine that has more"),
        (None, "needs h5py to be read: pip install h5py; or write it as .npz"),
    ],
)
def test_a_crash_of_the_library_ends_no_run(tmp_path, monkeypatch, does, said):
    """In its place one that does the worst, in the process that reads the file."""
    monkeypatch.setattr(neutral, "_SECONDS", 1)
    path = write_hdf5(tmp_path / "x.h5", neutral_content())
    library = "raise ImportError" if does is None else f"import os, sys\ndef File(*_, **__):\n    {does}\n"
    (tmp_path / "h5py.py").write_text(library)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert said in refusal(path)


def test_a_crash_amidst_an_array_ends_no_run(tmp_path, monkeypatch):
    text = neutral._READER.read_text()
    cut = text.replace("    if array.nbytes:", "    out.flush(); import os; os._exit(1)\n    if array.nbytes:")
    assert cut != text
    (tmp_path / "reader.py").write_text(cut)
    monkeypatch.setattr(neutral, "_READER", tmp_path / "reader.py")
    assert BREAKS_OFF in refusal(write_hdf5(tmp_path / "x.h5", neutral_content()))


def test_where_no_process_can_be_started_it_is_told(tmp_path, monkeypatch):
    path = write_hdf5(tmp_path / "x.h5", neutral_content())
    monkeypatch.setattr("sys.executable", str(tmp_path / "absent"))
    assert "cannot start a process to read" in refusal(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    assert "it is no file; name a data file" in refusal(tmp_path / "x.npz")
