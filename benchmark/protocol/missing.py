"""What is missing: settings, the masks of the evaluation, and Modality Random Missing for training.

A mask of the evaluation is data, not chance: whether a frame is missing depends on the sample, the modality, the
frame, the draw and the ratio, and on nothing else. Batches, order, workers, methods, seeds and platforms cannot
change it, and what is missing at one ratio is missing at every higher one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("l", "a", "v")
MODALITY_NAMES = {"l": "language", "a": "audio", "v": "vision"}
SUBSETS = ("l", "a", "v", "la", "lv", "av", "lav")
PATTERNS = ("scattered", "burst", "early_end")
_SETTING = re.compile(r"(?P<available>[lav]+)@(?P<ratio>[0-9.eE+-]+)(:(?P<pattern>[a-z_]+))?")


@dataclass(frozen=True)
class Setting:
    """What a model gets to see of every sample.

    Parameters
    ----------
    available : str
        The modalities that are there at all: a non-empty subset of ``"lav"``, in that order.
    ratio : float
        The share of frames that is missing, in [0, 1], in every available modality.
    pattern : {"scattered", "burst", "early_end"}
        Which frames those are: each by a coin of its own; one run of neighbouring frames; all from some frame on. At
        ratios 0 and 1 they are the same, and the setting says "scattered".

    Raises
    ------
    ValueError
        If either is anything else.
    """

    available: str = "lav"
    ratio: float = 0.0
    pattern: str = "scattered"

    def __post_init__(self) -> None:
        if self.available not in SUBSETS:
            raise ValueError(
                f"available={self.available!r} is no subset of modalities; use one of {', '.join(SUBSETS)}"
            )
        if isinstance(self.ratio, bool) or not isinstance(self.ratio, int | float | np.floating | np.integer):
            raise ValueError(f"ratio={self.ratio!r} is no number; use one in [0, 1]")
        if not 0.0 <= self.ratio <= 1.0:  # NaN fails this too
            raise ValueError(f"ratio={self.ratio!r} is outside [0, 1]")
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern={self.pattern!r} is unknown; use one of {', '.join(PATTERNS)}")
        object.__setattr__(self, "ratio", float(self.ratio))
        if self.ratio in (0.0, 1.0):
            object.__setattr__(self, "pattern", "scattered")

    def __str__(self) -> str:
        """``lav@0.3``, or ``lav@0.3:burst``; parsed again by :meth:`parse`."""
        pattern = "" if self.pattern == "scattered" else f":{self.pattern}"
        return f"{self.available}@{format_ratio(self.ratio)}{pattern}"

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The inverse of ``str``; raises ValueError on anything else."""
        match = _SETTING.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no setting; expected for instance 'lav@0.3'")
        return cls(match["available"], float(match["ratio"]), match["pattern"] or "scattered")

    @property
    def kind(self) -> str:
        """``inter`` where whole modalities are gone, else ``intra``, with the pattern where it is not scattered.

        The complete setting, ``intra``, belongs to both.
        """
        kind = "intra" if self.available == "lav" else "inter"
        return kind if self.pattern == "scattered" else f"{kind}-{self.pattern}"

    @property
    def condition(self) -> str:
        """The name printed in tables: ``{l,a}`` or ``p=0.3``."""
        subset = "{" + ",".join(self.available) + "}"
        ratio = f"p={format_ratio(self.ratio)}"
        if self.pattern != "scattered":
            ratio += f" {self.pattern.replace('_', ' ')}"
        if self.ratio == 0.0:
            return subset
        return ratio if self.available == "lav" else f"{subset} {ratio}"


def settings_for(settings: Sequence[Setting], modalities: str) -> list[Setting]:
    """Those settings that mean something where the data have some modalities only; all of them where they have all.

    With language and audio alone, ``{v}`` would be nothing at all, and ``{l,a}`` is what is complete.
    """
    own = set(modalities)
    return [s for s in settings if s.available == SUBSETS[-1] or set(s.available) < own]


def incomplete_subsets(modalities: str = "lav") -> tuple[str, ...]:
    """The subsets that lack a modality which the data have; `Avg.` is over these, six where there are three."""
    return tuple(subset for subset in SUBSETS[:-1] if set(subset) < set(modalities))


def format_ratio(ratio: float) -> str:
    """One decimal where that is exact (``0.3``), all digits where it is not (``0.35``)."""
    return f"{ratio:.1f}" if round(ratio, 1) == ratio else repr(float(ratio))


