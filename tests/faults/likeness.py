"""A report on hostile names beside one on harmless names: the same but for the words, and nothing else."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import read_scores
from benchmark.evidence.stored import read_evidence
from benchmark.names import visible
from benchmark.report import drawing
from benchmark.report.figures import styled
from tests.faults.handed_run import NAME, TEXT, report, write_run
from tests.faults.outlines import Outline, first_difference, read_csv, read_latex, read_markdown


def put(value: Any, name: str, text: str) -> Any:
    """A part of the harmless report with the hostile name and text in place of the harmless ones."""
    if isinstance(value, str):
        return value.replace(NAME, name).replace(TEXT, text)
    if isinstance(value, list | tuple):
        return type(value)(put(item, name, text) for item in value)
    return value


def sketch(figure: Figure) -> dict[str, bytes]:
    """A figure drawn small and without its layout, which takes most of the time; no PDF."""
    buffer = io.BytesIO()
    figure.set_layout_engine("none")
    with styled():
        figure.savefig(buffer, format="png", dpi=30)
    return {"png": buffer.getvalue(), "pdf": b"%PDF"}


class Report:
    """What the command line wrote and printed for a run, and what its figures say.

    Parameters
    ----------
    folder : Path
    name, text : str
        See :func:`write_run`.
    whole : bool
        Whether figures are written as they are; else a sketch of them.
    """

    def __init__(self, folder: Path, name: str, text: str, *, whole: bool = True) -> None:
        self._whole = whole
        run, out = folder / "run", folder / "deep" / "er" / "out"
        plugin = write_run(run, name, text)
        out.mkdir(parents=True)
        before = listing(folder, out)
        self.drawn: list[list[str]] = []
        self.parsed: list[str] = []
        with patch.object(drawing, "to_files", self._look(drawing.to_files)):
            self.status, self.printed = report(run, out, "--plugin", str(plugin), "--against", "mine")
        if self.status == 2:
            raise BenchmarkError(self.printed)
        self.outside = sorted(listing(folder, out) ^ before)
        self.out, self.files = out, sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())

    def _look(self, to_files: Any) -> Any:
        def look(figure: Figure) -> dict[str, bytes]:
            content: dict[str, bytes] = to_files(figure) if self._whole else sketch(figure)
            texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
            self.drawn.append([text.get_text() for text in texts])
            self.parsed += [text.get_text() for text in texts if text.get_parse_math() or text.get_usetex()]
            return content

        return look

    def kinds(self, suffix: str) -> dict[str, str]:
        """The tables of one format by what stands behind the task's name in theirs."""
        tables = [self.out / name for name in self.files if name.startswith("tables/") and name.endswith(suffix)]
        return {path.name.rpartition("_")[2]: path.read_text(encoding="utf-8") for path in tables}

    def text(self, name: str) -> str:
        """A file of `out`; a line break within a cell stays as it is."""
        return (self.out / name).read_bytes().decode()


def listing(folder: Path, without: Path) -> set[tuple[str, int]]:
    """All files and folders but those in one, with their sizes."""
    paths = (path for path in folder.rglob("*") if path != without and without not in path.parents)
    return {(str(path.relative_to(folder)), path.stat().st_size if path.is_file() else -1) for path in paths}


def compare(harmless: Report, hostile: Report, name: str, text: str) -> dict[str, str]:
    """What is wrong with a hostile report, by kind; empty texts where nothing is."""
    shown = visible(text)
    line = " ".join(shown.split())
    wrong = dict.fromkeys(("page", "Markdown", "LaTeX", "csv", "figures", "outside", "printed"), "")
    wrong["page"] = first_difference(
        put(Outline(harmless.text("report.html")).parts, name, shown), Outline(hostile.text("report.html")).parts
    )
    for kind, table in harmless.kinds("md").items():
        found = hostile.kinds("md").get(kind, "")
        one = " ".join(name.split())
        wrong["Markdown"] = wrong["Markdown"] or first_difference(
            put(read_markdown(table), one, line), read_markdown(found)
        )
    quotes = str.maketrans({'"': "”"})
    for kind, table in harmless.kinds("tex").items():
        found = hostile.kinds("tex").get(kind, "")
        one = " ".join(name.split()).translate(quotes)
        wrong["LaTeX"] = wrong["LaTeX"] or first_difference(
            put(read_latex(table), one, line.translate(quotes)), read_latex(found)
        )
    wrong["csv"] = _compare_csv(harmless, hostile, name, shown)
    drawn = [put(texts, name, text) for texts in harmless.drawn]
    stage = name if len(name) <= 24 else f"{name[:23]}…"
    allowed = [set(texts) | {stage} for texts in drawn]
    beyond = [t for may, own in zip(allowed, hostile.drawn, strict=False) for t in own if t not in may]
    beyond = [t for t in beyond if not re.fullmatch(r"[\d.−]+", t)]  # long names leave axes room for other ticks
    if hostile.parsed:
        wrong["figures"] = f"taken for a formula: {ascii(hostile.parsed[0])[:60]}"
    elif len(drawn) != len(hostile.drawn):
        wrong["figures"] = f"{len(hostile.drawn)} in place of {len(drawn)}"
    elif not any(name in own for own in hostile.drawn):
        wrong["figures"] = "drawn nowhere"
    else:
        wrong["figures"] = "" if not beyond else f"draws {ascii(beyond[0])[:60]}"
    if hostile.outside or any(re.search(r"[^\w./-]|\.\.|/\.", file) for file in hostile.files):
        wrong["outside"] = f"{hostile.outside or hostile.files}"[:120]
    elif len(hostile.files) != len(harmless.files):
        wrong["outside"] = f"{len(hostile.files)} files in place of {len(harmless.files)}"
    if (
        visible(hostile.printed) != hostile.printed
        or hostile.status != harmless.status
        or line not in " ".join(hostile.printed.split())
    ):
        wrong["printed"] = ascii(hostile.printed)[:120]
    return wrong


def _compare_csv(harmless: Report, hostile: Report, name: str, text: str) -> str:
    own = ("scores.csv", "intervals.csv", "comparisons.csv")
    pairs = [(harmless.text(file), hostile.text(file)) for file in own]
    found_tables = hostile.kinds("csv")
    pairs += [(table, found_tables.get(kind, "")) for kind, table in harmless.kinds("csv").items()]
    for before, after in pairs:
        expected = []
        for row in read_csv(before):
            cells = [put(cell, name, text) for cell in row]
            formulas = [new != old and re.match(r"'*[=+\-@＝\t\n]", new) for old, new in zip(row, cells, strict=True)]
            expected.append(["'" + cell if formula else cell for cell, formula in zip(cells, formulas, strict=True)])
        found = read_csv(after)
        if wrong := first_difference(sorted(expected), sorted(found)):
            return wrong
        for cell in (cell for row in found for cell in row if re.match(r"[=+\-@＝\t\n]", cell)):
            if not re.fullmatch(r"-?[\d.e+-]+", cell) or pd.isna(pd.to_numeric(cell, errors="coerce")):
                return f"a formula: {ascii(cell)[:60]}"
    scores = read_scores(hostile.out / "scores.csv")
    if set(scores["method"]) != {"mine", name, "mult"} or set(scores["task"]) != {name}:
        return f"read back as {ascii(sorted(set(scores['method'])))[:90]}"
    evidence = read_evidence(hostile.out, scores)
    if set(evidence.intervals["method"]) != {"mine", name, "mult"} or set(evidence.comparisons["task"]) != {name}:
        return f"read back as {ascii(sorted(set(evidence.intervals['method'])))[:90]}"
    return ""
