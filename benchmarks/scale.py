"""How do time and memory grow with the number of images, of classes, with image size and with depth?

    python -m benchmarks.scale                                   1k, 10k, 100k files
    python -m benchmarks.scale --files 1000 10000 100000 1000000

Each point is a process of its own, repeated, the points of one question in turns; the system has the files in memory. A growth as
the power k of the number is fitted by least squares to the logarithms: 1 is linear.

- ``files``: index (listing the folder), split, fingerprint, audit (every file decoded, every pair compared) and first batch of 64
  at 224x224, on JPEGs of 32x32 pixels of noise in 10 class folders; beside it torchvision's ImageFolder lists the same folder. A
  million files are hard links to 100 (a file has at most 65,000 names), and are listed and split, not audited: all would be
  duplicates.
- ``classes``: the same for as many files in more folders, and a training step of resnet20_cifar with as many outputs.
- ``size``: a training step of resnet18, and the audit, by the side of the image. ``depth``: a training step of resnet20_cifar to
  resnet110_cifar. ``levels``: listing files that lie deeper.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.made_data import noise_tree
from benchmarks.side_by_side import Options, Side, add_options, describe_machine, options_of, run_side
from striate.columns import align, ruled
from striate.files import make_folder, write_json

FILES, LINKED = (1_000, 10_000, 100_000), 1_000_000
CLASSES, PER_CLASSES = (10, 1_000, 20_000), 40_000
SIZES, DEPTHS, LEVELS = (64, 128, 256, 512), (20, 32, 44, 56, 110), (1, 4, 16)
OURS, PEER = Side("striate", "striate_scale"), Side("ImageFolder", "image_folder", "torch")


def exponent(counts: Sequence[float], values: Sequence[float]) -> float | None:
    """The k of values ~ counts ** k, by least squares on logarithms; None where there are no two different counts."""
    points = [(math.log(count), math.log(value)) for count, value in zip(counts, values, strict=True) if value > 0]
    if len({x for x, _ in points}) < 2:
        return None
    middle_x, middle_y = (statistics.fmean(axis) for axis in zip(*points, strict=True))
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


def points(question: str, given: argparse.Namespace) -> Iterator[tuple[int, Side, dict[str, Any]]]:
    """(number, side, job) of each point of a question."""
    index = {"task": "index", "size": 224, "batch": 64, "scale": [0.35, 1.0], "seed": 0}
    if question == "files":
        for num in given.files:
            linked = num >= LINKED
            folder = noise_tree(num, 10, 1, 32, linked)
            yield num, OURS, {**index, "folder": str(folder), "audit": not linked}
            yield num, PEER, {**index, "folder": str(folder)}
    elif question == "classes":
        for num in given.classes:
            folder = noise_tree(given.per_classes, num, 1, 32, True)
            yield num, OURS, {**index, "folder": str(folder), "audit": False}
            yield num, replace(OURS, name="step"), {"task": "step", "model": "resnet20_cifar", "size": 32, "classes": num}
    elif question == "levels":
        for levels in LEVELS:
            yield levels, OURS, {**index, "folder": str(noise_tree(given.files[0], 10, levels, 32, True)), "audit": False}
    elif question == "size":
        for side in given.sizes:
            yield side, replace(OURS, name="step"), {"task": "step", "model": "resnet18", "size": side, "classes": 10}
            folder = noise_tree(given.files[0], 10, 1, side, False)
            yield side, OURS, {**index, "folder": str(folder), "audit": True}
    else:
        for depth in given.depths:
            job = {"task": "step", "model": f"resnet{depth}_cifar", "size": 32, "classes": 10}
            yield depth, replace(OURS, name="step"), job


def measure(question: str, given: argparse.Namespace, options: Options) -> list[dict[str, Any]]:
    """All readings of one question, point after point, over again for each round."""
    found = []
    asked = list(points(question, given))
    for number in range(options.pairs):
        for count, side, job in asked:
            reading = run_side(side, job, options)
            if "error" in reading:
                print(f"{question} {count:,}, {side.name}: {reading['error']}", flush=True)
            found.append({"count": count, "side": side.name, "round": number, **reading})
    return found


def growth(question: str, readings: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Rows of the table: what is measured, its median at each point, and how it grows."""
    counts = sorted({reading["count"] for reading in readings})
    rows = [[question, *(f"{count:,}" for count in counts), "grows as"]]
    names = {(reading["side"], key): None for reading in readings for key in reading if is_figure(key)}
    for side, key in names:
        medians = {}
        for count in counts:
            values = [r[key] for r in readings if r["count"] == count and r["side"] == side and r.get(key) is not None]
            if values:
                medians[count] = statistics.median(values)
        power = exponent(list(medians), list(medians.values()))
        cells = [_text(key, medians[count]) if count in medians else "" for count in counts]
        rows.append([f"{side}: {key.replace('_', ' ')}", *cells, "" if power is None else f"n^{power:.2f}"])
    return rows


def is_figure(key: str) -> bool:
    """Whether a number of a reading is part of the question."""
    return key.endswith(("_seconds", "_bytes", "_memory")) and key != "cpu_seconds"


def _text(key: str, value: float) -> str:
    if key.endswith("_memory"):
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:,.1f} B" if key.endswith("_bytes") else f"{value:.3g} s"


def main() -> None:
    """Measures, prints a table a question, writes all readings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", nargs="+", default=["files", "classes", "levels", "size", "depth"])
    parser.add_argument("--files", type=int, nargs="+", default=list(FILES))
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--per-classes", type=int, default=PER_CLASSES, help="files of the question `classes`")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--depths", type=int, nargs="+", default=list(DEPTHS))
    add_options(parser)
    parser.set_defaults(pairs=3)
    given = parser.parse_args()
    options = options_of(given)
    machine = describe_machine()
    print(f"{machine['cpu']}, {machine['cores']} cores; striate {machine['striate']}, torch {machine['torch']}")
    record: dict[str, Any] = {"machine": machine, "questions": {}}
    path = make_folder(Path(options.out)) / "scale.json"
    for question in given.questions:
        readings = record["questions"][question] = measure(question, given, options)
        write_json(path, record)
        print()
        print("\n".join(ruled(align(growth(question, readings), right=range(1, 20)))), flush=True)


if __name__ == "__main__":
    main()
