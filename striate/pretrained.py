"""Networks of the zoo with the weights of others, ready for use: what a model's card says, for files that have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import striate
from striate.bundle import read_bundle, write_bundle
from striate.data.imagenet import class_names
from striate.data.preprocess import Preprocess
from striate.errors import Refused
from striate.files import make_folder
from striate.models.variant import Variant
from striate.progress import Progress
from striate.published import PUBLISHED, Published
from striate.tasks.classify import Classify
from striate.weight_files.state_dicts import is_sealed
from striate.weights import SUFFIXES, foreign_names, load_state, read_weights
from striate.zoo import build, find_variant, find_weights

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""In the order of a network's outputs."""


def read_pretrained(
    name: str, weights: str | Path, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    """Card and tensors, as :func:`striate.bundle.read_bundle` gives them for a model of ours, and the file they are from.

    A file that is a model of ours has its own card.
    The number of classes is the file's. 1,000 are ImageNet's, ten of a CIFAR network CIFAR-10's; others are called 0, 1, ...

    Args:
        name: of a network.
        weights: a file, or the name of published ones, see :func:`striate.zoo.build`.
        progress: told how far a download is.

    Raises:
        UsageError: no such network or weights.
        Refused: the weights do not fit.
        Failed: published weights are not here, and cannot be downloaded.
    """
    variant = find_variant(name)
    path = find_weights(name, weights, progress)
    if is_sealed(path):
        info, state = read_bundle(path)
        if (own := info["architecture"]["name"]) != name:
            raise Refused(f"The model is a {own}, not a {name}", where=path, fix="leave the network out: the file names its own")
        return info, state, path
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        state = read_weights(path, sketch := build(name), name)
    head = state.get(f"{sketch.head_path}.weight")
    num_classes = variant.num_classes if head is None else len(head)
    with torch.random.fork_rng(devices=[]):
        network = build(name, num_classes=num_classes)
    load_state(network, state, path)
    published = next((entry for entry in PUBLISHED.values() if (entry.network, entry.file) == (name, path.name)), None)
    return _card(variant, num_classes, path, published), network.state_dict(), path


def convert(weights: str | Path, name: str, out: str | Path, progress: Progress | None = None) -> Path:
    """Writes another tool's weights as a model of ours, one file with classes and preprocessing; returns its path.

    Its tensors have the names of :data:`striate.zoo.MODELS`, so that what reads plain safetensors reads them too. Arguments
    and what is raised: as for :func:`read_pretrained`.
    """
    card, state, _ = read_pretrained(name, weights, progress)
    out = Path(out)
    make_folder(out.absolute().parent)
    write_bundle(out, state, card)
    return out


def _card(variant: Variant, num_classes: int, path: Path, published: Published | None) -> dict[str, Any]:
    classes = _classes(variant, num_classes)
    preprocess = Preprocess.for_variant(variant)
    if published is not None:
        preprocess = replace(
            preprocess,
            resize=published.resize or preprocess.resize,
            interpolation=published.interpolation or preprocess.interpolation,
        )
    elif path.suffix.lower() in SUFFIXES:
        names = foreign_names(path, variant.name)
        preprocess = replace(preprocess, mean=names.mean or preprocess.mean, std=names.std or preprocess.std)
    return {
        "striate": striate.__version__,
        "architecture": {
            "name": variant.name,
            "num_classes": num_classes,
            "in_channels": variant.in_channels,
            "input_size": list(variant.input_size),
            "in_zoo": True,
            "source_file": None,
        },
        "task": Classify(classes).to_json(),
        "classes": list(classes),
        "preprocess": preprocess.to_json(),
        "metrics": {},
        "license": published.license if published else None,
        "weights": {
            "file": path.name,
            "url": published.url if published else None,
            "published": {"top1": published.top1, "top5": published.top5} if published else None,
        },
    }


def _classes(variant: Variant, num_classes: int) -> tuple[str, ...]:
    if num_classes == len(class_names()):
        return class_names()
    if variant.name.endswith("_cifar") and num_classes == len(CIFAR10):
        return CIFAR10
    return tuple(map(str, range(num_classes)))
