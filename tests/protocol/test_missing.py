import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.protocol.missing import (
    MODALITIES,
    MRM,
    PATTERNS,
    SUBSETS,
    Setting,
    frame_mask,
    frame_noise,
    frame_uniforms,
    settings_for,
    splitmix64,
)

IDS = [f"video{i // 7}$_${i}" for i in range(400)]
patterns = st.sampled_from(PATTERNS)
ratios = st.floats(0, 1, allow_nan=False)
modalities = st.sampled_from(MODALITIES)
id_lists = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=30, unique=True)


@pytest.mark.parametrize("available", ["", "al", "lavl", "x", "LAV", "l,a", None, 3])
def test_setting_refuses_what_is_no_subset(available):
    with pytest.raises(ValueError, match="subset"):
        Setting(available)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
def test_setting_refuses_what_is_no_ratio(ratio):
    with pytest.raises(ValueError, match="ratio"):
        Setting("lav", ratio)


def test_setting_is_frozen_and_hashable():
    setting = Setting("la", 0.3)
    with pytest.raises(AttributeError):
        setting.ratio = 0.5
    assert len({setting, Setting("la", 0.3), Setting("la", np.float64(0.3))}) == 1


@given(st.sampled_from([*SUBSETS, "la?", "lav?"]), st.data(), patterns)
def test_setting_survives_its_text(available, data, pattern):
    own = available.removesuffix("?")
    several = st.lists(ratios, min_size=len(own), max_size=len(own))
    ratio, noise = data.draw(ratios | several), data.draw(ratios | several)
    setting = Setting(available, ratio, pattern, noise)
    assert Setting.parse(str(setting)) == setting


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ratio": {"x": 0.5}}, "ratio names 'x', which is no available modality; use l, a, v"),
        ({"available": "la", "noise": {"v": 1}}, "noise names 'v', which is no available modality; use l, a"),
        ({"ratio": (0.1, 0.2)}, r"ratio=\(0.1, 0.2\) must be one number, or one for each of l, a, v"),
        (
            {"ratio": (0.1, 0.2, 0.3, 0.4)},
            r"ratio=\(0.1, 0.2, 0.3, 0.4\) must be one number, or one for each of l, a, v",
        ),
        ({"ratio": (0.1, 0.2, 1.2)}, r"ratio=1.2 is outside \[0, 1\]"),
        ({"noise": -0.5}, r"noise=-0.5 is outside \[0, 1000\]"),
        ({"noise": float("nan")}, "noise=nan is outside"),
        ({"noise": "much"}, r"noise='much' is no number; use one in \[0, 1000\]"),
        ({"available": "l?"}, "'l\\?' is no subset"),
    ],
)
def test_setting_refuses_what_is_no_number_for_a_modality(fields, message):
    with pytest.raises(ValueError, match=message):
        Setting(**fields)


def test_one_setting_has_one_form():
    assert Setting("lav", (0.5, 0.5, 0.5)) == Setting("lav", 0.5) == Setting("lav", {"l": 0.5, "a": 0.5, "v": 0.5})
    assert Setting("lav", (0, 1, 1), "burst") == Setting("lav", [0.0, 1.0, 1.0])
    assert Setting(ratio=1.0, noise=3.0) == Setting(ratio=1.0), "where nothing is there, there is no noise"
    assert Setting("lav", (0, 0, 1), noise=2).noise == (2.0, 2.0, 0.0)
    assert str(Setting("lav", -0.0, noise=-0.0)) == "lav@0.0", "there is one zero"


def test_a_setting_says_what_each_modality_loses_and_what_all_lose_in_the_mean():
    setting = Setting("lv", (0.1, 0.9), noise=2)
    assert [setting.ratio_of(m) for m in "lv"] == [0.1, 0.9] and setting.share == pytest.approx(0.5)
    assert [setting.noise_of(m) for m in MODALITIES] == [2.0, 0.0, 2.0], "none in what is not there"
    assert [Setting("lav?", noise={"a": 3}).noise_of(m) for m in MODALITIES] == [0.0, 3.0, 0.0]


def test_setting_refuses_what_is_no_pattern():
    with pytest.raises(ValueError, match="'bursts' is unknown; use one of scattered, burst, early_end"):
        Setting("lav", 0.5, "bursts")


