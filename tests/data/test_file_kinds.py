"""What is given for a data file and is none: the line says what it is, and what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch

from benchmark.data.inspection import inspect_file
from benchmark.data.pickles import load_pickle
from benchmark.errors import BenchmarkError
from tests.data_files import mult_content, read

GOOD = pickle.dumps(mult_content())


def written(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def archive(buffer):
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("mosi_data.pkl", GOOD)


def tar(buffer):
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("mosi_data.pkl"), io.BytesIO())


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan\n warning</title></head><body></body></html>"
ARRAY = np.ones(3)
WEIGHTS = {"a": torch.ones(3)}
KINDS = {
    "LFS": (LFS, "a pointer of Git LFS to one; run git lfs pull in its repository, or download the file"),
    "page": (PAGE, r"a web page in HTML \('Google Drive - Virus scan warning'\), .*; download the file itself"),
    "page without a title": (b"\n <HTML><body>Sign in.</body></HTML>.", "a web page in HTML, .*download the file"),
    "page after a comment": (b"<!-- cached --><!doctype html>", "a web page in HTML"),
    "page in Latin-1": ("<html><title>Übersicht</title>".encode("latin-1"), r"a web page in HTML \('Übersicht'\)"),
    "page with a mark": (b"\xef\xbb\xbf<html>", "a web page in HTML"),
    "error of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML, beginning with"),
    "empty": (b"", "is empty; fetch it again"),
    "zeros": (bytes(10_000), "begins with nothing but zeros, .*; fetch it again"),
    "gzip": (gzip.compress(GOOD), "compressed with gzip; unpack it, for instance with gunzip"),
    "bzip2": (bz2.compress(GOOD), "compressed with bzip2; unpack it"),
    "xz": (lzma.compress(GOOD), "compressed with xz; unpack it"),
    "zlib": (zlib.compress(GOOD), "compressed with zlib; unpack it"),
    "zip": (written(archive), "a zip archive; unpack it, and name the data file in it"),
    "tar": (written(tar), "a tar archive; unpack it"),
    "npy": (written(lambda file: np.save(file, ARRAY)), "one array in NumPy's .npy; load it with numpy.load"),
    "npy of objects": (
        written(lambda file: np.save(file, mult_content(), allow_pickle=True)),
        "one array in NumPy's .npy; load it with numpy.load",
    ),
    "torch": (written(lambda file: torch.save(WEIGHTS, file)), "a checkpoint of torch.save; load it with torch.load"),
    "old torch": (
        written(lambda file: torch.save(WEIGHTS, file, _use_new_zipfile_serialization=False)),
        "a checkpoint of torch.save; load it with torch.load",
    ),
    "MATLAB": (b"MATLAB 5.0 MAT-file" + bytes(100), "a MATLAB file; read it"),
    "JSON": (json.dumps({"train": {}, "test": {}}, indent=1).encode(), "JSON, beginning with"),
    "JSON list": (b"[1, 2.5]", "JSON, beginning with '.1, 2.5.'"),
    "CSV": (b"id,text,label\n1,abc,0\n2,def,1\n", "a table in text .CSV., beginning with 'id,text,label"),
    "CSV as a spreadsheet writes it": ("id;text\r\n1;abc\r\n".encode("utf-16"), "a table in text .CSV., beginning"),
    "CSV that begins as a pickle may": (b"city,text\nParis,abc\n", "a table in text .CSV., beginning with 'city,text"),
    "text": (b"Not Found\n", "text, beginning with 'Not Found'; name the data file"),
    "text of instructions": (b"N0K\n" * 2000, "text, beginning with 'N0K N0K"),
    "safetensors": (b"\x40" + bytes(7) + b'{"a":{}}'.ljust(64), "safetensors; read it"),
    "changed line ends": (pickle.dumps(mult_content(), 2).replace(b"\n", b"\r\n"), "changed on its way, as if it were text"),
    "changed line ends, in letters": (pickle.dumps(mult_content(), 0).replace(b"\n", b"\r\n"), "changed on its way"),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_what_is_no_data_file_is_told_for_what_it_is(tmp_path, case):
    content, told = KINDS[case]
    path = tmp_path / "mosi_data.pkl"
    path.write_bytes(content)
    said = set()
    for reader in (load_pickle, inspect_file, read):
        with pytest.raises(BenchmarkError, match=told) as caught:
            reader(path)
        said.add(str(caught.value))
    (text,) = said
    assert text.startswith(f"{path} ") and text.isprintable() and len(text) < len(str(path)) + 250 and ";" in text


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_not_taken_for_anything_else(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    for content in ({"a": "<html>", "b": 1}, "<html>", "PK\x03\x04", [1, 2], "version https://git-lfs", mult_content()):
        path.write_bytes(pickle.dumps(content, protocol))
        load_pickle(path)
        if not isinstance(content, dict):
            continue
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(BenchmarkError, match="is no pickle, or damaged"):
            load_pickle(path)


def test_a_long_text_is_read_at_its_beginning_only(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes("é".encode() * 100_001 + b"\n")
    with pytest.raises(BenchmarkError, match=r"text, beginning with 'é{39}…'"):
        load_pickle(path)
