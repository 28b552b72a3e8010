"""One small trained run, and what is exported of it, for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained_run import fit_tiny, open_run, write_photos, write_run

from striate.exporting.conversion import Pair
from striate.exporting.export import export
from striate.prediction import Model


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of :class:`trained_run.TinyNet`."""
    folder = tmp_path_factory.mktemp("exported")
    data = write_photos(folder / "data")
    return write_run(folder / "run", data, fit_tiny(data))


@pytest.fixture(scope="session")
def model(run: Path) -> Model:
    return open_run(run)


@pytest.fixture(scope="session")
def onnx_pair(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """What `striate export --to onnx` writes of the model; it has passed the gate."""
    return export(model, "onnx", out=tmp_path_factory.mktemp("onnx") / "tiny").pair
