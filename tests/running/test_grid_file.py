import pytest

from benchmark.errors import BenchmarkError
from benchmark.files.validation import validated
from benchmark.protocol.missing import PATTERNS, SUBSETS, Setting
from benchmark.protocol.training_config import MIN_EPOCHS, TrainingConfig
from benchmark.running.grid_file import GridConfig, grid_names, load_grid

GOOD = "description: x\ntasks: [mosi]\nseeds: 1\nsubsets: [l, lav]\nratios: [0.0, 0.5]\n"


def grid_file(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_grids_that_come_along_are_valid():
    assert {"smoke", "quick", "full", "inter", "intra"} <= set(grid_names())
    for name in grid_names():
        assert load_grid(name)[0] == name


def test_full_is_the_papers_grid():
    _, full = load_grid("full")
    assert (
        [task.name for task in full.tasks] == ["mosi", "mosei", "iemocap"] and full.seeds == 5 and full.methods == "all"
    )
    assert full.settings == [Setting("lav", r / 10) for r in range(11)] + [
        Setting(s) for s in ("l", "a", "v", "la", "lv", "av")
    ]
    assert {s.kind for s in load_grid("intra")[1].settings} == {"intra"}
    assert len(load_grid("intra")[1].settings) == 11 and len(load_grid("inter")[1].settings) == 7


def test_a_grid_of_ones_own(tmp_path):
    name, grid = load_grid(grid_file(tmp_path, GOOD))
    assert name == "mine" and grid.settings == [Setting("lav", 0.0), Setting("lav", 0.5), Setting("l")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "sedes: 3\n", r"unknown key 'sedes'; did you mean seeds"),
        (GOOD.replace("seeds: 1", "seeds: 0"), "key 'seeds'.*greater than or equal to 1.*given: 0"),
        (GOOD.replace("seeds: 1\n", ""), "key 'seeds': field required"),
        (GOOD.replace("0.5", "1.5"), "key 'ratios'.*outside"),
        (GOOD.replace("0.5", "0.55"), "key 'ratios'.*one decimal"),
        (GOOD.replace("[l, lav]", "[l, al]"), "key 'subsets'.*'al'"),
        (
            GOOD.replace("[l, lav]", "['la?']"),
            "key 'subsets'.*'la\\?' is no subset of modalities; random: true gives each",
        ),
        (GOOD.replace("0.5", "{x: 0.5}"), "line 5: key 'ratios': ratio names 'x', which is no available modality"),
        (GOOD.replace("0.5", "{a: [0.5, 1.5]}"), "key 'ratios': ratio=1.5 is outside"),
        (GOOD.replace("0.5", "{a: 0.55}"), "key 'ratios': ratio 0.55 has more than one decimal"),
        (GOOD.replace("0.5", "[0.1, 0.5, 0.9]"), "key 'ratios'.*write one for each modality as {l: 0.1"),
        (GOOD.replace("0.5", "some"), "key 'ratios': ratio='some' is no number"),
        (GOOD + "noise: [-1]\n", r"line 6: key 'noise': noise=-1 is outside \[0, 1000\]"),
        (GOOD + "noise: [.nan]\n", "key 'noise': noise=nan is outside"),
        (GOOD + "noise: [{x: 1}]\n", "key 'noise': noise names 'x', which is no available modality; use l, a, v"),
        (GOOD + "noise: [{l: []}]\n", "key 'noise': l has no number; write one, or leave l out"),
        (GOOD + "noise: 1\n", "key 'noise': input should be a valid list"),
        (GOOD + "random: often\n", "key 'random': input should be a valid boolean"),
        (GOOD.replace("[mosi]", "[]"), "line 2: key 'tasks': name at least one task"),
        (GOOD.replace("[mosi]", "[mosy]"), "line 2: key 'tasks': unknown task 'mosy'; did you mean mosi"),
        (GOOD.replace("[mosi]", "[3]"), "line 2: key 'tasks': 3 is no task; write its name, or the path"),
        (GOOD.replace("[mosi]", "[none.yaml]"), "line 2: key 'tasks': cannot read task file .*none.yaml"),
        (GOOD.replace("[mosi]", "[{name: x, target: {kind: odd}}]"), "line 2: key 'tasks': task x: key 'target.kind'"),
        (GOOD + "methods: some\n", "key 'methods'.*'all', 'both ways' or a list"),
        (GOOD + "training: {epochs: none}\n", "key 'training'.*'epochs'.*integer"),
        (GOOD + "training: {epoch: 3}\n", "key 'training'.*'epoch'; did you mean epochs"),
        (GOOD + "patterns: [bursts]\n", "key 'patterns'.*'bursts' is unknown; use one of scattered, burst"),
        (
            GOOD + "patterns: [burst]\n",
            "line 6: key 'patterns': add scattered: tables and degradation curves are of it",
        ),
        (GOOD + "variants: {x: {method: corrkd}}\n", "key 'variants.x.set': field required"),
        (GOOD + "variants: {<x>: {method: corrkd, set: {}}}\n", "key 'variants'.*'<x>' must be of letters"),
        (
            GOOD + "simulator: {trian: 20, valid: 9, test: 9}\n",
            "unknown key 'simulator.trian'; did you mean train",
        ),
        (GOOD + "simulator: {train: 2, valid: 9, test: 9}\n", "key 'simulator.train'"),
        (GOOD + "simulator: {size: real, train: 20}\n", "write train, valid and test, or size: real"),
        (GOOD + "simulator: {train: 20}\n", "write train, valid and test, or size: real"),
        (GOOD + "simulator: {size: large}\n", "key 'simulator.size'"),
        (GOOD + "margin: 0\n", r"line 6: key 'margin': input should be greater than 0 \(given: 0\)"),
        (GOOD + "margin: -1.5\n", "key 'margin': input should be greater than 0"),
        (GOOD + "margin: 51\n", "key 'margin': input should be less than or equal to 50"),
        (GOOD + "margin: .nan\n", "key 'margin'"),
        (GOOD + "margin: wide\n", "key 'margin': input should be a valid number"),
        ("a: [1\n", "line 2 is no YAML"),
        ("- 1\n", "must hold keys"),
        ("!!python/object/apply:os.system ['true']\n", "is no YAML"),
        ("", "must hold keys"),
    ],
)
def test_a_bad_grid_file_is_refused_with_its_key(tmp_path, text, message):
    with pytest.raises(BenchmarkError, match=message) as caught:
        load_grid(grid_file(tmp_path, text))
    assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)


