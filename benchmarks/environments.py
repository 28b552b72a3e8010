"""A Python for each peer, with pinned packages, built once under the user's cache folder (``STRIATE_CACHE`` names another)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from striate.machine import cache_folder

HERE = Path(__file__).parent / "peers"
MARK = "built"


@dataclass(frozen=True)
class Environment:
    """How one is built.

    Attributes:
        requirements: file of pinned packages in ``benchmarks/peers``.
        beside_project: the project's own packages can be read too, so that a peer runs on the very PyTorch that striate runs on
            (pinned in ``constraints.txt``), and what is pinned here comes without its dependencies.
    """

    requirements: str
    beside_project: bool = False


ENVIRONMENTS = {
    "torch": Environment("requirements-torch.txt", beside_project=True),
    "tensorflow": Environment("requirements-tensorflow.txt"),
    "jax": Environment("requirements-jax.txt"),
    "opencv": Environment("requirements-opencv.txt", beside_project=True),
    "litserve": Environment("requirements-litserve.txt", beside_project=True),
}
PROJECT = "project"
"""The environment that runs the benchmark itself: striate's."""


def folder_of(name: str) -> Path:
    """Where the environment is or will be; another one when its pins or the interpreter change."""
    made_by = (HERE / ENVIRONMENTS[name].requirements).read_bytes() + sys.version.encode() + sys.prefix.encode()
    return cache_folder() / "benchmarks" / f"{name}-{sha256(made_by).hexdigest()[:12]}"


def python_of(name: str) -> Path:
    """The environment's interpreter; builds it where it is not there or was never finished.

    Raises:
        subprocess.CalledProcessError: pip could not install what is pinned.
    """
    if name == PROJECT:
        return Path(sys.executable)
    folder = folder_of(name)
    python = folder / "bin" / "python"
    if not (folder / MARK).exists():
        shutil.rmtree(folder, ignore_errors=True)
        _build(ENVIRONMENTS[name], folder, python)
        (folder / MARK).touch()
    return python


def _build(environment: Environment, folder: Path, python: Path) -> None:
    print(f"building {folder} (once)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    words: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    words += ["--no-deps"] if environment.beside_project else []
    subprocess.run([*words, "-r", HERE / environment.requirements], check=True)
    if environment.beside_project:
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
        )
        (Path(own.stdout.strip()) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
