"""The page: first as text, then as a reader sees it in a browser."""

import base64
import hashlib
import re
import struct
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas as pd
import pytest

from benchmark import methods
from benchmark.names import visible
from benchmark.report import drawing
from benchmark.report.content import Block, Cell, Picture, Section, Table
from benchmark.report.opening import Sentence
from benchmark.report.page import render_page
from benchmark.report.tables import build_tables
from benchmark.report.write import write_report
from tests.browser import CHROMIUM, Browser
from tests.faults.likeness import sketch
from tests.report.test_tables import HOSTILE, make_scores

VOID = {"meta", "link", "img", "br"}
NAMES = [*HOSTILE, "\u202eright to left", "'\"><img src=http://e.org/x>", "{{ 7 * 7 }}"]


class Page(HTMLParser):
    """What a page would fetch or run, its ids, headings and text; fails where tags do not match."""

    def __init__(self, source):
        super().__init__()
        self.source, self.text, self.script = source, "", ""
        self.tags, self.open, self.targets, self.ids, self.headings = [], [], [], [], []
        self.references, self.images, self.policy = [], [], ""
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.targets += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data", "poster")]
        self.ids += [v for k, v in attrs if k == "id"]
        self.references += [v for k, v in attrs if k == "aria-labelledby"]
        self.references += [v[1:] for k, v in attrs if k == "href" and v.startswith("#")]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.images += [values] if tag == "img" else []
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        assert not any(name.startswith("on") for name in values), "no handlers in attributes"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.script += data
        elif self.open[-1:] != ["style"]:
            self.text += data


