"""What is promised of inputs, tried a few times each; and every way round the unpickler, by name."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmark import methods
from benchmark.data.checks import unique_ids
from benchmark.data.formats import read_dataset
from benchmark.data.inspection import inspect_file
from benchmark.data.pickles import load_pickle
from benchmark.data.task import known_tasks
from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import read_scores
from benchmark.evidence.stored import read_evidence
from benchmark.files.manifest import read_manifest
from benchmark.running.grid_file import load_grid
from tests.data_files import dump, mmsa_content, mult_content
from tests.faults import hostile, inputs, memory, originals, readers, watch


@pytest.mark.parametrize(
    "kind", [inputs.pickle_trials, inputs.neutral_trials, inputs.text_trials, inputs.stored_trials]
)
def test_nothing_gets_through(tmp_path, kind):
    found = list(kind(tmp_path, 0.02))
    assert found and all(trial.times >= 3 for trial in found)
    assert [trial for trial in found if trial.lost] == []


@pytest.mark.parametrize(
    ("read", "files"),
    [(readers.read_grid, originals.grid_files), (readers.read_card, originals.cards)],
    ids=["grid files", "cards"],
)
def test_what_is_damaged_was_good(tmp_path, read, files):
    """So that a fault is the damage's, not the file's or its reader's."""
    (tmp_path / "cards").mkdir()
    for number, content in enumerate(files()):
        path = tmp_path / "cards" / f"{number}.yaml"
        path.write_bytes(content)
        read(path)


def test_memory_is_bounded_by_the_files_size(tmp_path):
    trial = memory.memory_trial(tmp_path, 0.02)
    assert trial.times > 30 and not trial.lost, trial


def test_what_gets_through_is_found_and_kept(tmp_path, monkeypatch):
    """The table means something: readers that fail in each of the ways are told apart, and their input is kept."""

    def read(path):
        content = path.read_bytes()
        if content == b"refused":
            raise BenchmarkError(f"{path.name} is refused")
        if content == b"two lines":
            raise BenchmarkError(f"{path.name}\nis refused")
        if content == b"traceback":
            raise ValueError("x")
        if content == b"code":
            os.system("true")
        if content == b"written":
            (tmp_path / "canary").write_text("x")
        if content == b"evaluated":
            eval("1 + 1")
        while content == b"slow":
            pass

    monkeypatch.setattr(watch, "SECONDS", 0.2)
    expected = {
        "fine": "", "refused": "", "two lines": "not in one line", "traceback": "ValueError: x", "code": "did os.system",
        "written": "did open", "evaluated": "did exec", "slow": "took more than",
    }  # fmt: skip
    for content, lost in expected.items():
        row = watch.Row("some kind", tmp_path, ".txt", read)
        row.put(content.encode())
        trial = row.trial()
        assert lost in trial.lost and bool(trial.lost) == bool(lost), content
        if lost:
            kept = tmp_path / re.search(r"\((\S+)\)$", trial.lost)[1]
            assert kept.read_bytes() == content.encode()


MEMORY = """
import os, sys
from pathlib import Path
from tests.faults import memory

path = Path(sys.argv[1])
assert "MiB" in memory.cost(lambda _: b"x" * 2**26, path)[1]
assert "MemoryError" in memory.cost(lambda _: bytes(2**40), path)[1]
assert "status" in memory.cost(lambda _: os.kill(os.getpid(), 9), path)[1]
assert memory.cost(lambda _: None, path)[1] == ""
"""


def test_memory_that_is_taken_is_found(tmp_path):
    """In a new process: of one that has let go of memory before, a fork takes it again and nothing is seen to grow."""
    path = tmp_path / "x"
    path.write_bytes(b"x")
    subprocess.run([sys.executable, "-c", MEMORY, str(path)], check=True, cwd=methods.ROOT)


# --- The ways round the unpickler -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", hostile.WAYS)
def test_way_round_the_unpickler(tmp_path, way):
    """Refused by the guard that stands there for it, in a process of its own that may end or eat up the memory."""
    content, said = hostile.WAYS[way]
    path = tmp_path / "x.pkl"
    path.write_bytes(content)

    def read(path):
        with hostile.extensions(os.system), watch.watched() as events, pytest.raises(BenchmarkError, match=said):
            load_pickle(path)
        assert events == []

    assert memory.cost(read, path)[1] == ""


