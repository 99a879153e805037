"""Tables for a paper, read back from LaTeX, Markdown and CSV."""

import io
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmark import methods
from benchmark.cli import parser
from benchmark.data.task import Task
from benchmark.errors import BenchmarkError
from benchmark.evidence.scores import SETTING
from benchmark.evidence.statistics import AREA, AVERAGE, DROP
from benchmark.evidence.stored import Evidence
from benchmark.protocol.missing import Setting
from benchmark.report.comparisons import with_evidence
from benchmark.report.compose import gather
from benchmark.report.content import Block, Cell, Table
from benchmark.report.paper import check_planned, paper_files
from benchmark.report.paper_columns import Printed
from benchmark.report.tables import build_tables, to_latex
from benchmark.running.choice import choose
from benchmark.running.paper import as_tables, parse_tables
from tests.report.paper_tex import Tex
from tests.report.test_comparisons import cells, evidence, scores  # noqa: F401 - fixtures
from tests.report.test_tables import HOSTILE, INTER, by_hand, make_scores, markdown_rows
from tests.waiting import HUNG

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"corrkd": "CorrKD", "mult": "MulT", "misa": "MISA", "constant": "Constant"}


def files_of(scores, evidence=None, *, names=NAMES, against=None, asked=True, **tables):  # noqa: F811
    specs = as_tables(tables, "tables")
    printed = Printed(methods=names, tasks={}, against=against, selection="lowest loss.")
    return paper_files(specs, scores, evidence or Evidence(), printed, asked=list(specs) if asked else ())


def one(scores, evidence=None, **options):  # noqa: F811
    """The LaTeX, the Markdown, the CSV and what is said of one table."""
    known = {name: options.pop(name) for name in ("names", "against") if name in options}
    files, lines = files_of(scores, evidence, **known, main=options)
    assert list(files) == ["main.tex", "main.md", "main.csv"]
    return *files.values(), lines


def test_without_scores_it_is_told_that_a_table_is_not_written():
    files, lines = files_of(make_scores(["mult"]).iloc[:0], main={})
    assert files == {} and lines == ["table main is not written: there are no scores"]


def test_it_has_the_rows_columns_metrics_and_decimals_that_are_asked_for():
    scores = make_scores(["corrkd", "mult", "misa", "constant"])  # noqa: F811
    asked = ["va", "{l}", "p=0.3", "{v,a,l}", "Avg."]  # modalities in any order
    columns = ["{a,v}", "{l}", "p=0.3", "{l,a,v}", "Avg."]
    tex, md, csv, lines = one(
        scores, methods=["mult", "corrkd"], columns=asked, metrics=["accuracy"], decimals=1, cite={"mult": "tsai:2019"}
    )
    wanted = [[by_hand(scores, m, c, "accuracy")[0] for c in columns] for m in ("mult", "corrkd")]
    read = Tex(tex)
    assert read.head == ["Method", *columns] and [row[0] for row in read.rows] == [r"MulT~\cite{tsai:2019}", "CorrKD"]
    assert [row[1:] for row in read.rows] == [[f"{mean:.1f}" for mean in means] for means in wanted]
    head, body = markdown_rows(md)
    assert head == ["Method", *columns] and [row[0] for row in body] == ["MulT", "CorrKD"]
    assert [[re.sub(r"\*|</?u>", "", cell) for cell in row[1:]] for row in body] == [row[1:] for row in read.rows]
    numbers = pd.read_csv(io.StringIO(csv))
    assert numbers["mean"].tolist() == pytest.approx([mean for means in wanted for mean in means])
    assert numbers["condition"].tolist() == columns * 2 and numbers["method"].tolist() == ["mult"] * 5 + ["corrkd"] * 5
    assert set(numbers["metric"]) == {"accuracy"} and set(numbers["task"]) == {"mosi"} and lines == []
    assert read.caption == "Accuracy on CMU-MOSI with data missing."