def png(width, height):
    """A black picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def page_source(scores, *, extra=(), **options):
    """A page with the tables of the scores, pictures that need no drawing, and more parts in a last section."""
    sections = {}
    images = {}
    for table in build_tables(scores):
        section = sections.setdefault(table.task, Section(f"{table.task} ({table.source})", []))
        picture = Picture(table.stem, "", table.lead, f"alternative for {table.stem}", None)
        section.parts.extend([table, picture])
        images[table.stem] = png(2070 if table.kind == "inter" else 990, 600)
    parts = [*sections.values()]
    if extra:
        parts.append(Section("More", list(extra), notes=["A note <b>of its own</b>."]))
    options.setdefault("provenance", {})
    return render_page(scores, parts, images, **options)


def table_of_cells(columns, rows, *, stem="cells", title="Cells"):
    """A table of one block from printed values."""
    block = Block("", [(name, [value if isinstance(value, Cell) else Cell(value) for value in v]) for name, v in rows])
    return Table(stem, title, "", "", "", "Lead.", "Caption.", [n for n, _ in rows], columns, pd.DataFrame(), [block])


def cards_of(names):
    entries = methods.catalogue()
    return {name: methods.card(entries[name]) for name in names}


def check_basics(page):
    assert page.tags.count("script") == 1 and "url(" not in page.source and "@import" not in page.source
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    rules = dict(rule.split(maxsplit=1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "img-src", "style-src", "script-src", "base-uri", "form-action"}
    assert len(page.ids) == len(set(page.ids)) and not any(re.search(r"\s", name) for name in page.ids)
    assert set(page.references) <= set(page.ids)
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in zip(page.headings, page.headings[1:], strict=False))
    assert all(tag in page.tags for tag in ("main", "nav", "header"))


def test_hostile_text_is_shown_and_fetches_nothing():
    provenance = {
        "command": "python run_benchmark.py --grid '<quick>' \"</code></pre>\"",
        "grid": "</title><b>quick</b>",
        "selection": "<i>all</i>",
        "tasks": [{"name": "mosi", "origin": "</td>", "samples": {"test": 686}}],
        "cells": {"done": 3, "failed": 1},
        "methods": dict.fromkeys(NAMES, "<img src=http://e.org/x>"),
        "versions": {"torch": "<2>"},
    }
    failures = [{"method": "mult", "task": "mosi", "seed": "1", "error": "Oops: <script src='http://e.org'>"}]
    card = {
        "idea": "<u>idea</u>",
        "official_code": "javascript:alert(1)",
        "hyperparameters": {"<d>": {"value": "<v>", "per_task": {"<t>": "<w>"}, "source": "<s>"}},
        "deviations": ["<deviation>"],
        "choices": ["</details>"],
    }
    scores = make_scores([*NAMES, "constant"], seeds=2)
    source = page_source(scores, provenance=provenance, failures=failures, cards={NAMES[0]: card})
    page = Page(source)
    check_basics(page)
    assert all(target.startswith(("#", "data:")) for target in page.targets)
    alternatives = ["alternative for mosi_intra", "alternative for mosi_inter"]  # what stands first has come to the top
    assert [image["alt"] for image in page.images] == alternatives
    for text in (*NAMES, *provenance.values(), "Oops: <script src=", "<2>", "3 done, 1 failed", "1 cell failed",
                 "<u>idea</u>", "javascript:alert(1)", "<d>", "<v>", "<t> <w>", "<s>", "<deviation>", "</details>"):  # fmt: skip
        assert not isinstance(text, str) or visible(text) in page.text
    assert "\u202e" not in source


def test_ids_are_unique_whatever_tables_and_sections_are_called():
    tables = [table_of_cells(["x"], [("a", ["1"])], stem=stem, title="same") for stem in ("a b", "a b", "main", "a_b")]
    page = Page(page_source(make_scores(seeds=1), extra=tables, provenance={"methods": {"main": "", "summary": ""}}))
    check_basics(page)
    assert page.text.count("same") == 3 * len(tables)  # contents, heading and caption
    page = Page(
        page_source(make_scores(seeds=1), extra=tables, files=["tables/a b.csv", "tables/a_b.md", "tables/main.pdf"])
    )
    links = [target for target in page.targets if not target.startswith(("#", "data:"))]
    assert links == ["tables/a%20b.csv", "tables/a%20b.csv", "tables/a_b.md"]


def test_without_scores_the_page_says_what_failed():
    failures = [{"method": f"m{i}", "task": "mosi", "seed": "0", "error": "RuntimeError: no memory"} for i in range(5)]
    page = Page(page_source(pd.DataFrame(), failures=failures))
    check_basics(page)
    text = " ".join(page.text.split())
    assert "No scores." in text and "5 cells failed: m0 on mosi (seed 0), m1" in text and "and 2 more" in text
    assert text.count("RuntimeError: no memory") == 5 and text.index("5 cells failed") < text.index("Summary")
    check_basics(Page(page_source(pd.DataFrame())))


def test_a_page_does_not_grow_with_the_number_of_failures():
    failures = [{"method": "mult", "task": "mosi", "seed": str(i), "error": f"Oops {i}."} for i in range(1000)]
    page = Page(page_source(pd.DataFrame(), failures=failures))
    check_basics(page)
    text = " ".join(page.text.split())
    assert "1000 cells failed" in text and text.count("Oops") == 100
    assert "The first 100 of 1000; manifest.json lists them all." in text


def test_what_is_simulated_stands_first():
    simulated = Page(page_source(make_scores(seeds=1), provenance={"cells": {"done": 3, "failed": 0}})).text
    assert simulated.index("Simulated data.") < simulated.index("Summary")
    real = Page(page_source(make_scores(seeds=1, source="file"))).text
    assert "imulated" not in real and real.index("Data from files.") < real.index("Summary")
    both = pd.concat([make_scores(seeds=1, source="file"), make_scores(seeds=1, task="iemocap")])
    text = " ".join(Page(page_source(both)).text.split())
    assert "The scores of iemocap come from a simulated" in text and "Those of mosi come from data files." in text


def test_cards_are_complete_and_without_published_numbers():
    cards = cards_of(methods.catalogue())
    lines = {name: f"line of {name}" for name in cards} | {"mult+mrm": "line of a variant"}
    page = Page(page_source(pd.DataFrame(), provenance={"methods": lines}, cards=cards))
    check_basics(page)
    shown = " ".join(page.text.split())
    parts = dict(zip(lines, re.split("line of ", shown)[1:], strict=True))
    assert parts["mult+mrm"].split() == ["a", "variant"]
    for name, card in cards.items():
        texts = [card["idea"], card["paper"], card["official_code"], *card["deviations"], *card["choices"]]
        texts += [f"{len(card['hyperparameters'])} hyper-parameter"] if card["hyperparameters"] else []
        for text in texts:
            assert " ".join(text.split()) in parts[name]
        for key, reason in card["search_space"].items():
            assert " ".join(f"{key}: {reason}".split()) in parts[name]
        for key, entry in card["hyperparameters"].items():
            by_task = ", ".join(f"{task} {value}" for task, value in entry.get("per_task", {}).items())
            assert re.search(rf"\b{key}\s*{re.escape(str(entry['value']))}", parts[name])
            assert by_task in parts[name] and " ".join(entry["source"].split()) in parts[name]
        for row in card["published"]:
            assert not re.search(rf"(?<![\d.]){re.escape(str(row['value']))}(?!\d)", shown), row
    outside = [target for target in page.targets if not target.startswith(("#", "data:"))]
    assert outside == [
        c["official_code"] for c in (cards[n] for n in lines if n in cards) if c["official_code"] != "none"
    ]
    assert page.source.count('rel="noopener noreferrer"') == len(outside)


@pytest.mark.parametrize("card", [{}, {"hyperparameters": [1], "deviations": "one", "choices": None},
                                  {"hyperparameters": {"d": 3, "e": {"per_task": 1}}, "official_code": 5}])  # fmt: skip
def test_a_users_card_may_lack_anything(card):
    page = Page(page_source(pd.DataFrame(), provenance={"methods": {"mine": "by me"}}, cards={"mine": card}))
    check_basics(page)
    assert "by me" in page.text


def test_every_file_of_a_report_is_linked_and_every_link_leads_to_one(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "to_files", sketch)
    scores = make_scores(["mult", "corrkd"], task="a task: #1?", seeds=1)
    written = {path.relative_to(tmp_path).as_posix() for path in write_report(scores, tmp_path, provenance={})}
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    check_basics(page)
    links = [target for target in page.targets if not target.startswith(("#", "data:"))]
    assert {unquote(link) for link in links} == written - {"report.html"} and len(links) == len(set(links)) > 10
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    assert not any(name in page_source(scores) for name in ("tables/", "figures/")), "only what is there is linked"


def test_the_contents_name_every_section_and_every_part():
    parts = [table_of_cells(["x"], [("a", ["1"])], stem="own", title="Of its own")]
    options = {"provenance": {"started": "now", "methods": {"mult": "line"}}, "failures": [{"error": "Oops"}]}
    source = page_source(make_scores(seeds=1), extra=parts, found=[Sentence("run", "This was run.")], **options)
    contents = re.findall('href="#(.*?)"', source.partition("<nav")[2].partition("</nav>")[0])
    headed = re.findall('<h[23] id="(.*?)"', source)
    assert contents == [name for name in headed if not name.startswith("method-")] and len(set(contents)) == 10
    assert contents[:3] == ["found", "summary", "failures"] and contents[-2:] == ["methods", "provenance"]


def test_what_was_found_comes_before_all_else_with_one_figure():
    found = [Sentence("run", "This <b>was run</b>."), Sentence("differences", "Nothing differs.", "Then:")]
    source = page_source(make_scores(seeds=1), found=found, provenance={"command": "c"})
    text = " ".join(Page(source).text.partition("What was found")[2].split())
    assert text.index("This <b>was run</b>.") < text.index("Then: Nothing differs.") < text.index("How to get it again")
    opening = source.partition('id="found"')[2].partition("</section>")[0]
    assert re.findall('alt="(.*?)"', opening) == ["alternative for mosi_intra"]
    assert source.count("alternative for mosi_intra") == 1
    assert 'id="found"' not in page_source(pd.DataFrame())


def test_cards_reach_the_page(tmp_path):
    write_report(pd.DataFrame(), tmp_path, provenance={}, cards={"mine": {"idea": "an idea of mine"}})
    assert "an idea of mine" in (tmp_path / "report.html").read_text(encoding="utf-8")


METHODS = ["corrkd", "misa", "mult", "tfr_net", "a_method_with_a_rather_long_name_without_a_single_space", "constant"]
NUMBERS = table_of_cells(
    ["p", "count", "year", "nothing"],
    [
        ("ten", ["0.10", "1,000", Cell("70.00", "± 99.00", 1, "*"), ""]),
        ("two", ["", "−3", Cell("9.50", "± 1.00"), ""]),
        ("three", ["< 0.001", "20", "100.00", ""]),
        ("ten more", ["1e-5", "", "70.00", ""]),
        ("one", ["", "5.5", "", ""]),
    ],
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    tasks = ["mosi", "iemocap"]
    scores = pd.concat([make_scores(METHODS, task=task, seeds=2) for task in tasks])
    scores = scores[(scores["method"] != "misa") | (scores["available"] != "l")]
    provenance = {
        "grid": "quick",
        "command": 'python run_benchmark.py --grid quick --set "mult.layers=3"',
        "tasks": [{"name": t, "source": "simulated", "fingerprint": "f" * 64, "samples": {"train": 9}} for t in tasks],
        "cells": {"done": 12, "failed": 1},
        "methods": {name: f"line of {name}" for name in METHODS},
        "machine": {"processor": "P" * 80},
        "git_commit": "0" * 40,
    }
    failures = [{"method": "misa", "task": "mosi", "seed": "0", "error": "E" * 200 + "\nfrom the second line"}]
    cards = cards_of(["corrkd", "mult", "constant"])
    path = tmp_path_factory.mktemp("page") / "report.html"
    options = {"provenance": provenance, "failures": failures, "cards": cards}
    path.write_text(page_source(scores, extra=[NUMBERS], **options), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    browser = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, page_file):
    """A browser with the page just loaded; afterwards, nothing may have gone wrong or have left the page."""
    chromium.show_as(1280)
    chromium.open(page_file)
    yield chromium
    chromium.evaluate("new Promise((done) => setTimeout(done, 50))")  # what the page has started comes to its end
    wrong = [e for e in chromium.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    wrong += [e for e in chromium.events if e["method"] == "Runtime.consoleAPICalled"]
    assert not wrong
    urls = [e["params"]["request"]["url"] for e in chromium.events if e["method"] == "Network.requestWillBeSent"]
    assert all(url.startswith("data:") or url == page_file.as_uri() for url in urls) and page_file.as_uri() in urls


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_too_wide_or_too_pale(browser, width, dark):
    browser.show_as(width, dark=dark)
    browser.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    wide, inner = browser.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
    assert wide <= inner == width
    pale = browser.evaluate("""(() => {
      const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
      const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (node) => {
        for (; node; node = node.parentElement) {
          const colour = rgba(getComputedStyle(node).backgroundColor);
          if (colour[3] === 1) return colour;
          if (colour[3] !== 0) throw new Error("half-transparent background");
        }
        throw new Error("no background");
      };
      const found = { texts: 0, pale: [], dark: light(behind(document.body)) < 0.2 };
      for (const node of document.body.querySelectorAll("*")) {
        if (["SCRIPT", "STYLE"].includes(node.tagName)) continue;
        if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
        const [low, high] = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        found.texts += 1;
        if (contrast < 4.5) found.pale.push([contrast, node.outerHTML.slice(0, 80)]);
      }
      return found;
    })()""")
    assert pale["texts"] > 100 and pale["dark"] == dark
    assert not pale["pale"]
    assert (
        browser.evaluate("getComputedStyle(document.querySelector('.plate')).backgroundColor") == "rgb(255, 255, 255)"
    )


def test_the_first_screen_of_a_phone_says_what_is_simulated_and_what_failed(browser):
    browser.show_as(390, height=844)
    bottoms = browser.evaluate("[...document.querySelectorAll('.note')].map((n) => n.getBoundingClientRect().bottom)")
    assert len(bottoms) == 2 and max(bottoms) < 844


def table_rows(browser, number):
    """The rows of a results table as shown: by block, the text of each cell's value, None for a dash."""
    return browser.evaluate(
        f"[...document.querySelectorAll('table.results')[{number}].tBodies].map((body) =>"
        " [...body.rows].filter((row) => row.querySelector('td')).map((row) =>"
        " [...row.cells].map((cell) => cell.querySelector('.value')?.textContent ?? null)))"
    )


