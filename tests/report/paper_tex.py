"""A table for a paper as TeX reads it."""

import re

import numpy as np


class Tex:
    """A table as TeX reads it: its columns, head and rows, each a list of cells; fails where they do not fit together."""

    def __init__(self, source):
        assert _balance(source) == 0
        self.source = source
        (self.float,) = re.findall(r"\\begin\{(table\*?)\}\[t\]", source)
        assert source.rstrip().endswith(rf"\end{{{self.float}}}")
        (spec, body), *more = re.findall(r"\\begin\{tabular\}\{@\{\}(l+r+)@\{\}\}\n(.*?)\\end\{tabular\}", source, re.S)
        assert not more
        lines = [line for line in body.splitlines() if not re.match(r"\\(top|mid|bottom|c?mid)rule", line)]
        assert all(line.endswith(r" \\") for line in lines)
        rows = [re.split(r"(?<!\\)&", line[:-3]) for line in lines]
        self.rules = [tuple(map(int, pair)) for pair in re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", body)]
        self.above = rows.pop(0) if self.rules else []
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", "".join(self.above))]
        if self.rules:
            assert 1 + sum(spans) == len(spec) and len(self.above) == 1 + len(spans)
            starts = np.cumsum([2, *spans])
            assert self.rules == [(int(a), int(a) + n - 1) for a, n in zip(starts[:-1], spans, strict=True)]
        assert {len(row) for row in rows} == {len(spec)}
        (self.head, *self.rows) = [[_plain(cell) for cell in row] for row in rows]
        (self.caption,) = re.findall(r"\\caption\{(.*)\}", source)
        (self.note,) = re.findall(r"\\par\\smallskip\{\\footnotesize\\raggedright (.*)\\par\}", source) or [""]


def _balance(source):
    source = re.sub(r"(?<!\\)%.*", "", source)
    depth = 0
    for character in re.findall(r"\\.|[{}]", source):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    return depth


def _plain(cell):
    r"""A cell's text; ``\phantom`` prints nothing."""
    cell = re.sub(r"\\phantom\{(\$.*?\$|0+)\}", "", cell.strip())
    cell = re.sub(r"^\\multicolumn\{1\}\{c\}\{(.*)\}$", r"\1", cell)
    cell = re.sub(r"\\(textbf|underline)\{(.*?)\}", r"\2", cell)
    for written, printed in {
        r"$\pm$": "±",
        "$-$": "−",
        r"\{": "{",
        r"\}": "}",
        "{[}": "[",
        r"\_": "_",
        r"\,": " ",
    }.items():
        cell = cell.replace(written, printed)
    return cell
