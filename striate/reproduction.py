"""The same run again, as Python code and as a command line: only what differs from the recipe's defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from striate.recipe import Recipe
from striate.recipes import RECIPES


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


def python_code(data: str, model: str, recipe: Recipe, **options: object) -> str:
    """Python code that does the run again; ``options`` are further arguments of ``train``, None: not given."""
    arguments: dict[str, Any] = {"model": model}
    if recipe.name in RECIPES:
        arguments["recipe"] = recipe.name
    arguments |= {name: value for name, value in options.items() if value is not None}
    for name, value in changed_fields(recipe).items():
        group, _, rest = name.partition(".")
        if rest:
            arguments.setdefault(group, {})[rest] = value
        elif name != "name":
            arguments[name] = value
    words = [repr(data), *(f"{name}={value!r}" for name, value in arguments.items())]
    return f"import striate\n\nrun = striate.train({', '.join(words)})"


def command_line(data: str, model: str, recipe: Recipe, **options: object) -> list[str]:
    """The words of the command that does the run again."""
    words = ["striate", "train", data, "--model", model]
    words += ["--recipe", recipe.name] if recipe.name in RECIPES else []
    changes = {name: value for name, value in changed_fields(recipe).items() if name != "name"}
    for name, value in ({key: value for key, value in options.items() if value is not None} | changes).items():
        words += [f"--{name.replace('_', '-')}", _word(value)]
    return words


def _word(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
