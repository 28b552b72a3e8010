"""Round numbers for the axes of charts."""

from __future__ import annotations

import math

LEAST = 1e-12
"""Numbers under this are 0 for an axis."""


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten that enclose low..high; at least two, about ``wanted`` + 1."""
    largest = max(abs(low), abs(high))
    if high - low <= max(1e-9 * largest, LEAST):
        margin = 0.1 * largest if largest > LEAST else 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 2 - math.floor(math.log10(step))
    return [round(i * step, digits) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that enclose low..high, with 1, 2 and 5 times them up to three decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if last - first > 3:
        step = math.ceil((last - first) / 4)
        return [10.0**p for p in range(last - step * math.ceil((last - first) / step), last + 1, step)]
    ticks = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5)]
    below = max(i for i, tick in enumerate(ticks) if tick <= low * 1.0001)
    above = min(i for i, tick in enumerate(ticks) if tick >= high * 0.9999)
    return ticks[below : above + 1]


def whole_ticks(first: int, last: int, wanted: int = 5) -> list[int]:
    """Whole numbers from first to last: both ends, and round ones between that stand clear of the last."""
    step = next(m * 10**p for p in range(12) for m in (1, 2, 5) if (last - first) / (m * 10**p) <= wanted)
    between = [t for t in range(first - first % step + step, last, step) if last - t > 0.6 * step]
    return sorted({first, *between, last})
