"""Parameters that several commands take."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Arch = Annotated[str | None, Parameter(name=["--arch", "--model"])]
"""A network by name, or ``FILE.py:FUNCTION``."""

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

Count = Annotated[int, Parameter(validator=Number(gte=1))]

Workers = Annotated[int | None, Parameter(validator=Number(gte=0))]

Device = Literal["cpu", "cuda"]

Fields = Annotated[dict[str, str] | None, Parameter(parse=False)]
"""Options that are no parameter of the command: fields of the recipe, see :mod:`striate.cli.options`."""
