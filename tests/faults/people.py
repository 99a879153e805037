"""Situations that people meet, by kind: wrong or stale numbers, silence, rough words; several inputs of each.

Every input is a run of the command line, or a data file, and what must come of it: a status, and words that name the
cause and the way out. None may show a traceback, and none may pass in silence.
"""

from __future__ import annotations

import copy
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.data_files import dump, mmsa_content, mult_content
from tests.faults import Trial
from tests.faults.runs import Ended, launch, run, wait

GRID = """description: small
methods: [constant, linear]
tasks: [mosi]
seeds: 1
ratios: [0.0, 1.0]
subsets: [l, lav]
training: {epochs: 1}
simulator: {train: 33, valid: 8, test: 16}
"""
PLUGIN = """import torch
import torch.nn.functional as F
from torch import nn
from benchmark import MODALITIES, Count, Method, Rate, register
from benchmark.parts import masked_mean
HEAD
@register("mine", paper="mine, 2026", trains_on="complete")
class Mine(Method):
    def __init__(self, task, *, hidden: Count = 4, dropout: Rate = 0.1):
        super().__init__(task)
        self.network = nn.Linear(sum(task.feature_dims.values()), task.num_categories)

    def predict(self, batch):
        pooled = [masked_mean(batch.features[m], batch.present[m]) for m in MODALITIES]
        logits = self.network(torch.cat(pooled, 1))
        return PREDICT

    def loss(self, batch):
        logits = self.predict(batch)
        return LOSS
TAIL
"""


@dataclass(frozen=True)
class Met:
    """An input, and what must come of it.

    Parameters
    ----------
    name : str
    does : callable
        Given a folder of its own; gives how it ended.
    status : int
    says : str
        A pattern that must be found in what was printed.
    """

    name: str
    does: Callable[[Path], Ended]
    status: int
    says: str

    def fault(self, folder: Path) -> tuple[str, str]:
        """What went wrong, empty where nothing did, and the line that was said."""
        ended = self.does(folder)
        lines = (ended.err + ended.out).replace(f"{folder}/", "").splitlines()
        said = next((line for line in lines if re.search(self.says, line)), "")
        if ended.unclear:
            return f"{self.name}: {ended.unclear}", said
        if ended.status != self.status:
            return f"{self.name}: status {ended.status}: {(ended.err or ended.out)[-200:]}", said
        return ("" if said or not self.says else f"{self.name}: not told: {(ended.err + ended.out)[-300:]}"), said


def on_grid(*arguments: str, **plugin: str) -> Callable[[Path], Ended]:
    """A run of the small grid, with a plug-in whose parts are replaced."""

    def does(folder: Path) -> Ended:
        (folder / "small.yaml").write_text(GRID)
        given = [*arguments]
        if plugin:
            (folder / "mine.py").write_text(written(**plugin))
            given += ["--plugin", str(folder / "mine.py"), "--methods", "mine"]
        return run("--grid", folder / "small.yaml", "--out", folder / "out", "--jobs", 1, *given, pictures=False)

    return does


def written(head: str = "", predict: str = "logits", loss: str = "", tail: str = "", change: str = "") -> str:
    """The plug-in's text."""
    text = PLUGIN.replace("HEAD", head).replace("PREDICT", predict).replace("TAIL", tail)
    text = text.replace("LOSS", loss or "F.cross_entropy(logits, batch.labels)")
    old, arrow, new = change.partition(" -> ")
    assert not arrow or old in text
    return text.replace(old, new) if arrow else text


def on_file(
    change: Callable[[dict[str, Any]], Any], content: Callable[[], dict[str, Any]] = mult_content, task: str = "mosi"
):
    """A plan on a changed data file."""

    def does(folder: Path) -> Ended:
        held = copy.deepcopy(content())
        held = change(held) or held
        (folder / "small.yaml").write_text(GRID)
        dump(folder / "data" / f"{task}_data.pkl", held)
        arguments = ("--tasks", task, "--data", folder / "data", "--out", folder / "out", "--plan")
        return run("--grid", folder / "small.yaml", *arguments)

    return does


