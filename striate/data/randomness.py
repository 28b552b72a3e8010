"""Random numbers that are a function of (seed, epoch, sample, purpose): the same whatever the batch, thread or process.

A counter-based generator on NumPy's uint64: the output function of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators"), applied once for every word that goes in. Nothing is stored and nothing advances, so a
resumed run needs no random state for its order and its augmentation.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(z: UInts) -> UInts:
    """A bijection of 64 bits in which every input bit flips every output bit with probability about 1/2."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=1024)
def _key(seed: int, epoch: int, stream: str) -> np.uint64:
    digest = hashlib.sha256(f"{seed}/{epoch}/{stream}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def bits(seed: int, epoch: int, indices: npt.NDArray[np.integer], stream: str) -> UInts:
    """One 64-bit word a sample: uint64 [N] for integer ``indices`` [N]; distinct indices give distinct words."""
    return _mix(_mix(indices.astype(np.uint64) * _GOLDEN + _key(seed, epoch, stream)) + _GOLDEN)


def uniform(seed: int, epoch: int, indices: npt.NDArray[np.integer], stream: str, count: int = 1) -> Floats:
    """Even numbers from [0, 1): float64 [N, count], row n a function of (seed, epoch, indices[n], stream) alone.

    Args:
        indices: sample positions, integers [N], in any order and number.
        stream: what the numbers are for; two streams are independent.
        count: numbers a sample; the first ones do not change when ``count`` grows.
    """
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        words = _mix(bits(seed, epoch, indices, stream)[:, None] + steps)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, num: int) -> npt.NDArray[np.int64]:
    """An order of ``range(num)``, int64 [num], every order being equally likely over seeds and epochs."""
    return np.argsort(bits(seed, epoch, np.arange(num), "order"), kind="stable")


def weighted_draw(seed: int, epoch: int, weights: Floats) -> npt.NDArray[np.int64]:
    """As many positions as there are ``weights`` [N], each drawn with replacement in proportion to its weight: int64 [N]."""
    cumulative = np.cumsum(weights)
    points = uniform(seed, epoch, np.arange(len(weights)), "draw")[:, 0] * cumulative[-1]
    drawn: npt.NDArray[np.int64] = np.searchsorted(cumulative, points, side="right")
    return np.minimum(drawn, len(weights) - 1)


def occurrences(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many times each entry of ``drawn`` [N] came before, int64 [N]: 0 the first time, 1 the second."""
    order = np.argsort(drawn, kind="stable")
    ordered = drawn[order]
    first = np.searchsorted(ordered, ordered, side="left")
    counts = np.empty(len(drawn), dtype=np.int64)
    counts[order] = np.arange(len(drawn)) - first
    return counts


def beta_quantile(alpha: float, probabilities: Floats, num_knots: int = 1024) -> Floats:
    """Inverse of the distribution function of Beta(alpha, alpha): values in [0, 1], of the shape of ``probabilities``.

    Integrated over t = x ** alpha for x up to 1/2, where the density x ** (alpha - 1) * (1 - x) ** (alpha - 1) loses its
    pole at 0, and mirrored above.
    """
    t = 0.5**alpha * np.linspace(0.0, 1.0, num_knots) ** max(alpha, 1.0)
    density: Floats = (1.0 - t ** (1.0 / alpha)) ** (alpha - 1.0)
    mass = np.concatenate(([0.0], np.cumsum(np.diff(t) * (density[1:] + density[:-1]) / 2)))
    low: Floats = np.interp(np.minimum(probabilities, 1.0 - probabilities), mass / mass[-1] / 2, t) ** (1.0 / alpha)
    values: Floats = np.where(probabilities <= 0.5, low, 1.0 - low)
    return values
