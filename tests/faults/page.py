"""Hostile names and texts in everything a report is made of: what is shown, what runs, and where is written.

A run is put together as somebody else could hand it over: cells, a manifest and a plug-in with its card. The command
line then reports it, once with harmless words and once with each hostile name in their place. Whatever is written must
be the harmless report with the words replaced, and nothing else: the same elements, the same macros, the same cells.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import yaml
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from matplotlib.text import Text

import run_benchmark
from benchmark import Method, methods, register
from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.evidence.comparisons import read_evidence
from benchmark.evidence.scores import read_scores
from benchmark.files.atomic import json_text
from benchmark.methods import registry
from benchmark.names import visible
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report import drawing, write
from benchmark.report.figures import styled
from benchmark.report.page import render_page
from benchmark.running.store import Predictions, Store, setting_name, write_predictions, write_record
from tests.browser import CHROMIUM, Browser
from tests.faults import Trial

RUN = "document.title=1"

SHOWN = [
    # The first ones hold a little of everything, for a short selection.
    f"=</script><img src=x onerror={RUN}> $\\frac$ w--o",
    f'"><script>{RUN}</script>|__a__ & [x](j:a) ../../x',
    f"<script>{RUN}</script>",
    f"</style></title><script>{RUN}</script>",
    f'"><svg onload={RUN}>',
    f"' onfocus='{RUN}' autofocus='",
    "<!-- <b>",
    "]]><![CDATA[<i>",
    "&lt;b&gt; &amp; &#60;i&#62; &copy",
    "{{ 7 * 7 }}{% for x in y %}{# no",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://e.org","x")',
    "+1+2",
    "-1+2",
    "@SUM(A1)",
    "'=1",
    "''@x",
    "＝1+1",
    "a|b||c",
    "[x](javascript:alert(1))",
    "![x](http://e.org/x.png)",
    "`code` ``c``",
    "**b** __c__ *d* _e_ ~~f~~",
    "<u>u</u> <http://e.org>",
    "# head",
    "\\input{/etc/passwd}",
    "a & b % c # d ~ e ^ f _ g { h } i \\",
    "\\\\[1cm] \\end{table*}",
    "w--o ---x ``q'' ?` !` ,,",
    "$x$_2^3",
    "$\\nosuch{$",
    "50\\% $ \\$",
    "../../../x",
    "/etc/passwd",
    "..",
    ".hidden",
    "CON",
    "NA",
    "None",
    "nan",
    "1e5",
    "007",
    "😀👩‍🔬 漢字 Ünï עברית",
    "\u2800",
    "W" * 60,
]

UNSEEN = [
    "two\nlines",
    "a\ttab",
    "\x1b[31mred\x1b]0;title\x07",
    "nul\x00l",
    "\u202edetrever",
    "zero\u200bwidth",
    "half \ud800",
    "\x85\u2028",
    "return\rkey",
]
"""Refused as names; elsewhere written out."""

NO_NAMES: list[Any] = [*UNSEEN, "", " ", "x" * 61, "x" * 100_000, 3, None, ["a"], {"a": 1}]

NO_IDENTIFIERS: list[Any] = [
    *(
        "../x",
        "/x",
        "a b",
        "a-b",
        "a.b",
        "Ü",
        "ü",
        "x\n",
        "\nx",
        "x\x00",
        "Mult",
        "1x",
        "_x",
        "",
        " ",
        "x" * 41,
        "x" * 300,
    ),
    *(
        "class",
        "lambda",
        "con",
        "aux",
        "nul",
        "com1",
        "all",
        "training",
        "mult+mrm",
        "<script>",
        "=cmd()",
        "naïve",
        "x؀",
    ),
    *(3, None, ("a",)),
]

NO_LINKS = ["javascript:a", " javascript:a", "JaVaScRiPt:a", "java\nscript:a", "data:text/html,<b>", "vbscript:a", "//e.org", "file:///x"]  # fmt: skip

OWN = ("scores.csv", "intervals.csv", "comparisons.csv", "manifest.json", "tables", "figures")
"""What a report writes next to the page."""

NAME, TEXT = "qqnameqq", "qqtextqq"

PLUGIN = '''
from benchmark import Method, register

@register("mine", paper={paper}, trains_on="complete")
class Mine(Method):
    """Mine."""
'''


def write_run(folder: Path, name: Any, text: str) -> Path:
    """A run of three rows with two seeds and a failed cell; returns its plug-in.

    Parameters
    ----------
    folder : Path
    name : str
        Of the second row, the task, a category, a stage and a variant's hyper-parameter; the first row's citation.
    text : str
        Origin, warning, error, traceback, versions, card, grid and command.
    """
    labels = np.arange(24) % 2
    settings = tuple((setting, 0) for setting in [*map(Setting, SUBSETS), Setting(ratio=0.5)])
    rows = [("mine", "mine", {}, 0), (name, "mine", {"width": name}, 1), ("mult", "mult", {}, 0)]
    for place, (label, method, variant, position) in enumerate(rows):
        for seed in (0, 1, 2) if place == 1 else (0, 1):
            failed = seed == 2
            rng = np.random.default_rng([place, seed])
            key = hashlib.sha256(f"{place} {seed}".encode()).hexdigest()[:24]
            record = {
                "key": key, "label": label, "method": method, "variant": variant, "position": position, "seed": seed,
                "task": {"name": name, "fingerprint": "f"}, "training": {"trains_on": "complete"},
                "state": "failed" if failed else "done", "started": "2026-01-01", "finished": "2026-01-02",
                "seconds": 1.0, "training_seconds": 1.0, "epochs": 2, "parameters": 3, "environment": {"torch": text},
                "git_commit": text, "settings": [setting_name(*setting) for setting in settings],
            }  # fmt: skip
            if failed:
                record |= {"error": text, "traceback": f"Traceback:\n{text}"}
            else:
                record["data"] = {
                    "source": "file", "origin": text, "warnings": [text], "kind": "emotion",
                    "categories": [name, "sad"], "samples": {"test": len(labels)},
                }  # fmt: skip
            cell = folder / "cells" / key
            cell.mkdir(parents=True)
            if not failed:
                logits = rng.normal(size=(len(settings), len(labels), 2)) + 1.5 * np.eye(2)[labels]
                ids = np.array([f"s{i}" for i in range(len(labels))])
                write_predictions(cell, Predictions(ids, labels, settings, logits.astype(np.float32)))
                epochs = [
                    {"stage": stage, "epoch": i, "train_loss": 1.0 / i, "valid_loss": 1.2 / i, "valid_f1": 50.0}
                    for stage in ("first", name)
                    for i in (1, 2, 3)
                ]
                (cell / "history.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
            write_record(cell, record)
    (folder / "manifest.json").write_text(json_text({"grid": text, "command": text}), encoding="utf-8")
    card = {
        "idea": text, "paper": text, "official_code": f"see {text}", "year": 2020, "trains_on": "complete", "groups": [name],
        "hyperparameters": {name: {"value": text, "per_task": {name: text}, "source": text}, "d": {"value": text}},
        "deviations": [text], "choices": [text],
        "published": [{"task": name, "metric": "weighted_f1", "condition": "l", "value": 50.0, "status": text,
                       "source": text}],
    }  # fmt: skip
    cards = folder / "cards"
    cards.mkdir()
    (cards / "mine.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    plugin = folder / "mine.py"
    plugin.write_text(PLUGIN.format(paper=ascii(name)), encoding="utf-8")
    return plugin


def report(run: Path, out: Path, *arguments: str) -> tuple[int, str]:
    """``--report-only``: the exit status, and what was printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        status = run_benchmark.main(["--report-only", str(run), "--out", str(out), *arguments])
    return status, printed.getvalue()


