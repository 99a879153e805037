"""What a file is, told by its first bytes; and where it is no data file, what to do about it."""

from __future__ import annotations

import codecs
import html
import re
import stat
from pathlib import Path

from benchmark.errors import BenchmarkError, one_line

_HEAD = 4096  # bytes
_UNPACK = "unpack it, and name the data file in it"
_WRITE = "write its arrays with benchmark.save_dataset, as docs/own-data.md shows"
_UNZIP = f"unpack it (joblib.load reads what joblib has written), and {_WRITE}"
_CONVERT = f"read it with what wrote it, and {_WRITE}"
_HDF5 = b"\x89HDF\r\n\x1a\n"

_MAGIC = (
    (b"\x1f\x8b", "compressed with gzip", "unpack it, for instance with gunzip, and name the data file in it"),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", _UNPACK),
    (b"\x78\x01", "compressed with zlib", _UNZIP),
    (b"\x78\x9c", "compressed with zlib", _UNZIP),
    (b"\x78\xda", "compressed with zlib", _UNZIP),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "one array in NumPy's .npy", f"load it with numpy.load, and {_WRITE}"),
    (b"MATLAB ", "a MATLAB file", _CONVERT),
    (b"PAR1", "a Parquet table", _CONVERT),
    (b"ARROW1", "an Arrow table", _CONVERT),
    (b"SQLite format 3\0", "an SQLite database", _CONVERT),
    (b"%PDF-", "a PDF document", "name the data file"),
    (b"\x89PNG", "a picture", "name the data file"),
    (b"\xff\xd8\xff", "a picture", "name the data file"),
    (b"\x7fELF", "a program", "name the data file"),
)
_TORCH = f"load it with torch.load, and {_WRITE}"
_OLD_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the number that torch.save once began with


def is_neutral(path: Path) -> bool:
    """Whether a file begins as ``.npz`` or HDF5, and not as a pickle or anything else.

    Raises
    ------
    BenchmarkError
        If it cannot be read, or is no file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise BenchmarkError(f"cannot read {path}: it is no file; name a data file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from error
    return head.startswith(_HDF5) or (head.startswith(b"PK\x03\x04") and _first_member(head).endswith(b".npy"))


def describe(path: Path) -> str | None:
    """What an unreadable file is and what to do about it, as it goes on after its name; None if it may be a pickle.

    Parameters
    ----------
    path : Path
        A file that the unpickler has refused. Only its first and last bytes are read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        last = file.read(1)
    if not head:
        return "is empty; fetch it again"
    if not head.strip(b"\0"):
        return "begins with nothing but zeros, as what a broken download or copy leaves; fetch it again"
    for magic, what, advice in _MAGIC:
        if head.startswith(magic):
            return f"is no data file but {what}; {advice}"
    if head.startswith(_OLD_TORCH):
        return f"is no data file but a checkpoint of torch.save; {_TORCH}"
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _describe_zip(head)
    if head[257:262] == b"ustar":
        return f"is no data file but a tar archive; {_UNPACK}"
    if head[8:10] == b'{"':
        return f"is no data file but safetensors; {_CONVERT}"
    if re.match(rb"[\x80-\x85(\])}].{0,200}?c[\w.]+\r\n\w+\r\n", head, re.DOTALL):
        return "was changed on its way, as if it were text (its line ends are CR LF); fetch it again, as binary"
    return _describe_text(head, ended=last == b".")


def _first_member(head: bytes) -> bytes:
    """The name of the first file in a zip archive."""
    return head[30 : 30 + int.from_bytes(head[26:28], "little")]


def _describe_zip(head: bytes) -> str:
    first = _first_member(head)
    if first.endswith((b"/data.pkl", b"/version", b"/byteorder", b"/.format_version")):
        return f"is no data file but a checkpoint of torch.save; {_TORCH}"
    return f"is no data file but a zip archive; {_UNPACK}"


def _describe_text(head: bytes, *, ended: bool) -> str | None:
    """`ended`: as a pickle ends, so that it may be one in letters."""
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    text = text.strip()
    if not text or not re.sub(r"[\n\r\t\f]", "", text).isprintable():
        return None
    if text.startswith("version https://git-lfs.github.com/"):
        return (
            "is no data file but a pointer of Git LFS to one; run git lfs pull in its repository, or download the file"
        )
    if text.startswith("<") and re.search(r"<(!doctype\s+)?html\b", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        named = " ".join(html.unescape(title[1]).split()) if title else ""
        quoted = f" ({one_line(named, 60)!r})" if named else ""
        return (
            f"is no data file but a web page in HTML{quoted}, as a download link gives where it asks for something "
            "first; download the file itself, in a browser or as the page says"
        )
    beginning = f"beginning with {one_line(text, 40)!r}"
    if text.startswith("<"):
        return f"is no data file but XML, {beginning}; download the file itself again"
    if re.match(r"[\[{]\s*[\[{\"\]}\d-]", text):
        return f"is no data file but JSON, {beginning}; {_CONVERT}"
    if ended or re.match(r"[(\])}]|c[\w.]+\s", text):  # as pickles in letters begin
        return None
    first, second = [*text.splitlines(), ""][:2]
    table = any(first.count(comma) == second.count(comma) > 0 for comma in ",;\t")
    what = "a table in text (CSV)" if table else "text"
    return f"is no data file but {what}, {beginning}; name the data file, or write one as docs/own-data.md shows"
