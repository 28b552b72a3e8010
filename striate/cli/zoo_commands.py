"""Commands that look at networks without training them. What does the work is imported inside."""

from __future__ import annotations

import sys

from striate.cli.parameters import Arch, Flag
from striate.cli.printing import columns, print_json
from striate.errors import UsageError


def zoo(name: str | None = None, /, *, json: Flag = False) -> None:
    """List the networks, or show one beside its paper's table.

    Year, parameters, MACs (multiply-accumulates for one image), accuracy and licence of the published weights.

    Args:
        name: One network: its citation and costs, and the paper's table against ours, row by row.
        json: Print it as JSON.
    """
    from striate.catalogue import catalogue, catalogue_text, page

    if name is None:
        entries = catalogue()
        if json:
            print_json([entry.to_json() for entry in entries.values()])
        else:
            print(catalogue_text(entries, _width()))
    else:
        shown = page(name)
        if json:
            print_json(shown.to_json())
        else:
            print(shown.text(_width()))


def summary(
    model: str | None = None,
    /,
    *,
    size: int | None = None,
    channels: int | None = None,
    arch: Arch = None,
    depth: int | None = None,
    json: Flag = False,
) -> None:
    """Show a network layer by layer: output, parameters, MACs, receptive field.

    No number is computed, so that any size is instant. Where shapes break, the layer is named with what it was given.

    Args:
        model: A network's name (see `striate zoo`), a run's folder, a model.safetensors, or FILE.py:FUNCTION.
        size: Side of the image in pixels; without it the network's own, 224 for your own network.
        channels: Of the image; without it the network's own.
        arch: FILE.py:FUNCTION, where the network is your own.
        depth: Levels of modules within modules to show; without it as many as fit on a page.
        json: Print every module and figure as JSON.
    """
    from striate.summary_subject import summarize_subject
    from striate.summary_text import summary_text

    for name, value in (("size", size), ("channels", channels), ("depth", depth)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}", fix="use a whole number from 1 on")
    made = summarize_subject(model, size, channels, arch)
    if json:
        print_json(made.to_json())
    else:
        print(summary_text(made, _width(), depth))


def _width() -> int | None:
    """Where the output is piped nothing is cut."""
    return columns() if sys.stdout.isatty() else None
