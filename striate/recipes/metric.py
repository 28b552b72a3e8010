"""Recipes that learn distances instead of classes."""

from __future__ import annotations

from dataclasses import replace

from striate.recipe import Recipe
from striate.recipes.general import fast


def metric_learning() -> Recipe:
    return replace(fast(), name="metric_learning", batch=128, label_smoothing=0.0)
