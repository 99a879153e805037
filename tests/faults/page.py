"""Hostile names and texts in everything a report is made of: what is shown, what runs, and where is written.

A run is put together as somebody else could hand it over: cells, a manifest and a plug-in with its card. The command
line then reports it, once with harmless words and once with each hostile name in their place. Whatever is written must
be the harmless report with the words replaced, and nothing else: the same elements, the same macros, the same cells.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from benchmark import Method, methods, register
from benchmark.errors import BenchmarkError
from benchmark.evidence.collect import collect
from benchmark.methods import registry
from benchmark.names import visible
from benchmark.report import drawing, write
from benchmark.report.page import render_page
from benchmark.running.store import Store, write_record
from tests.browser import CHROMIUM, Browser
from tests.faults import Trial
from tests.faults.handed_run import NAME, TEXT, report, write_run
from tests.faults.hostile_names import NO_IDENTIFIERS, NO_LINKS, NO_NAMES, RUN, SHOWN, UNSEEN
from tests.faults.likeness import Report, compare, sketch
from tests.faults.outlines import Outline

OWN = ("scores.csv", "intervals.csv", "comparisons.csv", "manifest.json", "tables", "figures")
"""What a report writes next to the page."""


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
