"""Does similarity to a network follow meaning, and what does embedding cost beside plain inference?

    python -m benchmarks.retrieval FOLDER --weights imagenet --out runs/retrieval.json

FOLDER holds ImageNet photos named by WordNet identifiers, at most one a class: the nearest other photo is never of the same
class, and a hit means a kindred one. Two classes are WordNet neighbours where their lowest common ancestor lies at least so many
steps below ``entity`` (in the tree of first hypernyms), or where they share their parent. Chance is exact for the very set: the
mean over photos of the share of the others that would be hits.

Then embedding is timed beside plain batched inference of the same network in the same process, on the same photos in turns: as a
whole (decoding, resizing, network) beside ``Model.scores``, and the network alone, on pixels that lie ready. Inference runs on
the backend that is fastest here (torch, ONNX Runtime, OpenVINO, in float32), embedding on the one that it chooses itself. A ratio
above 1: embedding takes less time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.opening import open_artefact
from striate.data.formats import open_source
from striate.data.imagenet import find_wnids, lineage
from striate.embedder import Embedder
from striate.embedding import embed
from striate.exporting.export import export
from striate.exporting.timing import median_seconds
from striate.files import write_json
from striate.index import Index
from striate.machine import cpu_name, tune
from striate.metrics import wilson_interval
from striate.prediction import Model, load
from striate.progress import Silent
from striate.search import nearest

DEPTHS = (4, 6, 8, 10, 12)


def kinship(classes: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Depth of the lowest common ancestor, ``entity`` being 0, and whether the parent is shared: [K, K] each."""
    wnids = find_wnids(classes)
    if wnids is None:
        raise SystemExit("the classes are not ImageNet's")
    lines = [lineage(wnid) for wnid in wnids]
    above = [set(line) for line in lines]  # in a tree, what two have in common is one path from the root
    depth = np.array([[len(a & b) - 1 for b in above] for a in above])
    parents = np.array([line[-2] for line in lines])
    return depth, parents[:, None] == parents[None]


def score(index: Index) -> list[dict[str, Any]]:
    """A row a definition of neighbour: hits of the nearest other photo, interval, chance, and how many photos have any."""
    own = np.arange(len(index))
    found = nearest(index.vectors, index.vectors, 1, exclude=own).positions[:, 0]
    depth, siblings = kinship(index.classes)
    kin = {f"common ancestor at depth {d} or more": depth >= d for d in DEPTHS} | {"the same parent": siblings}
    rows = []
    for name, table in kin.items():
        related = table[index.targets[:, None], index.targets[None]]
        np.fill_diagonal(related, False)
        hits = int(related[own, found].sum())
        rows.append(
            {
                "neighbour": name,
                "hits": hits,
                "photos": len(index),
                "rate": hits / len(index),
                "interval": wilson_interval(hits, len(index)),
                "chance": float(related.sum(axis=1).mean() / (len(index) - 1)),
                "possible": float(related.any(axis=1).mean()),
            }
        )
    return rows


def ratio(ours: Callable[[], object], plain: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Seconds of each, run in turns, and the median of plain / ours over the rounds."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(rounds + 1):
        pair = [("ours", ours), ("plain", plain)]
        for name, run in pair if turn % 2 else pair[::-1]:
            begun = time.perf_counter()
            run()
            if turn:  # the first round only warms up
                seconds[name].append(time.perf_counter() - begun)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    return {**seconds, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def fastest_plain(model: Model, images: NDArray[np.uint8], place: Path) -> tuple[str, Model]:
    """The model as the backend runs it that takes ``images`` fastest. They are exported without the gate: it wants labels."""
    models = {"torch": model}
    for to in ("onnx", "openvino"):
        made = export(model, to, out=place / f"plain-{to}", gate=False)
        network, card = open_artefact(made.pair.tensor)
        models[to] = Model(network, card, made.pair.tensor)
    seconds = {name: median_seconds(partial(each.raw, images), 2.0) for name, each in models.items()}
    name = min(seconds, key=lambda name: seconds[name])
    return name, models[name]


def throughput(model: Model, folder: str, photos: int, batch: int, rounds: int) -> dict[str, Any]:
    """Embedding beside inference, as a whole and the network alone."""
    source = open_source(folder, to_learn=False)
    few = np.linspace(0, len(source) - 1, min(photos, len(source))).astype(int).tolist()
    embedder = Embedder(model)

    def read(i: int) -> NDArray[np.uint8]:
        return model.preprocess(source.read(i), source.key(i))

    ready = [np.stack([read(i) for i in few[start : start + batch]]).transpose(0, 3, 1, 2) for start in range(0, len(few), batch)]
    embedder.hasten(ready[0], "auto", Silent())
    with tempfile.TemporaryDirectory() as place:
        name, plain = fastest_plain(model, ready[0], Path(place))
        listed = Path(place) / "few.csv"
        rows = [f"{source.path(i)},{'ab'[i % 2]}" for i in few]
        listed.write_text("\n".join(["path,label", *rows]))
        whole = ratio(
            lambda: embed(model, listed, Path(place) / "index.npz", batch=batch),
            lambda: list(plain.scores(few, read, batch)),
            rounds,
        )
        alone = ratio(lambda: [embedder(images) for images in ready], lambda: [plain.raw(images) for images in ready], rounds)
    return {"photos": len(few), "batch": batch, "plain": name, "whole": whole, "network": alone}


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--photos", type=int, default=600, help="timed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    model = load(arguments.model, weights=arguments.weights)
    tuning = tune()
    with tempfile.TemporaryDirectory() as place:
        rows = score(embed(model, arguments.folder, Path(place) / "index.npz", batch=arguments.batch).index)
    print(f"{arguments.model}, {arguments.weights}: the nearest other photo of {rows[0]['photos']} is a WordNet neighbour")
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        print(
            f"  {row['neighbour']:<34} {100 * row['rate']:5.1f} % ({low:.1f} to {high:.1f}), chance {100 * row['chance']:.2f} %: "
            f"{row['rate'] / row['chance']:.1f} times; {100 * row['possible']:.0f} % of the photos have one"
        )
    timed = throughput(model, arguments.folder, arguments.photos, arguments.batch, arguments.rounds)
    print(
        f"embedding against plain inference by {timed['plain']}; {cpu_name()}, {tuning.threads} threads, {timed['photos']} photos"
    )
    for name in ("whole", "network"):
        pair = timed[name]
        speeds = [timed["photos"] / statistics.median(pair[side]) for side in ("ours", "plain")]
        print(
            f"  {name:<8} {speeds[0]:.1f} and {speeds[1]:.1f} photos a second: {pair['ratio']:.3f} times "
            f"({pair['least']:.3f} to {pair['most']:.3f} over {arguments.rounds} rounds)"
        )
    if arguments.out:
        write_json(arguments.out, {"wordnet": rows, "throughput": timed, "cpu": cpu_name(), "threads": tuning.threads})


if __name__ == "__main__":
    main()
