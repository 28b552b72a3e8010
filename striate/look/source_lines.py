"""The line of a user's own code that calls a function of PyTorch."""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Source:
    """A line of code.

    Attributes:
        file: from the folder above the package for a network of striate, from the working folder where it lies in there, else the
            file's name alone.
        line: from 1.
        text: what stands there.
    """

    file: str
    line: int
    text: str


def calling_line() -> Source | None:
    """The innermost line at work that is neither PyTorch's nor of this package; None: the network itself is PyTorch's own."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_HERE):  # the call of the network
            return None
        if not file.startswith((_TORCH, "<")):
            return Source(_shown(file), frame.f_lineno, linecache.getline(file, frame.f_lineno).strip())
        frame = frame.f_back  # type: ignore[assignment]
    return None


@cache
def _shown(file: str) -> str:
    path = Path(file)
    for root in (Path(__file__).parents[2], Path.cwd()):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return path.name
