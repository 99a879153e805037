import pickle
import re

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmark.methods.registry import catalogue
from benchmark.report.content import file_prefix
from benchmark.report.curves import small_multiples
from benchmark.report.diagnostics import representation_plots, training_curves
from benchmark.report.figures import COLOURS, MARKERS, look_of, method_looks, to_files
from benchmark.report.heatmaps import condition_heatmap, confusion_matrices
from tests.report.pictures import FEW, MAKERS, assert_legible, drawn_texts
from tests.report_frames import (
    FIVE,
    FOURTEEN,
    make_confusions,
    make_histories,
    make_representations,
    make_statistics,
)

HOSTILE = ["$\\frac{1}^~%#", "_u_", "{0}%s", "<b>a&b</b>", "x\\y$", "constant"]
UNTRAINED_ARE_LEFT_OUT = {"training", "tsne", "threshold", "pareto"}
ONE_OF_EACH = [name for name in MAKERS if name == "confusion-4" or "-" not in name]


@pytest.mark.parametrize(("x", "message"), [(0.35, "again"), (0.9, "outside of it")])
def test_text_on_other_text_or_outside_is_found(x, message):
    figure = Figure(figsize=(3, 1))
    figure.text(0.3, 0.5, "a text")
    figure.text(0.7, 0.5, "another")
    assert assert_legible(figure) == ["a text", "another"]
    figure.text(x, 0.55, message)
    with pytest.raises(AssertionError, match=message):
        assert_legible(figure)


@pytest.mark.parametrize("methods", [FEW, FIVE, FOURTEEN], ids=len)
@pytest.mark.parametrize("name", MAKERS)
def test_all_text_is_legible_and_says_simulated(name, methods):
    picture = MAKERS[name](methods)
    assert picture.figure.get_size_inches()[0] in (3.3, 6.9)
    title = picture.figure.get_suptitle()
    assert picture.caption.startswith(f"{title}: simulated data. ") and "simulated data" in picture.alt
    texts = assert_legible(picture.figure)
    assert texts.count("simulated") == 1 and "simulated" not in title
    for method in methods:
        shown = any(text == method or text.startswith(f"{method} (") for text in texts)
        assert shown == (method != "constant" or name not in UNTRAINED_ARE_LEFT_OUT), method
        assert not shown or method in picture.alt


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_same_input_gives_the_same_bytes(name):
    first, second = MAKERS[name](FEW), MAKERS[name](FEW)
    sent = pickle.loads(pickle.dumps(second.figure))  # as to a process that draws it
    assert to_files(first.figure) == to_files(sent)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_hostile_names_are_shown_as_they_are(name):
    texts = drawn_texts(MAKERS[name](HOSTILE).figure)
    assert not any(formula for _, _, formula in texts)
    for method in HOSTILE[:-1]:
        assert any(text == method or text.startswith(f"{method} (") for text, _, _ in texts), method


def test_nothing_is_said_to_be_simulated_that_is_not():
    pictures = [
        small_multiples(make_statistics(source="file"), method_looks(FIVE)),
        condition_heatmap(make_statistics(source="file")),
        training_curves(make_histories(source="file"), method_looks(FIVE)),
        confusion_matrices(make_confusions(source="file")),
        representation_plots(make_representations(FIVE[:1], source="file")),
    ]
    for picture in pictures:
        assert picture.caption.startswith(f"{picture.figure.get_suptitle()}: data from file. ")
        assert "simulated" not in picture.caption and not any(
            "simulated" in text for text, _, _ in drawn_texts(picture.figure)
        )
    both = pd.concat([make_statistics(tasks=["mosi", "mosei"]), make_statistics(source="file")])
    picture = small_multiples(both, method_looks(FIVE), FIVE)
    assert picture.figure.get_suptitle() == "mosi, mosei" and "simulated: mosi, mosei" in assert_legible(picture.figure)


def test_file_names_are_safe_and_can_be_told_apart():
    statistics = make_statistics().assign(task="my/task $1")
    stem = condition_heatmap(statistics).stem
    assert re.fullmatch(r"my_task_1-[0-9a-f]{8}_heatmap", stem) and stem == f"{file_prefix('my/task $1')}_heatmap"
    names = ["mosi", "my/task $1", "my task_1", "my_task_1", "MOSI", "mosi-file", "../../mosi", "", "é", "漢" * 90]
    stems = [file_prefix(name) for name in names]
    assert len({stem.lower() for stem in stems}) == len(names) and stems[0] == "mosi" and stems[3] == "my_task_1"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", stem) for stem in stems)
    assert condition_heatmap(statistics, prefix="mosi-file").stem == "mosi-file_heatmap"


def test_a_method_looks_alike_in_every_company_and_unlike_every_other():
    known = list(catalogue([]))
    looks = method_looks(known)
    assert looks["mult"] == method_looks(["mult"])["mult"] == method_looks(["x", *reversed(known)])["mult"]
    told_apart = {(look["color"], look["marker"], look["linestyle"]) for look in looks.values()}
    assert len(told_apart) == len(looks) >= 23, "add the new method to the end of FIRST"
    assert {looks[name]["color"] for name in ("corrkd", "linear", "mult", "misa")} == set(COLOURS[:4])
    # Pinned, since figures of other grids and versions are laid side by side.
    assert (look_of("corrkd")["color"], look_of("corrkd")["marker"]) == ("#0072B2", "o")
    others = {look_of(name)["color"] for name in [*known, "w/o RCD", *map(str, range(50))] if name != "corrkd"}
    assert "#0072B2" not in others and len(others) == len(COLOURS) + 1, "one colour each, and that of the floors"
    assert (look_of("w/o SCD")["color"], look_of("w/o SCD")["marker"]) == ("#332288", "h")


def test_a_row_trained_the_other_way_has_its_methods_colour_and_a_hollow_marker():
    whole, other = look_of("mult"), look_of("mult+mrm")
    assert (whole["color"], whole["marker"]) == (other["color"], other["marker"])
    assert other["markerfacecolor"] == "white" and whole["linestyle"] != other["linestyle"]
    assert look_of("+mrm")["marker"] in MARKERS, "a name of that alone is one as any other"
