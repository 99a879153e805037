"""Which methods there are: the decorator and the catalogue, rows of tables, cards and source digests."""

from benchmark.methods.cards import card
from benchmark.methods.labels import (
    Row,
    Variant,
    both_ways,
    by_year,
    describe,
    display_name,
    expand,
    groups,
    label_row,
    rows,
    stored_row,
)
from benchmark.methods.loading import load
from benchmark.methods.registry import FOLDERS, ROOT, Entry, catalogue, register
from benchmark.methods.sources import source_digest

__all__ = [
    "FOLDERS",
    "ROOT",
    "Entry",
    "Row",
    "Variant",
    "both_ways",
    "by_year",
    "card",
    "catalogue",
    "describe",
    "display_name",
    "expand",
    "groups",
    "label_row",
    "load",
    "register",
    "rows",
    "source_digest",
    "stored_row",
]
