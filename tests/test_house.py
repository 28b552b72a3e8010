"""The rules of the house: layout, names, what is imported, what the repository may contain, and what the README shows."""

from __future__ import annotations

import ast
import os
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import striate

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "striate").rglob("*.py"))
WRITTEN = (".py", ".md", ".toml", ".txt", ".sh", ".j2", ".html", ".css", ".js", ".json", ".csv", "", ".yml", ".yaml", ".cfg")
NEVER_IMPORTED = {"torchvision", "timm", "torchmetrics", "segmentation_models_pytorch"}


def modules() -> list[str]:
    """Every module of the package by its dotted name, but the one that runs when imported."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
    return [name for name in names if not name.endswith("__main__")]


def repository_files() -> Iterator[Path]:
    """What is, or would be, under version control."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("needs a git checkout")
    yield from (path for line in done.stdout.splitlines() if (path := ROOT / line).is_file())


def in_fresh_python(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, from the root of the repository."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_file_can_be_read_at_a_sitting() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_no_drawer_for_odds_and_ends() -> None:
    assert [path for path in SOURCES if path.stem in {"utils", "util", "common", "helpers", "helper", "misc"}] == []


def test_layers() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def imported_packages(path: Path) -> set[str]:
    """Top-level names of everything that a source imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}}


def test_no_source_names_a_package_that_breaks_beside_torch() -> None:
    assert [path for path in SOURCES if imported_packages(path) & NEVER_IMPORTED] == []


@pytest.mark.parametrize("seed", range(3))
def test_public_names_in_any_order_of_imports(seed: int) -> None:
    names = modules()
    random.Random(seed).shuffle(names)
    done = in_fresh_python(
        "import sys, importlib, types\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "import striate\n"
        "shadowed = [name for name in striate.__all__ if isinstance(getattr(striate, name), types.ModuleType)]\n"
        "assert not shadowed, shadowed\n"
        f"foreign = {NEVER_IMPORTED!r} & sys.modules.keys()\n"
        "assert not foreign, foreign\n"
    )
    assert done.returncode == 0, f"{names}\n{done.stderr}"


@pytest.mark.parametrize("name", [name for name in striate.__all__ if name != "__version__"])
def test_public_name_comes_from_its_home_and_is_typed(name: str) -> None:
    home = striate._HOMES[name]
    assert getattr(striate, name) is getattr(import_module(home), name)
    assert not isinstance(getattr(striate, name), ModuleType)
    for_types = f"from {home} import {name} as {name}"
    assert for_types in (ROOT / "striate" / "__init__.py").read_text()


def test_no_submodule_shadows_a_public_name() -> None:
    submodules = {path.stem for path in (ROOT / "striate").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not submodules & set(striate.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        striate.trian  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import striate; dir(striate)",
        "from striate.cli import main; main(['--help'])",
        "from striate.cli import main; main(['train', '--help'])",
        "from striate.cli import main; main(['train', 'x', '--epoch', '3'])",
        "import striate; striate.Recipe; striate.Preprocess; striate.open_source",
        "import striate.tasks.decoding, striate.metrics, striate.bundle",
    ],
)
def test_torch_is_not_imported_for(code: str) -> None:
    done = in_fresh_python(f"{code}\nimport sys\nassert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_no_path_of_a_machine_and_no_host_of_a_package_index() -> None:
    # Spelled in pieces, so that this file does not find itself.
    forbidden = re.compile(
        "|".join(
            [
                "/" + "work/",
                "/" + "root/",
                "/" + r"home/\w",
                "/" + r"Users/\w",
                "/" + "opt/py",
                "python" + "hosted",
                "pypi" + r"\.org/simple",
            ]
        )
    )
    found = []
    for path in repository_files():
        if path.suffix in WRITTEN and path.name not in ("LICENSE",):
            found += [f"{path.relative_to(ROOT)}: {hit[0]}" for hit in forbidden.finditer(path.read_text(errors="replace"))]
    assert found == []


def test_data_lies_beside_its_licence() -> None:
    data = [path for path in (ROOT / "striate").rglob("*") if path.suffix in {".npz", ".npy", ".jpg", ".png", ".gz", ".parquet"}]
    assert data, "the embedded data set is gone"
    assert sum(path.stat().st_size for path in data) < 5_000_000
    assert [path for path in data if not list(path.parent.glob("LICEN[CS]E*"))] == []


def test_constraints_pin_every_requirement_and_no_build_of_one_machine() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert not [version for version in pins.values() if "+" in version or "/" in version]
    assert not NEVER_IMPORTED & {name.lower().replace("-", "_") for name in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in pins}
    assert [name for name in wanted if re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ]", name)[0]).lower() not in pinned] == []


def test_what_the_continuous_integration_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/reference.md", "docs/new_folder.md", "docs/transfer.md"]
)
def test_what_a_page_points_to_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    paths = re.findall(r"`((?:striate|tests|tools|docs|benchmarks)/[\w./-]*)`", text)
    wanted = [(ROOT / page).parent / link for link in links] + [ROOT / path for path in paths]
    missing = [
        path for path in wanted if not path.exists() and not path.resolve().is_relative_to(ROOT / "docs" / "api")
    ]  # `make docs` writes those
    assert missing == []


def readme_blocks() -> list[tuple[str, str]]:
    """(language, text) of the README's blocks that are marked ``python run`` or ``console run``, in order."""
    readme = ROOT / "README.md"
    return re.findall(r"^```(python|console) run\n(.*?)^```", readme.read_text() if readme.exists() else "", re.M | re.S)


@pytest.mark.slow
def test_readme_blocks_run(tmp_path: Path) -> None:
    """One after the other in one folder, as a reader would: each Python block and each line after a ``$``."""
    blocks = readme_blocks()
    assert {language for language, _ in blocks} == {"python", "console"}
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, text in blocks:
        script = text if language == "python" else "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
        command = [sys.executable, "-c", script] if language == "python" else ["sh", "-ec", script]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PATH": paths}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