@pytest.mark.parametrize("show", ["mean", "deviation", "interval"])
def test_what_stands_behind_a_mean(scores, evidence, show):  # noqa: F811
    names = dict.fromkeys(evidence.intervals["method"])
    tex, _, csv, _ = one(scores, evidence, names={m: m for m in names}, columns=["l"], show=show, width="two")
    numbers = pd.read_csv(io.StringIO(csv)).set_index("method").loc[list(names)]
    behind = {
        "mean": ["" for _ in names],
        "deviation": [f" ± {std:.2f}" for std in numbers["std"]],
        "interval": [f" [{low:.2f}, {high:.2f}]" for low, high in numbers[["low", "high"]].to_numpy()],
    }[show]
    assert [row[1] for row in Tex(tex).rows] == [f"{m:.2f}{b}" for m, b in zip(numbers["mean"], behind, strict=True)]
    said = {
        "mean": "means over 3 seeds;",
        "deviation": "mean $\\pm$ standard deviation over 3 seeds;",
        "interval": "{[}95",
    }
    assert said[show] in tex


def test_means_stand_below_one_another_whatever_stands_behind_them():
    scores = make_scores(["corrkd", "mult"])  # noqa: F811
    apart = scores["method"].map({"corrkd": 2.0, "mult": 20.0})
    scores["value"] = 50.0 + apart * (scores["seed"] - 1)
    tex, *_ = one(scores, columns=["l"], show="deviation", decimals=1)
    assert r"\,$\pm$\,\phantom{0}2.0 \\" in tex and r"50.0}\,$\pm$\,20.0 \\" in tex
    assert r"Method & \multicolumn{1}{c}{\{l\}} \\" in tex  # above the middle, not above what stands behind


def test_what_is_asked_for_by_its_kind_is_the_reports_columns():
    scores = make_scores()  # noqa: F811
    for kind in ("inter", "intra"):
        (table,) = [t for t in build_tables(scores) if t.kind == kind]
        assert Tex(one(scores, columns=[kind], width="two")[0]).head == ["Method", *table.columns]
    assert Tex(one(scores, columns=["p=0.0", "p=1.0"])[0]).head == ["Method", "p=0.0", "p=1.0"]
    assert Tex(one(scores)[0]).head == ["Method", *INTER], "by default"


def test_ranks_are_of_the_rows_that_are_shown():
    scores = make_scores(["a", "b", "c"], task="mosi_intensity")  # noqa: F811
    scores["value"] = scores["method"].map({"a": 0.9, "b": 0.5, "c": 0.2})
    names = {m: m for m in "abc"}
    for metric, best, second in (("corr", "a", "b"), ("mae", "b", "a")):
        tex = one(scores, names=names, methods=["a", "b"], columns=["l"], metrics=[metric])[0]
        (row,) = [line for line in tex.splitlines() if r"\textbf" in line]
        assert row.startswith(best), metric
        (row,) = [line for line in tex.splitlines() if r"\underline" in line]
        assert row.startswith(second), metric
    assert "best in bold, second underlined" in tex


def test_marks_and_bold_are_those_of_the_reports_table(scores, evidence):  # noqa: F811
    names = {m: f"Big {m}" for m in dict.fromkeys(evidence.intervals["method"])}
    (table,) = [t for t in build_tables(scores, method_order=list(names)) if t.kind == "inter"]
    shown = cells(with_evidence(table, evidence, "corrkd"))
    tex, md, _, _ = one(scores, evidence, names=names, against="corrkd", width="two")
    _, body = markdown_rows(md)
    assert [row[0] for row in body] == [f"Big {m}" + " ◆" * (m == "corrkd") for m in names]
    for m, row in zip(names, body, strict=True):
        for column, text in zip(INTER, row[1:], strict=True):
            cell = shown[m][column]
            assert text == (f"**{cell.value}**" if cell.rank == 1 else cell.value) + cell.mark, (m, column)
    assert "▼" in md and "▲ ▼ better, worse than Big corrkd (◆) in a paired two-sided test" in md
    assert "in bold what no test tells from the best (Holm, 0.05)" in md
    assert not re.search("blacktriangle|blacklozenge|[▲▼◆]", tex), (
        "that would take another package, or a Unicode engine"
    )
    for signs in (r"$^{\bigtriangledown}$", r"$^{\bigtriangleup}$", r"($^{\diamond}$)"):
        assert signs in tex
    bare = one(scores, evidence, names=names, against="corrkd", width="two", marks=False)[1]
    assert not re.search("[▲▼◆]", bare)