class Outline(HTMLParser):
    """What a page consists of: elements with their attributes, and texts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.parts: list[tuple[Any, ...]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Pictures, and with them their sizes, may differ.
        kept = [(k, v) for k, v in attrs if (tag, k) not in {("img", "src"), ("img", "width"), ("img", "height")}]
        self.parts.append(("<", tag, tuple((k, None if k == "class" else v) for k, v in kept if v != "wide")))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(("</", tag))

    def handle_data(self, data: str) -> None:
        self.parts.append(("text", data))

    def handle_comment(self, data: str) -> None:
        self.parts.append(("comment", data))

    def unknown_decl(self, data: str) -> None:
        self.parts.append(("declaration", data))


def read_markdown(source: str) -> list[tuple[Any, ...]]:
    """Blocks, inline elements and the texts between them, as a reader of Markdown with tables sees them."""
    parts: list[tuple[Any, ...]] = []
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source):
        parts.append((block.type, block.tag))
        for token in block.children or []:
            if token.type in ("text", "text_special"):
                if parts[-1][0] == "text":
                    parts[-1] = ("text", parts[-1][1] + token.content)
                else:
                    parts.append(("text", token.content))
            else:
                parts.append((token.type, token.tag, token.content))
    return parts


_TEX = re.compile(
    r"(?P<named>\\text[a-z]+\{\})|(?P<math>\$\\(?:pm|times)\$)|(?P<macro>\\[A-Za-z]+\*?|\\\\)|\\(?P<escaped>[&%$#_{}])"
    r"|(?P<guarded>\{[\[*]?\})|(?P<pair>--|''|``|,,|\?`|!`)|(?P<special>[\\{}&$^_~#%\n])|(?P<other>.)"
)
_PRINTED = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"$\pm$": "±", r"$\times$": "×", "--": "–", "''": "”", "``": "“",
    ",,": "„", "?`": "¿", "!`": "¡", "{}": "", "{[}": "[", "{*}": "*",
}  # fmt: skip


def read_latex(source: str) -> list[tuple[str, str]]:
    """Macros and special characters, and what TeX prints between them."""
    parts: list[tuple[str, str]] = []
    source = re.sub(r"\\label\{[\w:-]+\}", "", source)  # has the file's name
    for found in _TEX.finditer(source):
        kind, text = str(found.lastgroup), found[0]
        if kind in ("macro", "special"):
            parts.append((kind, text))
            continue
        text = found["escaped"] if kind == "escaped" else _PRINTED.get(text, text)
        if parts and parts[-1][0] == "text":
            parts[-1] = ("text", parts[-1][1] + text)
        elif text:
            parts.append(("text", text))
    return parts


def read_csv(source: str) -> list[list[str]]:
    """Rows in an order that does not depend on names' alphabet."""
    return list(csv.reader(io.StringIO(source, newline="")))


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


