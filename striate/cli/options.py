"""Options that the parser does not know: fields of the recipe (``--optimizer.lr 0.1``, ``--no-probe``), and mistakes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from striate.errors import UsageError, nearest


def take_fields(tokens: Iterable[str], options: Collection[str], group: str = "") -> tuple[list[str], dict[str, str]]:
    """Splits a command line into what its command knows and the fields of the recipe.

    Args:
        tokens: the words after the command.
        options: the command's own options, each with its leading dashes.
        group: only these fields are taken: ``augment.``; empty: all.

    Returns:
        The other tokens in their order, and ``{"optimizer.lr": "0.1", ...}``, still as text.

    Raises:
        UsageError: an option that is neither, with the nearest known one, or a field without its value.
    """
    own = {option.replace("_", "-") for option in options}
    fields = {name: value for name, value in _defaults().items() if name.startswith(group)}
    rest: list[str] = []
    taken: dict[str, str] = {}
    queue = iter(tokens)
    for token in queue:
        if token == "--":
            return [*rest, token, *queue], taken
        option, equals, value = token.partition("=")
        if not option.startswith("--") or option.replace("_", "-") in own:
            rest.append(token)
            continue
        name = option[2:].replace("-", "_")
        if not equals and (switched_off := _switched_off(name, fields)):
            taken[switched_off] = "false"
        elif name not in fields:
            known = {*own, *("--" + field.replace("_", "-") for field in fields)}
            raise UsageError(f"Unknown option {option}", fix=nearest(option, known))
        elif equals or isinstance(fields[name], bool):
            taken[name] = value if equals else "true"
        else:
            taken[name] = _value_after(option, queue)
    return rest, taken


def refuse_unknown(tokens: Iterable[str], options: Collection[str]) -> None:
    """Checks a command line whose words may be ``-``, which the parser would otherwise take for an option.

    Raises:
        UsageError: an option that is not among ``options``, with the nearest that is.
    """
    for token in itertools.takewhile(lambda token: token != "--", tokens):
        option = token.partition("=")[0]
        if re.match(r"-(?!\d|$)", option) and option.replace("_", "-") not in options:
            raise UsageError(f"Unknown option {option}", fix=nearest(option, options))


def describe_fields(options: Collection[str], group: str = "") -> str:
    """The fields that are no options of their own, with the defaults of a plain recipe, for ``--help``."""
    shown = {name: value for name, value in _defaults().items() if "--" + name not in options}
    groups: dict[str, list[str]] = {}
    for name, value in shown.items():
        if name.startswith(group):
            groups.setdefault(name.rpartition(".")[0], []).append(f"--{name.replace('_', '-')}={_plain(value)}")
    which = f"whose name begins with {group}" if group else "by its name"
    opening = f"Each field of the recipe {which} is an option too; --NAME and --no-NAME switch true and false. Plain defaults:"
    return "\n\n".join([opening, *("  ".join(words) for words in groups.values())])


def _defaults() -> dict[str, object]:
    """Every name that can be set, nested ones with dots -> its default. Not the recipe's own name: another makes it no other."""
    from striate.recipe import Recipe
    from striate.recipe_fields import field_names

    result: dict[str, object] = {}
    for name in field_names(Recipe()):
        if name == "name":
            continue
        value: object = Recipe()
        for part in name.split("."):
            value = getattr(value, part)
        result[name] = value
    return result


def _switched_off(name: str, fields: Mapping[str, object]) -> str | None:
    """The yes-or-no field that ``no_NAME`` or ``group.no_NAME`` means."""
    group, dot, last = name.rpartition(".")
    for positive in (name.removeprefix("no_"), group + dot + last.removeprefix("no_")):
        if positive != name and isinstance(fields.get(positive), bool):
            return positive
    return None


def _value_after(option: str, queue: Iterator[str]) -> str:
    value = next(queue, None)
    if value is None or value.startswith("--"):
        raise UsageError(f"{option} needs a value", fix=f"{option} VALUE, or {option}=VALUE")
    return value


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_plain, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()
