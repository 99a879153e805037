import hashlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmark.data.simulator import PROBE_RANGES, simulate
from benchmark.data.task import SPLITS, find_task, known_tasks
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.scoring import scores

# The numbers of version 1. A change here means another VERSION, and that old and new scores do not compare.
FINGERPRINTS = {
    "iemocap": "simulated-v1-e5743d7ce06c4bf3",
    "mosei": "simulated-v1-94ee23390558801f",
    "mosi": "simulated-v1-eabff70633c2bb5c",
}
CONTENT = {"iemocap": "65adab424df2010b", "mosei": "b043419cccc9a309", "mosi": "9c4429a5af3cf671"}


@pytest.fixture(scope="module", params=sorted(FINGERPRINTS))
def dataset(request):
    return simulate(find_task(request.param))


def pooled(split, modality):
    frames = split.frames(modality)
    return (split.features[modality] * frames[..., None]).sum(1) / np.maximum(1, frames.sum(1))[:, None]


def probe(dataset, modalities):
    train, test = (np.concatenate([pooled(dataset.splits[n], m) for m in modalities], 1) for n in ("train", "test"))
    scaler = StandardScaler().fit(train)
    model = LogisticRegression(C=0.01, max_iter=1000)
    model.fit(scaler.transform(train), dataset.target.category_indices(dataset.splits["train"].labels))
    logits = np.eye(dataset.target.num_outputs)[model.predict(scaler.transform(test))]
    labels = dataset.splits["test"].labels
    return scores(target=dataset.target, y_true=labels, y_pred=logits, metrics=["f1"])["f1"]


def test_linear_probes_land_in_the_ranges_known(dataset):
    found = {m: probe(dataset, m) for m in MODALITIES}
    for modality, (low, high) in PROBE_RANGES[dataset.name].items():
        assert low <= found[modality] <= high, f"{modality} scores {found[modality]:.1f}"
    assert found["l"] > max(found["a"], found["v"]) + 2


def test_modalities_add_to_each_other(dataset):
    train, valid, _ = dataset.task.simulator.samples  # the same training split; a test split with less noise
    larger = simulate(dataset.task, (train, valid, 3000))
    assert probe(larger, MODALITIES) > probe(larger, "l") + 0.5


def test_label_distribution_is_the_real_one(dataset):
    for name in SPLITS:
        labels = dataset.splits[name].labels
        shares = np.array(dataset.task.simulator.shares[name], dtype=float)
        if dataset.target.kind == "polarity":
            counts = np.array([(labels < 0).sum(), (labels == 0).sum(), (labels > 0).sum()])
            assert np.abs(labels).max() <= 3 and len(np.unique(labels)) > 20
        else:
            counts = np.bincount(labels, minlength=4)
        assert np.abs(counts / counts.sum() - shares / shares.sum()).max() < 0.01


def test_speakers_and_ids_are_disjoint_between_splits(dataset):
    ids = [set(dataset.splits[name].ids) for name in SPLITS]
    speakers = [{i.split("$_$")[0] for i in part} for part in ids]
    for part in (ids, speakers):
        assert not part[0] & part[1] and not part[0] & part[2] and not part[1] & part[2]
    assert [len(part) for part in ids] == [len(dataset.splits[name]) for name in SPLITS]


def test_word_aligned_variable_length_and_padded_behind(dataset):
    for split in dataset.splits.values():
        for modality in MODALITIES:
            assert (split.lengths[modality] == split.lengths["l"]).all()
            assert not split.features[modality][~split.frames(modality)].any()
        assert len(np.unique(split.lengths["l"])) > 5
    assert dataset.feature_dims == {"l": 300, "a": 74, "v": 35}


def test_features_are_standardised_with_the_training_split(dataset):
    train = dataset.splits["train"]
    for modality in MODALITIES:
        real = train.features[modality][train.frames(modality)]
        assert np.abs(real.mean(0)).max() < 1e-3 and np.abs(real.std(0) - 1).max() < 1e-3


def test_cues_in_audio_and_vision_are_smooth_in_time(dataset):
    train = dataset.splits["train"]
    for modality in ("a", "v"):
        x, real = train.features[modality], train.frames(modality)
        both = real[:, 1:] & real[:, :-1]
        assert np.corrcoef(x[:, 1:][both].ravel(), x[:, :-1][both].ravel())[0, 1] > 0.4
    x, real = train.features["l"], train.frames("l")
    both = real[:, 1:] & real[:, :-1]
    assert abs(np.corrcoef(x[:, 1:][both].ravel(), x[:, :-1][both].ravel())[0, 1]) < 0.1


def test_it_says_simulated_and_is_the_same_every_time(dataset):
    assert dataset.source == "simulated" and "simulator" in dataset.origin
    again = simulate(dataset.task)
    digest = hashlib.sha256()
    for name in SPLITS:
        for modality in MODALITIES:
            assert np.array_equal(dataset.splits[name].features[modality], again.splits[name].features[modality])
            digest.update(np.round(again.splits[name].features[modality], 2).astype(np.float32).tobytes())
        digest.update(again.splits[name].labels.tobytes())
    assert dataset.fingerprint == FINGERPRINTS[dataset.name]
    assert digest.hexdigest()[:16] == CONTENT[dataset.name]


def test_other_sizes_have_another_fingerprint():
    mosi = find_task("mosi")
    small = simulate(mosi, (20, 10, 12))
    assert [len(small.splits[name]) for name in SPLITS] == [20, 10, 12]
    assert small.fingerprint != simulate(mosi).fingerprint


@pytest.mark.parametrize("name", sorted(set(known_tasks()) - set(FINGERPRINTS)))
def test_every_other_task_has_a_stand_in_that_fits_it(name):
    """With labels of every kind in each split, distributed as the task says, and the same every time."""
    task = find_task(name)
    first, again = simulate(task, (90, 60, 60)), simulate(task, (90, 60, 60))
    assert first.fingerprint == again.fingerprint and first.task == task
    for split_name in SPLITS:
        split = first.splits[split_name]
        assert np.array_equal(split.labels, again.splits[split_name].labels)
        assert all(np.array_equal(split.features[m], again.splits[split_name].features[m]) for m in MODALITIES)
        if task.target.kind == "category":
            counts = np.bincount(split.labels, minlength=len(task.target.names))
            assert counts.sum() == len(split) and len(counts) == len(task.target.names)
        else:
            low, high = task.target.range
            assert low <= split.labels.min() < 0 < split.labels.max() <= high and len(np.unique(split.labels)) > 8


def test_tasks_of_one_data_set_have_the_same_features_and_labels():
    first, second = simulate(find_task("mosi")), simulate(find_task("mosi_intensity"))
    assert first.fingerprint != second.fingerprint
    for name in SPLITS:
        assert np.array_equal(first.splits[name].labels, second.splits[name].labels)
        assert np.array_equal(first.splits[name].ids, second.splits[name].ids)
        assert all(np.array_equal(first.splits[name].features[m], second.splits[name].features[m]) for m in MODALITIES)
