"""How many images a class does a network that has learnt before need? Training images are drawn anew for each number and draw.

    python -m benchmarks.few_images FOLDER --model mobilenet_v2 --weights FILE --per-class 5 10 20 50 --draws 20 --out runs/few

Each draw is one `striate train` on a table of its own: so many images a class, a tenth of them (at least one) validating, and
the held-out images, always the same. Draws that are done are not trained again. Prints mean, spread and the 95 %
interval of the mean (Student's t) for each number, and writes few_images.json beside the runs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import statistics
from pathlib import Path

import numpy as np

import striate
from benchmarks.accuracy import STUDENT_T
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import Split, make_split
from striate.files import make_folder, replacing
from striate.machine import cpu_name
from striate.runs import Run


def write_draw(path: Path, source: Source, whole: Split, per_class: int, draw: int) -> Path:
    """A table of ``per_class`` images of each class, a tenth of them (at least one) to validate, and of all held-out images."""
    chance = np.random.default_rng([per_class, draw])
    pool = np.concatenate((whole.train, whole.validation))
    rows = [(position, "test") for position in whole.held_out.tolist()]
    for label in range(len(source.classes)):
        drawn = chance.choice(pool[source.targets[pool] == label], per_class, replace=False).tolist()
        num_validation = max(1, per_class // 10)
        rows += [(position, "val" if place < num_validation else "train") for place, position in enumerate(drawn)]
    make_folder(path.parent)
    with replacing(path) as file:
        lines = csv.writer(text := io.StringIO(), lineterminator="\n")
        lines.writerow(("path", "label", "split"))
        for position, part in rows:
            lines.writerow((Path(str(source.path(position))).resolve(), source.classes[source.targets[position]], part))
        file.write(text.getvalue().encode())
    return path


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
                table = write_draw(given.out / f"{per_class}-{draw}.csv", source, whole, per_class, draw)
                run = striate.train(table, given.model, weights=given.weights, regime=given.regime, seed=draw, out=run.path)
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
