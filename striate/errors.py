"""What went wrong, in words a user can act on, and the exit status it ends a command with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StriateError(ValueError):
    """A failure that the user can do something about.

    Args:
        what: what failed, one sentence.
        where: the file, field, layer or sample it happened at.
        why: the reason, where the sentence does not already give it.
        fix: what to do next.
    """

    exit_code = 5

    def __init__(self, what: str, *, where: object = None, why: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.why, self.fix = what, None if where is None else str(where), why, fix
        lines = [what if self.where is None else f"{what}\n  where: {self.where}"]
        lines += [f"  why:   {why}"] if why else []
        lines += [f"  do:    {fix}"] if fix else []
        super().__init__("\n".join(lines))


class UsageError(StriateError):
    """An unknown name, option or value: exit status 2."""

    exit_code = 2


class Refused(StriateError):
    """A gate, a threshold, a checksum, a shape or an inexact resume said no: exit status 3."""

    exit_code = 3


class Undecided(StriateError):
    """Too little data to say yes or no: exit status 4."""

    exit_code = 4


class Failed(StriateError):
    """The work itself broke down (no space, non-finite numbers): exit status 5."""

    exit_code = 5


class Interrupted(StriateError):
    """SIGINT or SIGTERM arrived and the state was saved: exit status 128 + signal."""

    def __init__(self, what: str, signal_number: int, *, where: object = None, fix: str | None = None) -> None:
        super().__init__(what, where=where, fix=fix)
        self.exit_code = 128 + signal_number


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ``Did you mean 'x'?`` for the closest known name, or the known names when none is close: forty at most."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    rest = f" and {len(names) - 40} more" if len(names) > 40 else ""
    return f"Did you mean {close[0]!r}?" if close else "Known: " + ", ".join(names[:40]) + rest
