"""The small real data sets that come with striate; ``samples/README.md`` says where they are from."""

from __future__ import annotations

from pathlib import Path

from striate.data.npz import read_npz
from striate.data.source import Source
from striate.errors import UsageError, nearest

SAMPLES = {"fashion": "fashion_mnist_mini.npz", "letters": "emnist_letters_mini.npz"}
"""Name -> file: 3,000 + 600 pictures of clothes, 2,600 + 520 of handwritten letters, 28 x 28 grey."""

FOLDER = Path(__file__).parent / "samples"


def open_demo(name: str) -> Source:
    """Opens ``demo:NAME``."""
    if name not in SAMPLES:
        raise UsageError(f"no demo data is called {name!r}", where=f"demo:{name}", fix=nearest(name, SAMPLES))
    return read_npz(FOLDER / SAMPLES[name], name=f"demo-{name}", location=f"demo:{name}")
