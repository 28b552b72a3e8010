"""What ``striate summary`` is asked about: a network by name, a trained model, or a user's own."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from striate.architecture_file import build_architecture, is_architecture_file, load_architecture
from striate.catalogue import no_network
from striate.errors import UsageError
from striate.prediction import load, model_file
from striate.summary import Summary, summarize
from striate.zoo import MODELS, build

OWN_SIDE = 224
"""Side in pixels of the image for a user's own network where none is given."""


def summarize_subject(
    model: str | None, size: int | None = None, channels: int | None = None, arch: str | None = None
) -> Summary:
    """Runs the network once.

    Args:
        model: a network's name, a run folder, a model file or ``FILE.py:FUNCTION``; None: what ``arch`` names.
        size: side of the image in pixels; None: the network's own.
        channels: of the image; None: the network's own.
        arch: ``FILE.py:FUNCTION`` or a network's name: what builds the network of a model file of another make.

    Raises:
        UsageError: there is no such network or file.
        Refused: the network does not take such an image.
    """
    if model is None or is_architecture_file(model):
        subject = model or arch
        if subject is None:
            raise UsageError("No network to summarise", fix="striate summary NAME; striate zoo lists the names")
        return _own(subject, size, channels) if is_architecture_file(subject) else _of_zoo(subject, size, channels)
    if model in MODELS:
        return _of_zoo(model, size, channels)
    if not Path(model).exists():
        raise no_network(model)
    return _trained(Path(model), size, channels, arch)


def _of_zoo(name: str, size: int | None, channels: int | None) -> Summary:
    if name not in MODELS:
        raise no_network(name)
    variant = MODELS[name]
    shape = _shape(channels or variant.in_channels, size, variant.input_size)
    return summarize(lambda: build(name, None, shape[0], shape[1:]), name, shape)


def _own(arch: str, size: int | None, channels: int | None) -> Summary:
    function = load_architecture(arch)
    side = (size, size) if size else None
    network = build_architecture(function, None, channels, side)
    shape = _shape(channels or _first_channels(network), size, (OWN_SIDE, OWN_SIDE))
    return summarize(lambda: build_architecture(function, None, channels, side), type(network).__name__, shape)


def _trained(path: Path, size: int | None, channels: int | None, arch: str | None) -> Summary:
    opened = load(model_file(path), arch=arch)
    card = opened.info["architecture"]
    if card.get("in_zoo") and arch is None:
        height, width = card["input_size"]
        shape = _shape(channels or card["in_channels"], size, (height, width))
        return summarize(lambda: build(card["name"], card["num_classes"], shape[0], shape[1:]), card["name"], shape)
    shape = _shape(channels or opened.preprocess.channels, size, opened.preprocess.size)
    return summarize(lambda: load(model_file(path), arch=arch).module, card["name"], shape)


def _shape(channels: int, size: int | None, own: tuple[int, int]) -> tuple[int, int, int]:
    return (channels, size, size) if size else (channels, *own)


def _first_channels(network: nn.Module) -> int:
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
