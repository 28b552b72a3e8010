"""The same run again, as Python code and as a command line: only what differs from the recipe's defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from striate.architecture_file import is_architecture_file
from striate.recipe import Recipe
from striate.recipes import RECIPES
from striate.zoo import MODELS


def changed_fields(recipe: Recipe) -> dict[str, Any]:
    """Fields, with dots, in which a recipe differs from the named one that it comes from."""
    return _changed(recipe, RECIPES[recipe.name]() if recipe.name in RECIPES else Recipe(), "")


def _changed(record: object, base: object, prefix: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value, old = getattr(record, field.name), getattr(base, field.name)
        if dataclasses.is_dataclass(value):
            changes |= _changed(value, old, f"{prefix}{field.name}.")
        elif value != old:
            changes[prefix + field.name] = value
    return changes


def python_code(data: str, network: str, recipe: Recipe, **options: object) -> str:
    """Python code that does the run again.

    Args:
        network: a name of the zoo, ``FILE.py:FUNCTION``, or what else it is called: that is the user's own, who has to give it
            again, and the code says so.
        options: further arguments of ``train``, None: not given.
    """
    arguments: dict[str, Any] = {}
    if recipe.name in RECIPES:
        arguments["recipe"] = recipe.name
    arguments |= {name: value for name, value in options.items() if value is not None}
    for name, value in changed_fields(recipe).items():
        group, _, rest = name.partition(".")
        if rest:
            arguments.setdefault(group, {})[rest] = value
        elif name != "name":
            arguments[name] = value
    told = "" if _can_be_named(network) else f"# model: the network {network}, made as it was for this run\n"
    words = [repr(data), f"model={'model' if told else repr(network)}"]
    words += [f"{name}={value!r}" for name, value in arguments.items()]
    return f"import striate\n\n{told}run = striate.train({', '.join(words)})"


def command_line(data: str, network: str, recipe: Recipe, **options: object) -> list[str]:
    """The words of the command that does the run again; ``FILE.py:FUNCTION`` stands for a network that it cannot name."""
    words = ["striate", "train", data, "--model", network if _can_be_named(network) else "FILE.py:FUNCTION"]
    words += ["--recipe", recipe.name] if recipe.name in RECIPES else []
    changes = {name: value for name, value in changed_fields(recipe).items() if name != "name"}
    for name, value in ({key: value for key, value in options.items() if value is not None} | changes).items():
        option = f"--{name.replace('_', '-')}"
        # A word after an option of yes or no would be taken for one more argument.
        words += [f"{option}={_word(value)}"] if isinstance(value, bool) else [option, _word(value)]
    return words


def _can_be_named(network: str) -> bool:
    return network in MODELS or is_architecture_file(network)


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
