"""A network that the user wrote: ``FILE.py:FUNCTION``, run only because the user named it."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from striate.errors import StriateError, UsageError, nearest

if TYPE_CHECKING:
    from torch import nn


def is_architecture_file(name: str) -> bool:
    """Whether ``name`` is of the form ``FILE.py:FUNCTION``, not the name of a network."""
    return re.fullmatch(r".+\.py:[^:/\\]*", name) is not None


def load_architecture(name: str) -> Callable[..., nn.Module]:
    """Runs ``FILE.py`` and returns its ``FUNCTION`` (or class), which builds a network.

    The file may import its neighbours, as it could when run as a script.

    Raises:
        UsageError: no such file or function, or the file itself fails.
    """
    file_name, _, function_name = name.rpartition(":")
    path = Path(file_name).expanduser().resolve()
    if not is_architecture_file(name) or not path.is_file():
        raise UsageError(
            f"No network file for {name!r}",
            where=path if file_name else None,
            fix="give FILE.py:FUNCTION, the function returning a torch.nn.Module, e.g. --arch my_net.py:make",
        )
    spec = importlib.util.spec_from_file_location(f"striate_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except StriateError:
        raise
    except Exception as error:
        why, fix = f"{type(error).__name__}: {error}", f"make `python {path.name}` run there first"
        raise UsageError("The network file fails when it is run", where=path, why=why, fix=fix) from error
    finally:
        sys.path.remove(str(path.parent))
    function = getattr(module, function_name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and getattr(value, "__module__", None) == spec.name]
        raise UsageError(f"No function {function_name!r} in the network file", where=path, fix=nearest(function_name, own))
    result: Callable[..., nn.Module] = function
    return result


def name_architecture(made: object) -> str | None:
    """``FILE.py:FUNCTION`` of a function or class that running its file gives again; None where there is no such file."""
    name, module = getattr(made, "__name__", ""), sys.modules.get(getattr(made, "__module__", ""))
    # A script would train again when it is run, and a file of a package cannot be run alone.
    if module is None or module.__name__ == "__main__" or module.__package__ or getattr(module, name, None) is not made:
        return None
    return f"{module.__file__}:{name}" if str(module.__file__).endswith(".py") else None


def build_architecture(
    make: Callable[..., nn.Module],
    num_classes: int | None = None,
    in_channels: int | None = None,
    input_size: tuple[int, int] | None = None,
) -> nn.Module:
    """Calls ``make`` with those of the three arguments that it names and that are not None.

    Raises:
        UsageError: it wants other arguments, fails, or returns something that is no ``nn.Module``.
    """
    from torch import nn

    where = f"{getattr(make, '__module__', '?')}.{getattr(make, '__qualname__', repr(make))}".removeprefix("striate_user_")
    parameters = inspect.signature(make).parameters.values()
    given: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "input_size": input_size}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names = {parameter.name for parameter in parameters}
        given = {name: value for name, value in given.items() if name in names}
    try:
        network = make(**{name: value for name, value in given.items() if value is not None})
    except StriateError:
        raise
    except Exception as error:
        raise UsageError(
            "The network's function fails",
            where=where,
            why=f"{type(error).__name__}: {error}",
            fix="it is called with num_classes=, in_channels= and input_size=, each only where it takes one of that name",
        ) from error
    if not isinstance(network, nn.Module):
        why = f"it returned {type(network).__name__}"
        raise UsageError("The network's function returns no torch.nn.Module", where=where, why=why)
    return network