def on_neighbour(name: str, text: str, head: str) -> Callable[[Path], Ended]:
    """A run of a plug-in with a file beside it."""

    def does(folder: Path) -> Ended:
        (folder / name).write_text(text)
        return on_grid(head=head)(folder)

    return does


def labels(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Ended]:
    """A plan on a file with other labels."""

    def change(content: dict[str, Any]) -> None:
        for split in content.values():
            split["labels"] = make(split["labels"])

    return on_file(change)


def as_text(make: Callable[[dict[str, Any]], Any], content: Callable[[], dict[str, Any]] = mmsa_content):
    """A plan on a file with something else as the features of language."""

    def change(held: dict[str, Any]) -> None:
        for split in held.values():
            split["text"] = make(split)

    return on_file(change, content)


def bytes_of(content: bytes) -> Callable[[Path], Ended]:
    """``--inspect`` of a file of these bytes."""

    def does(folder: Path) -> Ended:
        (folder / "mosi_data.pkl").write_bytes(content)
        return run("--inspect", folder / "mosi_data.pkl")

    return does


def edited(neighbour: str, imported: str, change: Callable[[str], str] = lambda text: text.replace("1.0", "5.0")):
    """A plan after a file that a plug-in imports was changed."""

    def does(folder: Path) -> Ended:
        path = folder / neighbour
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("SCALE = 1.0\n")
        first = on_grid(head=imported, predict="SCALE * logits")(folder)
        assert first.status == 0, first.err
        path.write_text(change(path.read_text()))
        return on_grid("--plan", head=imported, predict="SCALE * logits")(folder)

    return does


def changed(parts: str, how: str) -> Callable[[Path], Ended]:
    """A plan after a file was changed that a plug-in reaches by a name it computes."""
    return edited(f"{parts}/a.py", f"from pathlib import Path\nHERE, N = Path(__file__).parent, 'a'\n{how}")


def saying(line: str, **plugin: str) -> Callable[[Path], Ended]:
    """A run of a plug-in whose class has a line more."""
    return on_grid(change=f"    def __init__ ->     {line}\n\n    def __init__", **plugin)


def in_the_way(make: Callable[[Path], object]) -> Callable[[Path], Ended]:
    """A run into a folder where something stands that the run would write."""

    def does(folder: Path) -> Ended:
        (folder / "small.yaml").write_text(GRID)
        (folder / "out").mkdir()
        make(folder / "out")
        return run("--grid", folder / "small.yaml", "--out", folder / "out", "--jobs", 1, "--methods", "constant")

    return does


def where_nothing_is(folder: Path) -> Ended:
    """A plan from a folder that was removed."""
    (folder / "small.yaml").write_text(GRID)
    (folder / "gone").mkdir()
    before = Path.cwd()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()
    try:
        return run("--grid", folder / "small.yaml", "--plan")
    finally:
        os.chdir(before)


def as_process(*arguments: str, pictures: bool = False, **environment: str) -> Callable[[Path], Ended]:
    """A run in a process of its own, in another environment, of the method that is soonest imported."""

    def does(folder: Path) -> Ended:
        (folder / "small.yaml").write_text(GRID)
        given = ["--grid", folder / "small.yaml", "--methods", "constant", "--out", folder / "out", *arguments]
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            return wait(launch(*given, pictures=pictures))
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    return does


def padded_in_front(content: dict[str, Any]) -> None:
    """MulT's padding with MMSA's lengths."""
    for split in content.values():
        real = (split["text"] != 0).any(2).sum(1)
        for key in ("text", "audio", "vision"):
            split[f"{key}_lengths"] = real


