import hashlib
import re

import numpy as np
import pytest

import run_benchmark
from benchmark.data.inspection import inspect_file
from benchmark.data.task import find_task
from benchmark.errors import BenchmarkError
from tests.data_files import SIZES, dump, mmsa_content, mult_content


def test_it_tells_what_a_file_holds(tmp_path, capsys):
    path = dump(tmp_path / "unaligned_50.pkl", mmsa_content())
    assert run_benchmark.main(["--inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert "layout MMSA, unaligned" in text and "fits: mosi, mosei, mosei_intensity, mosi_intensity\n" in text
    assert "does not fit sims, simsv2: labels of 'train' are -3 to 3 (12 distinct), 8 of them beyond -1 to 1" in text
    assert "does not fit iemocap: labels of 'train': 11 are no category of the task" in text
    assert re.search(
        r"train: 12 samples\n  language +12 x 6 x 5 .*float32\n +lengths \d to 6, .*told by the file", text
    )
    assert "audio     8 x 9 x 4" in text and "vision    6 x 7 x 3" in text
    assert "labels    12: -3 to 3, 12 distinct; 6 negative, 0 zero, 6 positive" in text
    assert "none stands in two splits" in text


def test_the_exit_status_tells_whether_a_file_can_be_used(tmp_path):
    def status(*arguments):
        return run_benchmark.main(["--inspect", *map(str, arguments)])

    sound, other = dump(tmp_path / "mosi_data.pkl", mmsa_content()), dump(tmp_path / "iemocap_data.pkl", mmsa_content())
    assert status(sound) == 0 and status(other) == 1
    assert status(sound, "--tasks", "iemocap") == 1 and status(other, "--tasks", "mosi") == 0
    assert status(tmp_path) == 1
    other.unlink()
    assert status(tmp_path) == 0
    (tmp_path / "broken.npz").write_bytes(b"<html></html>")
    assert status(tmp_path) == 1


def test_it_tells_emotions_and_padding_in_front(tmp_path):
    text = inspect_file(dump(tmp_path / "x.pkl", mult_content("iemocap"))).text
    assert "labels    12 x 4 x 2: 3 happy, 3 sad, 3 angry, 3 neutral; 0 with none, 0 with several" in text
    assert "found from zeros, padded in front" in text and "\nfits: iemocap\n" in text
    assert "MulT's own file holds 135 happy, 193 sad, 227 angry, 383 neutral in 'test'" in text


def test_it_tells_the_faults(tmp_path):
    content = mmsa_content()
    content["train"]["audio"][2, 0, 1] = np.nan
    content["train"]["audio"][5, :2, 1] = np.inf
    content["train"]["vision"][:, :, 2] = 7.0
    content["valid"]["regression_labels"][1] = np.nan
    content["test"]["audio_lengths"][0] = 99
    content["test"]["id"][3] = content["train"]["id"][0]
    content["train"]["id"][2] = content["train"]["id"][1]
    text = inspect_file(dump(tmp_path / "mosi_data.pkl", content)).text
    assert "1 NaN in 1 frames of 1 samples, first train0$_$1, feature 1" in text
    assert "2 infinite numbers in 2 frames of 1 samples, first train1$_$5, feature 1" in text
    assert "1 constant feature (2)" in text
    assert "1 ids stand in both 'train' and 'test', for instance 'train0$_$0'" in text
    assert "1 of 'train' stand there already" in text
    assert "2 faults for which the file is refused" in text
    assert "1 labels are NaN or infinite, the first in row 1" in text and "1 outside 0 to 9, the first in row 0" in text
    assert "1 NaN or infinite" in text


def test_it_tells_differing_counts_and_two_emotions(tmp_path):
    content = mult_content("iemocap")
    content["train"]["labels"][3, 1] = [0, 1]
    content["test"]["audio"] = content["test"]["audio"][:5]
    text = inspect_file(dump(tmp_path / "x.pkl", content)).text
    assert "0 with none, 1 with several" in text and "5 audio" in text and "2 faults" in text


@pytest.mark.parametrize("content", [{"train": 1}, [], {"train": {}, "valid": {}, "test": {}}])
def test_what_cannot_be_taken_apart_is_refused(tmp_path, content):
    with pytest.raises(BenchmarkError):
        inspect_file(dump(tmp_path / "x.pkl", content))


def test_it_tells_what_is_odd_about_labels_and_ids(tmp_path):
    content = mmsa_content()
    content["train"]["regression_labels"] = np.linspace(-5, 5, 12)
    content["valid"]["regression_labels"] = np.array([-1.0, 1.0] * 3)
    content["test"]["regression_labels"] = np.full(8, np.nan)
    del content["valid"]["id"]
    text = inspect_file(dump(tmp_path / "mosi_data.pkl", content)).text
    train, valid, test = re.split(r"\n(?:train|valid|test): \d+ samples\n", text)[1:]
    assert "labels beyond -3 to 3: is this a sentiment task?" in train and "rounded: -3: 3, -2: 1," in train
    assert "2 faults for which the file is refused" in test and "labels of 'train' are -5 to 5 (12 distinct)" in test
    assert "2 distinct" in valid and "rounded" not in valid and "beyond" not in valid
    assert "labels    8: no number" in test and "ids: none in 'valid'" in test and "none in 'train'" not in test


def test_it_tells_labels_that_are_not_as_those_of_the_other_splits(tmp_path):
    content = mult_content("iemocap")
    content["valid"]["labels"] = np.linspace(-3, 3, 6)
    text = inspect_file(dump(tmp_path / "iemocap_data.pkl", content)).text
    assert (
        "labels    6: -3 to 3, 6 distinct" in text
        and "as iemocap: 0 happy, 0 sad, 0 angry, 1 neutral; 5 of none" in text
    )
    assert "labels of 'valid': 5 are no category of the task" in text
    content = mult_content()
    content["valid"]["labels"] = np.eye(6)[:, :4]
    text = inspect_file(dump(tmp_path / "mosi_data.pkl", content)).text
    assert "labels    6 x 4: 0 to 1, 2 distinct" in text and "split 'valid': labels of shape (6, 4) where one" in text


def test_it_tells_numbers_that_the_reader_cannot_hold(tmp_path):
    """Finite in the file, infinite as float32."""
    content = mmsa_content()
    content["train"]["audio"] = content["train"]["audio"].astype(np.float64)
    content["train"]["audio"][2, 0, 1] = 1e300
    content["train"]["audio"][3, 0, 1] = np.nan
    path = dump(tmp_path / "x.pkl", content)
    text = inspect_file(path).text
    assert "1 numbers beyond float32 in 1 frames of 1 samples, first train0$_$2, feature 1" in text
    assert "1 NaN in 1 frames of 1 samples, first train1$_$3, feature 1" in text and "infinite numbers in" not in text
    (warning,) = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert "x.pkl: 2 NaN, infinite or too large numbers (1 beyond float32) in audio of 'train', in 2 samples" in warning
    assert f"{warning}\nfits: mosi, mosei," in text


def test_it_tells_every_fault_and_the_warnings_with_them(tmp_path):
    content = mmsa_content()
    content["train"]["regression_labels"] = np.arange(12) % 2
    content["valid"]["audio_lengths"][0] = 99
    content["valid"]["regression_labels"][2] = np.nan
    content["test"]["text"] = np.full((8, 6), 101)
    content["valid"]["vision"][0, 0, 0] = np.nan
    del content["test"]["id"]
    lines = inspect_file(dump(tmp_path / "mosi_data.pkl", content)).text.splitlines()
    place = lines.index("5 faults for which the file is refused as mosi:")
    told = ["0 and 1, none below 0", "1 outside 0 to 9", "1 labels are NaN", "are token ids", "language has different"]
    assert all(words in line for words, line in zip(told, lines[place + 1 : place + 6], strict=True))
    assert [line for line in lines if line.startswith("warning: ")] == [
        "warning: mosi_data.pkl: 1 NaN or infinite numbers in vision of 'valid', in 1 samples, set to 0",
        "warning: mosi_data.pkl: split 'test' has no ids; rows are numbered, so its masks depend on their order",
    ]
    assert "fits no task; docs/own-data.md shows how to write one" in lines


def test_it_tells_a_modality_that_holds_nothing(tmp_path):
    content = mmsa_content()
    content["test"]["audio"] = np.ones((8, 0, 4))
    text = inspect_file(dump(tmp_path / "x.pkl", content)).text
    assert "shape (8, 0, 4) holds nothing" in text
    (line,) = re.findall(r"audio     8 x 0 x 4 .*\n(.*)", text)
    assert line.startswith("  vision"), "nothing is told of what is not there"


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        (
            "iemocap_data.pkl",
            lambda n: np.arange(n) % 5,
            r"expected are happy 0 or happy; sad 1 or sad; angry 2 or angry",
        ),
        ("mosi_data_noalign.pkl", lambda n: np.eye(4)[np.arange(n) % 4], "one number a sample is expected"),
    ],
)
def test_a_files_name_tells_what_its_labels_must_be(tmp_path, name, labels, said):
    content = mult_content()
    for split in content.values():
        split["labels"] = labels(len(split["labels"]))
    text = inspect_file(dump(tmp_path / name, content)).text
    assert re.search(said, text) and f"refused as {name[:4]}" in text


