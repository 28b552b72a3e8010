"""Do two pictures show the same, when neither's class was ever trained on? Metric learning beside a classifier's features.

    python -m benchmarks.verification npz:FILE --seeds 0 1 2 --out runs/verification

Each seed draws the classes that are kept from training (8 of 26 letters), trains the same network on the images of the others by
the supervised-contrastive loss, by the batch-hard triplet loss (soft margin) and as a classifier, for as many epochs, and
compares all pairs of held-out images of the unseen classes by the cosine of their embeddings: the projection's output, and what
the last layer reads (the classifier's penultimate features). Raw pixels stand beside them. Nothing is chosen by the unseen
classes. A folder of people with a folder of pictures each is the same question: is this the same face?

Prints the mean over seeds with its 95 % interval (Student's t over seeds, and so over choices of classes): area under the ROC
curve, equal error rate, recall at 1 and 5, mean average precision. Writes verification.json; what is in it is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.accuracy import STUDENT_T
from striate.data.augment import Augment
from striate.data.batches import Batches
from striate.data.class_batches import ClassBatches
from striate.data.formats import open_source
from striate.data.randomness import permutation
from striate.data.source import SPLITS, Source
from striate.files import write_json
from striate.machine import cpu_name
from striate.models.variant import Network
from striate.recipe import Recipe
from striate.recipes.metric import metric_learning
from striate.retrieval_metrics import equal_error_rate, retrieval_figures, roc_auc, unit_length, verification_pairs
from striate.subject import make_subject
from striate.tasks.base import Task
from striate.tasks.classify import Classify
from striate.tasks.embed import Embed
from striate.training import fit

Positions = NDArray[np.int64]
METHODS = ("pixels", "classifier", "contrastive", "triplet")
FIGURES = ("auc", "equal_error_rate", "recall_at_1", "recall_at_5", "mean_average_precision")
DISTORTIONS = Augment(rotate=8.0, translate=0.05, zoom=0.08, shear=5.0, fill=0.0)
"""What leaves a letter the same letter; mirroring does not."""


def parts(source: Source, num_unseen: int, seed: int) -> tuple[Positions, Positions]:
    """Training images of the seen classes, and test images of the unseen ones (all of them, where there is no test split)."""
    unseen = np.isin(source.targets, permutation(seed, 0, len(source.classes))[:num_unseen])
    test = source.given == SPLITS.index("test")
    return np.flatnonzero(~unseen & ~test), np.flatnonzero(unseen & (test if test.any() else True))


def embeddings(batches: Batches, read: Callable[[Tensor], Tensor]) -> tuple[NDArray[np.float32], Positions]:
    """What ``read`` makes of the validation images, and their classes."""
    rows, labels = [], []
    with torch.no_grad():
        for batch in batches.validation():
            rows.append(read(batches.preprocess.normalize(batch["image"])).flatten(1).float().numpy())
            labels.append(batch["label"].numpy())
    return np.concatenate(rows), np.concatenate(labels)


def figures(rows: NDArray[np.float32], labels: Positions) -> dict[str, float]:
    """Verification over all pairs, and retrieval of each image among the others."""
    units = unit_length(rows)
    first, second, same = verification_pairs(labels)
    scores = (units @ units.T)[first, second]
    found = retrieval_figures(units, labels)
    values = (roc_auc(same, scores), equal_error_rate(same, scores), *found.recall.values(), found.mean_average_precision)
    return dict(zip(FIGURES, values, strict=True))


def put_batch_norm(network: Network) -> None:
    """One behind every layer but the last, where a network has none: without, the triplet loss draws all images into one point
    within the first epochs (area under the ROC curve: 50 %). The paper's own small network is a ResNet v2, which has them."""
    layers = [(path, layer) for path, layer in network.named_modules() if path != network.head_path]
    if any(isinstance(layer, nn.BatchNorm2d) for _, layer in layers):
        return
    for path, layer in layers:
        if isinstance(layer, nn.Conv2d):
            network.set_submodule(path, nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels)))
        elif isinstance(layer, nn.Linear):
            network.set_submodule(path, nn.Sequential(layer, nn.BatchNorm1d(layer.out_features)))


