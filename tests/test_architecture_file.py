"""Networks from a user's own file: run only when named, and every mistake in words."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from torch import nn

from striate.architecture_file import build_architecture, is_architecture_file, load_architecture, name_architecture
from striate.errors import UsageError


@pytest.mark.parametrize(
    ("name", "is_file"),
    [("net.py:make", True), ("a b/net.py:Net", True), (r"C:\n.py:make", True), ("resnet18", False), ("net.py", False)],
)
def test_names_of_networks_and_of_files(name: str, is_file: bool) -> None:
    assert is_architecture_file(name) is is_file


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_net.py").write_text("WIDTH = 5\n")
    (tmp_path / "net.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\nimport neighbour_of_net\n"
        "@dataclass\nclass Settings:\n    width: int = neighbour_of_net.WIDTH\n"
        "def make(num_classes): return nn.Linear(Settings().width, num_classes)\n"
    )
    before = list(sys.path)
    network = build_architecture(load_architecture(f"{tmp_path / 'net.py'}:make"), num_classes=3)
    assert isinstance(network, nn.Linear)
    assert network.weight.shape == (3, 5)
    assert sys.path == before


def test_a_function_of_a_file_is_named_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net_of_a_file.py").write_text("from torch import nn\ndef make(): return nn.Identity()\nother = lambda: None\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("net_of_a_file")
    name = name_architecture(module.make)
    assert name == f"{tmp_path / 'net_of_a_file.py'}:make"
    assert isinstance(load_architecture(name)(), nn.Identity)
    for nameless in (module.other, module.make(), nn.Identity, lambda: None):
        assert name_architecture(nameless) is None


def test_mistakes_name_file_reason_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    with pytest.raises(UsageError, match=r"No network file[\s\S]*--arch my_net\.py:make"):
        load_architecture(f"{path}:make")
    path.write_text("def mkae(): pass\nclass Net: pass\n")
    with pytest.raises(UsageError, match=r"No function 'make'[\s\S]*net\.py[\s\S]*Did you mean 'mkae'"):
        load_architecture(f"{path}:make")
    path.write_text("import module_that_is_absent\n")
    with pytest.raises(UsageError, match=r"fails when it is run[\s\S]*net\.py[\s\S]*No module named 'module_that_is_absent'"):
        load_architecture(f"{path}:make")


def test_arguments_are_given_where_they_are_named() -> None:
    seen: list[object] = []

    def nothing() -> nn.Module:
        return nn.Identity()

    def some(input_size: tuple[int, int], num_classes: int = 2) -> nn.Module:
        seen.append((input_size, num_classes))
        return nn.Identity()

    def everything(**arguments: object) -> nn.Module:
        seen.append(arguments)
        return nn.Identity()

    for make in (nothing, some, everything):
        build_architecture(make, 7, 3, (8, 9))
    build_architecture(everything, num_classes=4)
    assert seen == [((8, 9), 7), {"num_classes": 7, "in_channels": 3, "input_size": (8, 9)}, {"num_classes": 4}]


def test_functions_that_cannot_be_used() -> None:
    def wants_more(depth: int) -> nn.Module:
        return nn.Identity()

    def returns_none() -> None:
        return None

    with pytest.raises(UsageError, match=r"function fails[\s\S]*wants_more[\s\S]*TypeError: .*'depth'[\s\S]*num_classes="):
        build_architecture(wants_more, 3)
    with pytest.raises(UsageError, match=r"returns no torch\.nn\.Module[\s\S]*returned NoneType"):
        build_architecture(returns_none, 3)  # type: ignore[arg-type]
