"""The documents are true: their tables are stored ones, and what they name exists."""

import ast
import importlib.util
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PATHS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
README = PAGES["README.md"]
FOREIGN = {
    "pip": {"--index-url"},
    "dask worker": {"--nthreads"},
    "docker": {"--rm"},
    "sbatch": {"--dependency", "--parsable", "--wrap"},
}
"""Options of other programs that the pages name."""

every_page = pytest.mark.parametrize("page", PAGES)


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def prose(text):
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def links(page):
    """Relative links and pictures: the path of the target from the root, and the heading or nothing."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if not re.match(r"\w+:", target):
            path, _, heading = target.partition("#")
            yield ((ROOT / page).parent / path if path else ROOT / page).resolve(), heading


def headings(path):
    """The addresses of a page's headings, as GitHub and the site make them."""
    found = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in found}


def test_the_readme_takes_five_minutes():
    written = re.sub(r"<!-- table: .*?<!-- end of table -->", "", README, flags=re.S)  # by people, that is
    assert 6_000 <= len(written.encode()) <= 8_200
    assert len(re.findall(r"!\[", README)) == 1


@every_page
def test_tables_are_the_stored_ones(page):
    tables = re.findall(r"<!-- table: (\S+) -->\n(.*?)<!-- end of table -->", PAGES[page], flags=re.S)
    assert len(tables) == PAGES[page].count("<!-- table")
    for path, shown in tables:
        assert shown.strip() == (ROOT / path).read_text(encoding="utf-8").strip(), path
        assert "simulated data." in shown or "data from file." in shown


def test_the_pages_show_stored_tables():
    assert [page for page, text in PAGES.items() if "<!-- table: " in text] == [
        "README.md",
        "docs/ablation.md",
        "docs/full.md",
        "docs/readings.md",
    ]


@every_page
def test_pictures_and_pages_that_are_linked_exist(page):
    for path, heading in links(page):
        assert path.is_file(), f"{page} links to {path}"
        assert path.is_relative_to(ROOT)
        if heading:
            assert heading in headings(path), f"{page} links to {path.name}#{heading}"


@every_page
def test_files_that_are_named_exist(page):
    named = r"`((?:baselines|benchmark|corrkd|docs|tests|results/reference)/[\w./-]*)`"
    for path in re.findall(named, PAGES[page]):
        assert (ROOT / path).exists(), f"{page} names {path}"


@every_page
def test_options_grids_and_make_targets_exist(page):
    from benchmark.cli import parser
    from benchmark.running.grid_file import grid_names

    known = {option for action in parser()._actions for option in action.option_strings}
    text = PAGES[page]
    for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)):
        assert option in known.union(*FOREIGN.values()), f"{page} names {option}"
    for grid in re.findall(r"--grid ([a-z_]+)(?![\w.])|benchmark\.(?:run|plan)\(\"([a-z_]+)\"", text):
        assert "".join(grid) in grid_names(), f"{page} names the grid {grid}"
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), f"{page} names make {target}"


def test_every_option_is_documented():
    from benchmark.cli import parser

    said = PAGES["docs/running.md"]
    for action in parser()._actions:
        for option in action.option_strings:
            assert not option.startswith("--") or f"`{option}" in said, option


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md"])
def test_the_table_of_methods_is_complete(page):
    from benchmark import methods

    entries = methods.catalogue()
    listed = re.findall(r"^\| `(\w+)` \|(.*)$", PAGES[page], flags=re.M)
    assert set(entries) <= {name for name, _ in listed}
    for name, said in listed:
        if "et al." in said:
            assert entries[name].paper in said, name


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_methods_and_floors_are_as_many_as_the_page_says(page):
    units = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    words = [*units, *(f"{ten}teen" for ten in ("thir", "four", "fif", "six", "seven", "eigh", "nine")), "twenty"]
    rows = re.findall(
        r"^\| `\w+` \|(.*) \|$", README.partition("## The methods")[2].partition("## The grids")[0], flags=re.M
    )
    floors = sum(row.endswith("floor") for row in rows)
    others, said = re.search(r"(\w+) other methods and (\w+) floors", PAGES[page]).groups()
    assert (words.index(others.lower()), words.index(said)) == (len(rows) - floors - 1, floors)  # less CorrKD


def test_the_tables_of_grids_are_complete():
    from benchmark.running.grid_file import grid_names

    for page in ("README.md", "docs/running.md"):
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGES[page], flags=re.M)
        assert set(grid_names()) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}, page


def test_every_key_of_grid_files_and_cards_is_documented():
    from benchmark.methods.cards import CardConfig
    from benchmark.protocol.training_config import TrainingConfig
    from benchmark.running.grid_file import GridConfig

    for page, models in {"docs/grid-files.md": (GridConfig, TrainingConfig), "docs/cards.md": (CardConfig,)}.items():
        said = set(re.findall(r"^\| `(\w+)` \|", PAGES[page], flags=re.M))
        for model in models:
            assert set(model.model_fields) <= said, page


@every_page
def test_code_and_yaml_that_are_shown_can_be_read(page):
    from benchmark.data.task import Task
    from benchmark.methods.cards import CardConfig
    from benchmark.running.grid_file import GridConfig

    for code in blocks(PAGES[page], "python"):
        ast.parse(textwrap.dedent(code))
    for text in blocks(PAGES[page], "yaml"):
        content = yaml.safe_load(text)
        if "target" in content:
            Task.model_validate(content)
        elif "description" in content:
            GridConfig.model_validate(content)
        elif "hyperparameters" in content:
            CardConfig.model_validate(content)


@pytest.mark.parametrize(("page", "name"), [("README.md", "early_fusion"), ("docs/methods.md", "mean_fusion")])
def test_the_method_that_is_shown_conforms(page, name, tmp_path, capsys):
    from benchmark import cli

    (code,) = [code for code in blocks(PAGES[page], "python") if "@register(" in code]
    assert f"{name}.py" in PAGES[page]
    path = tmp_path / f"{name}.py"
    path.write_text(code)
    status = cli.main(["--check", name, "--plugin", str(path)])
    assert status == 0, capsys.readouterr().out


def test_the_signature_that_is_shown_is_that_of_run():
    import benchmark

    (shown,) = re.findall(r"^benchmark\.run\((.*?)\) -> Results$", PAGES["docs/python.md"], flags=re.M | re.S)
    (function,) = ast.parse(f"def run({shown}): ...").body
    names = [argument.arg for argument in function.args.kwonlyargs]
    said = dict(zip(names, map(ast.unparse, function.args.kw_defaults), strict=True))
    grid, *parameters = inspect.signature(benchmark.run).parameters.values()
    assert [argument.arg for argument in function.args.args] == [grid.name]
    assert said == {p.name: getattr(p.default, "__name__", repr(p.default)) for p in parameters}


def test_the_site_has_every_page_and_every_module_of_the_reference():
    def pages(part):
        if isinstance(part, str):
            return [part]
        return [page for item in (part.values() if isinstance(part, dict) else part) for page in pages(item)]

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages(site["nav"])) == sorted(there)
    for page in there:
        for module in re.findall(r"^::: (\S+)$", PAGES[f"docs/{page}"], flags=re.M):
            assert importlib.util.find_spec(module) is not None, f"{page}: {module}"


def test_the_version_is_said_alike():
    import benchmark

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == benchmark.__version__
    assert f"## [{benchmark.__version__}]" in PAGES["CHANGELOG.md"]
