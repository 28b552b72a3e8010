"""Tables in plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """One line a row, columns two spaces apart; those in ``right`` are flush right. Rows may end early."""
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    return [
        "  ".join(
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column]) for column, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def ruled(lines: Sequence[str], total: bool = False) -> list[str]:
    """A rule below the first line, and above the last where that is a total."""
    rule = "─" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]] if total else [lines[0], rule, *lines[1:]]


def shortened(text: str, width: int) -> str:
    """At most ``width`` characters: the middle gives way to ``…``."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def times(shape: Sequence[int]) -> str:
    """``64x112x112``."""
    return "x".join(map(str, shape))


def magnitude(count: int) -> str:
    """``4.09 G``: three digits and a thousand's prefix, for columns that need not be exact."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 0.9995 * unit:
            return f"{count / unit:#.3g}".rstrip(".") + f" {name}"
    return str(count)
