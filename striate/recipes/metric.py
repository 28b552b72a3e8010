"""Recipes that learn distances instead of classes."""

from __future__ import annotations

from dataclasses import replace

from striate.recipe import Recipe
from striate.recipes.general import fast


def metric_learning() -> Recipe:
    """``fast`` with the supervised-contrastive loss of P. Khosla et al. 2020 (arXiv:2004.11362), then a solved head.

    ``striate train DATA --recipe metric_learning`` (``--loss triplet``: A. Hermans et al. 2017, arXiv:1703.07737). What its
    embeddings are worth on classes that were never trained on: ``benchmarks/verification.py``.
    """
    return replace(fast(), name="metric_learning", batch=128, loss="supervised_contrastive", label_smoothing=0.0)
