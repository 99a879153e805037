import json
import re

import pytest

from benchmark.data import find_task, find_tasks
from benchmark.errors import BenchmarkError
from benchmark.methods import catalogue
from benchmark.methods import rows as method_rows
from benchmark.protocol.missing import Setting
from benchmark.running.grid import build
from benchmark.running.grid_file import GridConfig, parse_overrides


def grid(methods=("mult", "constant"), overrides=(), tasks=("mosi",), **config):
    entries = catalogue()
    config = GridConfig(**{"description": "x", "tasks": list(tasks), "seeds": 2, "subsets": ["lav"]} | config)
    sources, _ = find_tasks([find_task(task) for task in config.tasks], None, asked=False, sizes=(16, 8, 8))
    rows = method_rows([*methods, *config.variants], entries, config.variants)
    return build("test", config, rows, entries, sources, parse_overrides(overrides))


def test_a_grid_keeps_its_name():
    assert grid().name == "test"


def test_cells_are_methods_by_tasks_by_seeds():
    cells = grid(tasks=("mosi", "iemocap"), seeds=3).cells
    assert len(cells) == 12 == len({cell.key for cell in cells})
    assert {(c.row.label, c.task.name, c.seed) for c in cells} == {
        (m, t, s) for m in ("mult", "constant") for t in ("mosi", "iemocap") for s in range(3)
    }


def test_what_defines_a_cell_changes_its_key():
    def key(**change):
        return grid(methods=(change.pop("method", "mult"),), seeds=1, **change).cells[0].key

    same = key()
    assert same == key() == key(subsets=["l"]) == key(ratios=[0.5], description="other", draw=3)
    changed = [
        key(method="mult+mrm"),
        key(method="corrkd"),
        key(overrides=["mult.layers=3"]),
        key(overrides=["training.epochs=2"]),
        key(training={"patience": 2}),
        key(set={"mult": {"learning_rate": 0.1}}),
        key(tasks=("mosei",)),
    ]
    assert len({same, *changed}) == len(changed) + 1


def test_the_definition_is_plain_json_and_complete():
    cell = grid(methods=("corrkd",), seeds=1).cells[0]
    definition = json.loads(json.dumps(cell.definition))
    assert set(definition) == {"method", "hyperparameters", "source", "task", "seed", "training"}
    assert definition["hyperparameters"]["boundary"] == 1.2 and definition["hyperparameters"]["heads"] == 10
    assert definition["training"]["learning_rate"] == 4e-3 and definition["training"]["mrm"]["max_ratio"] == 1.0
    assert cell.training.batch_size == 64


def test_later_origins_win():
    def value(**change):
        return grid(methods=("corrkd",), seeds=1, tasks=("iemocap",), **change).cells[0].definition

    assert value()["hyperparameters"]["boundary"] == 1.4  # per task
    assert value(set={"corrkd": {"boundary": 2.0}})["hyperparameters"]["boundary"] == 2.0
    both = {"set": {"corrkd": {"boundary": 2.0}}, "overrides": ["corrkd.boundary=3"]}
    assert value(**both)["hyperparameters"]["boundary"] == 3.0
    trained = value(training={"learning_rate": 0.5}, overrides=["training.mrm.max_ratio=0.7"])["training"]
    assert trained["learning_rate"] == 0.5 and trained["mrm"]["max_ratio"] == 0.7


def test_a_cell_says_what_is_not_its_methods_default():
    variant = {"narrow": {"method": "corrkd", "set": {"layers": 1, "mrm": {"max_ratio": 0.5}}}}
    cells = {
        cell.row.label: cell.changed
        for cell in grid(
            methods=["corrkd", "narrow"],
            variants=variant,
            set={"corrkd": {"epochs": 9, "boundary": 2.0}},
            overrides=["corrkd.weight_decay=0.5"],
        ).cells
    }
    usual = grid(methods=["corrkd"]).cells[0]
    common = {"epochs": 9, "boundary": 2.0, "weight_decay": 0.5}
    assert (
        cells == {"corrkd": common, "narrow": common | {"layers": 1, "mrm": {"max_ratio": 0.5}}} and usual.changed == {}
    )
    same = grid(methods=["corrkd"], set={"corrkd": {"layers": usual.definition["hyperparameters"]["layers"]}}).cells[0]
    assert same.changed == {} and same.key == usual.key


TWO = "name: two\ntarget: {kind: polarity}\nmodalities: la\n"