def frame_mask(
    sample_ids: Sequence[str] | NDArray[np.str_],
    num_frames: int,
    modality: str,
    setting: Setting,
    draw: int = 0,
    *,
    lengths: Sequence[int] | NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which frames of a modality are kept.

    A frame of a sample is missing if the modality is not available, or by the setting's pattern. With u, v and w
    uniform in [0, 1), made from (sample id, modality, draw) alone and, for u, from the frame t too:

    - ``scattered``: frame t is missing if u < ratio.
    - ``burst``: frame t is missing if its place in the sample, (t + v) / length, lies in an interval of length `ratio`
      that grows around w: [w (1 - ratio), 1 - (1 - w) (1 - ratio)).
    - ``early_end``: frame t is missing if its place lies in the last part of the sample; how long that is, is uniform
      with mean `ratio`: 2 w ratio up to a ratio of 1/2, and 1 - 2 (1 - w) (1 - ratio) above it.

    In all of them, the mean share of missing frames is `ratio`, for samples of one frame too, and what is missing at
    one ratio is missing at every higher one.

    Parameters
    ----------
    sample_ids : sequence of str, length N
        The samples' ids; the same id gives the same row wherever it stands.
    num_frames : int
        T, the number of frames; row t does not depend on it.
    modality : {"l", "a", "v"}
    setting : Setting
    draw : int
        Another number gives other, independent masks.
    lengths : sequence of int, length N, optional
        The samples' numbers of real frames; by default `num_frames`. Bursts and early ends lie within them.

    Returns
    -------
    ndarray of bool, shape (N, T)
        True where the frame is kept.

    Raises
    ------
    ValueError
        If the modality is none of the three.
    """
    if modality not in MODALITIES:
        raise ValueError(f"modality={modality!r} is unknown; use one of {', '.join(MODALITIES)}")
    shape = (len(sample_ids), num_frames)
    if modality not in setting.available or setting.ratio == 1.0:
        return np.zeros(shape, dtype=bool)
    if setting.ratio == 0.0:
        return np.ones(shape, dtype=bool)
    if setting.pattern == "scattered":
        return frame_uniforms(sample_ids, num_frames, modality, draw) >= setting.ratio
    v, w = frame_uniforms(sample_ids, 2, modality, draw, pattern=setting.pattern).T[:, :, None]  # (N, 1) each
    length = np.full(shape[:1], num_frames) if lengths is None else np.asarray(lengths)
    place = (np.arange(num_frames) + v) / np.maximum(length, 1)[:, None]  # (N, T)
    # Each bound is monotone in the ratio in floating point too, so that masks are nested to the last bit.
    left = 1.0 - setting.ratio
    if setting.pattern == "burst":
        return (place < w * left) | (place >= 1.0 - (1.0 - w) * left)
    last = 2.0 * w * setting.ratio if setting.ratio <= 0.5 else 1.0 - 2.0 * (1.0 - w) * left
    kept: NDArray[np.bool_] = place < 1.0 - last
    return kept


def frame_uniforms(
    sample_ids: Sequence[str] | NDArray[np.str_],
    num_frames: int,
    modality: str,
    draw: int = 0,
    *,
    pattern: str = "scattered",
) -> NDArray[np.float64]:
    """The uniform numbers behind :func:`frame_mask`, shape (N, T), in [0, 1).

    Each sample starts a SplitMix64 stream at a BLAKE2b hash of its id, the modality, the draw and the pattern; frame t
    takes the t-th number of the stream.
    """
    label = f"{modality}:{int(draw)}{'' if pattern == 'scattered' else ':' + pattern}".encode()
    starts = b"".join(blake2b(str(i).encode(), digest_size=8, key=label).digest() for i in sample_ids)
    state = np.frombuffer(starts, dtype="<u8").astype(np.uint64)[:, None]  # (N, 1)
    uniforms: NDArray[np.float64] = (splitmix64(state, num_frames) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniforms


def splitmix64(state: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """The first `count` numbers of the streams that start at `state`, (N, 1) → (N, count).

    References
    ----------
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    steps = np.arange(1, count + 1, dtype=np.uint64)[None, :]
    z = state + steps * np.uint64(0x9E3779B97F4A7C15)  # arithmetic modulo 2^64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True)
class MRM:
    """Modality Random Missing: what a method that trains on incomplete samples gets to see (CorrKD, Sec. 3).

    The paper says that frames and whole modalities go missing at the same time and are replaced by zero vectors;
    it does not say how often. The defaults are ours: two independent coins per sample, so that a quarter of the
    samples is complete, a quarter lacks frames, a quarter lacks modalities and a quarter lacks both.

    Parameters
    ----------
    frame_probability : float
        Chance that a sample lacks frames at all; its ratio is then uniform in [0, `max_ratio`].
    modality_probability : float
        Chance that a sample lacks modalities; what is left is then uniform over the six incomplete, non-empty
        subsets, so at least one modality always stays.
    max_ratio : float
        The highest ratio of missing frames.
    """

    frame_probability: float = 0.5
    modality_probability: float = 0.5
    max_ratio: float = 1.0

    def __post_init__(self) -> None:
        for name in ("frame_probability", "modality_probability", "max_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)!r} is outside [0, 1]")

    def draw(
        self, rng: np.random.Generator, num_samples: int, num_frames: Mapping[str, int]
    ) -> dict[str, NDArray[np.bool_]]:
        """Draw what is kept, for each modality an array of bool of shape (N, T_m).

        Parameters
        ----------
        rng : numpy Generator
            Made from the training seed and the epoch by the caller.
        num_samples : int
            N.
        num_frames : mapping of modality to int
            T_m.
        """
        lacks_frames = rng.random(num_samples) < self.frame_probability
        ratios = np.where(lacks_frames, rng.random(num_samples) * self.max_ratio, 0.0)  # (N,)
        incomplete = SUBSETS[:-1]
        subset = rng.integers(len(incomplete), size=num_samples)
        subset = np.where(rng.random(num_samples) < self.modality_probability, subset, len(incomplete))  # (N,)
        kept = {}
        for modality in MODALITIES:
            available = np.array([modality in s for s in SUBSETS])[subset]  # (N,)
            kept_frames = rng.random((num_samples, num_frames[modality])) >= ratios[:, None]
            kept[modality] = kept_frames & available[:, None]
        return kept
