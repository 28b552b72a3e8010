"""How fast do folders of JPEGs become batches that are ready to train on, in the first epoch and in later ones?

    python -m benchmarks.input --photos FOLDER [FOLDER...]
    python -m benchmarks.input --photos FOLDER --waiting       and: how long does training of resnet18 wait for its input?

JPEGs of 500x375 and of 2000x1500 (mosaics of real photos, quality 90, made once and seeded) to float32 batches of 64 at 224x224:
a random window of 35 to 100 % of the area, scaled, mirrored at random, normalised. Whole epochs are timed, never windows. The
files have been read before, so that no side waits for the disk. Striate's first epoch with the cache contains what `striate
train` does before it, a pass that decodes every file and fills the cache; without the cache every epoch decodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.comparison import Figure
from benchmarks.made_data import photo_folder
from benchmarks.side_by_side import Options, Side, add_options, compare, options_of, run_side

SIZES = {"500x375": (500, 375), "2000x1500": (2000, 1500)}
NUM = {"500x375": 2000, "2000x1500": 400}
WORKERS = (0, 2)
EPOCHS = 3
FIGURES = (Figure("first_epoch", "first epoch, images/s"), Figure("images_per_second", "later epochs, images/s"))


def make_sides() -> list[Side]:
    """Striate's two rows, and the pipelines of others; all that antialias are of equal quality."""
    return [
        Side("striate", "striate_input", job={"cache": True}),
        Side("striate, cache off", "striate_input", job={"cache": False}),
        Side("DataLoader with Pillow", "plain_torch", "torch", peer=True),
        Side("DataLoader with Pillow's draft", "tuned_torch", "torch"),
        Side("ImageFolder of torchvision", "image_folder", "torch", peer=True),
        Side("tf.data, antialiased", "tf_data", "tensorflow", {"antialias": True}, peer=True),
        Side("tf.data, not antialiased", "tf_data", "tensorflow", {"antialias": False}),
    ]


def make_job(folder: Path, workers: int) -> dict[str, Any]:
    job = {"task": "input", "folder": str(folder), "workers": workers}
    return job | {"size": 224, "batch": 64, "epochs": EPOCHS, "scale": [0.35, 1.0]}


def warm(folder: Path) -> float:
    """Reads every file, so that the system has them in memory; their mean size in bytes."""
    sizes = [len(file.read_bytes()) for file in folder.rglob("*.jpg")]
    return sum(sizes) / len(sizes)


def waiting(folder: Path, options: Options) -> str:
    """Trains resnet18 from the files and tells what share of the time from epoch 2 on was spent waiting for batches."""
    job = {"task": "photos", "model": "resnet18", "folder": str(folder), "size": 224, "batch": 32, "epochs": 3, "seed": 0}
    found = run_side(Side("striate", "striate_steps"), {**job, "scale": [0.35, 1.0]}, options)
    if "error" in found:
        return f"resnet18 did not train: {found['error']}"
    return (
        f"training resnet18 waits for input for {100 * found['input_share']:.2f} % of the time from epoch 2 on "
        f"({found['images_per_second']:.1f} images/s)"
    )


def main() -> None:
    """Runs the comparisons, one record for each size and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="photos that the JPEGs are made of")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--num", type=int, help="files, instead of 2,000 small and 400 large ones")
    parser.add_argument("--waiting", action="store_true", help="also train resnet18 on the files, and tell how long it waits")
    add_options(parser)
    given = parser.parse_args()
    options = options_of(given)
    for name in given.sizes:
        folder = photo_folder(given.photos, SIZES[name], given.num or NUM[name])
        print(f"{given.num or NUM[name]} JPEGs of {name}, {warm(folder) / 1e3:.0f} kB each")
        for workers in given.workers:
            compare(f"input-{name}-{workers}-workers", make_sides(), make_job(folder, workers), FIGURES, options)
            print()
        if given.waiting:
            print(waiting(folder, options), flush=True)


if __name__ == "__main__":
    main()