@pytest.mark.parametrize("pattern", ["burst", "early_end"])
def test_patterns_are_one_setting_where_nothing_or_everything_is_missing(pattern):
    assert Setting("la", 0.0, pattern) == Setting("la", 0.0) and Setting("la", 1.0, pattern) == Setting("la", 1.0)


@pytest.mark.parametrize(
    ("setting", "kind", "condition", "text"),
    [
        (Setting("lav", 0.3), "intra", "p=0.3", "lav@0.3"),
        (Setting("lav", 3 * 0.1), "intra", "p=0.30000000000000004", "lav@0.30000000000000004"),
        (Setting("la"), "inter", "{l,a}", "la@0.0"),
        (Setting(), "intra", "{l,a,v}", "lav@0.0"),
        (Setting("v", 0.5), "inter", "{v} p=0.5", "v@0.5"),
        (Setting("lav", 0.3, "burst"), "intra-burst", "p=0.3 burst", "lav@0.3:burst"),
        (Setting("la", 0.3, "early_end"), "inter-early_end", "{l,a} p=0.3 early end", "la@0.3:early_end"),
        (Setting("lav", (0.1, 0.5, 0.9)), "imbalanced", "p=0.1/0.5/0.9", "lav@0.1/0.5/0.9"),
        (Setting("la", {"a": 0.5}, "burst"), "imbalanced", "{l,a} p=0.0/0.5 burst", "la@0.0/0.5:burst"),
        (Setting(noise=2), "noise", "noise=2.0", "lav@0.0~2.0"),
        (Setting("la", 0.3, noise={"l": 1}), "noise", "{l,a} p=0.3 noise l=1.0", "la@0.3~1.0/0.0"),
        (Setting("lav?"), "random", "{l?,a?,v?}", "lav?@0.0"),
        (Setting("lav?", 0.3), "random", "{l?,a?,v?} p=0.3", "lav?@0.3"),
    ],
)
def test_setting_names(setting, kind, condition, text):
    assert (setting.kind, setting.condition, str(setting)) == (kind, condition, text)


@given(id_lists, st.integers(1, 40), modalities, ratios, ratios, st.integers(0, 5), patterns, st.data())
def test_masks_are_nested(ids, num_frames, modality, first, second, draw, pattern, data):
    low, high = sorted((first, second))
    lengths = data.draw(st.lists(st.integers(0, num_frames), min_size=len(ids), max_size=len(ids)))
    few = frame_mask(ids, num_frames, modality, Setting("lav", high, pattern), draw, lengths=lengths)
    many = frame_mask(ids, num_frames, modality, Setting("lav", low, pattern), draw, lengths=lengths)
    assert few.shape == (len(ids), num_frames)
    assert few.dtype == bool
    assert not (few & ~many).any(), "what is missing at a ratio must be missing at a higher one"


@given(id_lists, st.integers(1, 40), modalities, ratios, patterns, st.randoms(use_true_random=False))
def test_masks_do_not_depend_on_order_or_batch(ids, num_frames, modality, ratio, pattern, random):
    setting = Setting("lav", ratio, pattern)
    lengths = {sample_id: random.randint(1, num_frames) for sample_id in ids}
    masks = frame_mask(ids, num_frames, modality, setting, lengths=list(lengths.values()))
    together = dict(zip(ids, masks, strict=True))
    random.shuffle(ids)
    for sample_id in ids:
        alone = frame_mask([sample_id], num_frames, modality, setting, lengths=[lengths[sample_id]])[0]
        assert (alone == together[sample_id]).all()
        longer = frame_mask([sample_id], num_frames + 7, modality, setting, lengths=[lengths[sample_id]])[0]
        assert (longer[:num_frames] == alone).all()


