"""One start of the studio: what is open, who is in, what runs. Every handler finds it as ``request.app.state.studio``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from striate.studio.data_sets import DataSets
from striate.studio.keys import Keys
from striate.studio.opened import Opened
from striate.studio.shelf import Shelf
from striate.studio.trainings import Trainings

if TYPE_CHECKING:
    from striate.studio.glimpse import Glimpses
    from striate.studio.inspections import Inspections


@dataclass
class Studio:
    """What the handlers share.

    Attributes:
        opened: runs, models and data by their names.
        keys: of the browsers that may ask.
        arch: ``FILE.py:FUNCTION`` of the command line; None: none was named.
        shelf: models in memory.
        trainings: that this start began.
        data_sets: that are looked at.
    """

    opened: Opened = field(default_factory=lambda: Opened.from_paths([]))
    keys: Keys = field(default_factory=Keys)
    arch: str | None = None
    trainings: Trainings = field(default_factory=Trainings)
    shelf: Shelf = field(init=False)
    data_sets: DataSets = field(init=False)

    def __post_init__(self) -> None:
        self.shelf = Shelf(self.opened, self.arch)
        self.data_sets = DataSets(self.opened)

    @cached_property
    def glimpses(self) -> Glimpses:
        """Looks into trainings. Made when first asked for: it loads torch."""
        from striate.studio.glimpse import Glimpses

        return Glimpses(self.opened, self.arch)

    @cached_property
    def inspections(self) -> Inspections:
        """Pictures in networks. Made when first asked for: it loads torch."""
        from striate.studio.inspections import Inspections

        return Inspections(self.shelf)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


Here = Annotated[Studio, Depends(_studio)]
"""A handler's parameter: the studio that it answers for."""