def sorts(browser, number):
    heads = f"[...document.querySelectorAll('table.results')[{number}].tHead.rows[0].cells]"
    return browser.evaluate(f"{heads}.map((head) => head.getAttribute('aria-sort'))")


@pytest.mark.parametrize("key", ["Enter", " "])
def test_tables_are_sorted_by_keyboard_within_their_blocks(browser, key):
    number = 2  # iemocap, whole modalities
    original = table_rows(browser, number)
    assert [len(block) for block in original] == [len(METHODS)] * 6
    browser.evaluate(f"document.querySelectorAll('table.results')[{number}].parentElement.focus()")
    for _ in range(2):  # to the name's header, then to that of {l}, which one method lacks
        browser.press("Tab")
    assert browser.evaluate("document.activeElement.tagName + document.activeElement.textContent") == "BUTTON{l}"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert sorts(browser, number) == [None] * 9
    for direction in ("descending", "ascending"):
        browser.press(key)
        assert sorts(browser, number) == [None, direction, *[None] * 7]
        shown = table_rows(browser, number)
        for block, before in zip(shown, original, strict=True):
            assert sorted(map(repr, block)) == sorted(map(repr, before))
            *values, last = [row[1] for row in block]
            assert last is None
            assert values == sorted(values, key=float, reverse=direction == "descending") != [r[1] for r in before]
    titles = (
        f"[...document.querySelectorAll('table.results')[{number}].tBodies].map((b) => b.rows[0].cells[0].textContent)"
    )
    assert browser.evaluate(titles) == ["mean F1", "F1 happy", "F1 sad", "F1 angry", "F1 neutral", "accuracy"]
    browser.press(key)
    assert sorts(browser, number) == [None] * 9 and table_rows(browser, number) == original


