import json
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmark.files.manifest import read_manifest
from benchmark.report import manifest
from benchmark.report.manifest import build_manifest, counted_cells, provenance, tell_cells, tell_processors
from benchmark.running.selection import tell


def record(number, **changed):
    data = {"source": "file", "origin": "mosi.pkl", "samples": {"train": 3}} | changed.pop("data", {})
    return {
        "label": "mult",
        "method": "mult",
        "task": {"name": "mosi", "fingerprint": "f0"},
        "data": data,
        "training": {"trains_on": "complete"},
        "environment": {"torch": "2"},
        "git_commit": "c1",
        "started": f"2026-01-0{number}",
        "finished": f"2026-02-0{number}",
        "seed": number,
        "key": f"k{number}",
        "seconds": 3.5,
        "training_seconds": 3.0,
        "epochs": 2,
        "parameters": 10,
    } | changed


def build(*records, failures=()):
    collection = SimpleNamespace(
        records=records, failures=list(failures), superseded=Counter({"mult on mosi": 2, "misa on mosi": 1})
    )
    return build_manifest(collection, command="run", grid="quick", methods={"mult": "MulT"}, against=None, margin=1.0)


def test_it_says_where_cells_came_from_and_is_read_again(tmp_path):
    built = build(record(1), record(2, git_commit=""), record(3, environment={"torch": "3"}, git_commit="c0", tests=7))
    assert (
        built["git_commit"] == "c0, c1"
        and built["superseded"] == 3
        and built["versions"] == [{"torch": "2"}, {"torch": "3"}]
    )
    assert (built["started"], built["finished"]) == ("2026-01-01", "2026-02-03")
    assert len(built["tasks"]) == 1 and "warnings" not in built["tasks"][0] and "failures" not in built
    (tmp_path / "manifest.json").write_text(json.dumps(built))
    again = read_manifest(tmp_path / "manifest.json")
    assert [cell["seconds"] for cell in again["cells"]] == [3.5] * 3 and again["git_commit"] == "c0, c1"
    assert [cell["tests"] for cell in again["cells"]] == [0, 0, 7], "which earlier versions did not tell"


def test_what_a_prediction_costs_is_kept_and_nothing_else_stands_for_it(tmp_path):
    account = {"samples": 16, "threads": 1, "repeats": 3, "seconds": 0.1, "operations": 5.0, "uncounted": ["aten.x"]}
    told = [account | {"memory": 10}, {"fault": "ValueError: x"}, account | {"seconds": -1.0}, {}, "?"]
    built = build(record(1), *(record(2 + i, account=own) for i, own in enumerate(told)))
    (tmp_path / "manifest.json").write_text(json.dumps(built))
    before, whole, failed, *others = (cell["account"] for cell in read_manifest(tmp_path / "manifest.json")["cells"])
    assert before is None and whole == account | {"memory": 10, "fault": "", "device": ""}
    assert (failed["fault"], failed["seconds"]) == ("ValueError: x", None)
    assert [own and own["seconds"] for own in others] == [None] * 3


def test_it_names_the_rule_that_chose_the_checkpoints_and_whose_it_is():
    score = {"trains_on": "complete", "selection": "score", "min_epochs": 3}
    assert build(record(1), record(2))["selection"] == tell({"mult": ("loss", 1)})
    built = build(record(1), record(2, label="misa"), record(3, label="late", training=score))
    assert built["selection"].endswith(
        "of late: score (best primary metric on the validation split, not before epoch 3)"
    )
    other = build(record(1), record(2, task={"name": "mosei", "fingerprint": "f1"}, training=score))["selection"]
    assert "of mult on mosei: score" in other


def test_it_holds_what_data_files_and_failures_said():
    failure = {"task": "mosi", "method": "mult", "seed": "0", "error": "x"}
    built = build(record(1, data={"warnings": ["odd labels"]}), failures=[failure])
    assert built["tasks"][0]["warnings"] == ["odd labels"]
    assert built["failed"] == 1 and built["failures"] == [failure]


@pytest.mark.parametrize("error", [ValueError, OSError, AttributeError])
def test_a_system_that_does_not_tell_its_memory_stops_nothing(monkeypatch, error):
    def refuse(name):
        raise error(name)

    monkeypatch.setattr("os.sysconf", refuse)
    assert manifest._memory_gib() is None


def test_a_manifest_that_is_none_reads_as_empty(tmp_path):
    path = tmp_path / "manifest.json"
    assert read_manifest(path) == {}
    for content in ("", "[", "[" * 100_000, "[]", "{}", '{"cells": [{}]}', '{"cells": [{"method": 3}]}', "\udcff"):
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        assert not read_manifest(path).get("cells")


def place(task="mosi", source="file", method="mult", seed=0):
    return {"task": task, "source": source, "method": method, "seed": seed}


def test_what_is_done_failed_and_not_computed_is_counted_by_task():
    cells = [place(seed=seed) for seed in range(3)] + [place("mosei")]
    failures = [{"task": "mosi", "method": "misa", "seed": "0"}, {"task": "meld", "method": "misa", "seed": "0"}]
    lacking = [place(seed=3), place(seed=2), place("mosei", seed=1)]  # of seed 2, another definition is shown
    found = counted_cells(cells, failures, lacking)
    assert found == {
        ("mosi", "file"): {"done": 2, "failed": 1, "not computed": 2},
        ("mosei", "file"): {"done": 1, "failed": 0, "not computed": 1},
        ("meld", ""): {"done": 0, "failed": 1, "not computed": 0},
    }
    assert tell_cells(found["mosi", "file"]) == "2 of 5 cells done; 1 failed, 2 not computed"
    assert tell_cells({"done": 3, "failed": 0, "not computed": 0}) == tell_cells({}) == ""
    shown = provenance({"cells": cells, "not_computed": lacking}, {}, failures, lacking)
    assert shown["cells"] == {"done": 3, "failed": 2, "not computed": 3} and "not_computed" not in shown


@pytest.mark.parametrize(
    ("processors", "arithmetic", "said"),
    [
        ([], "native", ""),
        ([{"cells": 3}], "native", ""),
        (
            [{"model": "A", "cells": 3}],
            "portable",
            "one kind of processor, A, in portable arithmetic: the numbers are the same",
        ),
        (
            [{"model": "A", "cells": 3}, {"model": "B", "cells": 4}],
            "native",
            "2 kinds of processor (B: 4 cells, A: 3 cells)",
        ),
        ([{"model": "A", "cells": 3}, {"cells": 1}], "native", "a processor that is not known: 1 cells"),
        ([{"model": "A", "cells": 3}], "native and portable", "on another one numbers are a little different"),
    ],
)
def test_where_cells_were_computed_is_said_in_a_sentence(processors, arithmetic, said):
    told = tell_processors({"processors": processors, "arithmetic": arithmetic})
    assert said in told and bool(said) == bool(told)
    shown = provenance({"cells": [], "processors": processors, "arithmetic": arithmetic}, {}, ())
    assert shown.get("processors", "") == told and "arithmetic" not in shown


def test_processors_are_counted_and_unknown_ones_too():
    built = build(record(1, processor={"model": "A"}), record(2, processor={"model": "A"}), record(3))
    assert built["processors"] == [{"model": "A", "cells": 2}, {"cells": 1}] and built["arithmetic"] == "native"
    assert build(record(1, arithmetic="portable"), record(2))["arithmetic"] == "native and portable"
