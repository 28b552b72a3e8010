"""Sets fields of a recipe by name, typed: one code for ``--optimizer.lr 0.1`` and ``optimizer={"lr": 0.1}``."""

from __future__ import annotations

import ast
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from striate.errors import UsageError, nearest

Record = TypeVar("Record")


def apply_fields(record: Record, fields: Mapping[str, object]) -> Record:
    """Returns a copy of a frozen dataclass with fields changed.

    Args:
        record: a recipe, or any record nested in one.
        fields: names to values; ``"optimizer.lr": 0.1`` and ``"optimizer": {"lr": 0.1}`` are the same. Strings are read
            as the field's type says ("none" is None).

    Raises:
        UsageError: an unknown name (with the nearest known one), or a value that the field's type does not take.
    """
    return _apply(record, fields, "")


def to_fields(record: object) -> dict[str, Any]:
    """A record as nested JSON values, which :func:`apply_fields` reads back."""
    return dataclasses.asdict(record)  # type: ignore[call-overload,no-any-return]


def field_names(record: object, prefix: str = "") -> list[str]:
    """Every settable name, nested ones with dots."""
    names = []
    for field in dataclasses.fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        names += field_names(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else [prefix + field.name]
    return names


def _apply(record: Record, fields: Mapping[str, object], prefix: str) -> Record:
    hints = typing.get_type_hints(type(record))
    changes: dict[str, Any] = {}
    for name, value in _nested(fields).items():
        if name not in hints or name not in {field.name for field in dataclasses.fields(record)}:  # type: ignore[arg-type]
            known = field_names(record)
            raise UsageError(f"Unknown recipe field {prefix + name!r}", why="no such option", fix=nearest(name, known))
        old = getattr(record, name)
        if dataclasses.is_dataclass(old) and not isinstance(old, type):
            if isinstance(value, type(old)):
                changes[name] = value
                continue
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"{prefix + name} is a group of fields",
                    where=f"{prefix + name} = {value!r}",
                    fix=f"set one: --{prefix}{name}.{field_names(old)[0]} VALUE",
                )
            changes[name] = _apply(old, value, f"{prefix}{name}.")
        else:
            changes[name] = _convert(value, hints[name], prefix + name)
    return dataclasses.replace(record, **changes)  # type: ignore[type-var]


def _nested(fields: Mapping[str, object]) -> dict[str, Any]:
    """Dotted names as nested dicts; hyphens in names count as underscores."""
    result: dict[str, Any] = {}
    for dotted, value in fields.items():
        head, _, rest = dotted.replace("-", "_").partition(".")
        if not rest:
            result[head] = (
                {**result[head], **value} if isinstance(result.get(head), dict) and isinstance(value, Mapping) else value
            )
        else:
            group = result.setdefault(head, {})
            if not isinstance(group, dict):
                raise UsageError(f"{head} is set both as a whole and by field", where=dotted)
            group[rest] = value
    return result


def _convert(value: object, hint: Any, name: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if type(None) in options and (value is None or (isinstance(value, str) and value.lower() in ("none", "null", "off"))):
            return None
        rest = [option for option in options if option is not type(None)]
        return _convert(value, rest[0], name)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise UsageError(f"{name} cannot be {value!r}", fix=nearest(str(value), [str(choice) for choice in choices]))
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint), name)
    if hint is bool:
        return _convert_bool(value, name)
    if hint in (int, float, str):
        return _convert_scalar(value, hint, name)
    return value


def _convert_scalar(value: object, hint: type, name: str) -> Any:
    try:
        if hint is int:
            if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
                raise ValueError
            return int(value)  # type: ignore[call-overload]
        if hint is float and isinstance(value, bool):
            raise ValueError
        return hint(value)
    except (TypeError, ValueError):
        kind = {"int": "a whole number", "float": "a number", "str": "a word"}[hint.__name__]
        raise UsageError(f"{name} takes {kind}", where=f"{name} = {value!r}") from None


def _convert_bool(value: object, name: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise UsageError(f"{name} takes true or false", where=f"{name} = {value!r}")


def _convert_tuple(value: object, hints: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """A tuple from a sequence, or from a text such as ``0.5,0.75`` or ``(0.5, 0.75)``."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value if value.strip().startswith(("(", "[")) else f"({value},)")
        except (ValueError, SyntaxError):
            raise UsageError(f"{name} takes numbers separated by commas", where=f"{name} = {value!r}") from None
    if not isinstance(value, list | tuple):
        value = (value,)
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_convert(item, hints[0], name) for item in value)
    if len(value) != len(hints):
        raise UsageError(f"{name} takes {len(hints)} values", where=f"{name} = {value!r}")
    return tuple(_convert(item, hint, name) for item, hint in zip(value, hints, strict=True))
