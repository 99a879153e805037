"""What a table for a paper is asked to show: under ``tables:`` in a grid file, by ``--table``, or from Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from benchmark.errors import BenchmarkError, one_line, unknown
from benchmark.files.validation import Strict, validated
from benchmark.files.yamlfiles import read_value

Tables = Mapping[str, "PaperTable | Mapping[str, Any]"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # of a file, and of a \label
_CITATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.+/-]{0,99}")
_COMMA = re.compile(r",(?![^{]*\})")  # but those in {l,a}


class PaperTable(Strict):
    """A table for a paper.

    Parameters
    ----------
    tasks : list of str
        Side by side; by default all that have what is asked for.
    methods : list of str
        Rows, in this order; by default all of the report, in its order.
    columns : list of str
        Conditions as printed, ``{l,a}`` or shorter ``la``, ``p=0.5``; ``Avg.``, ``drop``, ``AUDC``; or a kind of table,
        such as ``inter``, which stands for all its columns.
    metrics : list of str
        By default each task's first; ``categories`` stands for F1 of each category.
    show : {"mean", "deviation", "interval"}
        What stands behind a mean: nothing, ± the standard deviation over seeds, or the 95 % interval.
    decimals : int, optional
        By default as in other tables.
    width : {"one", "two"}
        Columns of text that it may take: ``table`` or ``table*``.
    marks : bool
        Whether rows that differ from the reference, and collapsed ones, are marked.
    caption : str, optional
        Short; by default it says which metrics, tasks and conditions these are.
    note : str, optional
        The small text below; by default it says what the numbers, the bold ones and the marks are.
    cite : dict of method to str
        Keys of a bibliography, for ``\\cite`` behind the method's name.
    """

    tasks: list[str] = []
    methods: list[str] = []
    columns: list[str] = Field(default=["inter"], min_length=1)
    metrics: list[str] = []
    show: Literal["mean", "deviation", "interval"] = "mean"
    decimals: int | None = Field(default=None, ge=0, le=4)
    width: Literal["one", "two"] = "one"
    marks: bool = True
    caption: str | None = None
    note: str | None = None
    cite: dict[str, str] = {}

    @field_validator("tasks", "methods", "columns", "metrics", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """``l,a,{l,a}`` is a list too."""
        return [part.strip() for part in _COMMA.split(value)] if isinstance(value, str) else value

    @field_validator("tasks", "methods", "columns", "metrics")
    @classmethod
    def _once(cls, value: list[str]) -> list[str]:
        for one in value:
            if value.count(one) > 1:
                raise ValueError(f"{one_line(repr(one))} stands there twice; name it once")
        return value

    @field_validator("cite")
    @classmethod
    def _citations(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value.values():
            if not _CITATION.fullmatch(key):
                raise ValueError(
                    f"{one_line(repr(key))} cannot be a key of \\cite; use letters, digits and any of _:.+/-"
                )
        return value


def as_tables(tables: Tables | None, where: str) -> dict[str, PaperTable]:
    """Tables by their names, checked; `where` says in a message where they were asked for.

    Raises
    ------
    BenchmarkError
        If a name cannot be that of a file, or a key is unknown or unusable.
    """
    if not isinstance(tables or {}, Mapping):
        raise BenchmarkError(f"{where}: {one_line(repr(tables))} must name tables and what each shows")
    found: dict[str, PaperTable] = {}
    for name, content in (tables or {}).items():
        check_table_name(name, where)
        for other in found:  # on some disks they would be one file
            if other.lower() == name.lower():
                raise BenchmarkError(f"{where}: tables {other!r} and {name!r} differ in case alone; rename one of them")
        if not isinstance(content, PaperTable):
            if not isinstance(content, Mapping):
                raise BenchmarkError(f"{where}: table {name!r} must have keys, such as columns: [inter]")
            content = validated(PaperTable, dict(content), f"{where}: table {name!r}")
        found[name] = content
    return found


def check_table_name(name: Any, where: str) -> None:
    """Refuse what cannot be the name of a table's files; raises BenchmarkError."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise BenchmarkError(
            f"{where}: the table's name {one_line(repr(name), 50)} must be of letters, digits, _ and -, at most 40"
        )


def parse_tables(options: Sequence[Sequence[str]]) -> dict[str, PaperTable]:
    """``[["main", "columns=la,Avg.", "decimals=1"]]``, as the command line has them, → tables by name.

    Raises
    ------
    BenchmarkError
        If one does not have that form, stands twice, or cannot be used.
    """
    contents: dict[str, dict[str, Any]] = {}
    for name, *assignments in options:
        if "=" in name or name in contents:
            wrong = "has no name before its keys" if "=" in name else "stands there twice"
            raise BenchmarkError(f"--table {one_line(name)} {wrong}; write --table NAME KEY=VALUE ...")
        content = contents.setdefault(name, {})
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            of, _, method = key.partition(".")
            if not equals or (of == "cite") != bool(method):
                raise BenchmarkError(
                    f"--table {name}: {one_line(assignment)!r} cannot be read; write KEY=VALUE, such as decimals=1, "
                    "or cite.METHOD=KEY"
                )
            if of not in PaperTable.model_fields:
                raise BenchmarkError(f"--table {name}: {unknown('key', key, PaperTable.model_fields)}")
            if key in content or method in content.get("cite", {}):
                raise BenchmarkError(
                    f"--table {name}: {one_line(key)!r} stands there twice; give it once, as in columns=l,a"
                )
            if of == "cite":
                content.setdefault("cite", {})[method] = text
            else:
                content[key] = read_value(text, f"--table {name}: {key}") if key in ("decimals", "marks") else text
    return as_tables(contents, "--table")


def told(tables: Mapping[str, PaperTable]) -> dict[str, dict[str, Any]]:
    """Tables as a manifest keeps them, for the same ones again."""
    return {name: table.model_dump(exclude_defaults=True) for name, table in tables.items()}
