"""Simulated stand-ins for MOSI, MOSEI and IEMOCAP.

They let everything run where the real features cannot be had. They are no evidence for which method is better, and
everything made from them says `simulated`.

The model. Each utterance has latent affect: a part that all modalities express and, for each modality, a part of its
own; the label depends on all of them and on noise of its own. Affect drives which *cue words* are spoken, sparse among
neutral ones; around each cue word, audio and vision move for a few frames, smoothly and overlapping in time. Speakers,
disjoint between splits, shift audio and vision and have favourite words. The words carry vectors (300), audio 74 and
vision 35 numbers a frame, and all three are aligned to the words.

Calibration. The three signal strengths of each task, and nothing else, were set so that logistic regression on
mean-pooled complete features of one modality scores in the range known for the real set (`PROBE_RANGES`); what it
scores is measured by ``tests/data/test_simulator.py`` and written in ``README.md`` beside this file. No method was
looked at.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import EMOTIONS, SENTIMENT_CATEGORIES, SPLITS, Dataset, Split, standardise
from benchmark.protocol.missing import MODALITIES

VERSION = 1
ORIGIN = f"simulator version {VERSION}"
FEATURE_DIMS = {"l": 300, "a": 74, "v": 35}  # GloVe, COVAREP, Facet

VOCABULARY = 2000
CUE_WORDS = 400
CUE_CHANCE = 0.3
CANDIDATES = 8
SPEAKER_UTTERANCES = 14


@dataclass(frozen=True)
class SimulatedTask:
    """What sets one stand-in apart.

    Parameters
    ----------
    kind : {"sentiment", "emotion"}
    sizes : dict of split to int
        Number of utterances; smaller than the real ones, so that grids fit the time of two cores.
    shares : dict of split to tuple of float
        The real split's label distribution: negative, zero, positive; or the four emotions.
    mean_length, max_length : int
        Words of an utterance.
    strengths : dict of modality to float
        How strongly affect shows in a modality; the calibrated quantities.
    """

    kind: str
    sizes: dict[str, int]
    shares: dict[str, tuple[float, ...]]
    mean_length: int
    max_length: int
    strengths: dict[str, float]


# Shares are the counts of the real splits: MOSI and MOSEI as negative / zero / positive, IEMOCAP's test split as
# implied by the constant predictor's published F1; its other splits are taken to be alike.
_IEMOCAP = (135, 193, 227, 383)
TASKS = {
    "mosi": SimulatedTask(
        kind="sentiment",
        sizes={"train": 800, "valid": 200, "test": 400},
        shares={"train": (552, 53, 679), "valid": (92, 13, 124), "test": (379, 30, 277)},
        mean_length=11,
        max_length=20,
        strengths={"l": 1.6, "a": 0.7, "v": 0.9},
    ),
    "mosei": SimulatedTask(
        kind="sentiment",
        sizes={"train": 1200, "valid": 250, "test": 500},
        shares={"train": (4738, 3540, 8048), "valid": (506, 433, 932), "test": (1350, 1025, 2284)},
        mean_length=12,
        max_length=20,
        strengths={"l": 1.6, "a": 0.9, "v": 1.0},
    ),
    "iemocap": SimulatedTask(
        kind="emotion",
        sizes={"train": 900, "valid": 250, "test": 450},
        shares=dict.fromkeys(SPLITS, _IEMOCAP),
        mean_length=10,
        max_length=20,
        strengths={"l": 1.6, "a": 0.9, "v": 0.9},
    ),
}

# Weighted F1 x 100 of the probe on the test split; on IEMOCAP the mean over emotions. MOSI's ranges were measured on
# real features; the other two are as recalled from published unimodal results, so wider.
PROBE_RANGES = {
    "mosi": {"l": (66, 76), "a": (52, 60), "v": (52, 60)},
    "mosei": {"l": (70, 80), "a": (56, 66), "v": (56, 66)},
    "iemocap": {"l": (72, 80), "a": (67, 74), "v": (66, 73)},
}


def simulate(task: str, sizes: dict[str, int] | None = None) -> Dataset:
    """Generate a stand-in; the same numbers every time.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    sizes : dict of split to int, optional
        Other numbers of utterances.

    Returns
    -------
    Dataset
        With ``source="simulated"``.
    """
    spec = _spec(task, sizes)
    world = _World(spec, np.random.default_rng([VERSION, sorted(TASKS).index(task)]))
    splits = {name: world.split(task, name) for name in SPLITS}
    return Dataset(
        name=task,
        source="simulated",
        kind=spec.kind,
        categories=SENTIMENT_CATEGORIES if spec.kind == "sentiment" else EMOTIONS,
        splits=standardise(splits),
        fingerprint=fingerprint(task, sizes),
        origin=ORIGIN,
    )


def fingerprint(task: str, sizes: dict[str, int] | None = None) -> str:
    """What tells a simulated data set from others, without generating it."""
    definition = json.dumps({"version": VERSION, "task": task, **asdict(_spec(task, sizes))}, sort_keys=True)
    return f"simulated-v{VERSION}-{hashlib.sha256(definition.encode()).hexdigest()[:16]}"


def _spec(task: str, sizes: dict[str, int] | None) -> SimulatedTask:
    return TASKS[task] if sizes is None else replace(TASKS[task], sizes=sizes)


class _World:
    """What the splits of a task share: the words, and how affect looks and sounds."""

    def __init__(self, spec: SimulatedTask, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng
        self.affects = 1 if spec.kind == "sentiment" else len(EMOTIONS)
        k = self.affects
        self.valence = np.zeros((VOCABULARY, k))
        self.valence[:CUE_WORDS] = rng.standard_normal((CUE_WORDS, k))  # the first words are the cue words
        directions = {m: rng.standard_normal((k, d)) / np.sqrt(d) for m, d in FEATURE_DIMS.items()}
        self.directions = {m: spec.strengths[m] * directions[m] for m in MODALITIES}
        self.words = rng.standard_normal((VOCABULARY, FEATURE_DIMS["l"])) / np.sqrt(FEATURE_DIMS["l"])
        self.words += _project(self.valence, self.directions["l"])
        self.scales = {m: np.exp(0.5 * rng.standard_normal(FEATURE_DIMS[m])) for m in ("a", "v")}

    def split(self, task: str, name: str) -> Split:
        spec, rng = self.spec, self.rng
        n, k, t = spec.sizes[name], self.affects, spec.max_length
        speaker = np.arange(n) // SPEAKER_UTTERANCES
        num_speakers = int(speaker[-1]) + 1

        shared = rng.standard_normal((n, k))
        own = {m: rng.standard_normal((n, k)) for m in MODALITIES}
        affect = {m: (shared + own[m]) / np.sqrt(2.0) for m in MODALITIES}  # what a modality expresses, (N, K)
        score = shared + 0.9 * own["l"] + 0.5 * own["a"] + 0.5 * own["v"] + 0.5 * rng.standard_normal((n, k))
        labels = _labels(score, np.array(spec.shares[name], dtype=float), spec.kind)

        lengths = np.clip(3 + rng.poisson(spec.mean_length - 3, size=n), 3, t)
        real = np.arange(t)[None, :] < lengths[:, None]  # (N, T)
        is_cue = (rng.random((n, t)) < CUE_CHANCE) & real
        spoken = self._speak(affect["l"], is_cue, speaker, num_speakers)  # (N, T) word indices
        features = {
            "l": self.words[spoken] + 0.2 / np.sqrt(FEATURE_DIMS["l"]) * rng.standard_normal((n, t, FEATURE_DIMS["l"]))
        }
        for m, lag in (("a", 0), ("v", 1)):  # the face moves a frame after the voice
            d = FEATURE_DIMS[m]
            envelope = 0.3 + _smooth(_smooth(np.roll(is_cue, lag, axis=1).astype(float)))  # (N, T)
            signal = _project(affect[m], self.directions[m])[:, None, :] * envelope[:, :, None]  # (N, T, d)
            noise = _smooth(rng.standard_normal((n, t, d)))
            nuisance = 0.5 * rng.standard_normal((num_speakers, d))[speaker][:, None, :]
            features[m] = (signal + noise + nuisance) * self.scales[m]
        ids = np.array([f"{task}-{name}-s{s:03d}$_${i:04d}" for i, s in enumerate(speaker)])
        return Split(
            ids=ids,
            features={
                m: np.round(np.where(real[..., None], x, 0.0), 4).astype(np.float32) for m, x in features.items()
            },
            lengths={m: lengths.astype(np.int64) for m in MODALITIES},
            labels=labels,
        )

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


def _labels(score: NDArray[np.float64], shares: NDArray[np.float64], kind: str) -> NDArray[np.generic]:
    """Labels in the order of the scores, with the given distribution (up to rounding)."""
    n = len(score)
    shares = shares / shares.sum()
    if kind == "emotion":
        offset = np.zeros(len(shares))
        for step in range(200):  # shift the scores until their argmax has the shares wanted
            counts = np.bincount((score + offset).argmax(1), minlength=len(shares)) / n
            offset += 2.0 / (1 + 0.1 * step) * (shares - counts)
        return (score + offset).argmax(1).astype(np.int64)
    rank = score[:, 0].argsort(kind="stable").argsort(kind="stable")  # 0 … N-1
    negative = round(n * shares[0])
    positive = round(n * shares[2])
    intensity = np.zeros(n)
    # Five annotators' mean, in steps of 0.2; spread over (0, 3] as a rank's distance from zero.
    below, above = rank < negative, rank >= n - positive
    intensity[below] = -_steps((negative - rank[below]) / max(1, negative))
    intensity[above] = _steps((rank[above] - (n - positive) + 1) / max(1, positive))
    return intensity.astype(np.float32)


def _steps(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.ceil(15 * share**1.2), 1, 15) / 5