KINDS: dict[str, list[Met]] = {
    "labels that the task does not have": [
        Met("0 and 1", labels(lambda y: (y > 0).astype(np.int64)), 2, "label"),
        Met("0 to 6", labels(lambda y: np.round(y + 3)), 2, "label"),
        Met("booleans", labels(lambda y: y > 0), 2, "label"),
        Met("1 to 5", labels(lambda y: np.clip(np.round(y) + 3, 1, 5)), 2, "label"),
        Met("-10 to 10", labels(lambda y: y * 10 / 3), 2, "label"),
        Met("all negative", labels(lambda y: -np.abs(y) - 0.1), 2, "label"),
        Met("all 0", labels(lambda y: y * 0), 2, "label"),
        Met("one-hot", labels(lambda y: np.eye(2)[(y.ravel() > 0).astype(int)]), 2, "label"),
        Met("texts", labels(lambda y: np.where(y > 0, "positive", "negative")), 2, "label"),
    ],
    "token ids and other things in the place of features": [
        Met("token ids (N, T)", as_text(lambda s: (s["text_bert"][:, 1] * 101).astype(np.int64)), 2, "token ids"),
        Met("text_bert", as_text(lambda s: s["text_bert"]), 2, "token ids"),
        Met("token ids (N, T, 1)", as_text(lambda s: (s["text_bert"][:, 1] * 2023).astype(np.int64)[:, :, None]), 2, "token ids"),
        Met("token ids as floats", as_text(lambda s: (s["text_bert"][:, 1] * 2023)[:, None]), 2, "token ids"),
        Met("words", as_text(lambda s: s["raw_text"]), 2, "numbers"),
    ],
    "files that are no pickles": [
        Met("a Git LFS pointer", bytes_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"), 2, "(?i)lfs"),
        Met("a web page", bytes_of(b"<!DOCTYPE html><html><title>Virus scan warning</title></html>"), 2, "(?i)web page|html"),
        Met("a web page, after blanks", bytes_of(b"\n  <html><body>404</body></html>"), 2, "(?i)web page|html"),
        Met("zeros", bytes_of(bytes(5000)), 2, "(?i)zeros"),
        Met("nothing", bytes_of(b""), 2, "(?i)empty"),
        Met("gzip", bytes_of(b"\x1f\x8b\x08\x00" + bytes(60)), 2, "(?i)gzip"),
        Met("zip", bytes_of(b"PK\x03\x04" + bytes(60)), 2, "(?i)zip"),
        Met("HDF5", bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(60)), 2, "(?i)hdf5"),
        Met("NumPy", bytes_of(b"\x93NUMPY\x01\x00" + bytes(60)), 2, "(?i)numpy"),
        Met("JSON", bytes_of(b'{"train": {"text": [1, 2]}}'), 2, "(?i)json|text"),
    ],
    "padding on the other side than lengths suppose": [
        Met("MulT's padding with lengths", on_file(padded_in_front), 0, "grid small"),
    ],
    "hyper-parameters that no network can have": [
        Met(text, on_grid("--methods", text.partition(".")[0], "--set", text), 2, re.escape(text.partition("=")[0]))
        for text in (
            "mult.layers=-1", "mult.layers=0", "mult.layers=yes", "mult.layers=2.0", "misa.dropout=-1", "misa.dropout=1",
            "corrkd.d=0", "corrkd.boundary=-0.5", "gcnet.past=-1", "linear.regularisation=0", "tfr_net.heads=1.5",
        )
    ] + [
        Met("training.epochs=yes", on_grid("--set", "training.epochs=yes"), 2, "epochs"),
        Met("training.learning_rate=0", on_grid("--set", "training.learning_rate=0"), 2, "learning_rate"),
        Met("a plug-in's hidden=0", on_grid("--set", "mine.hidden=0", head="#"), 2, "mine.hidden"),
        Met("a plug-in's dropout=1.0", on_grid("--set", "mine.dropout=1.0", head="#"), 2, "mine.dropout"),
        Met("training.learning_rate=1e-3 is a number", on_grid("--set", "training.learning_rate=1e-3", "--plan"), 0, "to do"),
    ],
    "hyper-parameters that a class says in a way that would be passed over": [
        Met("per_task of MOSI", saying("per_task = {'MOSI': {'hidden': 9}}"), 2, "did you mean mosi"),
        Met("per_task without tasks", saying("per_task = {'hidden': 9}"), 2, "per_task of mine must name"),
        Met("per_task of None", saying("per_task = {'mosi': None}"), 2, "per_task of mine must name"),
        Met("training_defaults that is a list", saying("training_defaults = ['epochs']"), 2, "training_defaults of mine must name"),
        Met("a stage that trains on whole", saying("stages = (Stage('a', trains_on='whole'),)", head="from benchmark import Stage"), 2, "use 'complete' or 'missing'"),
        Met("stages that are texts", saying("stages = ('a', 'b')"), 1, "tuple of benchmark.Stage"),
        Met("no stage", saying("stages = ()"), 1, "tuple of benchmark.Stage"),
        Met("a default of NumPy", on_grid(head="import numpy as np", change="hidden: Count = 4 -> hidden: Count = np.int64(4)"), 2, "no plain value"),
        Met("a default without end", on_grid(change="hidden: Count = 4 -> hidden: float = float('inf')"), 2, "finite numbers"),
        Met("a default that is a class", on_grid(change="hidden: Count = 4 -> hidden: type = nn.ReLU"), 2, "no plain value"),
        Met("a type that is not imported", on_grid(change="hidden: Count = 4 -> hidden: 'Absent' = 4"), 2, "'Absent' is not defined; import it"),
    ],
    "code that a plug-in imports has changed: its cells are not done": [
        Met("import", edited("beside.py", "from beside import SCALE"), 0, "mine +1 to do"),
        Met("a package's module", edited("pack/inner.py", "from pack.inner import SCALE"), 0, "mine +1 to do"),
        Met("import_module", edited("late.py", "from importlib import import_module\nSCALE = import_module('late').SCALE"), 0, "mine +1 to do"),
        Met("exec", edited("run.py", "exec(open(__file__.rpartition('/')[0] + '/run.py').read())"), 0, "mine +1 to do"),
        Met("a pattern", changed("parts", "for p in sorted(HERE.glob('parts/*.py')): exec(p.read_text())"), 0, "mine +1 to do"),
        Met("a package walked through", changed("parts", "import importlib, pkgutil\nfor m in pkgutil.iter_modules([str(HERE / 'parts')]): SCALE = importlib.import_module('parts.' + m.name).SCALE"), 0, "mine +1 to do"),
        Met("a module's name put together", changed("parts", "import importlib\nSCALE = importlib.import_module(f'parts.{N}').SCALE"), 0, "mine +1 to do"),
        Met("a file's name put together", changed("parts", "exec((HERE / 'parts' / (N + '.py')).read_text())"), 0, "mine +1 to do"),
        Met("a suffix put behind", changed("parts", "exec((HERE / 'parts' / N).with_suffix('.py').read_text())"), 0, "mine +1 to do"),
        Met("a comment alone", edited("said.py", "from said import SCALE", lambda text: f"# why\n{text}"), 0, "mine +1 done"),
    ],
    "plug-ins that break the contract, told in its words": [
        Met("three logits for two categories", on_grid(predict="torch.cat([logits, logits[:, :1]], 1)"), 1, "predict returned logits of shape"),
        Met("one logit", on_grid(predict="logits[:, :1]"), 1, r"shape \(\d+, 1\)"),
        Met("bfloat16", on_grid(predict="logits.bfloat16()", loss="logits.float().sum()"), 1, r"logits\.float\(\)"),
        Met("logits as an array", on_grid(predict="logits.detach().numpy()", loss="self.network.weight.sum()"), 1, "predict returned"),
        Met("a loss that is a float", on_grid(loss="0.5"), 1, r"loss\(batch\) is a float"),
        Met("a loss a sample", on_grid(loss="F.cross_entropy(logits, batch.labels, reduction='none')"), 1, "its mean or its sum"),
        Met("a loss without a gradient", on_grid(loss="logits.detach().sum()"), 1, "no gradient"),
        Met("a mean over nothing", on_grid(change="masked_mean(batch.features[m], batch.present[m]) -> batch.features[m].sum(1) / batch.present[m].sum(1, keepdim=True)"), 1, "filled and masked_mean"),
        Met("batch normalisation", on_grid(change="self.network = nn.Linear( -> self.norm = nn.BatchNorm1d(task.num_categories); self.network = nn.Linear(", predict="self.norm(logits)"), 0, ""),
    ],
    "plug-ins that cannot be imported as they are": [
        Met("sys.exit(0)", on_grid(tail="import sys; sys.exit(0)"), 2, "ended Python"),
        Met("sys.exit(3)", on_grid(head="import sys; sys.exit(3)"), 2, "ended Python"),
        Met("raise SystemExit", on_grid(tail="raise SystemExit"), 2, "ended Python"),
        Met("a relative import", on_grid(head="from .helper import x"), 2, "from helper import"),
        Met("a module that is not there", on_grid(head="import absent_module"), 2, "absent_module"),
        Met("pytest's skip", on_grid(head="import pytest; pytest.skip('no', allow_module_level=True)"), 2, "importing .* failed"),
        Met("a neighbour named as the benchmark's own", on_grid(head="from baselines.mine import x"), 2, "baselines is the benchmark's own"),
        Met("an optional neighbour of Python 2", on_neighbour("old.py", "print 'x'", "try:\n  import old\nexcept SyntaxError: pass"), 0, ""),
        Met("single dispatch", on_grid(head="from functools import singledispatch\n@singledispatch\ndef f(x): ...\n@f.register(int)\ndef _(x): ..."), 0, ""),
        Met("another registry", on_grid(head="class R:\n  def register(self, n): return lambda c: c\nR = R()\n@R.register('block')\nclass Block: ..."), 0, ""),
        Met("a search path that is emptied", on_grid(tail="import sys; sys.path = []"), 0, ""),
        Met("a byte-order mark", on_grid(change='import torch\nimport torch.nn -> \ufeffimport torch\nimport torch.nn'), 0, ""),
        Met("decorated inside an if", on_grid(change='@register("mine" -> if True:\n  pass\n@register("mine"'), 0, ""),
    ],
    "names in another case": [
        Met("--tasks MOSI", on_grid("--tasks", "MOSI"), 2, "did you mean mosi"),
        Met("--methods MISA", on_grid("--methods", "MISA"), 2, "did you mean misa"),
        Met("--methods TFR_Net", on_grid("--methods", "TFR_Net"), 2, "did you mean tfr_net"),
        Met("--set Linear.max_iter=5", on_grid("--set", "Linear.max_iter=5"), 2, "did you mean linear"),
    ],
    "environments that lack something": [
        Met("output in ASCII", as_process("--plan", pictures=True, PYTHONIOENCODING="ascii"), 0, "grid small"),
        Met("no worker processes", as_process("--jobs", "2", JOBLIB_MULTIPROCESSING="0"), 0, "no worker processes"),
        Met("a working folder that is gone", where_nothing_is, 2, "was removed; change to another"),
        Met("a file named cells", in_the_way(lambda out: (out / "cells").touch()), 2, "cells: File exists; move it away"),
        Met("a file named tables", in_the_way(lambda out: (out / "tables").touch()), 2, "tables: File exists; move it away"),
        Met("a folder named report.html", in_the_way(lambda out: (out / "report.html").mkdir()), 2, "report.html: Is a directory; move it away"),
        Met("links in a circle", in_the_way(lambda out: (out / "scores.csv").symlink_to(out / "scores.csv")), 2, "scores.csv .*move it away"),
        Met("a notebook's backend", as_process("--jobs", "1", pictures=True, MPLBACKEND="module://absent.inline"), 0, "report:"),
    ],
}  # fmt: skip


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """All kinds; with a small `scale`, of each the first inputs."""
    for kind, inputs in KINDS.items():
        chosen = inputs[: max(1, round(scale * len(inputs)))]
        lost, said = [], ""
        for met in chosen:
            with tempfile.TemporaryDirectory(dir=work) as folder:
                fault, line = met.fault(Path(folder))
            lost += [fault] if fault else []
            said = said or line
        yield Trial(kind, len(chosen), "; ".join(lost), said)
