"""The leaderboard page: what stands in it, and what a reader can do with it."""

import re
from urllib.parse import unquote

import pandas as pd
import pytest

import benchmark
from benchmark.cli import main
from benchmark.errors import BenchmarkError
from benchmark.names import visible
from tests.browser import CHROMIUM, Browser
from tests.report.folders import by_means, write_folder, write_verdict
from tests.report.test_page import NAMES, Page, check_basics
from tests.waiting import wait_for

LONG = ", ".join(f"option_{i}={i}" for i in range(20))


def silent(line):
    pass


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Two folders of simulated data, one of which is verified, and one of real data with a task of MAE."""
    root = tmp_path_factory.mktemp("board")
    first = by_means({"mult": 60.0, "corrkd": 61.3, "misa": 58.5})
    described = {"misa": f"x; misa with {LONG}"}
    write_verdict(write_folder(root / "results" / "first", first, described=described))
    second = by_means({"linear": 61.25, "mult": 70.0}, settings=[("lav", 0.0)], seeds=3)
    second = second[(second["method"] != "mult") | (second["available"] != "v")]  # so it has no Avg.
    write_folder(root / "results" / "second", second, finished="2025-01-02T00:00:00+00:00", git_commit="abcdefghij+")
    real = pd.concat(
        [
            by_means({"mult": 90.0}, source="file"),
            by_means({"mult": 90.0, "corrkd": 95.0}, task="mosei", source="file").assign(
                metric="mae", target="intensity"
            ),
        ]
    )
    write_folder(root / "results" / "real", real, fingerprint="r0")
    said = []
    folders = [root / "results" / name for name in ("first", "second", "real")]
    found = benchmark.leaderboard(*folders, out=root / "pages" / "board.html", say=said.append)
    assert len(said) == 1 and said[0].endswith("board.html (8 rows of 3 folders)") and found.left_out == {}
    return found


def test_tasks_are_chosen_by_the_names_that_the_tables_bear(tmp_path):
    named = [{"name": "mosi", "display": "CMU-MOSI", "source": "simulated", "fingerprint": "f0"}]
    write_folder(tmp_path / "run", by_means({"mult": 60.0}), tasks=named)
    write_folder(tmp_path / "former", by_means({"mult": 60.0}), benchmark="0.1.0")  # which kept no names
    found = benchmark.leaderboard(tmp_path / "run", tmp_path / "former", out=tmp_path / "board.html", say=silent)
    page = found.path.read_text(encoding="utf-8")
    assert '<option value="mosi">CMU-MOSI</option>' in page and 'data-task="mosi"' in page


def test_what_cannot_be_compared_stands_in_tables_of_its_own_the_best_first(board):
    order = [(*key, list(own["method"])) for key, own in board.rows.groupby(["task", "source"], sort=False)]
    assert order == [
        ("mosei", "file", ["mult", "corrkd"]),  # of MAE, less is better
        ("mosi", "file", ["mult"]),
        ("mosi", "simulated", ["corrkd", "linear", "mult", "misa", "mult"]),  # the last has no Avg.
    ]
    page = Page(board.path.read_text(encoding="utf-8"))
    check_basics(page)
    assert page.source.count('<table class="board">') == 3
    verified = board.rows.set_index(["method", "folder"])["verified"]
    assert verified.sum() == 3 and all("first" in folder for _, folder in verified[verified].index)


def test_links_lead_from_the_page_to_the_files(board):
    page = Page(board.path.read_text(encoding="utf-8"))
    links = [target for target in page.targets if not target.startswith(("#", "data:"))]
    assert len(links) == 8 + 3 and all(link.startswith("../results/") for link in links)
    assert all((board.path.parent / unquote(link)).is_file() for link in links)
    assert sum(link.endswith("first/verify.json") for link in links) == 3


def test_data_of_another_fingerprint_metric_or_version_are_not_ranked_together(tmp_path):
    scores = by_means({"mult": 60.0})
    folders = [
        write_folder(tmp_path / "a", scores),
        write_folder(tmp_path / "b", scores, fingerprint="f1"),
        write_folder(tmp_path / "c", scores, benchmark="0.1.0"),
        write_folder(tmp_path / "d", scores.assign(metric="accuracy")),
        write_folder(tmp_path / "e", scores, benchmark="0.2.7"),
    ]
    said = []
    found = benchmark.leaderboard(*folders, out=tmp_path / "x.html", say=said.append)
    tables = [list(own["folder"].str[-1]) for _, own in found.rows.groupby(["fingerprint", "metric", "version"])]
    assert sorted(tables) == [["a", "e"], ["b"], ["c"], ["d"]]
    assert "c is of another version (0.1)" in said[0] and len(said) == 2
    assert (
        list(found.rows["folder"].str[-1])[-1] == "c"
        and "whose numbers are not those" in (tmp_path / "x.html").read_text()
    )


def test_a_folder_that_cannot_be_shown_is_left_out_and_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "good", by_means({"mult": 60.0}))
    (tmp_path / "<b>empty").mkdir()
    assert main(["--leaderboard", "good", "<b>empty", "good", "--out", "board.html"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == ["left out: <b>empty is empty", "leaderboard: board.html (1 rows of 1 folder)"]
    page = (tmp_path / "board.html").read_text()
    assert "&lt;b&gt;empty is empty" in page and "<b>empty" not in page
    assert main(["--leaderboard", "good"]) == 0 and (tmp_path / "results" / "leaderboard.html").is_file()
    assert 'href="../good/manifest.json"' in (tmp_path / "results" / "leaderboard.html").read_text()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda own: own.iloc[:0], "scores.csv has no scores: nothing is computed yet, or all of it failed"),
        (lambda own: pd.concat([own, own.iloc[:1]]), "a second score of task "),
    ],
)
def test_a_folder_without_usable_scores_leaves_the_others_whole(tmp_path, fault, told):
    good, other = (write_folder(tmp_path / name, by_means({"mult": 60.0})) for name in ("good", "other"))
    fault(pd.read_csv(other / "scores.csv")).to_csv(other / "scores.csv", index=False)
    found = benchmark.leaderboard(other, good, out=tmp_path / "x.html", say=silent)
    assert len(found.rows) == 1 and told in found.left_out[other] and "\n" not in found.left_out[other]


def test_a_broken_manifest_is_written_again_only_where_cells_are(tmp_path):
    folder = write_folder(tmp_path / "own", by_means({"mult": 60.0}))
    (folder / "manifest.json").write_text("{")
    said = []
    with pytest.raises(BenchmarkError, match="none of these"):
        benchmark.leaderboard(folder, out=tmp_path / "x.html", say=said.append)
    assert said[0].endswith("is missing or cannot be used; copy it from the run once more")


def test_a_folder_that_is_named_twice_is_shown_once(tmp_path):
    folder = write_folder(tmp_path / "own", by_means({"mult": 60.0}))
    (tmp_path / "link").symlink_to(folder)
    found = benchmark.leaderboard(tmp_path / "link", folder, out=tmp_path / "x.html", say=silent)
    assert list(found.rows["folder"]) == [str(folder)]


def test_a_page_that_is_no_leaderboard_is_not_written_over(tmp_path):
    folder = write_folder(tmp_path / "own", by_means({"mult": 60.0}))
    (folder / "report.html").write_text("a report")
    with pytest.raises(BenchmarkError, match=r"report.html is there and is no leaderboard; name another file"):
        benchmark.leaderboard(folder, out=folder / "report.html", say=silent)
    assert (folder / "report.html").read_text() == "a report"
    for _ in range(2):  # but a leaderboard is
        benchmark.leaderboard(folder, out=tmp_path / "x.html", say=silent)


def test_a_page_does_not_tell_where_folders_lie(tmp_path):
    good, broken = write_folder(tmp_path / "secret" / "good", by_means({"mult": 60.0})), tmp_path / "secret" / "broken"
    write_folder(broken, by_means({"mult": 60.0}))
    (broken / "scores.csv").write_text("nothing\n1\n")
    page = benchmark.leaderboard(good, broken, out=tmp_path / "secret" / "x.html", say=silent).path.read_text()
    assert "secret" not in page and "broken/scores.csv lacks the column" in page


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [write_folder(tmp_path / name / "quick", by_means({"mult": 60.0})) for name in "ab"]
    page = benchmark.leaderboard(*folders, out=tmp_path / "x.html", say=silent).path.read_text()
    assert "<bdi>a/quick</bdi>" in page and "<bdi>b/quick</bdi>" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "none of these folders can be shown"),
        (["good", "--out", "good"], "and good is none; name a file that ends in .html"),
        (["good", "--out", "good/scores.csv"], "name a file that ends in .html"),
        (["good", "--out", "good/scores.csv/x.html"], "cannot write to"),
        (["good", "--grid", "quick"], "--leaderboard makes no use of --grid"),
        (["good", "--jobs", "2"], "--leaderboard makes no use of --jobs"),
        ([], "--leaderboard.*expected at least one argument"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "good", by_means({"mult": 60.0}))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["--leaderboard", *arguments]) == 2
    assert re.fullmatch(f"error: .*{told}.*\n", capsys.readouterr().err)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_from_python_no_folder_is_refused():
    with pytest.raises(BenchmarkError, match="no folder is named"):
        benchmark.leaderboard()


def test_texts_from_outside_are_escaped_and_fetch_nothing(tmp_path):
    evil = "'\"><img src=http://e.org/x>"
    names = {name: 50.0 for name in NAMES if visible(name) == name}
    scores = pd.concat([by_means(names), by_means({"mult": 60.0}, task=evil)])
    folder = write_folder(
        tmp_path / "javascript:alert(1)" / "<i>'\" & #?%41",
        scores,
        fingerprint=evil,
        described={"mult": f"x; mult with {evil}"},
        grid=evil,
        finished=evil,
        git_commit=evil,
        benchmark=evil,
    )
    write_verdict(folder, checks=[{"check": c, "state": "right", "looked_at": evil} for c in ("scores", "recomputed")])
    found = benchmark.leaderboard(folder, out=tmp_path / "x.html", say=silent)
    page = Page(found.path.read_text(encoding="utf-8"))
    check_basics(page)
    assert "img" not in page.tags and "i" not in page.tags and page.tags.count("script") == 1
    links = [target for target in page.targets if not target.startswith(("#", "data:"))]
    assert len(links) == 2 * len(found.rows) and all(link.startswith("javascript%3A") for link in links)
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    assert page.text.count(evil) > 4 and found.rows["verified"].all()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    browser = Browser(tmp_path_factory.mktemp("chromium") / "profile")
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, board):
    chromium.show_as(1280)
    chromium.open(board.path)
    yield chromium
    wrong = [e for e in chromium.events if e["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    urls = [e["params"]["request"]["url"] for e in chromium.events if e["method"] == "Network.requestWillBeSent"]
    assert not wrong and all(url.startswith("data:") or url == board.path.as_uri() for url in urls)


SIMULATED = "document.querySelectorAll('table.board')[2]"


def column(browser, number, table=SIMULATED):
    """The sort keys of a column from above."""
    return browser.evaluate(f"[...{table}.tBodies[0].rows].map((row) => row.cells[{number}].dataset.sort)")


def choose(browser, control, value):
    browser.evaluate(
        f"(() => {{ const c = document.getElementById('{control}'); c.value = '{value}';"
        " c.dispatchEvent(new Event('change')); })()"
    )


def test_every_column_is_sorted_by_keyboard(browser):
    heads = browser.evaluate(f"[...{SIMULATED}.tHead.rows[0].cells].map((head) => head.dataset.type)")
    assert len(heads) == 10
    assert browser.evaluate(f"[...{SIMULATED}.tHead.rows[0].cells].map((head) => head.ariaSort).filter((s) => s)") == [
        "descending"
    ]
    browser.evaluate(f"{SIMULATED}.parentElement.focus()")
    for number, kind in enumerate(heads):
        browser.press("Tab")
        assert browser.evaluate(f"document.activeElement.parentElement.cellIndex === {number}")
        seen = set()
        for key in ("Enter", " "):
            browser.press(key)
            way = browser.evaluate(f"{SIMULATED}.tHead.rows[0].cells[{number}].getAttribute('aria-sort')")
            found = column(browser, number)
            there = [key for key in found if key]
            assert found == there + [""] * (len(found) - len(there))  # what has no value comes last
            keys = [float(key) if kind == "number" else key.lower() for key in there]
            assert keys == sorted(keys, reverse=way == "descending")
            seen.add(way)
        assert seen == {"ascending", "descending"}
        assert len(browser.evaluate(f"[...{SIMULATED}.tHead.querySelectorAll('[aria-sort]')].map((h) => 1)")) == 1


def test_the_setting_that_is_chosen_decides_the_score_and_the_order(browser):
    methods = f"[...{SIMULATED}.tBodies[0].rows].map((row) => row.cells[0].textContent)"
    assert browser.evaluate(methods) == ["CorrKD", "Linear", "MulT", "MISA", "MulT"]
    choose(browser, "setting", "{l,a,v}")
    assert browser.evaluate(methods) == ["MulT", "CorrKD", "Linear", "MulT", "MISA"]
    shown = (
        f"[...{SIMULATED}.tBodies[0].rows].map((row) => row.querySelector('.score').innerText.replace(/\\s+/g, ' '))"
    )
    assert browser.evaluate(shown)[:2] == ["70.00 69.00 to 71.00", "61.30 60.30 to 62.30"]
    assert browser.evaluate(f"{SIMULATED}.tHead.rows[0].cells[1].textContent") == "{l,a,v}"
    assert browser.evaluate("document.querySelector('table.board tbody th').textContent") == "MulT"  # of MAE
    choose(browser, "setting", "{l} p=0.5")
    assert browser.evaluate(shown)[-2:] == ["–", "–"]  # not tested there
    browser.evaluate(f"{SIMULATED}.tHead.querySelector('.by-score button').click()")
    assert browser.evaluate(methods) == ["MISA", "MulT", "CorrKD", "MulT", "Linear"]
    choose(browser, "setting", "{l,a,v}")  # in which all have a score
    assert browser.evaluate(methods) == ["MISA", "MulT", "Linear", "CorrKD", "MulT"]
    choose(browser, "setting", "{l} p=0.5")
    assert browser.evaluate(methods)[:3] == ["MISA", "MulT", "CorrKD"]
    assert browser.evaluate(shown)[-2:] == ["–", "–"]
    offered = browser.evaluate("[...document.querySelectorAll('#setting option')].map((o) => o.value)")
    assert offered[:2] == ["Avg.", "{l,a,v}"] and {"{l}", "{a,v}", "{l} p=0.5"} <= set(offered)
    assert len(offered) == len(set(offered)) == 9


def test_filters_hide_what_does_not_fit(browser):
    shown = "[...document.querySelectorAll('section.board')].map((s) => s.hidden ? 0 : [...s.querySelectorAll('tbody tr')].filter((r) => !r.hidden).length)"
    count = "document.getElementById('count').textContent"
    assert browser.evaluate(shown) == [2, 1, 5] and browser.evaluate(count) == "8 of 8 rows shown"
    choose(browser, "source", "simulated")
    assert browser.evaluate(shown) == [0, 0, 5]
    choose(browser, "task", "mosei")
    assert browser.evaluate(shown) == [0, 0, 0] and browser.evaluate(count) == "0 of 8 rows shown"
    choose(browser, "source", "")
    assert browser.evaluate(shown) == [2, 0, 0]
    choose(browser, "task", "")
    choose(browser, "verified", "yes")
    assert browser.evaluate(shown) == [0, 0, 3] and browser.evaluate(count) == "3 of 8 rows shown"


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_is_not_wider_than_the_window_and_shows_the_score_at_once(browser, width):
    browser.show_as(width)
    browser.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= width
    assert browser.evaluate("document.querySelector('.score').getBoundingClientRect().right") <= width
    assert browser.evaluate("document.querySelector('summary').textContent").endswith("…")
    assert LONG in browser.evaluate("document.querySelector('details').textContent")
    told = "[...document.querySelectorAll('.hint')].map((hint) => !hint.hidden)"
    wide = "[...document.querySelectorAll('.scroll')].map((box) => box.scrollWidth > box.clientWidth + 1)"
    wait_for(lambda: browser.evaluate(told) == browser.evaluate(wide))  # hints follow a little later
    assert len(browser.evaluate(told)) == 3 and (width > 390 or all(browser.evaluate(told)))


def test_without_the_script_all_rows_are_there_and_no_control(chromium, board):
    chromium.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(board.path)
        assert chromium.evaluate("document.getElementById('filters').checkVisibility()") is False
        assert chromium.evaluate("document.querySelectorAll('.board tbody tr').length") == 8
        assert chromium.evaluate("document.querySelectorAll('th button').length") == 0
    finally:
        chromium.send("Emulation.setScriptExecutionDisabled", value=False)