@given(id_lists, st.integers(1, 40), modalities, ratios, st.sampled_from(["burst", "early_end"]))
def test_bursts_are_contiguous_and_early_ends_are_at_the_end(ids, num_frames, modality, ratio, pattern):
    for kept in frame_mask(ids, num_frames, modality, Setting("lav", ratio, pattern)):
        missing = np.flatnonzero(~kept)
        if len(missing):
            assert len(missing) == missing[-1] - missing[0] + 1, "what is missing must be one run"
            assert pattern == "burst" or missing[-1] == num_frames - 1
        if pattern == "burst":
            assert abs(len(missing) - ratio * num_frames) < 1 + 1e-9


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("length", [1, 3, 20])
def test_the_mean_share_of_missing_frames_is_the_ratio(pattern, ratio, length):
    ids = [f"sample{i}" for i in range(6000)]
    kept = frame_mask(ids, length, "a", Setting("lav", ratio, pattern), lengths=[length] * len(ids))
    assert 1 - kept.mean() == pytest.approx(ratio, abs=4 * 0.5 / np.sqrt(len(ids)))  # four standard errors at most


@pytest.mark.parametrize("pattern", PATTERNS)
def test_modalities_and_draws_lose_their_frames_independently(pattern):
    setting = Setting("lav", 0.5, pattern)
    masks = [frame_mask(IDS, 20, m, setting, draw)[:, 10] for m in MODALITIES for draw in (0, 1)]
    correlation = np.corrcoef(masks)
    assert np.abs(correlation[np.triu_indices(6, 1)]).max() < 4 / np.sqrt(len(IDS))


@given(id_lists, st.integers(1, 20), st.sampled_from(SUBSETS), st.integers(0, 3))
def test_masks_are_exact_at_both_ends(ids, num_frames, available, draw):
    for modality in MODALITIES:
        kept = frame_mask(ids, num_frames, modality, Setting(available, 0.0), draw)
        assert kept.all() if modality in available else not kept.any()
        assert not frame_mask(ids, num_frames, modality, Setting(available, 1.0), draw).any()


@settings(max_examples=20)
@given(st.sampled_from(SUBSETS), ratios)
def test_subset_and_ratio_do_not_change_each_other(available, ratio):
    for modality in available:
        full = frame_mask(IDS, 9, modality, Setting("lav", ratio))
        assert (frame_mask(IDS, 9, modality, Setting(available, ratio)) == full).all()


@given(st.lists(ratios, min_size=3, max_size=3), patterns, st.integers(0, 3))
def test_each_modality_loses_by_its_own_ratio_what_it_loses_where_all_have_that_ratio(own, pattern, draw):
    for modality, ratio in zip(MODALITIES, own, strict=True):
        expected = frame_mask(IDS[:40], 9, modality, Setting("lav", ratio, pattern), draw)
        assert (frame_mask(IDS[:40], 9, modality, Setting("lav", own, pattern), draw) == expected).all()


def test_each_sample_has_its_own_subset_each_as_likely():
    ids = [f"sample{i}" for i in range(7000)]
    kept = {m: frame_mask(ids, 3, m, Setting("lav?")) for m in MODALITIES}
    assert all((kept[m].all(1) == kept[m].any(1)).all() for m in MODALITIES), "whole modalities are there or not"
    there = np.stack([kept[m][:, 0] for m in MODALITIES], axis=1)
    found, counts = np.unique(there, axis=0, return_counts=True)
    assert len(found) == 7 and found.any(1).all() and abs(counts - 1000).max() < 4 * np.sqrt(1000)
    other = np.stack([frame_mask(ids, 3, m, Setting("lav?"), 1)[:, 0] for m in MODALITIES], axis=1)
    assert (there == other).all(1).mean() == pytest.approx(1 / 7, abs=0.02), "another draw, independent subsets"
    of_two = np.stack([frame_mask(ids, 1, m, Setting("la?"))[:, 0] for m in MODALITIES], axis=1)
    assert [list(row) for row in np.unique(of_two, axis=0)] == [[0, 1, 0], [1, 0, 0], [1, 1, 0]]


@given(
    id_lists,
    modalities,
    st.integers(0, 3),
    st.lists(ratios, min_size=3, max_size=3),
    patterns,
    st.randoms(use_true_random=False),
)
def test_a_samples_subset_and_its_frames_are_the_same_anywhere(ids, modality, draw, own, pattern, random):
    setting, whole = Setting("lav?", own, pattern), Setting("lav", own, pattern)
    lengths = {sample_id: random.randint(1, 8) for sample_id in ids}
    masks = frame_mask(ids, 8, modality, setting, draw, lengths=list(lengths.values()))
    together = dict(zip(ids, masks, strict=True))
    random.shuffle(ids)
    for sample_id in ids:
        of_one = {"draw": draw, "lengths": [lengths[sample_id]]}
        alone = frame_mask([sample_id], 5, modality, setting, **of_one)[0]
        assert (alone == together[sample_id][:5]).all()
        if alone.any():
            assert (alone == frame_mask([sample_id], 5, modality, whole, **of_one)[0]).all()


