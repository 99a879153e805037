"""What a page, a Markdown or LaTeX table and a csv file consist of, as those who read them see it."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt


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
        # A file's name is made of the task's, which may be another; which one it is, another test tells.
        kept = [(k, re.sub("^(tables|figures)/.*", r"\1/", v or "")) if k == "href" else (k, v) for k, v in kept]
        self.parts.append(("<", tag, tuple((k, None if k == "class" else v) for k, v in kept)))

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
    r"(?P<named>\\text[a-z]+\{\})|(?P<math>\$(?:\\pm|\\times|-)\$)|(?P<macro>\\[A-Za-z]+\*?|\\\\)|\\(?P<escaped>[&%$#_{}])"
    r"|(?P<guarded>\{[\[*]?\})|(?P<pair>--|''|``|,,|\?`|!`)|(?P<special>[\\{}&$^_~#%\n])|(?P<other>.)"
)
_PRINTED = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", r"$\pm$": "±", "$-$": "-", r"$\times$": "×", "--": "–", "''": "”", "``": "“",
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


def first_difference(expected: list[Any], found: list[Any]) -> str:
    """Where two lists part, in a few words; empty where they do not."""
    for wanted, got in zip(expected, found, strict=False):
        if wanted != got:
            return f"{ascii(got)[:90]} in place of {ascii(wanted)[:90]}"
    return "" if len(expected) == len(found) else f"{len(found)} parts in place of {len(expected)}"
