"""The page as a browser lays it out: contents that stay, tables that scroll, figures beside their text, and paper."""

import re

import pytest

from benchmark.report.compose import write
from tests.report.test_compose import QUICK, content
from tests.report.test_page import browser, chromium, page_file  # noqa: F401 (fixtures)

CONTENTS = "document.querySelector('nav details > ul')"
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def shown(browser, node):  # noqa: F811
    """Whether a reader sees an element, and the upper and lower end of it."""
    return browser.evaluate(
        f"(() => {{ const box = {node}.getBoundingClientRect();"
        f" return [{node}.checkVisibility({{contentVisibilityAuto: true}}) && box.height > 0, box.top, box.bottom]; }})()"
    )


def test_on_a_desk_the_contents_stay_and_mark_what_is_read(browser):  # noqa: F811
    browser.show_as(1280, height=800)
    headings = browser.evaluate("[...document.querySelectorAll('nav a')].map((link) => link.hash.slice(1))")
    for place in (headings[0], headings[5], headings[-1]):
        browser.evaluate(f"document.getElementById('{place}').scrollIntoView()")
        browser.evaluate(SETTLED)
        visible, top, _ = shown(browser, "document.querySelector('nav')")
        assert visible and top == 0 and shown(browser, CONTENTS)[0]
        assert not shown(browser, "document.querySelector('nav summary')")[0]
        marked = browser.evaluate("[...document.querySelectorAll('[aria-current]')].map((link) => link.hash.slice(1))")
        assert marked == [place]
        _, upper, lower = shown(browser, "document.querySelector('[aria-current]')")
        assert upper >= 0 and lower <= 800
    left, right = browser.evaluate("[document.querySelector('nav'), document.querySelector('main')].map((part) =>"
                                   " part.getBoundingClientRect()).map((box, i) => i ? box.left : box.right)")  # fmt: skip
    assert left <= right


def test_rows_are_whole_pixels_or_the_first_column_covers_lines(browser):  # noqa: F811
    browser.show_as(1280, height=800)
    heights = browser.evaluate(
        "[...document.querySelectorAll('.results tbody tr')].map((row) => row.getBoundingClientRect().height)"
    )
    assert len(heights) > 20 and all(height == round(height) for height in heights)


@pytest.mark.parametrize("key", ["Enter", " "])
def test_on_a_phone_the_contents_are_a_line_that_unfolds(browser, key):  # noqa: F811
    browser.show_as(390, height=844)
    browser.evaluate("scrollTo(0, 3000)")
    browser.evaluate(SETTLED)
    assert not shown(browser, CONTENTS)[0]
    _, top, bottom = shown(browser, "document.querySelector('nav')")
    assert top == 0 and bottom < 60
    browser.evaluate("document.querySelector('nav summary').focus()")
    browser.press(key)
    browser.evaluate(SETTLED)
    unfolded, _, bottom = shown(browser, CONTENTS)
    assert unfolded and bottom < 844
    browser.press("Tab")
    for _ in range(2):
        browser.press("Tab")
    place = browser.evaluate("document.activeElement.hash.slice(1)")
    browser.press("Enter")
    browser.evaluate(SETTLED)
    assert not shown(browser, CONTENTS)[0]
    _, top, _ = shown(browser, f"document.getElementById('{place}')")
    assert 40 < top < 150, "the heading stands below the line"


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_wider_than_its_place_says_that_it_scrolls(browser, width):  # noqa: F811
    browser.show_as(width)
    browser.evaluate(SETTLED)
    found = browser.evaluate(
        "[...document.querySelectorAll('.scroll')].filter((box) => box.checkVisibility({contentVisibilityAuto: true}))"
        ".map((box) => [box.scrollWidth > box.clientWidth, box.previousElementSibling.checkVisibility(),"
        " box.previousElementSibling.textContent])"
    )
    assert {wide for wide, _, _ in found} == {True, False}
    assert all(wide == said and "Scroll sideways" in text for wide, said, text in found)


def test_no_figure_leaves_half_the_page_empty(browser):  # noqa: F811
    browser.show_as(1280)
    rows = browser.evaluate("""[...document.querySelectorAll('.pictures')].map((group) => {
      const all = group.getBoundingClientRect();
      return [...group.querySelectorAll('.plate')].map((plate) => {
        const own = plate.getBoundingClientRect();
        const beside = [...group.querySelectorAll('.plate, figcaption')].map((part) => part.getBoundingClientRect())
          .filter((box) => box.top < own.bottom && box.bottom > own.top);
        return [own.width / all.width, (Math.max(...beside.map((box) => box.right)) - all.left) / all.width];
      });
    })""")
    widths = [own for group in rows for own, _ in group]
    assert min(widths) < 0.6 < max(widths), "small ones and wide ones"
    assert all(reach > 0.7 for group in rows for _, reach in group)


def test_cards_are_folded_until_they_are_asked_for(browser):  # noqa: F811
    cards = "[...document.querySelectorAll('details.method')]"
    assert browser.evaluate(f"{cards}.map((card) => card.open)") == [False] * 3
    paper = f"{cards}[0].querySelector('dl')"
    assert not shown(browser, paper)[0]
    browser.evaluate(f"{cards}[0].querySelector('summary').focus()")
    browser.press("Enter")
    assert shown(browser, paper)[0]


def test_quick_prints_on_ten_pages_and_no_heading_stands_alone_at_the_end_of_one(chromium, tmp_path):  # noqa: F811
    write(content(QUICK), tmp_path, lambda line: None)
    chromium.show_as(1280)
    chromium.open(tmp_path / "report.html")
    cards = "[...document.querySelectorAll('details.method :is(h1, h2, h3, h4)')]"  # a folded card is its heading alone
    chromium.evaluate(f"{cards}.forEach((heading) => heading.setAttribute('role', 'presentation'))")
    headings = chromium.evaluate("document.querySelectorAll(':is(h1, h2, h3):not([role])').length")
    pdf = chromium.printed()
    assert 3 < len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 10
    places = [
        float(y) for y in re.findall(rb"/Dest \[\d+ 0 R /XYZ [\d.]+ ([\d.]+) ", pdf)
    ]  # points above the lower edge
    assert len(places) == headings, "the outline has all headings but those of cards"
    assert min(places) > 28 + 40, "below a heading, above the margin, there is room for what it heads"
