"""What is missing: settings, the masks and the noise of the evaluation, and Modality Random Missing for training.

A mask of the evaluation is data, not chance: whether a frame is missing depends on the sample, the modality, the
frame, the draw and the ratio, and on nothing else. Batches, order, workers, methods, seeds and platforms cannot
change it, and what is missing at one ratio is missing at every higher one. So it is with noise, whose strength scales
one draw.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("l", "a", "v")
MODALITY_NAMES = {"l": "language", "a": "audio", "v": "vision"}
SUBSETS = ("l", "a", "v", "la", "lv", "av", "lav")
PATTERNS = ("scattered", "burst", "early_end")
RANDOM = "?"
"""Behind modalities: each sample has its own subset of them."""
_SETTING = re.compile(
    r"(?P<available>[lav]+\??)@(?P<ratio>[0-9.eE+/-]+)(:(?P<pattern>[a-z_]+))?(~(?P<noise>[0-9.eE+/-]+))?"
)
_LARGEST_NOISE = 1000.0
_NOISE_BYTES = 24
Numbers = float | tuple[float, ...]
"""One number for all available modalities, or one for each of them, in order."""


@dataclass(frozen=True)
class Setting:
    """What a model gets to see of every sample.

    Parameters
    ----------
    available : str
        The modalities that are there at all: a non-empty subset of ``"lav"``, in that order. With ``?`` behind, such as
        ``"lav?"``, each sample has its own non-empty subset of these, each with the same chance, made from its id and
        the draw.
    ratio : float, or one for each available modality
        The share of frames that is missing, in [0, 1]: one number for every available modality, or a sequence in their
        order, or a mapping, in which 0 is what is left out: ``{"a": 0.5}``. Kept as a number where all are the same,
        else as a tuple.
    pattern : {"scattered", "burst", "early_end"}
        Which frames those are: each by a coin of its own; one run of neighbouring frames; all from some frame on. At
        ratios 0 and 1 they are the same, and the setting says "scattered".
    noise : float, or one for each available modality
        Standard deviation of Gaussian noise that is added to the features of frames that are there, in standard
        deviations of the training split; given and kept as `ratio`. Where all frames are missing it is 0.

    Raises
    ------
    ValueError
        If one is anything else.
    """

    available: str = "lav"
    ratio: Numbers = 0.0
    pattern: str = "scattered"
    noise: Numbers = 0.0

    def __post_init__(self) -> None:
        if self.available not in (*SUBSETS, *(s + RANDOM for s in SUBSETS if len(s) > 1)):
            raise ValueError(
                f"available={self.available!r} is no subset of modalities; use one of {', '.join(SUBSETS)}, or one of "
                f"at least two with {RANDOM} behind"
            )
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern={self.pattern!r} is unknown; use one of {', '.join(PATTERNS)}")
        ratios = self._numbers("ratio", 1.0)
        noises = tuple(
            0.0 if r == 1.0 else n for r, n in zip(ratios, self._numbers("noise", _LARGEST_NOISE), strict=True)
        )
        object.__setattr__(self, "ratio", ratios if len(set(ratios)) > 1 else ratios[0])
        object.__setattr__(self, "noise", noises if len(set(noises)) > 1 else noises[0])
        if set(ratios) <= {0.0, 1.0}:
            object.__setattr__(self, "pattern", "scattered")

    def _numbers(self, name: str, most: float) -> tuple[float, ...]:
        """A field as given, for each available modality; raises ValueError."""
        given, own = getattr(self, name), self.modalities
        if isinstance(given, Mapping):
            if others := [m for m in given if m not in tuple(own)]:
                raise ValueError(f"{name} names {others[0]!r}, which is no available modality; use {', '.join(own)}")
            numbers = [given.get(m, 0.0) for m in own]
        elif isinstance(given, Sequence) and not isinstance(given, str):
            numbers = list(given)
            if len(numbers) != len(own):
                raise ValueError(f"{name}={given!r} must be one number, or one for each of {', '.join(own)}")
        else:
            numbers = [given] * len(own)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float | np.floating | np.integer):
                raise ValueError(f"{name}={number!r} is no number; use one in [0, {most:g}]")
            if not 0.0 <= number <= most:  # NaN fails this too
                raise ValueError(f"{name}={number!r} is outside [0, {most:g}]")
        return tuple(float(number) + 0.0 for number in numbers)  # -0.0 is 0.0

    def __str__(self) -> str:
        """``lav@0.3``, ``lav@0.3:burst``, ``lav@0.1/0.5/0.9``, ``lav@0.0~2.0``; parsed again by :meth:`parse`."""
        pattern = "" if self.pattern == "scattered" else f":{self.pattern}"
        noise = f"~{format_ratio(self.noise)}" if self.noise else ""
        return f"{self.available}@{format_ratio(self.ratio)}{pattern}{noise}"

    @classmethod
    def parse(cls, text: str) -> Setting:
        """The inverse of ``str``; raises ValueError on anything else."""
        match = _SETTING.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no setting; expected for instance 'lav@0.3'")

        def numbers(part: str | None) -> Numbers:
            found = tuple(float(number) for number in (part or "0.0").split("/"))
            return found if len(found) > 1 else found[0]

        pattern = match["pattern"] or "scattered"
        return cls(match["available"], numbers(match["ratio"]), pattern, numbers(match["noise"]))

    @property
    def modalities(self) -> str:
        """Those that are available, or with ``?`` those that a sample's subset is drawn from."""
        return self.available.removesuffix(RANDOM)

    def ratio_of(self, modality: str) -> float:
        """The share of the frames of an available modality that is missing."""
        return self._of(modality, self.ratio)

    def noise_of(self, modality: str) -> float:
        """The standard deviation of the noise in a modality; 0 where it is not available."""
        return self._of(modality, self.noise) if modality in self.modalities else 0.0

    def _of(self, modality: str, numbers: Numbers) -> float:
        return numbers[self.modalities.index(modality)] if isinstance(numbers, tuple) else numbers

    @property
    def by_chance(self) -> bool:
        """Whether another draw gives other masks or another noise."""
        some = any(0.0 < self.ratio_of(m) < 1.0 or self.noise_of(m) > 0.0 for m in self.modalities)
        return some or self.available.endswith(RANDOM)

    @property
    def share(self) -> float:
        """The mean of the ratios of the available modalities: what the column ``ratio`` of a csv file holds."""
        return float(np.mean(self.ratio))

    @property
    def kind(self) -> str:
        """Which of the kinds of tables and figures it belongs to.

        ``noise`` where there is any, else ``imbalanced`` where ratios differ, else ``random`` where each sample has its
        own modalities; else ``inter`` where whole modalities are gone, and ``intra``, with the pattern where it is not
        scattered. The complete setting, ``intra``, belongs to all.
        """
        if self.noise:
            return "noise"
        if isinstance(self.ratio, tuple):
            return "imbalanced"
        if self.available.endswith(RANDOM):
            return "random"
        kind = "intra" if self.available == "lav" else "inter"
        return kind if self.pattern == "scattered" else f"{kind}-{self.pattern}"

    @property
    def condition(self) -> str:
        """The name printed in tables: ``{l,a}``, ``p=0.3``, ``p=0.1/0.5/0.9``, ``noise=2.0``, ``noise l=2.0``,
        ``{l?,a?,v?}``."""
        own = RANDOM if self.available.endswith(RANDOM) else ""
        parts = []
        if self.ratio:
            parts.append(f"p={format_ratio(self.ratio)}")
            if self.pattern != "scattered":
                parts.append(self.pattern.replace("_", " "))
        if self.noise:
            own_noise = [f"{m}={format_ratio(self.noise_of(m))}" for m in self.modalities if self.noise_of(m)]
            parts.append(
                "noise " + ",".join(own_noise) if isinstance(self.noise, tuple) else f"noise={format_ratio(self.noise)}"
            )
        if self.available != "lav" or not parts:
            parts.insert(0, "{" + ",".join(m + own for m in self.modalities) + "}")
        return " ".join(parts)


