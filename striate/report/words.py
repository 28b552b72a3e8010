"""Numbers as a person reads them."""

from __future__ import annotations

import math
from typing import Any

NBSP = "\N{NO-BREAK SPACE}"


def number(value: float | None) -> str:
    """At most three significant digits: ``0.012``, ``1.5e-5``, ``12,300``; a dash for None."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")


def percent(value: float | None) -> str:
    """A share as ``93.4 %``, which no line break divides; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}{NBSP}%"


def whole_percent(value: float) -> str:
    """A round share, for an axis: ``95 %``, ``97.5 %``."""
    return f"{100 * value:.4g}{NBSP}%"


def interval(bounds: tuple[float, float]) -> str:
    """``95 % interval 91.0 to 93.2 %``."""
    return f"95{NBSP}% interval {100 * bounds[0]:.1f} to {percent(bounds[1])}"


def duration(seconds: float) -> str:
    """``4.8 s``, ``48 s``, ``3 min 12 s`` or ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 6000 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def setting(value: Any) -> str:
    """A field of a recipe."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value)
    return str(value)