def test_bold_follows_tests_only_where_all_that_they_found_best_is_shown(scores, evidence):  # noqa: F811
    names = {m: m for m in dict.fromkeys(evidence.intervals["method"])}
    few = one(scores, evidence, names=names, methods=["mult", "mult+mrm"], columns=["l"])[1]
    assert (
        "best in bold, second underlined" in few and few.count("**") == 4 and few.count("<u>") == 1
    )  # and the caption


def test_digits_stand_below_one_another(scores, evidence):  # noqa: F811
    names = {m: m for m in dict.fromkeys(evidence.intervals["method"])}
    tex = one(scores, evidence, names=names, against="corrkd", columns=["Avg."])[0]
    rows = [line for line in tex.splitlines() if re.match(r"(mult|corrkd)", line)]
    assert len(rows) == 4 and all(row.count(r"^{\bigtriangledown}") + row.count(r"^{\diamond}$ &") >= 1 for row in rows)
    assert sum(r"\phantom{$^{\bigtriangledown}$}" in row for row in rows) >= 1


def test_the_drop_is_better_the_less_it_is_and_where_it_comes_from(scores, evidence):  # noqa: F811
    names = {m: m for m in dict.fromkeys(evidence.intervals["method"])}
    tex, md, csv, _ = one(
        scores, evidence, names=names, methods=["mult", "mult+mrm"], columns=[DROP, AREA], width="two"
    )
    numbers = pd.read_csv(io.StringIO(csv)).set_index(["condition", "method"])["mean"]
    rows = {row[0]: row[1:] for row in markdown_rows(md)[1]}
    least = min(rows, key=lambda m: numbers[DROP, m])
    assert rows[least][0].startswith("**") and numbers[DROP].nunique() == 2
    own = evidence.intervals.query("metric == 'f1' and method == 'mult' and condition == 'AUDC'")
    assert numbers[AREA, "mult"] == pytest.approx(own["mean"].iloc[0])
    assert "drop = {l,a,v} less Avg. AUDC = area under" in md and Tex(tex).head == ["Method", "drop", "AUDC"]


def test_a_smaller_drop_is_marked_as_better(scores, evidence):  # noqa: F811
    names = {m: m for m in dict.fromkeys(evidence.intervals["method"])}
    surely = evidence.comparisons.assign(p_holm=0.01)
    tests = surely.query("purpose == 'reference' and metric == 'f1' and condition == 'drop'")
    signs = {row.method: "▲" if row.difference < 0 else "▼" for row in tests.itertuples() if row.difference}
    evidence = replace(evidence, comparisons=surely)
    assert signs
    _, body = markdown_rows(one(scores, evidence, names=names, against="corrkd", columns=[DROP], width="two")[1])
    assert {row[0]: row[1][-1] for row in body if row[1][-1] in "▲▼"} == signs


def three_tasks(names=("corrkd", "mult", "constant")):
    own = [make_scores(names, task=task) for task in ("mosi", "mosei", "iemocap")]
    return pd.concat(own, ignore_index=True)


def test_tasks_and_metrics_stand_side_by_side_where_that_fits():
    scores = three_tasks()  # noqa: F811
    tex, _, _, lines = one(scores, columns=["Avg."], decimals=1)
    read = Tex(tex)
    assert read.head == ["Method", "CMU-MOSI", "CMU-MOSEI", "IEMOCAP"] and not read.rules and lines == []
    assert read.caption == "F1 on CMU-MOSI, CMU-MOSEI and IEMOCAP: mean of the conditions that lack a modality."
    assert "On CMU-MOSI and CMU-MOSEI, F1: weighted F1" in read.note and "On IEMOCAP, mean F1: mean of" in read.note
    for column, task in enumerate(("mosi", "mosei", "iemocap"), start=1):
        own = scores[scores["task"] == task]
        assert [row[column] for row in read.rows] == [
            f"{by_hand(own, m, 'Avg.')[0]:.1f}" for m in ("corrkd", "mult", "constant")
        ]
    read = Tex(one(scores, columns=["l", "lav"], tasks=["iemocap", "mosi"], metrics=["f1", "accuracy"], width="two")[0])
    assert [re.findall(r"\{c\}\{(.*)\}", head) for head in read.above[1:]] == [
        ["IEMOCAP, Mean F1"], ["IEMOCAP, Accuracy"], ["CMU-MOSI, F1"], ["CMU-MOSI, Accuracy"]
    ]  # fmt: skip
    assert read.head == ["Method", *["{l}", "{l,a,v}"] * 4]
    assert "IEMOCAP, Mean F1 {l} | IEMOCAP, Mean F1 {l,a,v}" in one(
        scores, columns=["l", "lav"], tasks=["iemocap", "mosi"], metrics=["f1", "accuracy"], width="two"
    )[1]  # fmt: skip


