"""What long work tells of itself: the listener's contract, and a listener that says nothing."""

from __future__ import annotations

from typing import Any, Protocol


class Position(Protocol):
    """Where a run is."""

    epoch: int
    step: int
    global_step: int
    lr: float


class Progress(Protocol):
    """Listens to long work. Calls come from the working thread and must return at once."""

    def stage(self, name: str, done: int, total: int) -> None:
        """A named pass over ``total`` items has done ``done``."""

    def plan(self, rows: list[tuple[str, str]]) -> None:
        """What is about to happen, as (name, text) lines."""

    def step(self, position: Position, steps: int, epochs: int, images_per_second: float) -> None:
        """One training step has ended."""

    def epoch(self, row: dict[str, Any]) -> None:
        """One epoch has ended; ``row`` is its line of ``metrics.jsonl``."""

    def message(self, text: str) -> None:
        """Something a user should read now."""


class Silent:
    """Says nothing."""

    def stage(self, name: str, done: int, total: int) -> None:
        """Ignored."""

    def plan(self, rows: list[tuple[str, str]]) -> None:
        """Ignored."""

    def step(self, position: Position, steps: int, epochs: int, images_per_second: float) -> None:
        """Ignored."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Ignored."""

    def message(self, text: str) -> None:
        """Ignored."""