def test_numbers_are_sorted_by_value_and_names_by_the_alphabet(browser):
    number = 4
    expected = {
        0: ["one", "ten", "ten more", "three", "two"],
        1: ["ten", "three", "ten more", "two", "one"],
        2: ["ten", "three", "one", "two", "ten more"],
        3: ["three", "ten", "ten more", "two", "one"],
        4: ["ten", "two", "three", "ten more", "one"],
    }
    found = {}
    for column in expected:
        browser.evaluate(
            f"document.querySelectorAll('table.results')[{number}].querySelectorAll('th button')[{column}].click()"
        )
        found[column] = [row[0] for row in table_rows(browser, number)[0]]
        assert [i for i, sort in enumerate(sorts(browser, number)) if sort] == [column]
    assert found == expected


def test_every_control_is_reached_by_tab_and_the_skip_link_comes_first(browser):
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(400):
        browser.press("Tab")
        place = "[...document.querySelectorAll('*')].indexOf(document.activeElement)"
        reached.append(browser.evaluate(f"document.activeElement === document.body ? -1 : {place}"))
        if reached[-1] < 0:
            break
    controls = "a:not(.skip), button, summary, .scroll, pre"
    expected = browser.evaluate(
        f"(() => {{ const all = [...document.querySelectorAll('*')]; return [...document.querySelectorAll('{controls}')]"
        ".filter((node) => node.checkVisibility({ contentVisibilityAuto: true })).map((node) => all.indexOf(node)); })()"
    )
    assert reached[:-1] == expected


