"""Parameters that several commands take."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Arch = Annotated[str | None, Parameter(name=["--arch", "--model"])]
"""A network by name, or ``FILE.py:FUNCTION``."""

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

Fields = Annotated[dict[str, str] | None, Parameter(parse=False)]
"""Options that are no parameter of the command: fields of the recipe, see :mod:`striate.cli.options`."""
