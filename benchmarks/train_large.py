"""How fast do ResNet-18, ResNet-50 and MobileNet v2 train on images of 224x224, and in how much memory?

    python -m benchmarks.train_large --photos FOLDER [FOLDER...]
    python -m benchmarks.train_large --models resnet50 --steps 4

Two comparisons a network, batch 32, ten classes, SGD with momentum. ``steps``: uint8 images lie in memory, so that the step alone
is timed; one epoch warms up, two count. ``photos``: JPEGs of 500x375 are decoded, cropped at random and mirrored by each side's
own pipeline with two workers; peak memory is that of the largest process of the side, interpreter and libraries included. Images
a second are the median of whole epochs but the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.comparison import Figure, ceiling_lines
from benchmarks.made_data import CLASSES, made_images, photo_folder
from benchmarks.operations import training_operations
from benchmarks.side_by_side import ALLOCATOR, Side, add_options, compare, options_of
from striate.machine import has_bf16

STEPS = {"resnet18": 8, "resnet50": 4, "mobilenet_v2": 8}
"""Of an epoch of ``steps``: some ten seconds on two cores."""
SIZE, BATCH, EPOCHS = 224, 32, 3
FIGURES = (
    Figure("images_per_second", "images/s"),
    Figure("peak_memory", "peak memory", lambda value: f"{value / 2**20:,.0f} MiB", less_is_better=True),
    Figure("input_share", "waiting for input", lambda value: f"{100 * value:.1f} %", less_is_better=None),
)


def make_sides(task: str) -> list[Side]:
    """Striate, and everyone it is compared with. Keras on JAX has no input pipeline of its own."""
    bf16 = None if has_bf16() else "this processor has no bf16 instructions"
    no_input = None if task == "large" else "it has no input pipeline of its own"
    return [
        Side("striate", "striate_steps"),
        Side("plain PyTorch", "plain_torch", "torch", peer=True),
        Side("plain PyTorch, freed memory kept", "plain_torch", "torch", environ=ALLOCATOR),
        Side("PyTorch tuned by hand", "tuned_torch", "torch"),
        Side("PyTorch tuned by hand, contiguous", "tuned_torch", "torch", {"memory_format": "contiguous"}),
        Side("Keras on TensorFlow", "keras_tensorflow", "tensorflow", peer=True),
        Side("Keras on TensorFlow, freed memory kept", "keras_tensorflow", "tensorflow", environ=ALLOCATOR),
        Side(
            "Keras on TensorFlow, bf16", "keras_tensorflow", "tensorflow", {"precision": "mixed_bfloat16"}, peer=True, absent=bf16
        ),
        Side("Keras on JAX", "keras_jax", "jax", peer=True, absent=no_input),
    ]


def make_job(task: str, model: str, steps: int, photos: list[Path], num_photos: int) -> dict[str, Any]:
    """What every side is asked; the images are made where they are not there yet."""
    job = {"task": task, "model": model, "size": SIZE, "batch": BATCH, "epochs": EPOCHS, "num_classes": CLASSES}
    if task == "large":
        return job | {"images": str(made_images(steps * BATCH, SIZE))}
    folder = photo_folder(photos, (500, 375), num_photos)
    return job | {"folder": str(folder), "workers": 2, "scale": [0.35, 1.0], "antialias": True}


def main() -> None:
    """Runs the comparisons, one record each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument(
        "--photos", type=Path, nargs="+", default=[], help="photos that the JPEGs are made of; without: steps alone"
    )
    parser.add_argument("--num-photos", type=int, default=320)
    parser.add_argument("--steps", type=int, help="of an epoch, instead of as many as the network usually has here")
    add_options(parser)
    given = parser.parse_args()
    options = options_of(given)
    for model in given.models:
        for task in ("large", "photos") if given.photos else ("large",):
            job = make_job(task, model, given.steps or STEPS[model], given.photos, given.num_photos)
            name = f"train_large-{model}-{'steps' if task == 'large' else 'photos'}"
            record = compare(name, make_sides(task), job, FIGURES, options, ceilings=True)
            print("\n".join(["", *ceiling_lines(record, training_operations(model)), ""]))


if __name__ == "__main__":
    main()