@pytest.mark.parametrize(
    ("available", "draw", "expected"),
    [
        ("lav?", 0, "av lav lv l av lv a v"),
        ("lav?", 2, "la la av lav av l lv lv"),
        ("av?", 0, "v v a v av a v a"),
    ],
)
def test_own_subsets_are_the_same_everywhere(available, draw, expected):
    """Written down once: another platform, process or version of NumPy must give the same subsets."""
    ids = ["video1$_$0", "ünïcode", *"abcdef"]
    there = {m: frame_mask(ids, 1, m, Setting(available), draw)[:, 0] for m in MODALITIES}
    assert ["".join(m for m in MODALITIES if there[m][i]) for i in range(len(ids))] == expected.split()


def test_data_of_two_modalities_have_the_settings_that_differ_for_them():
    given = [
        Setting(), Setting("la"), Setting("l"), Setting("v"), Setting("lav?"), Setting("lav", (0.1, 0.5, 0.0)),
        Setting("lav", (0.1, 0.5, 0.9)), Setting(noise={"v": 1}), Setting(noise={"l": 1}),
    ]  # fmt: skip
    expected = [Setting(), Setting("l"), Setting("la?"), Setting("lav", (0.1, 0.5, 0.0)), Setting(noise={"l": 1})]
    assert settings_for(given, "la") == expected and settings_for(given, "lav") == given
    patterns = [Setting(ratio=0.5, pattern=pattern) for pattern in PATTERNS]
    assert settings_for(patterns, "av") == patterns
    own = [Setting("lav?", (0.1, 0.5, 0.9), "burst", {"v": 2.0}), Setting("lav?", (0.2, 0.5, 0.9), "burst", {"v": 2.0})]
    assert settings_for(own, "av") == [Setting("av?", (0.5, 0.9), "burst", (0.0, 2.0))], (
        "what differs in language alone"
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Setting(noise={"v": 0.5}), None), (Setting("lav", {"v": 0.5}), None), (Setting("lav?"), Setting("la?")),
        (Setting("lav", (0.0, 0.0, 0.5), "burst"), None), (Setting("lv"), None), (Setting("v", 0.5), None),
        (Setting("lav", (1.0, 1.0, 0.0)), Setting(ratio=1.0)), (Setting("la", 0.5), Setting(ratio=0.5)),
        (Setting("lav", (0.5, 0.5, 0.9), "burst"), Setting(ratio=0.5, pattern="burst")), (Setting("l", 0.5),) * 2,
        (Setting("lav", (0.1, 0.5, 0.9)), Setting("lav", (0.1, 0.5, 0.0))), (Setting(noise=2.0), Setting(noise=2.0)),
        (Setting(noise={"l": 1.0, "v": 2.0}), Setting(noise={"l": 1.0})), (Setting("lav", 0.5), Setting("lav", 0.5)),
    ],
)  # fmt: skip
def test_of_what_the_data_lack_a_setting_says_nothing_whatever_stands_beside_it(given, expected):
    """So that a further draw, which has only some of the settings, has the same ones."""
    assert settings_for([given], "la") == ([] if expected is None else [expected])
    if expected is not None:
        assert settings_for([expected], "la") == [expected]


@pytest.mark.parametrize(
    ("setting", "by_chance"),
    [
        (Setting(), False), (Setting("l"), False), (Setting(ratio=1.0), False), (Setting("la", (0.0, 1.0)), False),
        (Setting(ratio=0.5), True), (Setting("la", (0.0, 0.5)), True), (Setting(noise=1.0), True),
        (Setting(noise={"v": 0.5}), True), (Setting("la?"), True), (Setting("lav?", 1.0), True),
    ],
)  # fmt: skip
def test_a_setting_is_by_chance_where_another_draw_gives_other_masks_or_noise(setting, by_chance):
    assert setting.by_chance == by_chance
    if not setting.noise and setting.ratio != 1.0:
        drawn = [[frame_mask(IDS, 9, m, setting, draw).tobytes() for m in MODALITIES] for draw in (0, 1)]
        assert (drawn[0] != drawn[1]) == by_chance


