"""The README is true: its tables are stored ones, its options and files exist."""

import re
from pathlib import Path

import run_benchmark
from benchmark import registry
from benchmark.config import grid_names

ROOT = Path(run_benchmark.__file__).resolve().parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_the_stored_ones():
    tables = re.findall(r"<!-- table: (\S+) -->\n(.*?)<!-- end of table -->", TEXT, flags=re.S)
    assert len(tables) >= 2
    for path, shown in tables:
        assert shown.strip() == (ROOT / path).read_text(encoding="utf-8").strip()
        assert "simulated" in shown


def test_its_pictures_exist():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_its_options_methods_and_grids_exist():
    help_text = run_benchmark._parser().format_help()
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT)):
        assert option in help_text, option
    for name in re.findall(r"^\| `(\w+)` \| [A-Z].*et al\.", TEXT, flags=re.M):
        assert name in registry.catalogue()
    for name in re.findall(r"--grid (\w+)(?= |\n)", TEXT):
        assert name in grid_names(), name


def test_it_names_every_method():
    listed = set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.M))
    assert set(registry.catalogue()) <= listed


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)`?", TEXT):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target
