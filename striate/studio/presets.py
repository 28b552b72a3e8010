"""Ways to make a training fail, for teaching: each changes one thing, and what follows can be watched."""

from __future__ import annotations

from typing import Literal

Preset = Literal["rate", "normalisation", "labels"]

TOO_FAST = 100
"""Times the learning rate of the recipe."""

PRESETS: dict[Preset, tuple[str, str]] = {
    "rate": (
        "Learning rate × 100",
        "Steps overshoot the valley: the loss jumps or becomes infinite, and the filters stay noise or blow up.",
    ),
    "normalisation": (
        "No normalisation",
        "Pixels go in as 0..255, and every batch norm is taken out: gradients of early layers explode or vanish with depth.",
    ),
    "labels": (
        "Shuffled labels",
        "Labels of the training images are dealt out at random: learnt by heart, if at all; validation stays at chance.",
    ),
}
"""Name -> title, and what to look for. On shuffled labels: C. Zhang et al. 2016, arXiv:1611.03530."""