def settings_for(settings: Sequence[Setting], modalities: str) -> list[Setting]:
    """Those settings that mean something where the data have some modalities only; all of them where they have all.

    With language and audio alone, ``{v}`` would be nothing at all, and ``{l,a}`` is what is complete. What a setting
    says of vision is left out: the ratios 0.1, 0.5 and 0.9 are 0.1 and 0.5, and each sample's own subset is drawn from
    language and audio. Of settings that are then the same one stays, and none of those in which chance has a part in
    vision alone.
    """
    if set(modalities) == set(MODALITIES):
        return list(settings)
    found = ((s, _restricted(s, modalities)) for s in settings)
    return list(dict.fromkeys(own for s, own in found if own is not None and s.by_chance <= own.by_chance))


def _restricted(setting: Setting, modalities: str) -> Setting | None:
    """What a setting is for data of two modalities; None where it is about one that they lack."""
    if set(setting.available) < set(modalities):
        return setting
    if setting.modalities not in (SUBSETS[-1], modalities):
        return None
    ratio, noise = (_alike({m: of(m) for m in modalities}) for of in (setting.ratio_of, setting.noise_of))
    if setting.available.endswith(RANDOM):
        return Setting(modalities + RANDOM, ratio, setting.pattern, noise)  # type: ignore[arg-type]
    return Setting(SUBSETS[-1], ratio, setting.pattern, noise)  # type: ignore[arg-type]


def _alike(numbers: Mapping[str, float]) -> float | Mapping[str, float]:
    """One number where all are the same, so that what the data lack has no other one."""
    return next(iter(numbers.values())) if len(set(numbers.values())) == 1 else numbers


def incomplete_subsets(modalities: str = "lav") -> tuple[str, ...]:
    """The subsets that lack a modality which the data have; `Avg.` is over these, six where there are three."""
    return tuple(subset for subset in SUBSETS[:-1] if set(subset) < set(modalities))


