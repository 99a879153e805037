"""Simulated stand-ins for the tasks.

They let everything run where the real features cannot be had. They are no evidence for which method is better, and
everything made from them says `simulated`.

The model. Each clip has latent affect: a part that all modalities express and, for each modality, a part of its own;
the label depends on all of them and on noise of its own. Clips come in videos, disjoint between splits, whose clips
share some of the affect (an intraclass correlation near the 0.18 measured on the real MOSI), favourite words, and a
nuisance in audio and vision. What modalities express has structure that a linear probe of means cannot see:

- *Words.* Affect drives which cue words are spoken, sparse among neutral ones. A negator before a cue word turns what
  it means; an intensifier or a weakener says how strongly it is meant.
- *Irony.* Some clips say the opposite of what they mean, and the voice tells, most of all at the end.
- *Order and timing.* Besides a few frames around each cue word, the voice rises or falls over the clip, and the face
  shows one expression early and its opposite late, at moments of their own; both vanish in the mean over frames.

All modalities are aligned to the words. What sets one task apart stands in the section `simulator` of its file.

Calibration. The signal strengths of MOSI, MOSEI and IEMOCAP, and the shares below, were set by neutral reference models
alone: logistic regression on mean-pooled features of one modality, and a plain GRU, on language and on all modalities
side by side. Both are to score in the ranges known for the real sets (`RANGES`), the GRU well above the linear probe.
Strengths of other tasks are guesses. What the two score is measured by ``tests/data/test_simulator.py`` and written in
``README.md`` beside this file. No method was looked at.
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

VERSION = 2
ORIGIN = f"simulator version {VERSION}"

VOCABULARY = 2000
CUE_WORDS = 400
NEGATORS, INTENSIFIERS, WEAKENERS = 8, 6, 6
CUE_CHANCE = 0.4
NEGATED, MODIFIED = 0.42, 0.25  # of the cue words, where the word before is no cue word itself
IRONY = 0.05
CANDIDATES, FIT = 8, 6.0  # cue words to choose from, and how much the choice depends on affect
KINSHIP = 5.0  # how alike the vectors of negators are, and those of intensifiers, as words of one kind are
ORDER = {"a": 1.5, "v": 1.5}  # strength of what only the order of frames tells
TONE = 1.5
NOISE_SOURCES = 12  # of audio and of vision: their features are correlated, as real ones are
VIDEO_SHARE = 0.2  # of the variance of affect, that clips of a video have in common
LABEL_NOISE = 0.3
VIDEO_CLIPS = 14
STEPS = 15  # that an intensity takes between 0 and the largest label: MOSI's five annotators give steps of 0.2

# Weighted F1 x 100 on the test split, on IEMOCAP the mean over emotions: of the linear probe by modality, and of
# the GRU on language ("gru l") and on all ("gru lav"). MOSI's ranges of the probe were measured on real features;
# others are as recalled from published unimodal and early-fusion results (EF-LSTM in MulT's tables), so wider.
RANGES = {
    "mosi": {"l": (62, 72), "a": (50, 60), "v": (50, 60), "gru l": (70, 80), "gru lav": (70, 80)},
    "mosei": {"l": (66, 76), "a": (52, 66), "v": (52, 66), "gru l": (72, 82), "gru lav": (74, 84)},
    "iemocap": {"l": (68, 78), "a": (62, 74), "v": (62, 73), "gru l": (73, 83), "gru lav": (73, 85)},
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

        def directions(m: str, strength: float) -> NDArray[np.float64]:
            return strength * rng.standard_normal((k, self.dims[m])) / np.sqrt(self.dims[m])

        self.valence = np.zeros((VOCABULARY, k))
        self.valence[:CUE_WORDS] = rng.standard_normal((CUE_WORDS, k))  # the first words are the cue words
        self.levels = {m: directions(m, strengths[m]) for m in MODALITIES}
        self.courses = {m: directions(m, ORDER[m]) for m in ("a", "v")}
        self.noises = {
            m: rng.standard_normal((NOISE_SOURCES, self.dims[m])) / np.sqrt(NOISE_SOURCES) for m in ("a", "v")
        }
        self.tone = TONE * rng.standard_normal(self.dims["a"]) / np.sqrt(self.dims["a"])
        d_l = self.dims["l"]
        self.words = rng.standard_normal((VOCABULARY, d_l)) / np.sqrt(d_l)
        self.words += _project(self.valence, self.levels["l"])
        start = CUE_WORDS
        for count in (NEGATORS, INTENSIFIERS, WEAKENERS):
            self.words[start : start + count] += KINSHIP * rng.standard_normal(d_l) / np.sqrt(d_l)
            start += count
        self.scales = {m: np.exp(0.5 * rng.standard_normal(self.dims[m])) for m in ("a", "v")}

    def split(self, name: str, n: int) -> Split:
        """N clips."""
        task, rng = self.task, self.rng
        mean_length, t = task.simulator.words
        video = np.arange(n) // VIDEO_CLIPS
        num_videos = int(video[-1]) + 1
        shared, *each = (self._affect(video, num_videos) for _ in range(4))  # (N, K)
        own = dict(zip(MODALITIES, each, strict=True))
        affect = {m: (shared + own[m]) / np.sqrt(2.0) for m in MODALITIES}  # what a modality expresses, (N, K)
        score = shared + 0.9 * own["l"] + 0.5 * own["a"] + 0.5 * own["v"]
        labels = _labels(score + LABEL_NOISE * rng.standard_normal(score.shape), _shares(task, name), task)

        lengths = np.clip(3 + rng.poisson(mean_length - 3, size=n), 3, t)
        real = np.arange(t)[None, :] < lengths[:, None]  # (N, T)
        ironic = rng.random(n) < IRONY
        said = np.where(ironic, -1.0, 1.0)[:, None] * affect["l"]
        spoken, is_cue = self._speak(said, real, video, num_videos)  # (N, T) word indices
        d_l = self.dims["l"]
        features = {"l": self.words[spoken] + 0.2 / np.sqrt(d_l) * rng.standard_normal((n, t, d_l))}
        courses = {"a": self._rise(real, lengths), "v": self._moments(real, lengths)}  # (N, T) each
        for m, lag in (("a", 0), ("v", 1)):  # the face moves a frame after the voice
            d = self.dims[m]
            envelope = 0.3 + _smooth(_smooth(np.roll(is_cue, lag, axis=1).astype(float)))  # (N, T)
            signal = _project(affect[m], self.levels[m])[:, None, :] * envelope[:, :, None]  # (N, T, d)
            signal += _project(affect[m], self.courses[m])[:, None, :] * courses[m][:, :, None]
            if m == "a":
                loud = np.where(np.arange(t)[None, :] == lengths[:, None] - 1, 3.0, 0.5)  # (N, T)
                signal += (ironic[:, None] * loud)[:, :, None] * self.tone
            noise = _smooth(rng.standard_normal((n, t, NOISE_SOURCES)))  # features of one frame are much alike
            noise = _project_frames(noise, self.noises[m]) + 0.5 * _smooth(rng.standard_normal((n, t, d)))
            nuisance = 0.5 * rng.standard_normal((num_videos, d))[video][:, None, :]
            features[m] = (signal + noise + nuisance) * self.scales[m]
        ids = np.array([f"{task.data_set}-{name}-v{v:03d}$_${i:04d}" for i, v in enumerate(video)])
        frames = {m: np.round(np.where(real[..., None], x, 0.0), 4).astype(np.float32) for m, x in features.items()}
        counts = {m: lengths.astype(np.int64) for m in MODALITIES}
        for m in task.absent:
            frames[m], counts[m] = np.zeros((n, 1, 1), dtype=np.float32), np.zeros(n, dtype=np.int64)
        return Split(ids=ids, features=frames, lengths=counts, labels=labels)

    def _affect(self, video: NDArray[np.int64], num_videos: int) -> NDArray[np.float64]:
        """Of variance 1, a part of it common to the clips of a video, (N, K)."""
        common = self.rng.standard_normal((num_videos, self.affects))[video]
        alone = self.rng.standard_normal((len(video), self.affects))
        return np.sqrt(VIDEO_SHARE) * common + np.sqrt(1.0 - VIDEO_SHARE) * alone

    def _rise(self, real: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """From -1 to 1 over each clip, with mean 0, (N, T)."""
        place = (np.arange(real.shape[1])[None, :] + 0.5) / lengths[:, None]
        return np.where(real, 2.0 * place - 1.0, 0.0)

    def _moments(self, real: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
        """A bump in the first half of each clip and its opposite in the second, with mean 0, (N, T)."""
        place = (np.arange(real.shape[1])[None, :] + 0.5) / lengths[:, None]
        early, late = (0.5 * self.rng.random((len(real), 1)) + half for half in (0.0, 0.5))
        course = np.exp(-(((place - early) / 0.15) ** 2)) - np.exp(-(((place - late) / 0.15) ** 2))
        course = np.where(real, course, 0.0)
        return np.where(real, course - course.sum(1, keepdims=True) / lengths[:, None], 0.0)

    def _speak(
        self, said: NDArray[np.float64], real: NDArray[np.bool_], video: NDArray[np.int64], num_videos: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Words of each clip, and which are cue words, (N, T) each.

        Neutral words come by Zipf's law, a third of them from the video's favourites. Cue words fit what is said, or
        its opposite where a negator stands before them.
        """
        rng, (n, t) = self.rng, real.shape
        first = CUE_WORDS + NEGATORS + INTENSIFIERS + WEAKENERS  # of the neutral words
        chances = 1.0 / np.arange(1, VOCABULARY - first + 1)
        chances /= chances.sum()
        spoken = first + rng.choice(VOCABULARY - first, size=(n, t), p=chances)
        favourites = first + rng.integers(VOCABULARY - first, size=(num_videos, 10))
        favourite = favourites[video[:, None], rng.integers(10, size=(n, t))]
        spoken = np.where(rng.random((n, t)) < 1 / 3, favourite, spoken)
        is_cue = (rng.random((n, t)) < CUE_CHANCE) & real
        before = np.zeros_like(is_cue)  # words that stand before a cue word and are none
        before[:, :-1] = is_cue[:, 1:] & ~is_cue[:, :-1]
        acts = rng.random((n, t))
        negator = before & (acts < NEGATED)
        modifier = before & ~negator & (acts < NEGATED + MODIFIED)
        negated = np.zeros_like(is_cue)
        negated[:, 1:] = negator[:, :-1]
        meant = said[:, None, :] * np.where(negated, -1.0, 1.0)[:, :, None]  # (N, T, K)
        candidates = rng.integers(CUE_WORDS, size=(n, t, CANDIDATES))
        fit = (self.valence[candidates] * meant[:, :, None, :]).sum(-1)  # (N, T, candidates)
        chosen = (FIT * fit + rng.gumbel(size=fit.shape)).argmax(-1)[..., None]
        spoken = np.where(is_cue, np.take_along_axis(candidates, chosen, axis=-1)[..., 0], spoken)
        spoken = np.where(negator, CUE_WORDS + rng.integers(NEGATORS, size=(n, t)), spoken)
        strongly = np.abs(said).max(1)[:, None] > 0.8
        modifiers = np.where(
            strongly,
            CUE_WORDS + NEGATORS + rng.integers(INTENSIFIERS, size=(n, t)),
            CUE_WORDS + NEGATORS + INTENSIFIERS + rng.integers(WEAKENERS, size=(n, t)),
        )
        return np.where(modifier, modifiers, spoken), is_cue


def _project(x: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """x @ directions, (N, K) @ (K, d), summed in a fixed order so that every machine gets the same bits."""
    total = np.zeros((len(x), directions.shape[1]))
    for k in range(x.shape[1]):
        total += x[:, k, None] * directions[k]
    return total


def _project_frames(x: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same for (N, T, K) @ (K, d)."""
    flat = _project(x.reshape(-1, x.shape[-1]), directions)  # (N T, K) → (N T, d)
    return flat.reshape(*x.shape[:-1], -1)


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