def first_difference(expected: list[Any], found: list[Any]) -> str:
    """Where two lists part, in a few words; empty where they do not."""
    for wanted, got in zip(expected, found, strict=False):
        if wanted != got:
            return f"{ascii(got)[:90]} in place of {ascii(wanted)[:90]}"
    return "" if len(expected) == len(found) else f"{len(found)} parts in place of {len(expected)}"


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


def look_in_browser(browser: Browser, page: Path) -> str:
    """What a page does that it should not, when it is opened."""
    browser.open(page)
    browser.evaluate("new Promise((done) => setTimeout(done, 20))")
    title = browser.evaluate("document.title")
    urls = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    fetched = [url for url in urls if not url.startswith("data:") and url != page.resolve().as_uri()]
    stopped = [e["params"]["entry"]["text"] for e in browser.events if e["method"] == "Log.entryAdded"]
    dialogs = [e["method"] for e in browser.events if e["method"] == "Page.javascriptDialogOpening"]
    if not title.startswith("Benchmark report"):
        return f"a script ran: title {title!r}"
    return " ".join(map(str, [*fetched, *stopped, *dialogs]))[:120]


@contextmanager
def opened_browser(work: Path) -> Iterator[Browser | None]:
    """Chromium, or None where there is none."""
    if CHROMIUM is None:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=work) as profile:
        browser = Browser(Path(profile) / "profile")
        try:
            yield browser
        finally:
            browser.close()