@pytest.fixture
def two(tmp_path):
    """A task whose data have no vision, and its cells in a grid."""
    path = tmp_path / "two.yaml"
    path.write_text(TWO)

    def cells(**config):
        return grid(methods=["corrkd"], tasks=[str(path)], **config).cells

    return cells


def test_of_data_of_two_modalities_cells_say_what_their_training_draws_from(two):
    (cell, *_) = two()
    assert cell.definition["training"]["modalities"] == "la"
    assert "modalities" not in grid(methods=["corrkd"]).cells[0].definition["training"]


def test_a_task_without_a_setting_is_told_before_anything_is_computed(two):
    with pytest.raises(
        BenchmarkError, match="no setting in which two can be tested, whose data have only language and"
    ):
        two(subsets=["v", "lv"])
    (cell, *_) = two(subsets=["v", "lv"], ratios=[0.0])
    assert cell.settings([Setting(), Setting("v")]) == [Setting()]


def test_overrides_reach_both_rows_of_a_method():
    cells = grid(methods=("mult", "mult+mrm"), overrides=["mult.layers=2"]).cells
    assert {c.definition["hyperparameters"]["layers"] for c in cells} == {2}


def test_a_variant_is_a_cell_of_its_method_with_other_hyperparameters():
    variants = {"few": {"method": "mult", "set": {"layers": 1}}, "few+": {"method": "mult+mrm", "set": {"layers": 1}}}
    plain, few, trained = grid(methods=("mult",), seeds=1, variants=variants, overrides=["mult.heads=6"]).cells
    assert (few.row.label, few.definition["method"], few.title) == ("few", "mult", "few on mosi, seed 0")
    assert few.definition["hyperparameters"] == plain.definition["hyperparameters"] | {"layers": 1}
    assert few.definition["hyperparameters"]["heads"] == 6
    assert trained.definition["training"]["trains_on"] == "missing" != few.definition["training"]["trains_on"]
    with pytest.raises(BenchmarkError, match="rows 'mult' and 'few' are the same method"):
        grid(methods=("mult",), variants=variants, overrides=["mult.layers=1"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("mult.layers", "write METHOD.KEY=VALUE"),
        ("layers=3", "write METHOD.KEY=VALUE"),
        ("mutl.layers=3", "unknown method in --set 'mutl'; did you mean mult"),
        ("mult.layer=3", r"unknown hyper-parameter of mult 'layer'; did you mean layers"),
        ("mult.layers=many", r"mult.layers='many'.*integer"),
        ("mult.layers=2.5", r"mult.layers=2.5.*integer"),
        ("training.epochs=0", "training of .*'epochs'.*greater than or equal to 1"),
        ("training.epoch=1", "unknown hyper-parameter of .* 'epoch'; did you mean epochs"),
        ("mult.layers=[", "no YAML"),
        ("training.epochs=2024-99-99", "--set 'training.epochs=2024-99-99'.*'timestamp' is no YAML for a plain value"),
        ("training.epochs=!!int x", "--set .*'x' is no int"),
        ("training.mrm=3 training.mrm.max_ratio=0.5", "--set 'training.mrm.max_ratio=0.5': 'mrm' is set to 3 as well"),
    ],
)
def test_bad_overrides_are_refused(assignment, message):
    with pytest.raises(BenchmarkError, match=message) as caught:
        grid(overrides=re.split(" (?!x)", assignment))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("origin", [{"overrides": ["misa.layerz=0"]}, {"set": {"misa": {"layerz": 0}}}])
def test_what_is_set_for_a_method_without_a_row_is_refused(origin):
    said = r"^('set' of grid test|--set) sets misa\.layerz, but no row is of misa; there are: constant, mult$"
    with pytest.raises(BenchmarkError, match=said):
        grid(**origin)
    with pytest.raises(BenchmarkError, match="unknown hyper-parameter of constant 'foo'"):
        grid(set={"constant": {"foo": 1}})


def test_unknown_and_absent_tasks(tmp_path):
    with pytest.raises(BenchmarkError, match="unknown task 'mosy'; did you mean mosi"):
        find_task("mosy")
    with pytest.raises(BenchmarkError, match=r"unknown task 'MOSI'; did you mean mosi\? there are"):
        find_task("MOSI")
    mosi, mosei = find_task("mosi"), find_task("mosei")
    with pytest.raises(BenchmarkError, match=r"no data file of task 'mosi'.*mosi_data.pkl"):
        find_tasks([mosi], tmp_path, asked=True)
    with pytest.raises(BenchmarkError, match="no data file"):
        find_tasks([mosi, mosei], tmp_path, asked=False)