def format_ratio(ratio: Numbers) -> str:
    """One decimal where that is exact (``0.3``), all digits where it is not (``0.35``); of several ``0.1/0.5/0.9``."""
    if isinstance(ratio, tuple):
        return "/".join(map(format_ratio, ratio))
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

    A frame of a sample is missing if the modality is not available, or by the setting's pattern. With `ratio` that of
    the modality, and u, v and w uniform in [0, 1), made from (sample id, modality, draw) alone and, for u, from the
    frame t too:

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
        T, the number of frames; where `lengths` are given or frames are scattered, row t does not depend on it.
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
    if modality not in setting.modalities or (ratio := setting.ratio_of(modality)) == 1.0:
        return np.zeros(shape, dtype=bool)
    if setting.available.endswith(RANDOM):
        choices = [s for s in SUBSETS if set(s) <= set(setting.modalities)]
        u = frame_uniforms(sample_ids, 1, setting.modalities, draw, pattern="subset")  # (N, 1)
        there = np.array([modality in s for s in choices])[(u * len(choices)).astype(int)]
        whole = replace(setting, available=setting.modalities)
        return there & frame_mask(sample_ids, num_frames, modality, whole, draw, lengths=lengths)
    if ratio == 0.0:
        return np.ones(shape, dtype=bool)
    if setting.pattern == "scattered":
        return frame_uniforms(sample_ids, num_frames, modality, draw) >= ratio
    v, w = frame_uniforms(sample_ids, 2, modality, draw, pattern=setting.pattern).T[:, :, None]  # (N, 1) each
    length = np.full(shape[:1], num_frames) if lengths is None else np.asarray(lengths)
    place = (np.arange(num_frames) + v) / np.maximum(length, 1)[:, None]  # (N, T)
    # Each bound is monotone in the ratio in floating point too, so that masks are nested to the last bit.
    left = 1.0 - ratio
    if setting.pattern == "burst":
        return (place < w * left) | (place >= 1.0 - (1.0 - w) * left)
    last = 2.0 * w * ratio if ratio <= 0.5 else 1.0 - 2.0 * (1.0 - w) * left
    kept: NDArray[np.bool_] = place < 1.0 - last
    return kept


def frame_noise(
    sample_ids: Sequence[str] | NDArray[np.str_], num_frames: int, num_features: int, modality: str, draw: int = 0
) -> NDArray[np.float32]:
    """The noise of strength 1; every other strength is a multiple of it.

    A number is made from (sample id, modality, frame, feature, draw) alone: the sum of the 24 bytes of three numbers of
    a SplitMix64 stream, less its mean and divided by its standard deviation. Its distribution function is within
    0.002 of a Gaussian's, its kurtosis 2.95 (a Gaussian's is 3), and it ends at 8.5 standard deviations. Sums of
    integers, one division and one rounding give the same bits on every processor.

    Parameters
    ----------
    sample_ids : sequence of str, length N
    num_frames : int
        T; row t does not depend on it.
    num_features : int
        d; feature j does not depend on it.
    modality : {"l", "a", "v"}
    draw : int
        Another number gives another, independent noise.

    Returns
    -------
    ndarray of float32, shape (N, T, d)
    """
    frames = splitmix64(_starts(sample_ids, f"{modality}:{int(draw)}:noise"), num_frames)  # (N, T)
    words = splitmix64(frames.reshape(-1, 1), num_features * _NOISE_BYTES // 8)  # (N * T, 3 d)
    sums = words.view(np.uint8).reshape(-1, _NOISE_BYTES).sum(1, dtype=np.int64)  # the order of bytes is of no account
    mean, variance = _NOISE_BYTES * 255 // 2, _NOISE_BYTES * (256**2 - 1) / 12
    noise: NDArray[np.float32] = ((sums - mean) / np.sqrt(variance)).astype(np.float32)
    return noise.reshape(len(sample_ids), num_frames, num_features)


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
    state = _starts(sample_ids, f"{modality}:{int(draw)}{'' if pattern == 'scattered' else ':' + pattern}")
    uniforms: NDArray[np.float64] = (splitmix64(state, num_frames) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniforms


def _starts(sample_ids: Sequence[str] | NDArray[np.str_], label: str) -> NDArray[np.uint64]:
    """Where each sample's stream starts, shape (N, 1)."""
    starts = b"".join(blake2b(str(i).encode(), digest_size=8, key=label.encode()).digest() for i in sample_ids)
    return np.frombuffer(starts, dtype="<u8").astype(np.uint64)[:, None]


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
        subsets, so at least one modality always stays; where the data have two modalities, over each alone.
    max_ratio : float
        The highest ratio of missing frames.
    modalities : str
        Those that the data have.
    """

    frame_probability: float = 0.5
    modality_probability: float = 0.5
    max_ratio: float = 1.0
    modalities: str = SUBSETS[-1]

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
        incomplete = incomplete_subsets(self.modalities)
        subset = rng.integers(len(incomplete), size=num_samples)
        subset = np.where(rng.random(num_samples) < self.modality_probability, subset, len(incomplete))  # (N,)
        kept = {}
        for modality in MODALITIES:
            available = np.array([modality in s for s in (*incomplete, self.modalities)])[subset]  # (N,)
            kept_frames = rng.random((num_samples, num_frames[modality])) >= ratios[:, None]
            kept[modality] = kept_frames & available[:, None]
        return kept