def shown_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Every hostile name that can be shown, in all places of a report at once."""
    wrong: dict[str, list[str]] = {}
    texts = {
        "page": "is text in report.html, and no element, attribute or comment is new",
        "browser": "runs, fetches and opens nothing in Chromium",
        "Markdown": "is text in tables/*.md",
        "LaTeX": "is text in tables/*.tex",
        "csv": "is text in *.csv to a spreadsheet, and read back the same",
        "figures": "is drawn as it is, and not as a formula",
        "outside": "writes nothing outside --out, and no file takes another's place",
        "printed": "is printed without control characters",
    }
    names = SHOWN[: max(2, round(scale * len(SHOWN)))]
    with tempfile.TemporaryDirectory(dir=work) as folder, opened_browser(work) as browser:
        harmless = Report(Path(folder) / "harmless", NAME, TEXT, whole=False)
        for i, name in enumerate(names):
            text = f"{SHOWN[(i + 1) % len(SHOWN)]} {UNSEEN[(i + 6) % len(UNSEEN)]} end" + " long" * (2000 * (i == 1))
            try:
                hostile = Report(Path(folder) / str(i), name, text, whole=i % 9 == 4)
                found = compare(harmless, hostile, name, text)
                if browser is not None:
                    found["browser"] = look_in_browser(browser, hostile.out / "report.html")
            except Exception as error:  # whatever a name breaks is a finding
                found = {"page": f"no report: {type(error).__name__}: {error}"}
            for kind, what in found.items():
                wrong.setdefault(kind, []).extend([f"{name!a}: {what}"] if what else [])
    for kind, sentence in texts.items():
        if kind == "browser" and CHROMIUM is None:
            continue
        yield Trial(f"a hostile name {sentence}", len(names), _lost(wrong.get(kind, [])), "")


def _lost(found: list[str]) -> str:
    return f"{len(found)}, such as {found[0]}"[:300] if found else ""


def refused_trials(work: Path, scale: float) -> Iterator[Trial]:
    """Names that cannot be shown, and what leads elsewhere, in cells and csv files."""
    step = max(1, min(4, round(1 / max(scale, 0.01))))
    entries = methods.catalogue()
    with tempfile.TemporaryDirectory(dir=work) as folder, patch("benchmark.api.catalogue", return_value=entries):
        run, out = Path(folder) / "run", Path(folder) / "out"
        write_run(run, NAME, TEXT)
        cell = next(p for p in run.glob("cells/*/cell.json") if json.loads(p.read_text())["label"] == NAME)
        places = {
            "row": ("label",), "method": ("method",), "task": ("task", "name"), "category": ("data", "categories", 0),
        }  # fmt: skip
        kinds: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
            f"a {what} in a cell that cannot be shown is refused": [(at, name) for name in NO_NAMES[i % step :: step]]
            for i, (what, at) in enumerate(places.items())
        }
        sources = ["../../../x", "simulated/../../x", "", None, ["file"]]
        kinds["a data source that leads elsewhere is refused"] = [(("data", "source"), source) for source in sources]
        original = cell.read_text(encoding="utf-8")
        for fault, tries in kinds.items():
            found, said = [], ""
            for at, value in tries:
                record = json.loads(original)
                inner = record
                for step_ in at[:-1]:
                    inner = inner[step_]
                inner[at[-1]] = value
                write_record(cell.parent, record)
                problem, line = _refused(run, out)
                found += [f"{ascii(value)[:60]}: {problem}"] if problem else []
                said = said or line
            yield Trial(fault, len(tries), _lost(found), _said(said, folder))
        cell.write_text(original, encoding="utf-8")
        yield _refused_in_csv(Path(folder), run, step)


def _refused(run: Path, out: Path) -> tuple[str, str]:
    """Whether a run is refused with one line and before anything is written: what is wrong, and the line."""
    try:
        status, printed = report(run, out)
    except Exception as error:  # a traceback is a finding
        return f"{type(error).__name__}: {error}"[:120], ""
    if status != 2 or not re.fullmatch(r"error: [^\n]+\n", printed) or visible(printed) != printed:
        return f"status {status}: {ascii(printed)[:120]}", ""
    written = [path.name for path in out.rglob("*")]
    return (f"wrote {written}" if written else ""), printed.strip()


def _said(line: str, folder: str) -> str:
    """A line without the name of a folder that is gone."""
    return re.sub(r"/cells/\w+/", "/cells/…/", line.replace(folder, "…"))


def _refused_in_csv(folder: Path, run: Path, step: int) -> Trial:
    stored, out = folder / "stored", folder / "out"
    scores = collect(Store(run)).scores
    stored.mkdir()
    found, said, times = [], "", 0
    for column, values in {
        "method": [name for name in NO_NAMES if isinstance(name, str) and "\ud800" not in name],
        "task": ["a\nb", "x" * 61, ""],
        "metric": ["f1_\x1b[31m", "f1_" + "x" * 100],
        "source": ["../../../x", "", "Simulated"],
    }.items():
        for value in values[::step]:
            scores.assign(**{column: value}).to_csv(stored / "scores.csv", index=False)
            problem, line = _refused(stored, out)
            said, times = said or line, times + 1
            found += [f"{column} {ascii(value)[:60]}: {problem}"] if problem else []
    return Trial("a name in scores.csv that cannot be shown is refused", times, _lost(found), _said(said, str(folder)))


def link_trials(work: Path) -> Iterator[Trial]:
    """Links: in cards, and among the files and folders that a report writes to."""
    found = []
    for address in NO_LINKS:
        page = render_page(pd.DataFrame(), [], {}, provenance={}, cards={"mine": {"official_code": address}})
        parts = Outline(page).parts
        links = [dict(part[2]).get("href") or "" for part in parts if part[:2] == ("<", "a")]
        if not all(link.startswith("#") for link in links) or ("text", address) not in parts:
            found.append(f"{address!r}: {links}")
    yield Trial("an address in a card that is none of the web is no link", len(NO_LINKS), _lost(found), "")
    found, said = [], ""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        run = Path(folder) / "run"
        write_run(run, NAME, TEXT)
        for name in OWN:
            out, elsewhere = Path(folder) / f"out-{name}", Path(folder) / f"elsewhere-{name}"
            out.mkdir()
            if "." in name:
                elsewhere.write_text("mine")
            else:
                elsewhere.mkdir()
            (out / name).symlink_to(elsewhere)
            problem, line = _refused_link(run, out, elsewhere)
            found += [f"{name}: {problem}"] if problem else []
            said = said or _said(line, folder)
        for name in ("../../x", "tables/../../x"):  # a name that came through to where files are written
            try:
                write.check_inside((Path(folder) / "out" / name).parent, Path(folder) / "out")
            except BenchmarkError:
                continue
            found.append(f"{name} would be written")
    yield Trial("a link in OUT that leads out of it is not followed", len(OWN) + 2, _lost(found), said)


def _refused_link(run: Path, out: Path, elsewhere: Path) -> tuple[str, str]:
    with patch.object(drawing, "to_files", sketch):
        status, printed = report(run, out)
    touched = elsewhere.read_text() != "mine" if elsewhere.is_file() else bool(list(elsewhere.iterdir()))
    return (f"status {status}, {touched=}" if status != 2 or touched else ""), printed.strip()


def policy_trials(work: Path) -> Iterator[Trial]:
    """What the page's policy stops by itself, were something to slip through."""
    slipped = [
        f"<script>{RUN}</script>",
        f"<img src=x onerror={RUN}>",
        "<img src='http://127.0.0.1:9/x.png'>",
        f"<svg onload={RUN}></svg>",
        "<iframe src='data:text/html,<script>top.document.title=1</script>'></iframe>",
        "<script src='data:text/javascript,document.title=1'></script>",
        "<link rel=stylesheet href='http://127.0.0.1:9/x.css'>",
        f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    ]
    with tempfile.TemporaryDirectory(dir=work) as folder, opened_browser(work) as browser:
        if browser is None:
            return
        page, found = Path(folder) / "report.html", []
        source = render_page(pd.DataFrame(), [], {}, provenance={"grid": "quick"})
        for text in slipped:
            page.write_text(source.replace("</header>", f"{text}</header>"), encoding="utf-8")
            browser.open(page)
            browser.evaluate("new Promise((done) => setTimeout(done, 50))")
            title = browser.evaluate("document.title")
            sent = [e["params"] for e in browser.events if e["method"] == "Network.responseReceived"]
            answered = [
                p["response"]["url"] for p in sent if not p["response"]["url"].startswith(("file:", "data:image"))
            ]
            if title != "Benchmark report: quick" or answered:
                found.append(f"{text}: title {title!r} {answered}")
    yield Trial("a script or picture put into a finished page is stopped by its policy", len(slipped), _lost(found), "")


