"""What is built is what was meant: the wheel holds the package with its data and licences, and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without touching its ``dist/``."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = ROOT / "striate" / "studio" / "web"  # of the page: what is built of them is in the wheel
    package = (
        path
        for path in (ROOT / "striate").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and sources not in path.parents
    )
    assert inside == {path.relative_to(ROOT).as_posix() for path in package}
    assert {Path(name).suffix for name in inside} >= {".py", ".npz", ".j2", ".typed", ".html"}


def test_the_wheel_names_its_licence_and_requirements(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
    assert f"{info}/licenses/LICENSE" in archive.namelist()
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Requires-Dist: torch>=2.11" in metadata
    assert "torchvision" not in metadata.partition("\n\n")[0]
    assert "striate = striate.cli:main" in archive.read(f"{info}/entry_points.txt").decode()


def test_the_wheel_trains_and_predicts_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    place = tmp_path / "elsewhere"
    place.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "STRIATE_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import striate; print(striate.__file__)").strip()).is_relative_to(tmp_path / "site")
    run("-m", "striate", "train", "demo:fashion", "--model", "mlp", "--epochs", "1", "--no-probe", "--out", "run")
    run("-c", "from PIL import Image; Image.new('L', (28, 28), 90).save('picture.png')")
    assert "picture.png: " in run("-m", "striate", "predict", "run", "picture.png")
    assert (place / "run" / "report.html").stat().st_size > 0