TASK = "name: mine\ntarget: {kind: category, names: [dull, bright]}\n"


def test_a_task_of_ones_own_stands_beside_the_grid_or_in_it(tmp_path, monkeypatch):
    (tmp_path / "grids").mkdir()
    (tmp_path / "mine.yaml").write_text(TASK)
    own = "{name: other, target: {kind: polarity}, display: Other}"
    path = grid_file(tmp_path / "grids", GOOD.replace("[mosi]", f"[../mine.yaml, mosi, {own}]"))
    monkeypatch.chdir("/")
    _, config = load_grid(path)
    assert [task.name for task in config.tasks] == ["mine", "mosi", "other"]
    assert config.tasks[0].as_target.categories == ("dull", "bright") and config.tasks[2].title == "Other"
    from_python = {"tasks": [config.tasks[0], "mosei"], "seeds": 1}
    assert [task.name for task in load_grid(from_python)[1].tasks] == ["mine", "mosei"]


def test_an_unknown_grid(tmp_path):
    with pytest.raises(BenchmarkError, match=r"unknown grid 'quik'; did you mean quick\?.*full.*\.yaml"):
        load_grid("quik")
    with pytest.raises(BenchmarkError, match="No such file"):
        load_grid(str(tmp_path / "none.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchmarkError, match="no UTF-8"):
        load_grid(str(tmp_path / "binary.yaml"))


def test_validated_names_a_nested_key():
    with pytest.raises(BenchmarkError, match=r"here: key 'mrm.max_ratio'"):
        validated(TrainingConfig, {"mrm": {"max_ratio": 2}}, "here")
    with pytest.raises(BenchmarkError, match=r"unknown key 'mrm.ratio'.*max_ratio"):
        validated(TrainingConfig, {"mrm": {"ratio": 2}}, "here")
    assert isinstance(validated(GridConfig, {"description": "x", "tasks": ["mosi"], "seeds": 2}, "here"), GridConfig)


def test_an_epoch_that_never_comes_is_refused_in_one_line():
    with pytest.raises(BenchmarkError, match=r"^here: key 'min_epochs': more than the 3 epochs.*\(given: 4\)$"):
        validated(TrainingConfig, {"epochs": 3, "min_epochs": 4}, "here")
    with pytest.raises(BenchmarkError, match=r"^here: key 'epochs'"):
        validated(TrainingConfig, {"epochs": 0, "min_epochs": 4}, "here")


def test_where_there_are_fewer_epochs_than_are_waited_for_the_last_is_kept():
    few = validated(TrainingConfig, {"epochs": 3}, "here")
    assert (few.min_epochs, TrainingConfig().min_epochs) == (3, MIN_EPOCHS)
    with pytest.raises(BenchmarkError, match=r"key 'selection': input should be 'loss', 'score' or 'last'"):
        validated(TrainingConfig, {"selection": "test"}, "here")


def test_crossed_settings_are_every_subset_at_every_ratio_in_every_pattern():
    _, mixed = load_grid("mixed")
    inner = [r / 10 for r in range(1, 10)]
    expected = {Setting(s, r, p) for s in SUBSETS for r in inner for p in PATTERNS}
    expected |= {Setting(s, r) for s in SUBSETS for r in (0.0, 1.0)}
    assert set(mixed.settings) == expected and len(mixed.settings) == len(expected) == 7 * (9 * 3 + 2)


def test_ratios_and_noise_for_each_modality_and_samples_with_their_own_modalities():
    def settings(**keys):
        return load_grid({"tasks": ["mosi"], "seeds": 1, **keys})[1].settings

    assert settings(ratios=[{"l": 0.1, "a": [0.5, 0.9]}, 0.3]) == [
        Setting("lav", 0.3), Setting("lav", (0.1, 0.5, 0.0)), Setting("lav", (0.1, 0.9, 0.0)),
    ]  # fmt: skip
    assert settings(noise=[0.0, 2, {"v": [1, 2.5]}]) == [
        Setting(), Setting(noise=2.0), Setting(noise=(0.0, 0.0, 1.0)), Setting(noise=(0.0, 0.0, 2.5)),
    ]  # fmt: skip
    assert settings(random=True) == [Setting("lav?")]
    assert settings(random=True, ratios=[0.0, 0.5]) == [
        Setting(), Setting("lav", 0.5), Setting("lav?"), Setting("lav?", 0.5),
    ]  # fmt: skip


def test_the_grids_of_other_kinds_of_settings():
    triples = {
        Setting("lav", (a, b, c)) for a in (0.1, 0.5, 0.9) for b in (0.1, 0.5, 0.9) for c in (0.1, 0.5, 0.9)
    }  # every ordered one
    subsets = {Setting(s) for s in SUBSETS}
    assert set(load_grid("imbalanced")[1].settings) == triples | subsets and len(triples) == 27
    strengths = (0.5, 1.0, 2.0, 4.0)
    alone = {Setting(noise={m: s}) for m in "lav" for s in strengths}
    assert set(load_grid("noise")[1].settings) == subsets | alone | {Setting(noise=s) for s in strengths}
    assert {s.kind for s in load_grid("random")[1].settings} == {"intra", "inter", "random"}


@pytest.mark.parametrize("name", ["...yaml", "[x].yaml", "-x.yaml", "a\nb.yaml", "x" * 61 + ".yaml"])
def test_a_grid_files_name_must_do_for_a_folder(tmp_path, name):
    path = tmp_path / name
    path.write_text(GOOD)
    with pytest.raises(BenchmarkError, match="must be of letters, digits"):
        load_grid(str(path))


def test_a_suffix_may_be_in_capitals_and_a_plugin_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "MINE.YAML").write_text(GOOD + "plugins: [~/mine.py, beside.py]\n")
    name, config = load_grid(str(tmp_path / "MINE.YAML"))
    assert name == "MINE" and config.plugins == [str(tmp_path / "home" / "mine.py"), str(tmp_path / "beside.py")]