@given(id_lists, st.integers(0, 9), st.integers(1, 7), modalities, st.integers(0, 3), st.randoms(use_true_random=False))
def test_noise_is_the_same_for_a_sample_anywhere(ids, num_frames, num_features, modality, draw, random):
    noise = frame_noise(ids, num_frames, num_features, modality, draw)
    assert noise.shape == (len(ids), num_frames, num_features) and noise.dtype == np.float32
    together = dict(zip(ids, noise, strict=True))
    random.shuffle(ids)
    for sample_id in ids:
        alone = frame_noise([sample_id], num_frames + 2, num_features + 3, modality, draw)[0]
        assert (alone[:num_frames, :num_features] == together[sample_id]).all(), "neither frames nor features count"


def test_noise_is_gaussian_and_independent():
    noise = [frame_noise(IDS, 10, 6, m, draw) for m in MODALITIES for draw in (0, 1)]
    z = np.sort(np.concatenate(noise).ravel().astype(float))  # 144,000 numbers
    assert abs(z.mean()) < 4 / np.sqrt(len(z)) and z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(z)))
    phi = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])
    assert abs(phi - (np.arange(len(z)) + 0.5) / len(z)).max() < 0.002 + 1.63 / np.sqrt(len(z))  # Kolmogorov, 1 %
    bound = 4 / np.sqrt(noise[0].size)
    assert np.abs(np.corrcoef([own.ravel() for own in noise])[np.triu_indices(6, 1)]).max() < bound
    first = noise[0]
    assert abs(np.corrcoef(first[:, 1:].ravel(), first[:, :-1].ravel())[0, 1]) < bound, "frames"
    assert abs(np.corrcoef(first[..., 1:].ravel(), first[..., :-1].ravel())[0, 1]) < bound, "features"


def test_noise_is_the_same_everywhere():
    """Written down once: another platform, process or version of NumPy must give the same bits."""
    noise = frame_noise(["video1$_$0", "ünïcode"], 20, 6, "a", 2)
    assert noise[:, 0, 0].tolist() == [0.9225603938102722, -0.2706913650035858]
    assert hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest()[:16] == "52f98caadbbb47de"


def test_uniforms_are_uniform_and_independent():
    streams = [frame_uniforms(IDS, 50, m, draw).ravel() for m in MODALITIES for draw in (0, 1)]
    for u in streams:
        assert u.min() >= 0 and u.max() < 1
        counts = np.histogram(u, bins=20, range=(0, 1))[0]
        expected = len(u) / 20
        assert ((counts - expected) ** 2 / expected).sum() < 60  # chi-squared, 19 degrees of freedom: p about 4e-6
    correlation = np.corrcoef(streams)
    assert np.abs(correlation[np.triu_indices(6, 1)]).max() < 0.03  # 20,000 numbers: four standard errors
    lagged = np.corrcoef(streams[0][:-1], streams[0][1:])[0, 1]
    assert abs(lagged) < 0.03


def test_masks_are_the_same_everywhere():
    """Written down once: another platform, process or version of NumPy must give the same frames."""
    u = frame_uniforms(["video1$_$0", "ünïcode"], 3, "a", 2)
    expected = [
        [0.34087095713319426, 0.9044008503252162, 0.1127517748318484],
        [0.41734777222847075, 0.9623528167391624, 0.86678921516076],
    ]
    np.testing.assert_array_equal(u, expected)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("scattered", [".x.x..x.xx", ".xx....x.x"]),
        ("burst", [".....xxxxx", "x...xxxxxx"]),
        ("early_end", ["xxxxxxxx..", ".........."]),
    ],
)
def test_masks_of_each_pattern_written_down(pattern, expected):
    """x is kept; the second sample has six frames, which is where a pattern other than `scattered` ends."""
    setting = Setting("lav", 0.5, pattern)
    kept = frame_mask(["video1$_$0", "ünïcode"], 10, "a", setting, 2, lengths=[10, 6])
    assert ["".join(".x"[int(frame)] for frame in row) for row in kept] == expected


