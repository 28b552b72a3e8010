"""The same run in Python and on the command line: what is written can be run, or says what is missing."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from command_line import Ended
from torch import nn

from striate.cli.options import take_fields
from striate.experiment import train
from striate.recipe import Recipe
from striate.recipe_fields import apply_fields
from striate.recipes import RECIPES, get_recipe
from striate.reproduction import changed_fields, command_line, python_code

Command = Callable[..., Ended]

CHANGES = {
    "probe": False,
    "seed": 5,
    "ema": None,
    "optimizer": {"nesterov": False, "betas": (0.8, 0.99)},
    "schedule": {"milestones": (0.25, 0.5)},
    "augment": {"rotate": 4.5, "crop_scale": (0.5, 1.0)},
}


def resnet18(num_classes: int) -> nn.Module:
    """Not that of the zoo."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))


@pytest.mark.parametrize("name", RECIPES)
def test_the_words_of_a_command_give_the_same_recipe(name: str) -> None:
    recipe = apply_fields(get_recipe(name), CHANGES)
    words = command_line("photos", "mlp", recipe)
    assert words[:7] == ["striate", "train", "photos", "--model", "mlp", "--recipe", name]
    rest, fields = take_fields(words[3:], {"--model", "--recipe"})
    assert rest == ["--model", "mlp", "--recipe", name]
    assert apply_fields(get_recipe(name), fields) == recipe


def test_code_gives_the_same_recipe() -> None:
    recipe = apply_fields(Recipe(), CHANGES)
    call = ast.parse(python_code("photos", "net.py:make", recipe, budget="10m", split=None)).body[-1]
    assert isinstance(call, ast.Assign)
    assert isinstance(call.value, ast.Call)
    given = {word.arg: ast.literal_eval(word.value) for word in call.value.keywords}
    assert (given.pop("model"), given.pop("recipe"), given.pop("budget")) == ("net.py:make", "fast", "10m")
    assert apply_fields(get_recipe("fast"), given) == recipe
    assert changed_fields(get_recipe("fast")) == {}


def test_a_run_of_ones_own_network_says_that_it_has_to_be_given(tmp_path: Path) -> None:
    fields = {"epochs": 1, "batch": 512, "probe": False}
    by_file = train("demo:letters", resnet18, out=tmp_path / "by-file", cache="off", **fields)
    assert by_file.record["model"]["source_file"] == f"{__file__}:resnet18"
    own = partial(resnet18)
    own.__name__ = "resnet18"  # type: ignore[attr-defined]
    run = train("demo:letters", own, out=tmp_path / "run", cache="off", **fields)
    code, words = run.record["python"], run.record["command"]
    assert "# model: the network resnet18 of your own" in code
    assert words[words.index("--model") + 1] == "FILE.py:FUNCTION"
    with pytest.raises(NameError, match="'model' is not defined"):
        exec(code, {})
    namespace = {"model": own}
    exec(code.replace("striate.train(", f"striate.train(out={str(tmp_path / 'again')!r}, cache='off', data=", 1), namespace)
    again = namespace["run"]
    assert again.accuracy == run.accuracy == by_file.accuracy  # type: ignore[attr-defined]
    assert "# model: the network resnet18 of your own" in run.text()


@pytest.mark.slow
def test_the_command_of_a_run_runs(tmp_path: Path, striate_command: Command) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make(num_classes):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))\n"
    )
    fields = {"epochs": 1, "batch": 512, "probe": False, "optimizer": {"nesterov": False}}
    run = train("demo:letters", f"{tmp_path / 'net.py'}:make", out=tmp_path / "run", cache="off", **fields)
    ended = striate_command(*run.record["command"][1:], "--out", tmp_path / "again", "--cache", "off")
    assert ended.status == 0, ended.err
    assert (tmp_path / "again" / "evaluation.json").read_text() == (tmp_path / "run" / "evaluation.json").read_text()
