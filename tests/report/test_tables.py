import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from benchmark.evidence.scores import COLUMNS
from benchmark.protocol.missing import SUBSETS, Setting
from benchmark.report.figures import method_looks
from benchmark.report.tables import build_tables, order_methods, tell_metrics, to_csv, to_latex, to_markdown
from benchmark.report.write import write_report
from tests.waiting import HUNG

INTER = ["{l}", "{a}", "{v}", "{l,a}", "{l,v}", "{a,v}", "Avg.", "{l,a,v}"]
RATIOS = [round(0.1 * i, 1) for i in range(11)]
SETTINGS = [(subset, 0.0) for subset in SUBSETS] + [("lav", ratio) for ratio in RATIOS[1:]]
POLARITY = ["f1", "f1_nonneg", "accuracy"]
CATEGORY = ["f1", "f1_happy", "f1_sad", "f1_angry", "f1_neutral", "accuracy"]
INTENSITY = ["mae", "corr", "acc7", "acc2", "f1"]
TARGETS = {"iemocap": ("category", CATEGORY), "mosi_intensity": ("intensity", INTENSITY)}
HOSTILE = [
    "<script>alert(1)</script>",
    "=cmd()",
    "a|b",
    "x_y&z",
    "[opt]",
    "*x*",
    "_u_",
    "$\\frac{1}^~%#",
    "http://e.org/",
]