def test_scattered_frames_are_lost_one_by_one():
    """Whether a frame is lost says nothing of its neighbour, which is what tells `scattered` from the other patterns."""
    lost = ~frame_mask(IDS, 50, "a", Setting("lav", 0.5))
    pairs = np.corrcoef(lost[:, :-1].ravel(), lost[:, 1:].ravel())[0, 1]
    assert abs(pairs) < 4 / np.sqrt(lost[:, 1:].size)


@pytest.mark.parametrize("text", ["", "lav", "lav@", "xyz@0.3", "lav@0.3:", "lav@0.3:odd", "lav@0.3 "])
def test_what_is_no_text_of_a_setting_is_refused(text):
    with pytest.raises(
        ValueError, match=r"is no setting; expected for instance 'lav@0\.3'|is unknown; use one of|subset"
    ):
        Setting.parse(text)


def test_splitmix64_gives_its_published_sequence():
    numbers = splitmix64(np.array([[1234567]], dtype=np.uint64), 3)
    assert numbers.tolist() == [[6457827717110365317, 3203168211198807973, 9817491932198370423]]


def test_masks_are_the_same_in_another_process():
    code = (
        "from benchmark.protocol.missing import *; import hashlib;"
        "print(hashlib.sha256(frame_mask([str(i) for i in range(99)], 30, 'v', Setting('av', 0.4), 1).tobytes()).hexdigest())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_frame_mask_refuses_an_unknown_modality():
    with pytest.raises(ValueError, match="modality"):
        frame_mask(["a"], 3, "text", Setting())


def test_mrm_leaves_a_modality_and_has_the_documented_distribution():
    frames = {"l": 200, "a": 150, "v": 1}
    kept = MRM().draw(np.random.default_rng(0), 20_000, frames)
    assert {m: kept[m].shape for m in MODALITIES} == {m: (20_000, frames[m]) for m in MODALITIES}
    gone = {m: ~kept[m].any(1) for m in MODALITIES}
    subset_complete = ~gone["l"] & ~gone["a"]
    lacks_frames = (kept["l"].mean(1) < 1) & (kept["l"].mean(1) > 0)
    # a modality is absent in half of the samples that lack modalities: 3 of the 6 subsets
    assert gone["l"].mean() == pytest.approx(0.25, abs=0.02)
    # both l and a stay in the complete half and in one of six subsets of the other
    assert subset_complete.mean() == pytest.approx(0.5 + 0.5 / 6, abs=0.02)
    assert lacks_frames[~gone["l"]].mean() == pytest.approx(0.5, abs=0.03)
    # with frames never dropped, at least one modality is whole in every sample
    whole = MRM(frame_probability=0.0, modality_probability=1.0).draw(np.random.default_rng(1), 5000, frames)
    number = sum(whole[m].all(1).astype(int) for m in MODALITIES)
    assert number.min() == 1 and number.max() == 2
    subsets = np.stack([whole[m].all(1) for m in MODALITIES], axis=1)
    counts = np.unique(subsets, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and counts.min() > 700  # about 833 each


@pytest.mark.parametrize("modalities", ["la", "lv", "av"])
def test_mrm_leaves_one_of_the_modalities_that_the_data_have(modalities):
    frames = {m: 3 if m in modalities else 1 for m in MODALITIES}
    mrm = MRM(frame_probability=0.0, modality_probability=0.5, modalities=modalities)
    kept = mrm.draw(np.random.default_rng(0), 20_000, frames)
    there = np.stack([kept[m].all(1) for m in modalities])  # (2, N)
    assert there.any(0).all() and (~there.all(0)).mean() == pytest.approx(0.5, abs=0.02)
    assert there[0].mean() == pytest.approx(0.75, abs=0.02)


def test_mrm_draws_modalities_independently():
    kept = MRM(frame_probability=1.0, modality_probability=0.0).draw(
        np.random.default_rng(0), 1, {"l": 9, "a": 9, "v": 9}
    )
    assert not (kept["l"] == kept["a"]).all() or not (kept["l"] == kept["v"]).all()


def test_mrm_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="frame_probability"):
        MRM(frame_probability=1.5)