def run_method(method: str, source: Source, model: str, recipe: Recipe, num_unseen: int) -> dict[str, dict[str, float]]:
    """Figures, and seconds of training, of each embedding that a method gives; its name is what stands before a comma."""
    train, unseen = parts(source, num_unseen, recipe.seed)
    common: dict[str, Any] = {"batch": recipe.batch, "seed": recipe.seed, "augmented": recipe.augment.resamples}
    subject = make_subject(model, source, recipe)
    network, preprocess = subject.module, subject.preprocess()
    test = Batches(source, unseen[:0], unseen, preprocess, **common)
    if method == "pixels":
        return {method: figures(*embeddings(test, lambda image: image))}
    if not isinstance(network, Network):
        raise TypeError(f"{model} is no network of the zoo: it does not say what its last layer reads")
    put_batch_norm(network)
    if method == "classifier":
        task: Task = Classify(source.classes)
        batches = Batches(source, train, unseen[:0], preprocess, **common)
    else:
        task = Embed(loss="triplet" if method == "triplet" else "supervised_contrastive")
        batches = ClassBatches(source, train, unseen[:0], preprocess, **common)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network.reset_head(task.num_outputs)
    begun = time.perf_counter()
    fit(task, network, batches, recipe)
    trained = {"seconds": time.perf_counter() - begun}
    rows = {f"{method}, features": figures(*embeddings(test, network.embed)) | trained}
    if isinstance(task, Embed):
        rows[f"{method}, projection"] = figures(*embeddings(test, network)) | trained
    return rows


def describe(seeds: list[dict[str, dict[str, float]]]) -> list[str]:
    """A line a method: the mean of each figure, and half the width of its 95 % interval."""
    lines = [f"{'':<24}" + "".join(f"{name.replace('mean_average_precision', 'mAP'):>20}" for name in FIGURES)]
    for method in seeds[0]:
        cells = []
        for figure in FIGURES:
            values = [100 * seed[method][figure] for seed in seeds]
            freedom = len(values) - 1
            half = STUDENT_T.get(freedom, 1.96) * statistics.stdev(values) / math.sqrt(len(values)) if freedom else None
            cells.append(f"{statistics.fmean(values):.2f}" + (f" ± {half:.2f}" if half is not None else ""))
        lines.append(f"{method:<24}" + "".join(f"{cell:>20}" for cell in cells))
    return lines


def main() -> None:
    """Trains, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--unseen", type=int, default=8, help="classes kept from training")
    parser.add_argument("--model", default="fashion_cnn")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    source = open_source(arguments.data)
    recipe = replace(metric_learning(), epochs=arguments.epochs, augment=DISTORTIONS)
    asked = {"data": source.fingerprint(), "model": arguments.model, "epochs": arguments.epochs, "unseen": arguments.unseen}
    print(f"{cpu_name()}, {torch.get_num_threads()} threads; {source.name}, {arguments.unseen} unseen of {len(source.classes)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "verification.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    if any(record.get(name) != value for name, value in asked.items()):
        record = {**asked, "cpu": cpu_name(), "torch": torch.__version__, "seeds": {}}
    for seed in arguments.seeds:
        rows = record["seeds"].setdefault(str(seed), {})
        done = {name.partition(",")[0] for name in rows}
        for method in (method for method in METHODS if method not in done):
            rows |= run_method(method, source, arguments.model, replace(recipe, seed=seed), arguments.unseen)
            write_json(path, record)
            print(f"seed {seed}: {method} done", flush=True)
    print("\n".join(describe([record["seeds"][str(seed)] for seed in arguments.seeds])))


if __name__ == "__main__":
    main()
