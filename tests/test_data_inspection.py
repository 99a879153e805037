import hashlib
import re

import numpy as np
import pytest

import run_benchmark
from benchmark.data.inspection import inspect_file
from benchmark.errors import BenchmarkError
from tests.data_files import dump, mmsa_content, mult_content


def test_it_tells_what_a_file_holds(tmp_path, capsys):
    path = dump(tmp_path / "unaligned_50.pkl", mmsa_content())
    assert run_benchmark.main(["--inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert "layout MMSA, unaligned" in text and "no fault; can be used as mosi or mosei" in text
    assert re.search(
        r"train: 12 samples\n  language +12 x 6 x 5 .*float32\n +lengths \d to 6, .*told by the file", text
    )
    assert "audio     8 x 9 x 4" in text and "vision    6 x 7 x 3" in text
    assert "labels    12: -3 to 3, 12 distinct; 6 negative, 0 zero, 6 positive" in text
    assert "none stands in two splits" in text


def test_it_tells_emotions_and_padding_in_front(tmp_path):
    text = inspect_file(dump(tmp_path / "x.pkl", mult_content("iemocap")))
    assert "labels    12 x 4 x 2: 3 happy, 3 sad, 3 angry, 3 neutral; 0 with none, 0 with several" in text
    assert "found from zeros, padded in front" in text and "can be used as iemocap" in text


def test_it_tells_the_faults(tmp_path):
    content = mmsa_content()
    content["train"]["audio"][2, 0, 1] = np.nan
    content["train"]["audio"][5, :2, 1] = np.inf
    content["train"]["vision"][:, :, 2] = 7.0
    content["valid"]["regression_labels"][1] = np.nan
    content["test"]["audio_lengths"][0] = 99
    content["test"]["id"][3] = content["train"]["id"][0]
    content["train"]["id"][2] = content["train"]["id"][1]
    text = inspect_file(dump(tmp_path / "x.pkl", content))
    assert "1 NaN in 1 frames of 1 samples, first train0$_$1, feature 1" in text
    assert "2 infinite numbers in 2 frames of 1 samples, first train1$_$5, feature 1" in text
    assert "1 constant features (2)" in text
    assert "1 ids stand in both 'train' and 'test', for instance 'train0$_$0'" in text
    assert "1 of 'train' stand there already" in text
    assert "2 faults for which the file is refused" in text
    assert "1 labels are NaN or infinite, the first in row 1" in text and "1 outside 0 to 9, the first in row 0" in text
    assert "1 NaN or infinite" in text


def test_it_tells_differing_counts_and_two_emotions(tmp_path):
    content = mult_content("iemocap")
    content["train"]["labels"][3, 0] = [0, 1]
    content["test"]["audio"] = content["test"]["audio"][:5]
    text = inspect_file(dump(tmp_path / "x.pkl", content))
    assert "0 with none, 1 with several" in text and "5 audio" in text and "2 faults" in text


@pytest.mark.parametrize("content", [{"train": 1}, [], {"train": {}, "valid": {}, "test": {}}])
def test_what_cannot_be_taken_apart_is_refused(tmp_path, content):
    with pytest.raises(BenchmarkError):
        inspect_file(dump(tmp_path / "x.pkl", content))