def test_four_emotions_are_four_tables_where_they_do_not_fit_and_their_mean_is_one():
    scores = three_tasks()  # noqa: F811
    asked = {"tasks": ["iemocap"], "width": "two", "show": "deviation", "decimals": 1}
    files, lines = files_of(scores, main={**asked, "metrics": ["categories"]}, mean=asked)
    stems = [f"main-f1_{name}" for name in ("happy", "sad", "angry", "neutral")]
    assert [name for name in files if name.endswith(".tex")] == [f"{stem}.tex" for stem in [*stems, "mean"]]
    assert lines == [
        f"table main: its 4 groups of columns do not fit side by side, so it is 4 tables: {', '.join(stems)}"
    ]
    for stem in stems:
        assert Tex(files[f"{stem}.tex"]).head == ["Method", *INTER] and rf"\label{{tab:{stem}}}" in files[f"{stem}.tex"]
        assert set(pd.read_csv(io.StringIO(files[f"{stem}.csv"]))["metric"]) == {stem.removeprefix("main-")}
    files, _ = files_of(scores, main={"columns": ["l", "lav"], "metrics": ["f1", "accuracy"]})
    assert [name for name in files if name.endswith(".md")] == [f"main-{t}.md" for t in ("mosi", "mosei", "iemocap")]