# --- Which tasks it fits ----------------------------------------------------------------------------------------------


def fits(text):
    """The names behind ``fits:``."""
    (line,) = re.findall(r"^fits(?:: (.*)| no task.*)$", text, flags=re.M)
    return line.split(", ") if line else []


def test_the_name_of_a_file_tells_as_what_it_is_described(tmp_path):
    """Labels of 0 and 1 are categories too; but not what a file of MOSI may hold."""
    content = mult_content()
    for split in content.values():
        split["labels"] = np.arange(len(split["labels"])) % 2
    text = inspect_file(dump(tmp_path / "x.pkl", content)).text
    assert {"mustard", "ur_funny"} <= set(fits(text)) and "mosi" not in fits(text)
    assert (
        "labels    as ur_funny: 6 serious, 6 humorous; 0 of none" in text
        or "as mustard: 6 sincere, 6 sarcastic" in text
    )
    assert "faults for which" not in text
    named = inspect_file(dump(tmp_path / "mosi_data.pkl", content)).text
    assert fits(named) == fits(text) and "3 faults for which the file is refused as mosi:" in named


def test_a_file_of_another_data_set_says_so(tmp_path):
    content = mmsa_content()
    for name, n in SIZES.items():
        content[name]["regression_labels"] = np.resize(np.array([-1, -1 / 3, 0, 2 / 3, 1, 2]), n)
    text = inspect_file(dump(tmp_path / "x.pkl", content)).text
    assert fits(text) == ["mosei", "mosei_intensity"]
    assert (
        "does not fit mosi, mosi_intensity: this looks like CMU-MOSEI, not CMU-MOSI: its labels are multiples" in text
    )