@pytest.mark.parametrize("allowed", [True, False])
def test_the_command_is_copied_by_keyboard(browser, allowed):
    setting = "granted" if allowed else "denied"
    browser.send("Browser.setPermission", permission={"name": "clipboard-write"}, setting=setting)
    browser.evaluate("document.querySelector('button.copy').focus()")
    browser.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    browser.press("Enter")
    browser.wait_for("document.querySelector('[role=status]').textContent")
    assert browser.evaluate("document.querySelector('[role=status]').textContent") == "Copied"
    command = 'python run_benchmark.py --grid quick --set "mult.layers=3"'
    if allowed:
        browser.send("Browser.setPermission", permission={"name": "clipboard-read"}, setting="granted")
        assert browser.evaluate("navigator.clipboard.readText()") == command
    else:
        assert browser.evaluate("window.copied") == command


def test_without_the_script_the_page_is_complete(browser, page_file):
    texts = []
    for enabled in (True, False):
        browser.send("Emulation.setScriptExecutionDisabled", value=not enabled)
        browser.open(page_file)
        assert browser.evaluate("document.querySelectorAll('button:not([hidden])').length > 0") == enabled
        browser.evaluate("document.querySelectorAll('button.copy, .hint').forEach((control) => control.remove())")
        texts.append(browser.evaluate("document.querySelector('main').innerText").split())
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert texts[0] == texts[1]