def test_a_table_that_does_not_fit_says_what_to_leave_out(scores, evidence):  # noqa: F811
    names = {m: m for m in dict.fromkeys(evidence.intervals["method"])}
    _, _, _, (line,) = one(scores, evidence, names=names, show="interval", columns=["l", "a", "v"])
    assert re.fullmatch(
        r"table main takes 1\d\d% of a column of text at 80 % of the text's size \(an estimate\), and is written so; leave out "
        r"what stands behind the means \(show: mean\) or give it two columns \(width: two\) or leave out 1 of its 3 columns",
        line,
    )
    for helps in ({"show": "mean"}, {"width": "two"}, {"columns": ["l", "a"]}):
        assert one(scores, evidence, names=names, **({"show": "interval", "columns": ["l", "a", "v"]} | helps))[3] == []
    _, _, _, (line,) = one(scores, evidence, names=names, show="interval")
    assert "(show: mean) and give it two columns (width: two) or" in line, "where one thing is not enough, it is two"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": ["mutl"]}, "unknown method of table main 'mutl'; did you mean mult? there are: constant, corrkd, "),
        ({"cite": {"mutl": "x"}}, "unknown method of table main 'mutl'; did you mean mult? there are: "),
        ({"tasks": ["mossi"]}, "unknown task of table main 'mossi'; did you mean mosi or mosei? there are: iemocap, mosei, mosi"),
        ({"metrics": ["f2"]}, "unknown metric of table main 'f2'; did you mean f1? there are: accuracy, categories, f1, "),
        ({"metrics": ["mae"]}, "unknown metric of table main 'mae'; there are: "),
        ({"metrics": ["f1_sad"], "tasks": ["mosi"]}, "unknown metric of table main 'f1_sad'; "),
        ({"columns": ["avg"]}, "unknown column of table main 'avg'; did you mean Avg."),
        ({"columns": ["p=0.35"]}, "unknown column of table main 'p=0.35'; did you mean p=0."),
        ({"columns": ["drop"]}, "unknown column of table main 'drop'; there are: "),  # without intervals
        ({"columns": ["p=0.1"], "metrics": ["f1_sad"]}, "table main would be empty: no task has both"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line_with_what_there_is(asked, said):
    scores = three_tasks(("corrkd", "mult", "constant"))  # noqa: F811
    if "would be empty" in said:
        scores = scores[(scores["task"] != "iemocap") | (scores["ratio"] == 0)]
    with pytest.raises(BenchmarkError) as caught:
        files_of(scores, names={m: NAMES[m] for m in ("corrkd", "mult", "constant")}, main=asked)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_of_an_earlier_report_what_is_not_there_is_left_out_and_told():
    scores = three_tasks()  # noqa: F811
    names = {m: NAMES[m] for m in ("corrkd", "mult", "constant")}
    tables = {
        "one": {
            "methods": ["mult", "gone", "corrkd"],
            "tasks": ["mosi", "sims"],
            "cite": {"gone": "x"},
            "width": "two",
        },
        "two": {"columns": ["p=0.35"]},
        "three": {"methods": ["gone"]},
    }
    files, lines = files_of(scores, names=names, asked=False, **tables)
    assert list(files) == ["one.tex", "one.md", "one.csv"]
    assert [row[0] for row in Tex(files["one.tex"]).rows] == ["MulT", "CorrKD"]
    assert lines[0] == "table one: gone, sims: not in this report, and left out"
    assert lines[1].startswith("table two is not written: unknown column of table two 'p=0.35'; ")
    assert lines[2] == "table three is not written: none of its methods is in this report (gone)"


def test_a_planned_run_refuses_what_it_will_not_have(tmp_path):
    choice = choose("quick", methods=["corrkd", "mult", "constant"])
    check_planned(as_tables({"x": {"columns": ["la", "p=0.3", AVERAGE, "intra"], "metrics": ["accuracy"]}}, ""), choice)
    check_planned(as_tables({"x": {"metrics": ["auroc"]}}, ""), choice, ["auroc"])
    with pytest.raises(BenchmarkError, match=r"^unknown column of table x 'noise'; .* intra"):
        check_planned(as_tables({"x": {"columns": ["noise"]}}, ""), choice)
    for columns in (["inter"], [AVERAGE]):
        with pytest.raises(BenchmarkError, match=r"^unknown column of table x"):
            check_planned(as_tables({"x": {"columns": columns}}, ""), choose("intra", methods=["mult"], tasks=["mosi"]))
    for asked in ({"columns": ["p=0.35"]}, {"methods": ["misa"]}, {"metrics": ["auroc"]}, {"tasks": ["mosei"]}):
        with pytest.raises(BenchmarkError, match=r"^unknown (column|method|metric|task) of table x "):
            check_planned(as_tables({"x": asked}, ""), choice)
    of_two = Task(name="two", target={"kind": "polarity"}, modalities="la")
    two = choose({"tasks": ["mosi"], "methods": ["mult"], "seeds": 1, "random": True}, tasks=[of_two])
    check_planned(as_tables({"x": {"columns": ["{l?,a?}"]}}, ""), two)
    with pytest.raises(BenchmarkError, match=r"^unknown column of table x '\{l\?,a\?,v\?\}'"):
        check_planned(as_tables({"x": {"columns": ["{l?,a?,v?}"]}}, ""), two)
    noisy = choose("imbalanced", methods=["corrkd"])
    check_planned(as_tables({"x": {"columns": ["l=0.1", "p=0.1/0.5/0.9"]}}, ""), noisy)


def test_two_tables_have_two_files():
    scores = three_tasks()  # noqa: F811
    wide = {"columns": ["inter"], "metrics": ["f1", "accuracy"]}
    with pytest.raises(
        BenchmarkError, match=r"two tables would be tables/paper/main-mosi-f1\.csv; give one of them an"
    ):
        files_of(scores, main=wide, **{"main-mosi-f1": {"tasks": ["mosi"]}})


def test_a_minus_is_a_minus_sign_in_latex_in_every_table():
    scores = make_scores(["a-1", "-b"], task="mosi_intensity")  # noqa: F811
    scores.loc[scores["metric"] == "corr", "value"] *= -1
    tex, md, csv, _ = one(scores, names={"a-1": "a-1", "-b": "-b"}, metrics=["corr"], columns=["l", "a"])
    assert len(re.findall(r"\$-\$0\.\d{3}", tex)) == 4 and not re.search(r"[^$]-0\.", tex)
    assert [row[0] for row in Tex(tex).rows] == ["a-1", "-b"] and "−" in "".join(Tex(tex).rows[0])
    assert len(re.findall(r"-0\.\d{3}", md)) == 4 and (pd.read_csv(io.StringIO(csv))["mean"] < 0).all()
    (table,) = [t for t in build_tables(scores, metrics=["corr"]) if t.kind == "inter"]
    text = to_latex(table)
    assert len(re.findall(r"\$-\$0\.\d{3}", text)) == 16 and not re.search(r"[^$]-0\.", text) and "a-1 &" in text
    own = [Cell("+0.1", "[-0.3, -.2]"), Cell("1e-05", "(2-3)")]
    other = Table("s", "", "", "", "", "", "", ["a-1"], ["c", "d"], pd.DataFrame(), [Block("", [("a-1", own)])])
    assert "\na-1 & +0.1 {[}$-$0.3, $-$.2] & 1e-05 (2-3) \\\\\n" in to_latex(other)


def test_captions_and_notes_of_ones_own_and_what_is_simulated_is_told():
    scores = make_scores(source="file")  # noqa: F811
    text = "50 % of {x} & \\y_z"
    read = Tex(one(scores, caption=text, note="")[0])
    assert read.caption == r"50 \% of \{x\} \& \textbackslash{}y\_z" and read.note == ""
    simulated = make_scores()
    read = Tex(one(simulated, caption="Mine.", note="My note.")[0])
    assert read.note == "CMU-MOSI: simulated data. My note."
    assert "lowest loss." in one(simulated)[0] and "Checkpoint selection" not in read.note


def test_rows_of_fewer_seeds_and_absent_numbers():
    scores = make_scores()  # noqa: F811
    scores = scores[(scores["method"] != "mult") | (scores["seed"] > 0) & (scores["available"] != "l")]
    read = Tex(one(scores, columns=["l", "a"])[0])
    rows = {row[0]: row[1:] for row in read.rows}
    assert rows["MulT"][0] == "–" and rows["MulT"][1].endswith(r"$\dagger$")
    assert r"$\dagger$ of fewer seeds than the other rows, and so not ranked: MulT 2 of 3." in read.note


def test_the_note_speaks_of_the_rows_that_are_there():
    scores = make_scores()  # noqa: F811
    scores = scores[(scores["method"] != "mult") | (scores["seed"] > 0)]
    read = Tex(one(scores, methods=["corrkd", "misa"])[0])
    assert "MulT" not in read.note and "over 3 seeds" in read.note


def test_the_note_speaks_of_the_modalities_that_there_are():
    two = make_scores().assign(modalities="la")
    settings = {"l": Setting("la?"), "lav": Setting()}
    two = two[two["available"].isin(settings) & (two["ratio"] == 0.0)]
    settings = two["available"].map(settings)
    two = two.assign(kind=[s.kind for s in settings], available=[s.available for s in settings])
    note = one(two.assign(**{SETTING: settings.map(str)}), columns=["random", "{l,a,v}"])[1]
    assert "In {l?,a?} each sample has its own subset" in note and "v?" not in note
    assert note.count("The data of CMU-MOSI have no vision, in {l,a,v} neither.") == 1
    assert " have no " not in one(make_scores(), columns=["inter"])[1]


def test_one_seed_has_no_deviation():
    scores = make_scores()  # noqa: F811
    for own, said in (
        (scores[scores["seed"] == 0], "Cells are means over 1 seed; best"),
        (scores, " over 3 seeds; best"),
    ):
        assert said in one(own, columns=["l"], show="deviation")[0]
    some = scores[(scores["method"] != "mult") | (scores["seed"] == 0)]
    assert (
        "deviation over 1–3 seeds, none where there is one seed; best" in one(some, columns=["l"], show="deviation")[1]
    )


def test_data_of_two_sources_are_told_apart():
    scores = pd.concat([make_scores(), make_scores(source="file")], ignore_index=True)  # noqa: F811
    tex, *_ = one(scores, columns=["Avg."])
    assert Tex(tex).head == ["Method", "mosi (simulated)", "mosi (file)"]
    files, _ = files_of(scores, main={"show": "deviation"})
    assert {name for name in files if name.endswith("tex")} == {"main-mosi-simulated.tex", "main-mosi-file.tex"}


def test_hostile_names_stay_text():
    names = dict(zip([*HOSTILE, "constant"], [*HOSTILE, "constant"], strict=True))
    tex, md, csv, _ = one(make_scores([*HOSTILE, "constant"], seeds=2), names=names, width="two")
    assert len(Tex(tex).rows) == len(names) and r"x\_y\&z" in tex and "<script" not in md
    assert "'=cmd()" in set(pd.read_csv(io.StringIO(csv))["method"])


def test_rows_bear_the_names_of_papers():
    entries = methods.catalogue()
    labels = {"tfr_net": "TFR-Net", "mult+mrm": "MulT+MRM", "corrkd-mrm": "CorrKD w/o MRM", "gone": "gone"}
    assert {m: methods.display_name(methods.label_row(m, entries), entries) for m in labels} == labels
    variant = methods.Row("multi", "mult", "complete")
    assert methods.display_name(variant, entries) == "multi"
    assert methods.display_name(methods.Row("mult tuned", "mult", "complete"), entries) == "MulT tuned"
    shown = [methods.display_name(methods.label_row(m, entries), entries) for m in entries]
    assert len(set(shown)) == len(entries), "two methods bear one name"


def test_the_example_of_the_documentation_works_on_the_stored_results():
    text = (ROOT / "docs" / "paper-tables.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python run_benchmark\.py (.*?)\n```", text, flags=re.M | re.S)
    options = parser().parse_args(shlex.split(command.replace("\\\n", " ")))
    (folder,) = options.report_only
    found = gather([ROOT / folder], methods.catalogue(), grid="full", command="", against=["corrkd"],
                   tables=parse_tables(options.table))  # fmt: skip
    files, lines = found.paper
    assert {name for name in files if name.endswith(".tex")} == {"average.tex", "mosi.tex"} and lines == []
    assert r"MulT~\cite{tsai2019} & " in files["mosi.tex"]
    assert Tex(files["average.tex"]).head == ["Method", "CMU-MOSI", "CMU-MOSEI", "IEMOCAP"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_in_two_columns_and_is_as_wide_as_it_is_said_to_be(tmp_path, scores, evidence):  # noqa: F811
    names = {m: NAMES.get(m, m) for m in dict.fromkeys(evidence.intervals["method"])}
    tables = {
        "means": {"decimals": 1},
        "spread": {"show": "deviation", "width": "two", "decimals": 1, "cite": {"mult": "tsai2019"}},
        "wide": {"show": "deviation", "width": "two"},
        "sums": {"columns": [AVERAGE, DROP, AREA], "show": "interval", "width": "two", "decimals": 1},
        "tight": {"columns": [AVERAGE, DROP, AREA], "show": "interval", "decimals": 1},
    }
    files, lines = files_of(scores, evidence, names=names, against="corrkd", **tables)
    hostile = {name: name for name in HOSTILE}
    more, _ = files_of(make_scores(HOSTILE, seeds=2), names=hostile, hostile={"width": "two", "decimals": 0})
    said = {name: int(share) for name, share in re.findall(r"table (\w+) takes (\d+)%", "\n".join(lines))}
    assert set(said) == {"means", "wide", "tight"} and len(lines) == 3
    for file, text in {**files, **more}.items():
        if not file.endswith(".tex"):
            continue
        points, line = width_in_latex(tmp_path, text)
        if (name := file.removesuffix(".tex")) in said:
            assert said[name] == pytest.approx(100 * points / line, abs=1.5)
        else:
            assert points <= 1.005 * line


def width_in_latex(folder, text):
    """Points of a table's rows as LaTeX sets them, and of the columns of text that it stands in."""
    rows = re.search(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, flags=re.S).group()
    size = re.search(r"\\setlength\{\\tabcolsep\}.*?(?=\\begin\{tabular\})", text, flags=re.S).group()
    of = r"\textwidth" if "table*" in text else r"\columnwidth"
    (folder / "table.tex").write_text(text)
    (folder / "all.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs}\begin{document}\input{table.tex}\newsavebox{\rows}"
        rf"{{{size}\global\sbox{{\rows}}{{{rows}}}}}\typeout{{width \the\wd\rows, of \the{of}}}\end{{document}}"
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=HUNG)
    assert result.returncode == 0, result.stdout[-2000:]
    return map(float, re.search(r"width ([\d.]+)pt, of ([\d.]+)pt", result.stdout).groups())