def test_a_task_of_ones_own_is_judged_too(tmp_path):
    content = mult_content()
    for name, n in SIZES.items():
        content[name]["labels"] = np.resize(np.array(["bad", "good"]), n)
    path = dump(tmp_path / "x.pkl", content)
    with_mine = [find_task({"name": "mine", "target": {"kind": "category", "names": ["bad", "good"]}})]
    text = inspect_file(path, with_mine).text
    assert fits(text) == ["mine"] and "labels    12: text, 2 distinct: 6 'bad', 6 'good'" in text
    assert "labels    as mine: 6 bad, 6 good; 0 of none" in text
    assert fits(inspect_file(path).text) == []
    other = [find_task({"name": "mine", "target": {"kind": "polarity"}})]
    text = inspect_file(path, other).text
    assert fits(text) == [] and "3 faults for which the file is refused as mine:" in text


def test_other_keys_may_have_other_faults(tmp_path):
    content = mmsa_content()
    for split in content.values():
        split["covarep"] = split.pop("audio")
    path = dump(tmp_path / "x.pkl", content)
    with pytest.raises(BenchmarkError, match=r"split 'train' lacks 'audio'"):
        inspect_file(path)
    mine = find_task({"name": "mine", "target": {"kind": "polarity"}, "keys": {"audio": "covarep"}})
    text = inspect_file(path, [mine]).text
    assert fits(text) == ["mine"] and "does not fit mosi, mosei, iemocap" in text and "train' lacks 'audio'" in text


def test_two_modalities(tmp_path):
    content = mmsa_content()
    for split in content.values():
        del split["vision"], split["vision_lengths"]
    mine = find_task({"name": "mine", "target": {"kind": "polarity"}, "modalities": "la"})
    text = inspect_file(dump(tmp_path / "x.pkl", content), [mine]).text
    assert fits(text) == ["mine"] and text.count("  vision    none\n") == 3
    assert "if the data have no vision, say so with modalities: in a task file" in text


def test_many_texts_as_labels_stay_on_their_line(tmp_path):
    content = mult_content()
    for name, n in SIZES.items():
        content[name]["labels"] = np.array([f"a\nb{row}" for row in range(n)])
    text = inspect_file(dump(tmp_path / "x.pkl", content)).text
    assert "labels    12: text, 12 distinct: 1 'a\\nb0', 1 'a\\nb1', 1 'a\\nb10'" in text and ", …\n" in text


# --- Folders ----------------------------------------------------------------------------------------------------------


def test_every_data_file_of_a_folder_is_described(tmp_path):
    for name in ("mosi_data.pkl", "MOSEI/Processed/unaligned_50.pkl", "sims/own.pkl", "deep/er/mosi_data.pkl"):
        dump(tmp_path / name, mmsa_content())
    (tmp_path / "broken.npz").write_bytes(b"<html></html>")
    (tmp_path / "notes.txt").write_text("no data file")
    blocks = inspect_file(tmp_path).text
    heads = re.findall(r"^(\S+): (?:cannot be used|[\d.]+ MiB)", blocks, flags=re.M)
    assert heads == ["broken.npz", "mosi_data.pkl", "MOSEI/Processed/unaligned_50.pkl", "sims/own.pkl"]
    assert blocks.count("\nfits: ") == 3 and "broken.npz is no data file but a web page in HTML" in blocks


def test_a_folder_without_data_files_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("no data file")
    with pytest.raises(BenchmarkError, match=r"no data file in .*; those end in \.pkl, \.npz, \.h5, \.hdf5, or have"):
        inspect_file(tmp_path)


def test_a_task_may_name_a_file_that_ends_in_any_way(tmp_path):
    dump(tmp_path / "features.bin", mmsa_content())
    mine = find_task({"name": "mine", "files": ["features.bin"], "target": {"kind": "polarity"}})
    assert "features.bin: " in inspect_file(tmp_path, [mine]).text
    with pytest.raises(BenchmarkError, match="no data file in"):
        inspect_file(tmp_path)
