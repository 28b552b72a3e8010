"""The committed tables of truth are those that the project was given."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["architectures.json", "golden.json"])
def test_the_copy_is_the_original(name: str, shared_data: Path) -> None:
    original = shared_data.parent / name
    if not original.exists():
        pytest.skip(f"NOT RUN: {name} is not beside the shared data")
    assert (Path(__file__).parent / name).read_bytes() == original.read_bytes()
