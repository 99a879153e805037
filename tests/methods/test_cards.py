"""Every method has a card, and the card says what the code does."""

import inspect

import pytest
import yaml

from benchmark import methods
from benchmark.errors import BenchmarkError
from benchmark.methods.registry import Entry
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.grid_file import load_grid

ENTRIES = methods.catalogue()
KEYS = {
    "name", "display", "title", "paper", "year", "official_code", "idea", "groups", "trains_on", "hyperparameters", "search_space", "deviations", "choices",
    "published",
}  # fmt: skip


def card(name):
    content = methods.card(ENTRIES[name])
    assert content, f"method {name} has no card; write {ENTRIES[name].path.parent.name}/cards/{name}.yaml"
    return content


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_the_card_is_complete_and_agrees_with_the_code(name):
    content, cls = card(name), methods.load(ENTRIES[name])
    assert set(content) == KEYS
    assert len(content["idea"].split()) <= 6
    assert content["name"] == name and content["trains_on"] == ENTRIES[name].trains_on
    assert isinstance(content["year"], int) or name in ("constant", "random")
    parameters = list(inspect.signature(cls.__init__).parameters.values())[2:]
    expected = {p.name: p.default for p in parameters} | cls.training_defaults
    by_task: dict[str, dict] = {}
    for task, values in cls.per_task.items():
        for key, value in values.items():
            by_task.setdefault(key, {})[task] = value
    hyperparameters = content["hyperparameters"]
    assert hyperparameters.keys() == expected.keys() | by_task.keys()
    for key, entry in hyperparameters.items():
        assert set(entry) - {"per_task"} == {"value", "source"} and entry["source"]
        assert entry["value"] == expected[key] and type(entry["value"]) is type(expected[key]), key
        assert entry.get("per_task", {}) == by_task.get(key, {}), key
        assert key in {p.name for p in parameters} or key in TrainingConfig.model_fields
    assert all(isinstance(line, str) and line for line in content["deviations"] + content["choices"])
    for row in content["published"]:
        assert set(row) - {"row"} == {"task", "condition", "metric", "value", "status", "source"}
        assert row["status"] == "reported" and row["source"]


def test_a_published_number_of_a_card_is_reported_and_never_reproduced(tmp_path):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "cards").mkdir()
    number = {"task": "mosi", "condition": "l", "metric": "weighted_f1", "value": 70.0, "source": "Table 1"}
    for status in ("reported", "measured"):
        text = yaml.safe_dump({"name": "mine", "published": [number | {"status": status}]})
        (tmp_path / "cards" / "mine.yaml").write_text(text)
        entry = Entry(
            name="mine", paper="mine", trains_on="complete", path=tmp_path / "mine.py", augmentable=True, module=""
        )
        if status == "reported":
            assert methods.card(entry)["published"][0]["value"] == 70.0
        else:
            with pytest.raises(BenchmarkError, match=r"mine\.yaml.*published\.0\.status.*'reported'"):
                methods.card(entry)


def test_no_card_without_a_method():
    names = {path.stem for folder in methods.FOLDERS for path in (methods.ROOT / folder / "cards").glob("*.yaml")}
    assert names == set(ENTRIES)


def test_corrkds_published_averages_are_means_of_the_six_missing_conditions():
    rows = card("corrkd")["published"]
    groups: dict[tuple, dict] = {}
    for row in (row for row in rows if "row" not in row):
        groups.setdefault((row["task"], row["metric"]), {})[row["condition"]] = row["value"]
    assert len(groups) == 6
    for values in groups.values():
        six = [values[c] for c in ("l", "a", "v", "la", "lv", "av")]
        assert values["avg"] == pytest.approx(sum(six) / 6, abs=0.06)


def test_published_rows_of_the_ablation_are_variants_of_its_grid():
    named = {row["row"] for row in card("corrkd")["published"] if "row" in row}
    assert named and named <= set(load_grid("ablation")[1].variants)
