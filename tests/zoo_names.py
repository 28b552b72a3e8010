"""Which networks of the zoo a test runs over, and how soon."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from striate import zoo

EVERY = os.environ.get("STRIATE_TEST_ALL") == "1"
QUICK = {"resnet18", "squeezenet1_0", "shufflenet_v2_x0_5"}
"""Networks for photographs that compute within the fast suite all the same."""


def siblings() -> Iterator[str]:
    """Names whose class is built with the same arguments, of other values, by an earlier one."""
    seen = set()
    for name, variant in zoo.MODELS.items():
        kind = (variant.build, tuple(sorted(variant.arguments)))
        if kind in seen:
            yield name
        seen.add(kind)


SIBLINGS = set(siblings())
DEEP = {"inception_v4", "inception_resnet_v2", "densenet121", "densenet161"}
"""Hundreds of layers: seconds even without numbers."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SIBLINGS | DEEP else name for name in zoo.MODELS]
"""For tests on the meta device."""
REAL = [
    name
    if name not in SIBLINGS and (name in QUICK or max(variant.input_size) <= 32)
    else pytest.param(name, marks=pytest.mark.slow)
    for name, variant in zoo.MODELS.items()
    if EVERY or name not in SIBLINGS
]
"""For tests that compute: siblings in `make test-all` alone."""
