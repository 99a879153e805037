"""Pickles and archives that claim or make as much memory as they can: reading them takes what the file's size allows.

Each is read in a process of its own, forked from ``python -m tests.faults.memory WORK SCALE``, which has not yet read
anything else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from tests.data_files import neutral_content, write_hdf5, write_npz
from tests.faults import Trial, hostile
from tests.faults.readers import read_data, read_pickle
from tests.faults.watch import TooLong, clock

MEMORY = 32 * 2**20, 128
"""What reading a data file may take at most: bytes, and times the file's size."""


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


def hungry_archives(size: int, folder: Path) -> dict[str, bytes]:
    """Files of the neutral layout that become far larger, or say so."""
    found: dict[str, bytes] = {}

    def content(make: Callable[[int], Any], key: str = "audio") -> dict[str, dict[str, Any]]:
        return {name: split | {key: make(len(split["labels"]))} for name, split in neutral_content().items()}

    several = {
        "zeros": content(lambda n: np.zeros((n, 1, 25 * size), dtype=np.float32)),
        "false": content(lambda n: np.zeros((n, 1, 10 * size), dtype=bool)),
        "a little more than is allowed": content(lambda n: np.zeros((n, 1, 3 * size), dtype=np.float16)),
        "texts": content(lambda n: np.array(["a" * 20 * size, *["b"] * (n - 1)]), "ids"),
    }
    for name, held in several.items():
        found[f".npz, {name}"] = write_npz(folder / "bomb.npz", held, np.savez_compressed).read_bytes()
        found[f"HDF5, {name}"] = write_hdf5(folder / "bomb.h5", held, compression="gzip").read_bytes()
    claimed = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("train", "valid", "test"):
            archive.writestr(f"{name}/language.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(claimed)) + claimed)
    found[".npz, claimed shape"] = buffer.getvalue() + b" " * size
    return found


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
            with contextlib.suppress(OSError):  # where the kernel has it
                Path("/proc/self/clear_refs").write_text("5")  # the most that was used ever is that of now
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
    """Reads what is hungry."""
    command = [sys.executable, "-m", "tests.faults.memory", str(work), str(scale)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    fault = "pickles and archives that claim or make as much memory as they can, 10 to 400 kB"
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
        inputs += [(name, content, read_data) for name, content in hungry_archives(size, work).items()]
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


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), float(sys.argv[2]))))
