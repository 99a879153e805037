"""Simulated stand-ins for the tasks.

They let everything run where the real features cannot be had. They are no evidence for which method is better, and
everything made from them says `simulated`.

The model. Each utterance has latent affect: a part that all modalities express and, for each modality, a part of its
own; the label depends on all of them and on noise of its own. Affect drives which *cue words* are spoken, sparse among
neutral ones; around each cue word, audio and vision move for a few frames, smoothly and overlapping in time. Speakers,
disjoint between splits, shift audio and vision and have favourite words. All three modalities are aligned to the words.
What sets one task apart stands in the section `simulator` of its file.

Calibration. The three signal strengths of MOSI, MOSEI and IEMOCAP, and nothing else, were set so that logistic
regression on mean-pooled complete features of one modality scores in the range known for the real set
(`PROBE_RANGES`); those of other tasks are guesses. What the probe scores is measured
by ``tests/data/test_simulator.py`` and written in ``README.md`` beside this file. No method was
looked at.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, Split, standardise
from benchmark.data.task import SPLITS, Task
from benchmark.protocol.missing import MODALITIES
from benchmark.protocol.target import CATEGORY, POLARITY

VERSION = 1
ORIGIN = f"simulator version {VERSION}"

VOCABULARY = 2000
CUE_WORDS = 400
CUE_CHANCE = 0.3
CANDIDATES = 8
SPEAKER_UTTERANCES = 14
STEPS = 15  # that an intensity takes between 0 and the largest label: MOSI's five annotators give steps of 0.2

# Weighted F1 x 100 of the probe on the test split; on IEMOCAP the mean over emotions. MOSI's ranges were measured on
# real features; the other two are as recalled from published unimodal results, so wider.
PROBE_RANGES = {
    "mosi": {"l": (66, 76), "a": (52, 60), "v": (52, 60)},
    "mosei": {"l": (70, 80), "a": (56, 66), "v": (56, 66)},
    "iemocap": {"l": (72, 80), "a": (67, 74), "v": (66, 73)},
}


def simulate(task: Task, sizes: tuple[int, int, int] | None = None) -> Dataset:
    """Generate a stand-in; the same numbers every time.

    Parameters
    ----------
    task : Task
        Its section `simulator` says what sets one stand-in apart.
    sizes : tuple of int, optional
        Other numbers of training, validation and test utterances.

    Returns
    -------
    Dataset
        With ``source="simulated"``.
    """
    world = _World(task, np.random.default_rng([VERSION, _seed(task)]))
    splits = {name: world.split(name, n) for name, n in zip(SPLITS, sizes or task.simulator.samples, strict=True)}
    return Dataset(
        task=task,
        source="simulated",
        splits=standardise(splits),
        fingerprint=fingerprint(task, sizes),
        origin=ORIGIN,
    )


def fingerprint(task: Task, sizes: tuple[int, int, int] | None = None) -> str:
    """What tells a simulated data set from others, without generating it."""
    said = task.simulator.model_dump(mode="json") | {"samples": list(sizes or task.simulator.samples)}
    definition = json.dumps({"version": VERSION, "dataset": task.data_set, **said, **task.reading()}, sort_keys=True)
    return f"simulated-v{VERSION}-{hashlib.sha256(definition.encode()).hexdigest()[:16]}"


def _seed(task: Task) -> int:
    """The task's own, or one made of the name of its data set."""
    if task.simulator.seed is not None:
        return task.simulator.seed
    return int.from_bytes(hashlib.sha256(task.data_set.encode()).digest()[:4], "little")


def _shares(task: Task, name: str) -> NDArray[np.float64]:
    """The label distribution of a split."""
    even = [1.0] * len(task.target.names) if task.target.kind == CATEGORY else [0.45, 0.1, 0.45]
    shares: dict[str, list[float]] = dict(task.simulator.shares)  # type: ignore[arg-type]
    return np.array(shares.get(name, even))


