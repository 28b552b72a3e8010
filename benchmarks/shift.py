"""How far does accuracy fall when every test image moves by a few pixels? A fully connected network beside convolutional ones.

    python -m benchmarks.shift mnist:FOLDER runs/mlp runs/lenet5

The lectures' argument for convolution, measured: each held-out image is moved by 0, 1, 2, ... pixels in each of the four
directions (what leaves is lost, what enters is black), and scored. The runs should be trained without shifts of their own
(``--augment.translate 0 --augment.shift 0``) for the comparison to be about the network.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from striate.data.formats import open_source
from striate.data.source import ArraySource
from striate.metrics import wilson_interval
from striate.prediction import Model, load

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def shifted(images: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """uint8 [N, H, W, C] moved down by ``rows`` and right by ``columns``, with black coming in."""
    moved = np.zeros_like(images)
    height, width = images.shape[1:3]
    target = np.s_[:, max(0, rows) : height + min(0, rows), max(0, columns) : width + min(0, columns)]
    origin = np.s_[:, max(0, -rows) : height + min(0, -rows), max(0, -columns) : width + min(0, -columns)]
    moved[target] = images[origin]
    return moved


def correct(model: Model, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> int:
    """Number of images whose class the model finds."""
    found = 0
    for start in range(0, len(images), 1000):
        pixels = np.stack([model.preprocess.pixels(model.preprocess.picture(image)) for image in images[start : start + 1000]])
        said = model.probabilities(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).argmax(axis=1)
        found += int((said == targets[start : start + 1000]).sum())
    return found


def main() -> None:
    """Prints a row for each shift and a column for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--most", type=int, default=4, help="largest shift in pixels")
    arguments = parser.parse_args()
    source = open_source(arguments.data)
    if not isinstance(source, ArraySource):
        parser.error("give images of one size: an IDX folder, an .npz file or a demo set")
    held_out = np.flatnonzero(source.given == source.given.max())
    images, targets = source.images[held_out], source.targets[held_out]
    models = [load(path) for path in arguments.models]
    names = [str(model.info["architecture"]["name"]) for model in models]
    print(f"{len(images):,} held-out images of {source.name}; accuracy in % (95 % interval), mean of four directions\n")
    print("pixels  " + "  ".join(f"{name:>24}" for name in names))
    for distance in range(arguments.most + 1):
        moves = DIRECTIONS if distance else DIRECTIONS[:1]
        cells = []
        for model in models:
            hits = sum(correct(model, shifted(images, distance * y, distance * x), targets) for y, x in moves) / len(moves)
            low, high = wilson_interval(round(hits), len(images))
            cells.append(f"{100 * hits / len(images):.2f} ({100 * low:.2f}-{100 * high:.2f})")
        print(f"{distance:>6}  " + "  ".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