def registration_trials(work: Path) -> Iterator[Trial]:
    """Method names that are no identifiers, refused by the decorator and by the catalogue alike."""
    body = {"__init__": lambda self, task: None, "loss": lambda self, batch: None, "predict": lambda self, batch: None}
    by_decorator, by_scan, said = [], [], ["", ""]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        path = Path(folder) / "plugin.py"

        def scan(name: Any) -> None:
            arguments = f"{name!a}, paper='x', trains_on='complete'"
            path.write_text(f"@register({arguments})\nclass A(Method): ...\n", encoding="utf-8")
            methods.catalogue([path])

        def decorate(name: Any) -> None:
            try:
                register(name, paper="x", trains_on="complete")(type("Mine", (Method,), body))
            finally:
                if isinstance(name, str):
                    registry._classes.pop(name, None)

        for i, (found, add) in enumerate([(by_decorator, decorate), (by_scan, scan)]):
            for name in NO_IDENTIFIERS:
                try:
                    add(name)
                except BenchmarkError as error:
                    said[i] = said[i] or str(error)
                    if len(str(error)) > 250 or "\n" in str(error) or visible(str(error)) != str(error):
                        found.append(f"{ascii(name)[:60]}: refused with {ascii(str(error))[:90]}")
                except Exception as error:  # a traceback is a finding
                    found.append(f"{ascii(name)[:60]}: {type(error).__name__}: {error}")
                else:
                    found.append(f"{ascii(name)[:60]} was taken")
            for name in ("m", "a_method_2", "x" * 40, "console", "classy"):  # these are in order
                add(name)
    yield Trial(
        "a method name that is no identifier is refused by @register", len(NO_IDENTIFIERS), _lost(by_decorator), said[0]
    )
    yield Trial(
        "a method name that is no identifier is refused in a plug-in's text",
        len(NO_IDENTIFIERS),
        _lost(by_scan),
        said[1],
    )


def trials(work: Path, scale: float) -> Iterator[Trial]:
    """All of it; `scale` sets how many of the hostile names get a report of their own."""
    work.mkdir(parents=True, exist_ok=True)
    yield from shown_trials(work, scale)
    yield from refused_trials(work, scale)
    yield from link_trials(work)
    yield from policy_trials(work)
    yield from registration_trials(work)