class _World:
    """What the splits of a task share: the words, and how affect looks and sounds."""

    def __init__(self, task: Task, rng: np.random.Generator) -> None:
        self.task, self.rng = task, rng
        self.dims = dict(zip(MODALITIES, task.simulator.features, strict=True))
        strengths = dict(zip(MODALITIES, task.simulator.strengths, strict=True))
        k = self.affects = len(task.target.names) if task.target.kind == CATEGORY else 1
        self.valence = np.zeros((VOCABULARY, k))
        self.valence[:CUE_WORDS] = rng.standard_normal((CUE_WORDS, k))  # the first words are the cue words
        directions = {m: rng.standard_normal((k, d)) / np.sqrt(d) for m, d in self.dims.items()}
        self.directions = {m: strengths[m] * directions[m] for m in MODALITIES}
        self.words = rng.standard_normal((VOCABULARY, self.dims["l"])) / np.sqrt(self.dims["l"])
        self.words += _project(self.valence, self.directions["l"])
        self.scales = {m: np.exp(0.5 * rng.standard_normal(self.dims[m])) for m in ("a", "v")}

    def split(self, name: str, n: int) -> Split:
        task, rng = self.task, self.rng
        k, (mean_length, t) = self.affects, task.simulator.words
        speaker = np.arange(n) // SPEAKER_UTTERANCES
        num_speakers = int(speaker[-1]) + 1

        shared = rng.standard_normal((n, k))
        own = {m: rng.standard_normal((n, k)) for m in MODALITIES}
        affect = {m: (shared + own[m]) / np.sqrt(2.0) for m in MODALITIES}  # what a modality expresses, (N, K)
        score = shared + 0.9 * own["l"] + 0.5 * own["a"] + 0.5 * own["v"] + 0.5 * rng.standard_normal((n, k))
        labels = _labels(score, _shares(task, name), task)

        lengths = np.clip(3 + rng.poisson(mean_length - 3, size=n), 3, t)
        real = np.arange(t)[None, :] < lengths[:, None]  # (N, T)
        is_cue = (rng.random((n, t)) < CUE_CHANCE) & real
        spoken = self._speak(affect["l"], is_cue, speaker, num_speakers)  # (N, T) word indices
        d_l = self.dims["l"]
        features = {"l": self.words[spoken] + 0.2 / np.sqrt(d_l) * rng.standard_normal((n, t, d_l))}
        for m, lag in (("a", 0), ("v", 1)):  # the face moves a frame after the voice
            d = self.dims[m]
            envelope = 0.3 + _smooth(_smooth(np.roll(is_cue, lag, axis=1).astype(float)))  # (N, T)
            signal = _project(affect[m], self.directions[m])[:, None, :] * envelope[:, :, None]  # (N, T, d)
            noise = _smooth(rng.standard_normal((n, t, d)))
            nuisance = 0.5 * rng.standard_normal((num_speakers, d))[speaker][:, None, :]
            features[m] = (signal + noise + nuisance) * self.scales[m]
        ids = np.array([f"{task.data_set}-{name}-s{s:03d}$_${i:04d}" for i, s in enumerate(speaker)])
        frames = {m: np.round(np.where(real[..., None], x, 0.0), 4).astype(np.float32) for m, x in features.items()}
        counts = {m: lengths.astype(np.int64) for m in MODALITIES}
        for m in task.absent:
            frames[m], counts[m] = np.zeros((n, 1, 1), dtype=np.float32), np.zeros(n, dtype=np.int64)
        return Split(ids=ids, features=frames, lengths=counts, labels=labels)

    def _speak(
        self, affect: NDArray[np.float64], is_cue: NDArray[np.bool_], speaker: NDArray[np.int64], num_speakers: int
    ) -> NDArray[np.int64]:
        """Neutral words by Zipf's law, a third of them from the speaker's favourites; cue words that fit the affect."""
        rng, (n, t) = self.rng, is_cue.shape
        neutral = VOCABULARY - CUE_WORDS
        chances = 1.0 / np.arange(1, neutral + 1)
        chances /= chances.sum()
        spoken = CUE_WORDS + rng.choice(neutral, size=(n, t), p=chances)
        favourites = CUE_WORDS + rng.integers(neutral, size=(num_speakers, 10))
        favourite = favourites[speaker[:, None], rng.integers(10, size=(n, t))]
        spoken = np.where(rng.random((n, t)) < 1 / 3, favourite, spoken)
        candidates = rng.integers(CUE_WORDS, size=(n, t, CANDIDATES))
        fit = (self.valence[candidates] * affect[:, None, None, :]).sum(-1)  # (N, T, candidates)
        best = np.take_along_axis(candidates, (2.0 * fit + rng.gumbel(size=fit.shape)).argmax(-1)[..., None], axis=-1)[
            ..., 0
        ]
        return np.where(is_cue, best, spoken)


def _project(x: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """x @ directions, (N, K) @ (K, d), summed in a fixed order so that every machine gets the same bits."""
    total = np.zeros((len(x), directions.shape[1]))
    for k in range(x.shape[1]):
        total += x[:, k, None] * directions[k]
    return total


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean with both neighbours in time (axis 1)."""
    padded = np.pad(x, [(0, 0), (1, 1)] + [(0, 0)] * (x.ndim - 2), mode="edge")
    return 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]


def _labels(score: NDArray[np.float64], shares: NDArray[np.float64], task: Task) -> NDArray[np.generic]:
    """Labels in the order of the scores, with the given distribution (up to rounding)."""
    n = len(score)
    shares = shares / shares.sum()
    if task.target.kind == CATEGORY:
        offset = np.zeros(len(shares))
        for step in range(200):  # shift the scores until their argmax has the shares wanted
            counts = np.bincount((score + offset).argmax(1), minlength=len(shares)) / n
            offset += 2.0 / (1 + 0.1 * step) * (shares - counts)
        return (score + offset).argmax(1).astype(np.int64)
    rank = score[:, 0].argsort(kind="stable").argsort(kind="stable")  # 0 … N-1
    negative = round(n * shares[0])
    positive = round(n * shares[2])
    middle = task.target.below if task.target.kind == POLARITY else 0.0
    low, high = task.target.range
    intensity = np.full(n, middle)
    # Steps as of several annotators' mean, spread over (middle, most] as a rank's distance from the middle.
    below, above = rank < negative, rank >= n - positive
    intensity[below] -= (middle - low) * _steps((negative - rank[below]) / max(1, negative)) / STEPS
    intensity[above] += (high - middle) * _steps((rank[above] - (n - positive) + 1) / max(1, positive)) / STEPS
    return np.round(intensity, 6).astype(np.float32)


def _steps(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.ceil(STEPS * share**1.2), 1, STEPS)