def make_scores(
    methods=("corrkd", "mult", "constant"),
    *,
    task="mosi",
    source="simulated",
    seeds=3,
    settings=SETTINGS,
    draws=1,
    modalities="lav",
):
    rng = np.random.default_rng(0)
    target, metrics = TARGETS.get(task, ("polarity", POLARITY))
    polar = () if target == "category" else ("f1", "acc2")
    rows = [
        (task, source, method, seed, "intra" if available == "lav" else "inter", available, ratio, draw,
         metric, rng.uniform(0.3, 0.9) * (1 if metric in ("mae", "corr") else 100), 656 if metric in polar else 686,
         f"{method}-{seed}", target, modalities)
        for method in methods
        for seed in range(seeds)
        for available, ratio in settings
        for draw in range(draws)
        for metric in metrics
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def by_hand(scores, method, condition, metric="f1"):
    """Mean and standard deviation of a cell, by loops over the raw rows."""
    rows = scores[(scores["method"] == method) & (scores["metric"] == metric)]
    seeds = []
    for seed in sorted(set(rows["seed"])):
        values = {}
        for row in rows[rows["seed"] == seed].itertuples():
            values.setdefault((row.available, row.ratio), []).append(row.value)
        means = {setting: sum(v) / len(v) for setting, v in values.items()}
        if condition == "Avg.":
            seeds.append(sum(means[s, 0.0] for s in ("l", "a", "v", "la", "lv", "av")) / 6)
        elif condition.startswith("p="):
            seeds.append(means["lav", float(condition[2:])])
        else:
            seeds.append(means[condition.strip("{}").replace(",", ""), 0.0])
    mean = sum(seeds) / len(seeds)
    return mean, (sum((s - mean) ** 2 for s in seeds) / (len(seeds) - 1)) ** 0.5


def markdown_rows(text, block=None):
    """The head and the rows of a table; of one of its blocks, without the column that names it."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line] for line in lines]
    return (head, body) if block is None else (head[1:], [row[1:] for row in body if row[0] == block])


def plain(cell):
    return re.sub(r"\*\*|</?u>|\\textbf|\\underline|[{}$]", "", cell).replace(r"\pm", "±")


def table_of(scores, kind="inter", **options):
    (table,) = [t for t in build_tables(scores, **options) if t.kind == kind]
    return table


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize(("kind", "columns"), [("inter", INTER), ("intra", [f"p={r}" for r in RATIOS])])
def test_every_format_has_the_numbers_computed_by_hand(kind, columns, draws):
    scores = make_scores(draws=draws)
    table = table_of(scores, kind)
    expected = {(m, c): by_hand(scores, m, c) for m in ("corrkd", "mult", "constant") for c in columns}
    printed = {key: f"{mean:.2f} ± {std:.2f}" for key, (mean, std) in expected.items()}

    head, body = markdown_rows(to_markdown(table), "F1")
    assert head == ["Method", *columns]
    assert {(row[0], c): plain(cell) for row in body for c, cell in zip(columns, row[1:], strict=True)} == printed

    head, block, *_ = to_latex(table).split("\\midrule\n")
    assert [name.replace("\\", "") for name in head.splitlines()[-1][:-3].split(" & ")] == ["Method", *columns]
    title, *lines = block.splitlines()
    rows = [line[:-3].split(" & ") for line in lines]
    assert title == rf"\multicolumn{{{1 + len(columns)}}}{{l}}{{\emph{{F1}}}} \\"
    assert {(r[0].strip(), c): plain(x) for r in rows for c, x in zip(columns, r[1:], strict=True)} == printed

    csv = pd.read_csv(io.StringIO(to_csv(table)))
    assert set(csv["metric"]) == set(POLARITY) and set(csv["seeds"]) == {3}
    csv = csv[csv["metric"] == "f1"].set_index(["method", "condition"])
    assert len(csv) == len(expected)
    for key, numbers in expected.items():
        assert csv.loc[key, ["mean", "std"]].tolist() == pytest.approx(numbers)


def test_metrics_are_blocks_and_ranked_within_them():
    scores = make_scores(task="iemocap")
    table = table_of(scores)
    titles = ["mean F1", "F1 happy", "F1 sad", "F1 angry", "F1 neutral", "accuracy"]
    assert [block.title for block in table.blocks] == titles and table.metrics == dict(
        zip(CATEGORY, titles, strict=True)
    )
    head, body = markdown_rows(to_markdown(table))
    assert head[:2] == ["Metric", "Method"] and len(body) == 6 * 3
    for metric, rows in zip(CATEGORY, [body[i : i + 3] for i in range(0, 18, 3)], strict=True):
        for column, condition in enumerate(INTER, start=2):
            values = {row[1]: by_hand(scores, row[1], condition, metric)[0] for row in rows}
            best, second, _ = sorted(values, key=values.get, reverse=True)
            assert [row[1] for row in rows if row[column].startswith("**")] == [best]
            assert [row[1] for row in rows if row[column].startswith("<u>")] == [second]
    assert to_latex(table).count(r"\multicolumn{9}{l}") == 6


def test_what_is_printed_alike_is_ranked_alike():
    scores = make_scores(["a", "b", "c", "d"], seeds=1, settings=[("l", 0.0), ("a", 0.0)])
    values = {"a": 70.001, "b": 70.004, "c": 60.0, "d": 60.0}
    scores["value"] = scores["method"].map(values)
    _, body = markdown_rows(to_markdown(table_of(scores)), "F1")
    assert [row[1] for row in body] == ["**70.00**", "**70.00**", "<u>60.00</u>", "<u>60.00</u>"]
    tex = to_latex(table_of(scores[scores["metric"] == "f1"]))
    assert tex.count(r"\textbf{70.00}") == 4 and tex.count(r"\underline{60.00}") == 4


def test_where_less_is_better_the_least_is_best():
    scores = make_scores(["a", "b", "c", "constant"], task="mosi_intensity")
    mae = scores["metric"] == "mae"
    scores.loc[mae, "value"] = scores["method"].map({"a": 0.9121, "b": 1.25, "c": 0.9124, "constant": 1.5})
    scores.loc[(scores["metric"] == "f1") & (scores["method"] == "b"), "value"] = 99.0
    table = table_of(scores)
    _, body = markdown_rows(to_markdown(table), "MAE")
    assert [row[1:] for row in body] == [
        [f"{printed} ± 0.000"] * 8 for printed in ("**0.912**", "<u>1.250</u>", "**0.912**", "1.500")
    ]  # fmt: skip
    assert {row[0] for row in markdown_rows(to_markdown(table), "F1")[1] if row[1] == "**99.00** ± 0.00"} == {"b"}
    said = "MAE: mean absolute error of the intensity, less is better; Corr: "
    assert f"{table.lead} {table.caption}".startswith(f"mosi_intensity: simulated data. {said}")
    assert table.caption.count("less is better") == 1 and "less is better" not in table_of(make_scores()).caption


def test_a_correlation_that_there_is_not_is_a_dash_and_told():
    scores = make_scores(["a", "constant"], task="mosi_intensity")
    told = "There is no Corr where a method answers alike for all samples."
    assert told not in table_of(scores).caption
    scores.loc[(scores["metric"] == "corr") & (scores["method"] == "constant"), "value"] = np.nan
    table = table_of(scores)
    (_, *numbers), constant = markdown_rows(to_markdown(table), "Corr")[1]
    assert constant == ["constant", *["–"] * 8]
    assert all(re.fullmatch(r"\*\*0\.\d{3}\*\* ± 0\.\d{3}", number) for number in numbers)
    assert table.caption.count(told) == 1 and "nan" not in to_latex(table)
    assert told not in build_tables(scores, metrics=["acc2"])[0].caption, "it is not in that table"


def test_one_metric_has_a_table_of_its_own_where_a_task_has_it():
    scores = pd.concat([make_scores(task="mosi_intensity"), make_scores()])
    tables = build_tables(scores, metrics=["corr", "acc2", "corr"])
    assert [table.stem for table in tables] == [
        "mosi_intensity_inter_corr", "mosi_intensity_inter_acc2",
        "mosi_intensity_intra_corr", "mosi_intensity_intra_acc2", "mosi_inter", "mosi_intra",
    ]  # fmt: skip
    corr, acc2 = tables[:2]
    assert corr.title == "Whole modalities missing: Corr" and [block.title for block in corr.blocks] == ["Corr"]
    assert corr.caption.startswith("Corr: correlation (Pearson) of predicted and true intensity (n = 686); ")
    assert acc2.caption.startswith("Acc-2: accuracy × 100 of negative against positive, on the test samples whose ")
    head, body = markdown_rows(to_markdown(corr))
    assert head == ["Method", *INTER] and [row[0] for row in body] == ["corrkd", "mult", "constant"]
    assert {len(table.blocks) for table in tables[-2:]} == {3}, "without any of them, all that the task lists"


def test_data_of_two_modalities_have_the_average_of_their_two_subsets():
    settings = [("l", 0.0), ("a", 0.0), ("lav", 0.0)]
    table = table_of(make_scores(["a", "b"], settings=settings, modalities="la"))
    assert table.columns == ["{l}", "{a}", "Avg.", "{l,a,v}"]
    means = table.summary.set_index(["metric", "method", "condition"])["mean"]["f1"]["b"]
    assert means["Avg."] == pytest.approx((means["{l}"] + means["{a}"]) / 2)
    for part in ("The data have no vision, in {l,a,v} neither.", "Avg. = mean of the two missing conditions, "):
        assert part in table.caption
    lacking = table_of(make_scores(["a", "b"], settings=settings))
    assert lacking.columns == ["{l}", "{a}", "{l,a,v}"] and "The data have no" not in lacking.caption


@pytest.mark.parametrize(
    ("target", "counts", "expected"),
    [
        (
            "intensity", {"mae": "400", "acc2_nonneg": "400", "f1_nonneg": "400", "acc2": "383", "f1": "383"},
            "MAE: mean absolute error of the intensity, less is better; Acc-2 and F1, 0 as non-negative: accuracy and "
            "weighted F1 × 100 of negative against non-negative; Acc-2 and F1: accuracy and weighted F1 × 100 of negative "
            "against positive, on the test samples whose label is not 0 (n = 400, of Acc-2 and F1 383)",
        ),
        (
            "category", {"f1": "450", "f1_sad": "450", "f1_happy": "450", "accuracy": "450"},
            "Mean F1: mean of the weighted F1 × 100 of each category against the rest; accuracy × 100 (n = 450)",
        ),
        ("category", {"f1_sad": "450"}, "F1 sad: weighted F1 × 100 of sad against the rest (n = 450)"),
        ("category", {"accuracy": ""}, "Accuracy × 100"),
    ],
)  # fmt: skip
def test_metrics_are_told_in_one_sentence(target, counts, expected):
    assert tell_metrics(list(counts), target, counts if any(counts.values()) else {}) == expected


def test_one_seed_has_no_deviation_anywhere():
    table = table_of(make_scores(seeds=1))
    assert "±" not in "".join(map("".join, markdown_rows(to_markdown(table))[1]))
    assert "1 seed; no deviation" in table.caption
    assert pd.read_csv(io.StringIO(to_csv(table)))["std"].isna().all()


def test_a_row_of_fewer_seeds_is_marked_and_not_ranked():
    scores = make_scores(seeds=3)
    scores.loc[scores["method"] == "mult", "value"] = 99.0
    whole = table_of(scores)
    assert all(cell.rank == 1 and not cell.mark for cell in dict(whole.blocks[0].rows)["mult"])
    table = table_of(scores[(scores["method"] != "mult") | (scores["seed"] > 0)])
    rows = dict(table.blocks[0].rows)
    assert all(cell.rank == 0 and cell.mark == "†" for cell in rows.pop("mult"))
    for column in range(len(table.columns)):
        assert sorted(cells[column].rank for cells in rows.values())[0] == 1, "another row is the best"
    assert not any(cell.mark for cells in rows.values() for cell in cells)
    assert "† of fewer seeds than the other rows, and so not ranked: mult 2 of 3." in table.caption
    assert "99.00† ± 0.00" in to_markdown(table) and r"99.00$\dagger$" in to_latex(table)


def test_caption_says_what_the_numbers_are():
    scores = make_scores()
    scores = scores[(scores["method"] != "mult") | (scores["seed"] > 0)]
    table = table_of(scores, selection="lowest validation loss.")
    for part in (
        "label is not 0",
        "(n = 686, of F1 656)",
        "2–3 seeds",
        "mean ± standard deviation over seeds",
        "without {l,a,v}",
    ):
        assert part in table.caption
    assert "Checkpoint selection: lowest validation loss." in table.caption
    assert "Avg." not in table_of(scores, "intra").caption


@pytest.mark.parametrize("setting", [Setting("l"), Setting(ratio=0.5), Setting(noise=0.5), Setting("lav?")])
def test_a_single_condition_is_a_table(setting):
    frame = make_scores(settings=[(setting.available, setting.share)]).assign(kind=setting.kind, setting=str(setting))
    (table,) = build_tables(frame)
    assert table.kind == setting.kind and table.columns == [setting.condition] and table.caption


def test_bursts_alone_make_no_table_and_no_error():
    assert build_tables(make_scores(settings=[("lav", 0.5)]).assign(kind="intra-burst")) == []


def test_draws_are_told_of_what_is_by_chance_and_of_the_seeds_that_have_them():
    settings = [("lav", 0.0), ("l", 0.0), ("lav", 0.5)]
    two = make_scores(settings=settings, draws=2)
    assert "draws" not in table_of(two).caption
    assert "The score of a seed is the mean over 2 draws of what is missing" in table_of(two, "intra").caption
    fewer = two[(two["draw"] == 0) | (two["seed"] == 0)]
    assert "The score of a seed is the mean over 1–2 draws of what" in table_of(fewer, "intra").caption


def test_absent_conditions_are_absent_columns_and_absent_cells_are_dashes():
    scores = make_scores(settings=[("l", 0.0), ("av", 0.0), ("lav", 0.0), ("l", 0.5)])
    scores = scores[(scores["method"] != "mult") | (scores["available"] != "l")]
    (table,) = build_tables(scores)  # the complete setting alone makes no intra table
    head, body = markdown_rows(to_markdown(table), "F1")
    assert head == ["Method", "{l}", "{a,v}", "{l,a,v}"]
    assert {row[0]: row[1] == "–" for row in body} == {"corrkd": False, "mult": True, "constant": False}


def test_average_only_where_all_six_are():
    scores = make_scores()
    table = table_of(scores[(scores["method"] != "mult") | (scores["available"] != "v")])
    _, body = markdown_rows(to_markdown(table), "F1")
    assert {row[0]: row[7] == "–" for row in body} == {"corrkd": False, "mult": True, "constant": False}


def test_order_of_methods():
    assert order_methods(["constant", "b", "a"]) == ["a", "b", "constant"]
    assert order_methods(["a", "b", "c", "constant"], ["constant", "c", "gone", "b", "c"]) == [
        "c",
        "b",
        "a",
        "constant",
    ]


@pytest.mark.parametrize("sources", [["simulated"], ["file"], ["simulated", "file"]])
def test_files_and_their_source(tmp_path, sources):
    scores = pd.concat([make_scores(source=source, seeds=2) for source in sources])
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "notes.md").write_text("mine")
    single = {"name": "mosi", "source": "file", "max_frames": {"l": 30, "a": 1, "v": 1}}
    written = write_report(scores, tmp_path, provenance={"tasks": [single]})
    for source in sources:
        prefix = f"mosi-{source}" if len(sources) == 2 else "mosi"
        for kind in ("inter", "intra"):
            word = {"simulated": "simulated data", "file": "data from file"}[source]
            for suffix in ("md", "tex"):
                text = (tmp_path / f"tables/{prefix}_{kind}.{suffix}").read_text()
                assert word in text
                assert ("one frame a sample" in text) == (source == "file" and kind == "intra")
            assert set(pd.read_csv(tmp_path / f"tables/{prefix}_{kind}.csv")["source"]) == {source}
            png = (tmp_path / f"figures/{prefix}_{kind}.png").read_bytes()
            pdf = (tmp_path / f"figures/{prefix}_{kind}.pdf").read_bytes()
            assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF") and min(len(png), len(pdf)) > 5000
            assert word.encode() in png and word.encode() in pdf
    page = (tmp_path / "report.html").read_text()
    assert ("simulated" in page) == ("simulated" in sources)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {*written, tmp_path / "tables" / "notes.md"}


def test_figures_are_drawn_and_the_same_again(tmp_path):
    from matplotlib.image import imread

    scores = make_scores(task="iemocap", seeds=2)
    first, second = (write_report(scores, tmp_path / name, provenance={}) for name in "ab")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    image = imread(tmp_path / "a/figures/iemocap_intra.png")
    assert image.shape[1] == pytest.approx(6.9 * 300, abs=1)
    colours = np.unique(np.round(image[..., :3].reshape(-1, 3) * 255).astype(int), axis=0)
    looks = method_looks(scores["method"].unique())
    drawn = {tuple(bytes.fromhex(str(look["color"])[1:])) for look in looks.values()}
    assert len(drawn) == 3 and drawn <= set(map(tuple, colours.tolist()))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    out = tmp_path_factory.mktemp("hostile")
    provenance = {"selection": 'lowest loss of 50% & <i>all</i> {a_b} "c"'}
    write_report(make_scores([*HOSTILE, "constant"], seeds=2), out, provenance=provenance)
    return out


def test_hostile_names_in_the_other_formats(hostile):
    markdown = (hostile / "tables/mosi_inter.md").read_text()
    assert "<script" not in markdown and "&lt;script&gt;" in markdown
    _, body = markdown_rows(markdown, "F1")
    assert {len(row) for row in body} == {9} and {r"a\|b", "x_y&amp;z", r"\_u\_", r"\*x\*"} <= {row[0] for row in body}

    text = (hostile / "tables/mosi_inter.csv").read_text()
    assert not re.search(r"(^|,)\"?[=+@-]\D", text, re.MULTILINE)
    methods = set(pd.read_csv(io.StringIO(text))["method"])
    assert methods == {*HOSTILE, "constant"} - {"=cmd()"} | {"'=cmd()"}

    tex = (hostile / "tables/mosi_inter.tex").read_text()
    for escaped in (
        r"x\_y\&z",
        r"\textless{}script\textgreater{}",
        r"a\textbar{}b",
        "{[}opt]",
        r"\{l,a\}",
        r"50\% \&",
    ):
        assert escaped in tex
    for line in tex.splitlines()[1:]:
        depth = re.sub(r"\\[{}]", "", line)
        assert depth.count("{") - depth.count("}") == {r"\sbox0{%": 1, r"\end{tabular}}%": -1}.get(line, 0)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(hostile):
    inputs = "".join(rf"\input{{tables/{path.name}}}\clearpage " for path in (hostile / "tables").glob("*.tex"))
    preamble = r"\documentclass{article}\usepackage{amssymb,booktabs,graphicx}\begin{document}"
    (hostile / "all.tex").write_text(preamble + inputs + r"\end{document}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    result = subprocess.run(command, cwd=hostile, capture_output=True, text=True, errors="replace", timeout=HUNG)
    assert result.returncode == 0, result.stdout[-2000:]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    write_report(pd.DataFrame(), tmp_path, provenance={"grid": "first"})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(pd.DataFrame(), tmp_path, provenance={"grid": "second"})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "first" in (tmp_path / "report.html").read_text()
