"""How much accuracy was lost, at most, when the same images were answered twice: an exact bound, by counts alone.

Of n images ``lost`` were right before and wrong after, ``gained`` the other way round; all others cancel out. With their
probabilities p and q the loss is p - q, and lost - gained has the distribution of a sum of n steps of +1, -1 and 0, computed
here as such, without an approximation. It depends on a second unknown, the share p + q of images that change sides, over which
the worst case is taken within its own exact upper bound (R. Berger and D. Boos, JASA 89, 1994, section 2; C. Clopper and
E. Pearson, Biometrika 26, 1934).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_SPENT = 0.001
"""Of the error probability, on the bound of the share of images that change sides."""
_GRID = 9
"""Shares at which the worst case is looked for: the probability varies slowly, and is largest at the largest share."""


def loss_upper_bound(lost: int, gained: int, n: int) -> float:
    """One-sided upper 95 % bound of the accuracy lost, 0..1; 1 without images.

    Raises:
        ValueError: counts that cannot be.
    """
    if min(lost, gained) < 0 or lost + gained > n:
        raise ValueError(f"loss_upper_bound: {lost} lost and {gained} gained of {n} images")
    if n == 0:
        return 1.0
    most_changed = _share_upper_bound(lost + gained, n, _SPENT)
    low, high = (lost - gained) / n, most_changed
    while high - low > 1e-5:
        middle = (low + high) / 2
        if _worst_case(lost - gained, n, middle, most_changed) > 1 - CONFIDENCE - _SPENT:
            low = middle
        else:
            high = middle
    return high


def images_needed(lost: int, gained: int, n: int, bound: float) -> int | None:
    """How many images would show a loss below ``bound`` if they went as these did; None: no number would."""
    rates = (lost / n, gained / n) if n else (0.0, 0.0)
    if rates[0] - rates[1] >= bound:
        return None

    def shows(count: int) -> bool:
        return loss_upper_bound(round(rates[0] * count), round(rates[1] * count), count) <= bound

    high = max(n, 16)
    while not shows(high):
        high *= 2
        if high > 10_000_000:
            return None
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def _worst_case(difference: int, n: int, loss: float, most_changed: float) -> float:
    """Highest probability of at most this difference where the accuracy truly lost is ``loss``."""
    least = abs(loss)
    if least > most_changed:
        return 0.0
    return max(_probability(difference, n, loss, share) for share in np.linspace(least, most_changed, _GRID).tolist())


def _probability(difference: int, n: int, loss: float, share: float) -> float:
    """P(lost - gained <= difference), of n images of which a ``share`` changes sides with a mean difference ``loss``."""
    up, down = (share + loss) / 2, (share - loss) / 2
    # Beyond twelve deviations of the number of images that change sides there is nothing that a float64 could hold.
    reach = min(n, abs(difference) + int(n * share + 12 * np.sqrt(n * share)) + 32)
    length = 1 << int(2 * reach + 1).bit_length()
    angle = 2j * np.pi * np.arange(length) / length
    step = (1 - share) + up * np.exp(angle) + down * np.exp(-angle)
    # The distribution of a sum is the inverse transform of its characteristic function; negative sums come last.
    masses: NDArray[np.float64] = np.fft.fft(step**n).real / length
    by_sum = np.roll(masses, length // 2)
    return float(by_sum[: length // 2 + difference + 1].sum())


def _share_upper_bound(count: int, n: int, error: float) -> float:
    """The share at which ``count`` or fewer of n have the probability ``error``."""
    if count >= n:
        return 1.0
    k = np.arange(count + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    choose = logs[n] - logs[k] - logs[n - k]
    low, high = count / n, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        below = np.exp(choose + k * np.log(middle) + (n - k) * np.log1p(-middle)).sum()
        low, high = (middle, high) if below > error else (low, middle)
    return high
