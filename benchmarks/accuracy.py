"""What accuracy does a recipe reach on held-out images, over seeds? Each seed is one `striate train` of its own.

    python -m benchmarks.accuracy mnist:FOLDER --model lenet5 --seeds 0 1 2 --out runs/accuracy-lenet5

Seeds whose run is done are not trained again; a stopped one is resumed. Prints every seed, the mean and its 95 % interval
(Student's t over seeds: how far another seed may fall), and writes accuracy.json beside the runs.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from striate.machine import cpu_name
from striate.runs import RECIPE_FILE, Run

STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Two-sided 95 % quantiles by degrees of freedom."""


def run_seed(data: str, out: Path, seed: int, options: list[str]) -> Run:
    """Trains one seed, or goes on with it where it stopped."""
    run = Run(out)
    if not (out / RECIPE_FILE).exists():
        words = ["train", data, "--seed", str(seed), "--out", str(out), *options]
    elif run.status != "done":
        words = ["resume", str(out)]
    else:
        return run
    subprocess.run([sys.executable, "-m", "striate", *words], check=True, stdout=subprocess.DEVNULL)
    return run


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Mean, spread and interval over the runs of one recipe."""
    accuracies = [run.accuracy for run in runs if run.accuracy is not None]
    mean, freedom = statistics.fmean(accuracies), len(accuracies) - 1
    spread = statistics.stdev(accuracies) if freedom else None
    half = STUDENT_T.get(freedom, 1.96) * spread / math.sqrt(len(accuracies)) if spread is not None else None
    environment = runs[0].record["environment"]
    return {
        "model": runs[0].record["model"]["name"],
        "data": runs[0].record["data"]["name"],
        "held_out": runs[0].record["data"]["num_held_out"],
        "epochs": runs[0].record["resolved"]["epochs"],
        "accuracies": accuracies,
        "mean": mean,
        "spread": spread,
        "interval": None if half is None else [mean - half, mean + half],
        "seconds": [round(sum(row["seconds"] for row in run.history), 1) for run in runs],
        "cpu": environment["cpu"],
        "threads": environment["threads"],
        "torch": environment["torch"],
        "precision": runs[0].record["resolved"]["precision"],
    }


def main() -> None:
    """Trains, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    arguments, options = parser.parse_known_args()
    print(f"{cpu_name()}; {arguments.data} {' '.join(options)}")
    runs = [run_seed(arguments.data, arguments.out / f"seed-{seed}", seed, options) for seed in arguments.seeds]
    summary = summarize(runs)
    for seed, accuracy, seconds in zip(arguments.seeds, summary["accuracies"], summary["seconds"], strict=True):
        print(f"seed {seed}: {100 * accuracy:.2f} %  ({seconds:.0f} s of training)")
    interval = summary["interval"]
    around = f", 95 % interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else ""
    print(f"mean of {len(runs)}: {100 * summary['mean']:.2f} %{around}")
    (arguments.out / "accuracy.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