@pytest.mark.parametrize("opcode", [b"r\xff\xff\xff\x0f", b"p4294967295\n"], ids=["LONG_BINPUT", "PUT"])
def test_a_huge_place_in_the_memo_takes_no_memory(tmp_path, opcode):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"](K\x01" + opcode + b"e.")

    def read(path):
        assert load_pickle(path) == [1]

    peak, wrong = memory.cost(read, path)
    assert not wrong and peak < 2**22


def test_the_memo_of_many_items(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04](" + b"K\x01\x94" * 1000 + b"e.")
    assert load_pickle(path) == [1] * 1000


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pkl")
    with pytest.raises(BenchmarkError, match="it is no file"):
        load_pickle(tmp_path / "x.pkl")
    with pytest.raises(BenchmarkError, match="it is no file"):
        inspect_file(type(tmp_path)("/dev/zero"))


# --- Data files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("audio", ["a" * 200_000, *["b"] * 11], "audio: no array of numbers .*or text"),
        ("regression_labels", ["a" * 200_000, *["b"] * 11], "regression_labels: a label has more than 200 characters"),
        ("regression_labels", np.full(12, 1e300), "12 labels are NaN or infinite"),
        ("regression_labels", 3.0, "one number where one a sample is expected"),
        ("id", ["a" * 201, *["b"] * 11], "id: row 0 has more than 200 characters"),
        ("id", [["a", {}], *["b"] * 11], "id: row 0 holds a dict where text is expected"),
        ("id", 3, "id: a int where one id a sample is expected"),
        ("audio", np.ones((12, 9, 5)), "audio has different numbers of features by split: 5 in 'train', 4 in 'valid'"),
        ("text", np.ones((12, 1000, 0)), "holds nothing"),
    ],
)
def test_a_data_file_that_would_fail_later_is_refused(tmp_path, key, value, said):
    content = mmsa_content()
    content["train"][key] = value
    path = dump(tmp_path / "x.pkl", content)
    with pytest.raises(BenchmarkError, match=said):
        readers.read_data(path)


def test_keys_and_ids_stay_on_their_line(tmp_path):
    content = mmsa_content()
    content["train"]["a\nb\x1b[2J"] = content["train"].pop("audio")
    with pytest.raises(BenchmarkError, match="it holds a b ") as caught:
        read_dataset(dump(tmp_path / "x.pkl", content), known_tasks()["mosi"])
    assert str(caught.value).isprintable()
    content = mmsa_content()
    content["train"]["id"][0] = "a\nb"
    content["train"]["audio"][0, 0, 0] = np.nan
    assert "first a b, feature 0" in inspect_file(dump(tmp_path / "y.pkl", content)).text


def test_ids_stay_unique_whatever_they_are(tmp_path):
    assert unique_ids(["a", "a", "a#2", "a"]) == ["a", "a#3", "a#2", "a#4"]
    content = mult_content()
    content["train"]["id"] = ["a", "a\0", "\ud800", "\udfff", "?", *map(str, range(7))]
    readers.read_data(dump(tmp_path / "x.pkl", content))


def test_features_that_overflow_stay_finite(tmp_path):
    content = mult_content()
    content["train"]["audio"] = (1e-5 * content["train"]["audio"]).astype(np.float64)
    content["test"]["audio"] = np.full((8, 6, 4), 3e38)
    content["valid"]["audio"] = np.full((6, 6, 4), 1e300)
    readers.read_data(dump(tmp_path / "x.pkl", content))


# --- Grid files and cards ---------------------------------------------------------------------------------------------

GRID = "description: x\ntasks: [mosi]\nseeds: 1\n"


