import copy

import numpy as np
import pytest
import torch

from baselines.mult import MulT
from benchmark.data.batches import task_spec
from benchmark.parts import encode_distinct
from benchmark.protocol.method import Method
from benchmark.protocol.missing import MODALITIES, SUBSETS, Setting, frame_mask, frame_noise
from benchmark.running import evaluation
from benchmark.running.arithmetic import PORTABLE, computing
from benchmark.running.evaluation import digests, predict_settings, represent_test
from tests.smaller import SMALLER

CPU = torch.device("cpu")
SETTINGS = [
    *(Setting("lav", r / 10) for r in range(11)),
    *(Setting(s) for s in SUBSETS[:-1]),
    Setting("la", 0.4),
    Setting("lav", 0.5, "burst"),
    Setting("v", 0.5, "early_end"),
    Setting("lav", (0.1, 0.9, 0.5)),
    Setting("lav?", 0.2),
]


class Counting(Method):
    """Logits that tell how many frames of each modality were present, and their sum."""

    def predict(self, batch):
        assert batch.complete is None and (batch.labels == -1).all()
        self.sizes = [*getattr(self, "sizes", []), len(batch)]
        present = torch.stack([batch.present[m].sum(1) for m in MODALITIES]).sum(0).float()
        return torch.stack([present, batch.features["a"].sum((1, 2))], dim=1)

    loss = None


@pytest.mark.parametrize("numbers", [1, 100_000, 2**22])
def test_every_setting_of_every_sample_stands_in_its_place(small_mosi, monkeypatch, numbers):
    monkeypatch.setattr(evaluation, "_NUMBERS_A_BATCH", numbers)
    method = Counting(task_spec(small_mosi))
    logits = predict_settings(method, small_mosi, SETTINGS, draw=1, device=CPU)
    split = small_mosi.splits["test"]
    assert logits.shape == (len(SETTINGS), len(split), 2) and logits.dtype == np.float32
    for s, setting in enumerate(SETTINGS):
        kept = {
            m: split.frames(m)
            & frame_mask(split.ids, split.features[m].shape[1], m, setting, 1, lengths=split.lengths[m])
            for m in MODALITIES
        }
        assert np.array_equal(logits[s, :, 0], sum(kept[m].sum(1) for m in MODALITIES))
        expected = (split.features["a"] * kept["a"][..., None]).sum((1, 2))
        assert np.allclose(logits[s, :, 1], expected, atol=1e-3)


class Keeping(Counting):
    """Keeps the features that it was given, by sample and number of the call's row."""

    def predict(self, batch):
        for m in MODALITIES:
            assert torch.equal(encode_distinct(lambda features, frames: features, batch, m), batch.features[m])
        for place, sample_id in enumerate(batch.ids):
            for m in MODALITIES:
                own = batch.features[m][place][batch.frames[m][place]].numpy().copy()
                self.__dict__.setdefault("seen", {}).setdefault((sample_id, m), []).append(own)
        return super().predict(batch)


@pytest.mark.parametrize("numbers", [1, 100_000, 2**22])
def test_noise_is_added_to_the_frames_that_are_there_and_to_nothing_else(small_mosi, monkeypatch, numbers):
    monkeypatch.setattr(evaluation, "_NUMBERS_A_BATCH", numbers)
    noisy = [
        Setting(), Setting(noise=0.5), Setting(noise=1.0), Setting(noise={"a": 1.0}), Setting("la", 0.5, noise=2.0),
        Setting("la", 0.5), Setting("lav", 1.0), Setting("la", noise=2.0),
    ]  # fmt: skip
    method, dataset = Keeping(task_spec(small_mosi)), copy.deepcopy(small_mosi)
    split = dataset.splits["test"]
    for m in MODALITIES:
        split.features[m][:, 0, 0] = -0.0  # a bit that adding a zero would change
    predict_settings(method, dataset, noisy, draw=1, device=CPU)
    for n, sample_id in enumerate(split.ids):
        for m in MODALITIES:
            by_noise, length = method.seen[str(sample_id), m], split.lengths[m][n]
            seen = [by_noise[place] for place in (0, 3, 4, 5, 6, 1, 2)]  # those without noise come first
            clean = split.features[m][n, :length]
            unit = frame_noise([sample_id], length, clean.shape[1], m, 1)[0]
            kept = frame_mask([sample_id], length, m, Setting("la", 0.5), 1)[0][:, None]
            assert seen[0].tobytes() == clean.tobytes(), "without noise, no bit changes"
            assert np.array_equal(seen[1], clean + np.float32(0.5) * unit)
            assert np.array_equal(seen[2], clean + unit), "one draw, scaled"
            assert seen[3].tobytes() == (seen[2] if m == "a" else clean).tobytes(), "noise in audio alone"
            assert np.array_equal(seen[4], (clean + 2 * unit) * kept), "missing frames stay zero"
            assert np.array_equal(seen[5], clean * kept) and not seen[6].any()
            assert np.array_equal(by_noise[7], (clean + 2 * unit) * (m != "v")), "two settings of one noise"


