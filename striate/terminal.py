"""Progress for people: a live line on a terminal, plain lines elsewhere. Everything goes to stderr.

What draws is imported with the first line: a short command that has nothing to say does not wait for it.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from striate.progress import Position

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

REFRESH = 0.2
"""Seconds between two drawings of the live line."""
STAGE_SECONDS = 10.0
"""Seconds between two lines on a long pass, where there is no terminal."""


class Terminal:
    """Listens to long work and shows it.

    On a terminal the live line is redrawn in place; elsewhere (a file, a pipe, CI) each epoch is one plain line, and a long
    pass says now and then how far it is.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._drawn = 0.0
        self._stage = ""
        self._stage_said = 0.0
        self._header_shown = False
        self._begun: tuple[float, int] | None = None

    @cached_property
    def console(self) -> Console:
        """The standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def stage(self, name: str, done: int, total: int) -> None:
        """A bar on a terminal; elsewhere a line each tenth of passes that are long."""
        if name != self._stage:
            self._stage, self._stage_said = name, time.monotonic()
        if self.console.is_terminal:
            if done >= total:
                self._end_live()
            elif self._due():
                self._draw(f"{name}  {_bar(done / max(1, total))}  {done:,}/{total:,}")
        elif done < total and time.monotonic() - self._stage_said > STAGE_SECONDS:
            self._stage_said = time.monotonic()
            self._say(f"{name}: {done:,}/{total:,}")

    def plan(self, rows: list[tuple[str, str]]) -> None:
        """The plan, a line each."""
        from rich.text import Text

        self._end_live()
        for name, text in rows:
            line = Text(f"{name:>9}  ", style="bold cyan")
            line.append(text, style="default not bold" if name != "note" else "yellow not bold")
            self._say(line)

    def step(self, position: Position, steps: int, epochs: int, images_per_second: float) -> None:
        """The live line: where the run is, how fast, and how long it still takes."""
        if not self.console.is_terminal or not self._due():
            return
        total = max(1, steps * epochs)
        left = self._left(position, total)
        share = position.step / max(1, steps)
        self._draw(f"epoch {position.epoch + 1}/{epochs}  {_bar(share)}  {images_per_second:,.0f} images/s  {left}")

    def epoch(self, row: dict[str, Any]) -> None:
        """One row an epoch, under a header."""
        from rich.text import Text

        from striate.plan import format_seconds

        self._end_live()
        validation = row["validation"]
        metric = row["monitor"]
        width = max(9, len(metric))
        if not self._header_shown:
            self._header_shown = True
            self._say(
                Text(
                    f"{'epoch':>9}  {'train loss':>10}  {'val loss':>9}  {metric:>{width}}  {'images/s':>9}  {'time':>8}",
                    style="bold",
                )
            )
        cells = [
            f"{row['epoch']:>9}",
            f"{_number(row['train'].get('loss')):>10}",
            f"{_number(validation.get('loss')):>9}",
            f"{_number(validation.get(metric)):>{width}}",
            f"{row['images_per_second']:>9,.0f}",
            f"{format_seconds(row['seconds']) if row['seconds'] >= 10 else format(row['seconds'], '.1f') + ' s':>8}",
        ]
        self._say("  ".join(cells) + ("  best" if row["best"] else ""))

    def message(self, text: str) -> None:
        """A line of its own."""
        from rich.text import Text

        self._end_live()
        self._say(Text(text, style="yellow"))

    def close(self) -> None:
        """Takes the live line away, so that nothing is left half-drawn."""
        self._end_live()

    def _left(self, position: Position, total: int) -> str:
        from striate.plan import format_seconds

        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, position.global_step)
        seconds, steps = now - self._begun[0], position.global_step - self._begun[1]
        return f"{format_seconds(seconds / steps * (total - position.global_step))} left" if steps > 0 and seconds > 1 else ""

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._drawn < REFRESH:
            return False
        self._drawn = now
        return True

    def _draw(self, text: str) -> None:
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _say(self, line: str | Text) -> None:
        self.console.print(line, soft_wrap=True)


def _bar(share: float, width: int = 24) -> str:
    full = round(width * min(1.0, max(0.0, share)))
    return "━" * full + "╌" * (width - full)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
