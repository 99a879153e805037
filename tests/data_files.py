"""Small data files in each of the layouts that the readers know."""

import pickle

import numpy as np

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


def dump(path, content, protocol=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path