@pytest.fixture
def read(tmp_path):
    """Reads text as a grid file and as a plug-in's card: what each says."""

    def both(text):
        path = tmp_path / "cards" / "mine.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        said = []
        for load in (
            lambda: load_grid(str(path)),
            lambda: methods.card(methods.Entry("mine", "x", "complete", tmp_path / "mine.py")),
        ):
            try:
                load()
                said.append("")
            except BenchmarkError as error:
                assert str(error).isprintable() and "mine.yaml" in str(error)
                said.append(str(error))
        return said

    return both


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: key 'b.c' stands there already, in line 3"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1: the type '.*os.system' is no YAML"),
        ("a:\n  - !mine x\n", "line 2: the type '!mine' is no YAML"),
        ("a: 2020-01-01\n", "line 1: the type 'timestamp' is no YAML"),
        ("1: x\n", "line 1: a key that is no text"),
        ("? [a]\n: 1\n", "line 1: a key that is no text"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "line 3: a key that is no text"),
        ("a: &a [*a]\n", "line 1: values nested more than 20 deep"),
        ("a: " + "[" * 5000, "line 1 is no YAML: it is nested too deeply"),
        ("a: !!int x\n", "line 1: 'x' is no int"),
        ("a: 0x_\n", "line 1: '0x_' is no int"),
        ("a: " + "9" * 5000, "line 1: a value of 5000 characters that is no text"),
        ('a: "\\UFFFFFFFF"\n', "line 1 is no YAML"),
        ("a: \x07\n", "is no YAML"),
        ("a: 1\n---\nb: 1\n", "line 2 is no YAML"),
        ("[1]\n", "must hold keys"),
        ("\ud800", "no UTF-8"),
        ("# " + "x" * 2**18, "larger than 256 KiB"),
    ],
)
def test_yaml_that_is_refused_names_its_line(read, text, said):
    assert all(re.search(said, told) for told in read(text)), read(text)


@pytest.mark.parametrize("item", ["[{}]", "{{a: {}}}"])
def test_aliases_may_be_used_but_not_explode(read, tmp_path, item):
    levels = [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 9)]
    with watch.clock(watch.SECONDS):
        assert all("too many values" in told for told in read("x0: &x0 [a]\n" + "\n".join(levels)))
        assert all("too many values" in told for told in read(f"x: &x {'a' * 10_000}\ny: [{'*x, ' * 200}]"))
    path = tmp_path / "good.yaml"
    path.write_text(GRID + "ratios: [&r 0.5, *r]\n")
    assert load_grid(str(path))[1].ratios == [0.5, 0.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sedes: 3\n", "line 4: unknown key 'sedes'; did you mean seeds"),
        ("training:\n  epochs: 3\n  patience: none\n", "line 6: key 'training': key 'patience': "),
        ("training:\n  mrm:\n    ratio: 3\n", "line 6: key 'training': unknown key 'mrm.ratio'"),
        (
            "variants:\n  x:\n    method: corrkd\n    sets: {}\n",
            "line 7: unknown key 'variants.x.sets'; did you mean set",
        ),
        (
            "variants:\n  x:\n    method: corrkd\n    set: {}\n    b: 1\n",
            "line 8: unknown key 'variants.x.b'; .*method, set",
        ),
        (
            "simulator:\n  train: 9\n  valid: 9\n  test: 9\n  dev: 9\n",
            "line 8: unknown key 'simulator.dev'; .*test, train",
        ),
        ("methods:\n  - mult\n  - 3\n", "line 6: key 'methods.list.str..1'"),
        ("subsets: [l]\nratios: [.nan]\n", "line 5: key 'ratios'"),
        ("training: {learning_rate: .inf}\n", "line 4: key 'training': key 'learning_rate': .*finite"),
        ("simulator: {train: 1000000000000, valid: 9, test: 9}\n", "line 4: key 'simulator.train'"),
        ("draw: -1\n", "line 4: key 'draw'"),
        (f"against: [{'a, ' * 1000}]\n", "line 4: key 'against'"),
    ],
)
def test_a_grid_file_names_key_and_line(read, text, said):
    (told, _) = read(GRID + text)
    assert re.search(f"^grid file mine.yaml, {said}", told) and len(told) < 500, told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yaer: 2020\n", "line 2: unknown key 'yaer'; did you mean year"),
        ("year: soon\n", "line 2: key 'year': .*integer"),
        ("title: 2020\n", "line 2: key 'title': .*string"),
        ("trains_on: both\n", "line 2: key 'trains_on': .*'complete' or 'missing'"),
        ("deviations:\n  - one\n  - two: three\n", "line 4: key 'deviations.1': .*string"),
        (
            "hyperparameters:\n  d: {value: 3, sources: x}\n",
            "line 3: unknown key 'hyperparameters.d.sources'; .*source",
        ),
        ("published:\n  - {task: mosi}\n", "line 3: key 'published.0.condition': field required"),
    ],
)
def test_a_card_names_key_and_line(read, text, said):
    (_, told) = read("name: mine\n" + text)
    assert re.search(f"^card .*mine.yaml, {said}", told), told
    assert read("name: mine\nyear: 2020\n")[1] == "" == read("hyperparameters: {d: {value: [1]}}\n")[1]


# --- Stored results ---------------------------------------------------------------------------------------------------

