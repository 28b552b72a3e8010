"""How many images a class does a network that has learnt before need? Training images are drawn anew for each number and draw.

    python -m benchmarks.few_images FOLDER --model mobilenet_v2 --weights FILE --per-class 5 10 20 50 --draws 20 --out runs/few

Each draw is one `striate train` with a split file of its own: so many images a class to learn from, one more a class in ten of
them validating, the held-out images always the same. Draws that are done are not trained again. Prints mean, spread and the 95 %
interval of the mean (Student's t) for each number, and writes few_images.json beside the runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np

import striate
from benchmarks.accuracy import STUDENT_T
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import Split, make_split, write_split
from striate.machine import cpu_name
from striate.runs import Run


def draw_split(source: Source, whole: Split, per_class: int, draw: int) -> Split:
    """``per_class`` images of each class that may be learnt from, a tenth of them (at least one a class) to validate."""
    chance = np.random.default_rng([per_class, draw])
    pool = np.concatenate((whole.train, whole.validation))
    parts: tuple[list[int], list[int]] = ([], [])
    for label in range(len(source.classes)):
        drawn = chance.choice(pool[source.targets[pool] == label], per_class, replace=False).tolist()
        num_validation = max(1, per_class // 10)
        parts[1].extend(drawn[:num_validation])
        parts[0].extend(drawn[num_validation:])
    train, validation = (np.array(sorted(part), dtype=np.int64) for part in parts)
    how = f"{per_class} images of each class, draw {draw}"
    return Split(train, validation, whole.held_out, how, whole.held_out_name, draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--regime", default="auto")
    parser.add_argument("--per-class", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/few-images"))
    given = parser.parse_args()
    source = open_source(given.data)
    whole = make_split(source)
    rows = []
    for per_class in given.per_class:
        accuracies = []
        for draw in range(given.draws):
            run = Run(given.out / f"{per_class}-{draw}")
            if not run.model_path.exists():
                split = write_split(
                    given.out / f"{per_class}-{draw}.split.json", draw_split(source, whole, per_class, draw), source
                )
                run = striate.train(
                    source, given.model, weights=given.weights, regime=given.regime, split=split, seed=draw, out=run.path
                )
            assert run.accuracy is not None
            accuracies.append(run.accuracy)
        mean, spread = statistics.fmean(accuracies), statistics.stdev(accuracies)
        half = STUDENT_T.get(len(accuracies) - 1, 2.0) * spread / math.sqrt(len(accuracies))
        rows.append({"per_class": per_class, "mean": mean, "spread": spread, "half": half, "accuracies": accuracies})
        print(
            f"{per_class:>4} images a class: {100 * mean:.2f} % (n = {len(accuracies)} draws, spread {100 * spread:.2f}, "
            f"95 % interval of the mean {100 * (mean - half):.2f} to {100 * (mean + half):.2f})",
            flush=True,
        )
    result = {"data": source.name, "model": given.model, "held_out": len(whole.held_out), "cpu": cpu_name(), "rows": rows}
    (given.out / "few_images.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
