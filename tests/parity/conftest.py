"""How many networks were compared, said at the end of the run."""

from __future__ import annotations

import pytest

COMPARED: dict[str, list[str]] = {"torchvision": [], "timm": []}
ALONE: list[str] = []
"""Networks that neither library has."""


@pytest.fixture(scope="session")
def compared() -> dict[str, list[str]]:
    """Library -> networks compared with it so far."""
    return COMPARED


@pytest.fixture(scope="session")
def alone() -> list[str]:
    """Networks that neither library has."""
    return ALONE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    total = sum(map(len, COMPARED.values()))
    if total or ALONE:
        told = ", ".join(f"{len(names)} with {library}" for library, names in COMPARED.items())
        terminalreporter.write_line(f"compared {total} networks: {told}", bold=True)
        terminalreporter.write_line(f"in neither library: {', '.join(ALONE) or 'none'}")