HEADER = "task,source,method,seed,kind,available,ratio,draw,metric,value,n,key\n"
LINE = "mosi,file,mult,0,intra,lav,0.5,0,f1,25.25,383,abc\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + LINE + LINE.replace("25.25", "x"), "line 3: value: could not convert"),
        (HEADER + LINE.replace("25.25", "nan"), "line 2: value: nan"),
        (HEADER + LINE.replace("lav", "vla"), "line 2: available: 'vla' is unknown"),
        (HEADER + LINE.replace("mosi", ""), "line 2: task: '' is unknown"),
        (HEADER + LINE.replace("0.5", "1.5"), "line 2: ratio: 1.5 is not in 0 to 1"),
        (HEADER + LINE.replace(",0,f1", ",-1,f1"), "line 2: draw: -1 is below 0"),
        (HEADER + LINE.replace("383", "9" * 5000), "line 2"),
        (HEADER + LINE.replace("383", "9" * 30), "line 2"),
        (HEADER + LINE[:-5] + "\n", "line 2: 11 fields where the first line has 12"),
        (HEADER + '"' + "a" * 200_000, "line 1: field larger than field limit"),
        (HEADER.replace("value", "values"), "lacks the column 'value'"),
        (HEADER + LINE.replace("25.25", "100.5"), "line 2: value: 100.5 is not in 0 to 100"),
        (
            HEADER + LINE + LINE.replace("25.25", "30").replace("abc", "d"),
            "line 3: a second score of task mosi, method mult",
        ),
        ("", "lacks the column 'task'"),
        ("\xff\xfe".encode("latin1").decode("latin1") + "\ud800", "no UTF-8 text"),
    ],
)
def test_scores_that_are_not_as_written_are_refused(tmp_path, text, said):
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BenchmarkError, match=said) as caught:
        read_scores(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    path.write_text(HEADER + LINE)
    assert read_scores(path)["value"].tolist() == [25.25]


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("intervals", "mult", "misa", "intervals.csv: f1 of 'misa' on mosi .simulated. is not in scores.csv"),
        ("comparisons", "f1", "f2", "comparisons.csv: f2 of 'mult' on mosi .simulated. is not in scores.csv"),
        ("intervals", "mult", "corrkd", "f1 of 'corrkd' in '{l,a,v}' stands twice"),
        ("comparisons", "p=0.5", "AUDC", "f1 of 'mult' in 'AUDC' stands twice"),
        ("intervals", "p=0.5", "p=0.6", "'p=0.6' is not what intra 'lav' at 0.5 is called"),
        ("intervals", "AUDC", "area", "'area' is not what derived '' at nan is called"),
        ("intervals", "derived,,", "derived,lav,", "'AUDC' is not what derived 'lav' at nan is called"),
        ("intervals", "intra,lav,0.5", "intra,lav,", "'p=0.5' is not what intra 'lav' at nan is called"),
        ("intervals", "61.0", "inf", "line 2: mean: inf is not in"),
        ("comparisons", "0.04", "1.5", "line 2: p: 1.5 is not in 0 to 1"),
        ("comparisons", "reference", "spite", "line 2: purpose: 'spite' is unknown"),
        ("comparisons", "corrkd", "a\x1b", "comparisons.csv: the against .* holds characters that cannot be seen"),
        ("intervals", "std", "sd", "lacks the column 'std'"),
    ],
)
def test_statistics_that_do_not_belong_to_the_scores_are_refused(tmp_path, name, old, new, said):
    files = dict(zip(("scores", "intervals", "comparisons"), originals.evidence_files(), strict=True))
    for own, text in files.items():
        (tmp_path / f"{own}.csv").write_text(text)
    readers.read_stored_evidence(tmp_path / "intervals.csv")
    (tmp_path / f"{name}.csv").write_text(files[name].replace(old, new))
    with pytest.raises(BenchmarkError, match=said) as caught:
        read_evidence(tmp_path, read_scores(tmp_path / "scores.csv"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 5000, "[]", "3", '{"cells": 3}', '{"cells": [{"method": "x", "task": "y", "seconds": NaN}]}',
     '{"cells": [{}]}', '{"methods": [{"label": "x"}]}', '{"command": 3}', '{"tasks": [1]}', ""],
)  # fmt: skip
def test_a_manifest_that_is_not_as_written_counts_as_none(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    assert read_manifest(path) == {}
    path.write_text('{"grid": "quick", "cells": [{"method": "x", "task": "y", "seconds": 1}]}')
    assert read_manifest(path)["grid"] == "quick"
