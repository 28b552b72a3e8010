"""Models as files, made once for all tests of serving."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import export_fruit, write_fruit


@pytest.fixture(scope="session")
def fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    return write_fruit(tmp_path_factory.mktemp("fruit"))


@pytest.fixture(scope="session")
def onnx_fruit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network exported: takes whole pictures; beside it the file that takes ready tensors, and the bundle."""
    return export_fruit(tmp_path_factory.mktemp("fruit-onnx"))