def test_what_does_not_vary_in_training_has_no_noise_and_what_is_missing_is_zero_to_the_sign(small_mosi):
    dataset = copy.deepcopy(small_mosi)
    for split in dataset.splits.values():
        split.features["a"][:, :, 1] = 0.0
        split.features["a"][:, :, 2] = -5.0
    method = Keeping(task_spec(dataset))
    predict_settings(method, dataset, [Setting(noise=2.0), Setting("lv")], draw=0, device=CPU)
    for sample_id in dataset.splits["test"].ids:
        noisy, missing = method.seen[str(sample_id), "a"]
        assert not noisy[:, 1].any() and noisy[:, 2].std() > 0 and (noisy[:, 0] != 0).all()
        assert not missing.any() and not np.signbit(missing).any()


def test_portable_bits_do_not_hang_on_which_settings_are_tested_at_once(small_mosi):
    method = MulT(task_spec(small_mosi), **SMALLER["mult"])
    tested = [*SETTINGS[:14], Setting(noise=1.0), Setting(noise=2.0)]

    def of(settings):
        return predict_settings(method, small_mosi, settings, draw=0, device=CPU)

    with computing(PORTABLE):
        assert np.concatenate([of([setting]) for setting in tested]).tobytes() == of(tested).tobytes()
    counting = Counting(task_spec(small_mosi))
    predict_settings(counting, small_mosi, tested, draw=0, device=CPU)
    assert len(counting.sizes) < len(tested), "natively many settings share a batch, which is faster"


def test_digests_of_masks_cover_noise_and_change_for_no_other_setting(small_mosi):
    split = small_mosi.splits["test"]
    tested = [Setting(), Setting(noise=1.0), Setting(noise=2.0), Setting(noise={"l": 1.0}), Setting("lav?")]
    found = [
        digests(split, tested, draw, np.zeros((len(tested), len(split), 2), np.float32))["masks"] for draw in (0, 1)
    ]
    assert len({digest for own in found for digest in own.values()}) == 9, "all differ, but for what is complete"
    assert found[0]["lav@0.0#0"] == found[1]["lav@0.0#1"]
    alone = digests(split, tested[1:2], 0, np.zeros((1, len(split), 2), np.float32))["masks"]
    assert alone["lav@0.0~1.0#0"] == found[0]["lav@0.0~1.0#0"]


def test_another_split_is_masked_by_its_own_ids(small_mosi):
    logits = predict_settings(
        Counting(task_spec(small_mosi)), small_mosi, SETTINGS, draw=0, device=CPU, split_name="valid"
    )
    split = small_mosi.splits["valid"]
    assert logits.shape == (len(SETTINGS), len(split), 2)
    for s, setting in enumerate(SETTINGS):
        kept = [
            split.frames(m) & frame_mask(split.ids, split.features[m].shape[1], m, setting, 0, lengths=split.lengths[m])
            for m in MODALITIES
        ]
        assert np.array_equal(logits[s, :, 0], sum(own.sum(1) for own in kept))


def test_few_large_batches(small_mosi):
    method = Counting(task_spec(small_mosi))
    predict_settings(method, small_mosi, SETTINGS, draw=0, device=CPU)
    assert len(method.sizes) <= 8 and sum(method.sizes) == len(SETTINGS) * 48


def test_the_longest_samples_come_first(small_mosi, monkeypatch):
    monkeypatch.setattr(evaluation, "_NUMBERS_A_BATCH", 1)

    class Measuring(Counting):
        def predict(self, batch):
            self.lengths = [*getattr(self, "lengths", []), sum(int(batch.frames[m].sum(1)[0]) for m in MODALITIES)]
            return super().predict(batch)

    method = Measuring(task_spec(small_mosi))
    predict_settings(method, small_mosi, SETTINGS, draw=0, device=CPU)
    assert method.lengths == sorted(method.lengths, reverse=True) and len(set(method.lengths)) > 5


def test_logits_that_are_no_numbers_are_refused(small_mosi):
    class Broken(Counting):
        def predict(self, batch):
            logits = super().predict(batch)
            return torch.where(logits[:, :1] == 0, float("nan"), logits)

    with pytest.raises(ValueError, match=r"setting lav@(0.9|1.0), sample mosi-test"):
        predict_settings(Broken(task_spec(small_mosi)), small_mosi, SETTINGS, draw=0, device=CPU)


def test_representations_are_of_language_at_a_half_and_at_most_so_many_a_category(small_iemocap, monkeypatch):
    class Representing(Counting):
        def represent(self, batch):
            return torch.stack([batch.present[m].sum(1) for m in MODALITIES], dim=1).float()

    monkeypatch.setattr(evaluation, "_REPRESENTED_A_CATEGORY", 5)
    split = small_iemocap.splits["test"]
    rows, values = represent_test(Representing(task_spec(small_iemocap)), small_iemocap, draw=0, device=CPU)
    counts = np.bincount(split.labels)
    assert np.bincount(split.labels[rows]).tolist() == np.minimum(counts, 5).tolist()
    kept = frame_mask(split.ids, split.features["l"].shape[1], "l", Setting("l", 0.5)) & split.frames("l")
    assert np.array_equal(values, np.stack([kept[rows].sum(1), 0 * rows, 0 * rows], axis=1))
    assert represent_test(Counting(task_spec(small_iemocap)), small_iemocap, draw=0, device=CPU) is None
