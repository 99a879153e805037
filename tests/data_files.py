"""Small data files in each of the layouts that the readers know."""

import pickle

import h5py
import numpy as np

from benchmark.data.formats import read_dataset
from benchmark.data.task import find_task

SIZES = {"train": 12, "valid": 6, "test": 8}
DIMS = {"text": 5, "audio": 4, "vision": 3}
FRAMES = {"text": 6, "audio": 9, "vision": 7}


def mult_content(task="mosi", aligned=True, seed=0):
    """MulT's layout: padded in front, ids of (video, start, end)."""
    rng = np.random.default_rng(seed)
    content = {}
    for name, n in SIZES.items():
        split = {}
        lengths = rng.integers(2, 7, size=n)
        for key, d in DIMS.items():
            t = 6 if aligned else FRAMES[key]
            x = rng.standard_normal((n, t, d)) + 3.0
            for row in range(n):
                x[row, : t - min(t, lengths[row])] = 0.0
            split[key] = x.astype(np.float32)
        if task == "iemocap":
            emotion = np.arange(n) % 4
            columns = np.array([1, 2, 3, 0])  # of happy, sad, angry, neutral: the file has neutral first
            shown = np.eye(4, dtype=np.int64)[columns[emotion]]
            split["labels"] = np.stack([1 - shown, shown], axis=2)
        else:
            split["labels"] = np.linspace(-3, 3, n).astype(np.float32).reshape(n, 1, 1)
        split["id"] = np.array([[f"{name}video{row // 3}", str(row), str(row + 1)] for row in range(n)])
        split["lengths_"] = lengths
        content[name] = split
    return content


def mmsa_content(aligned=False, seed=0):
    """MMSA's layout: padded behind."""
    rng = np.random.default_rng(seed)
    content = {}
    for name, n in SIZES.items():
        split = {"raw_text": np.array(["some words"] * n), "annotations": np.array(["Neutral"] * n)}
        lengths = {key: rng.integers(1, (6 if aligned else FRAMES[key]) + 1, size=n) for key in DIMS}
        for key, d in DIMS.items():
            t = 6 if aligned else FRAMES[key]
            if aligned:
                lengths[key] = lengths["text"]
            x = rng.standard_normal((n, t, d)) + 3.0
            x[np.arange(t)[None, :] >= lengths[key][:, None]] = 0.0
            split[key] = x.astype(np.float32)
        mask = (np.arange(split["text"].shape[1])[None, :] < lengths["text"][:, None]).astype(np.float32)
        split["text_bert"] = np.stack([mask * 101, mask, 0 * mask], axis=1)
        split["regression_labels"] = np.linspace(-3, 3, n).astype(np.float32)
        split["classification_labels"] = np.zeros(n)
        split["id"] = [f"{name}{row // 3}$_${row}" for row in range(n)]
        if not aligned:
            split["audio_lengths"] = lengths["audio"].tolist()
            split["vision_lengths"] = lengths["vision"].tolist()
        content[name] = split
    return content


def neutral_content(seed=0):
    """The neutral layout as a dict: other names, all lengths told, a sample that lacks audio."""
    content = {}
    for name, split in mmsa_content(seed=seed).items():
        lengths = {key: (split[key] != 0).any(2).sum(1) for key in DIMS}
        lengths["audio"][1], split["audio"][1] = 0, 0.0
        content[name] = {
            "language": split["text"], "audio": split["audio"], "vision": split["vision"],
            "language_lengths": lengths["text"], "audio_lengths": lengths["audio"], "vision_lengths": lengths["vision"],
            "labels": split["regression_labels"], "ids": np.array(split["id"]),
        }  # fmt: skip
    return content


def write_npz(path, content, save=np.savez):
    with path.open("wb") as file:
        save(file, **{f"{name}/{key}": x for name, split in content.items() for key, x in split.items()})
    return path


def write_hdf5(path, content, **options):
    with h5py.File(path, "w") as file:
        for name, split in content.items():
            for key, x in split.items():
                is_text = x.dtype.kind == "U"
                data = x.tolist() if is_text else x
                file.create_dataset(f"{name}/{key}", data=data, **({} if is_text or not x.ndim else options))
    return path


def dialogue_content(emotions=6, seed=0):
    """DialogueRNN's layout: a tuple of dicts by dialogue, two sets of dialogues."""
    rng = np.random.default_rng(seed)
    names = [f"Ses{k:02d}" for k in range(24)]
    sizes = {name: 2 + k % 4 for k, name in enumerate(names)}

    def of_each(make):
        return {name: [make(name, i) for i in range(n)] for name, n in sizes.items()}

    vectors = [of_each(lambda *_, d=d: rng.standard_normal(d)) for d in DIMS.values()]
    labels = of_each(lambda name, i: (names.index(name) + i) % emotions)
    speakers, texts = of_each(lambda *_: "F"), of_each(lambda *_: "some words")
    return (
        of_each(lambda name, i: f"{name}_F{i:03d}"),
        speakers,
        labels,
        *vectors,
        texts,
        set(names[:18]),
        set(names[18:]),
    )


def read(path, task="mosi"):
    """As the task of that name, or as a task."""
    return read_dataset(path, find_task(task))


def dump(path, content, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path
