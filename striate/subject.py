"""What is to be trained: a network by name, by FILE.py:FUNCTION or a module of the user's own, fitted to the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from striate.architecture_file import build_architecture, is_architecture_file, load_architecture, name_architecture
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource, Source
from striate.errors import Refused, StriateError
from striate.models.variant import Variant
from striate.recipe import Recipe
from striate.recipes import USUAL
from striate.zoo import build, find_variant

SMALL_SIDE = 40
"""Pictures up to this side get a network made for small ones where none is named."""


@dataclass(frozen=True)
class Subject:
    """A network ready to train.

    Attributes:
        module: freshly initialised, or as the user gave it.
        name: of the variant, or of the user's class or function.
        num_classes, in_channels, input_size: what it was built for.
        variant: of the zoo; None for a user's own network.
        source_file: ``FILE.py:FUNCTION`` where it came from one.
    """

    module: nn.Module
    name: str
    num_classes: int
    in_channels: int
    input_size: tuple[int, int]
    variant: Variant | None = None
    source_file: str | None = None

    @property
    def image(self) -> tuple[int, int, int]:
        """(channels, height, width) that it reads."""
        return (self.in_channels, *self.input_size)

    def preprocess(self) -> Preprocess:
        """The variant's preprocessing at this size; for a user's own network (pixel - 0.5) / 0.25 of the whole picture."""
        if self.variant is not None:
            return Preprocess.for_variant(self.variant, size=self.input_size, channels=self.in_channels)
        mean, std = (0.5,) * self.in_channels, (0.25,) * self.in_channels
        return Preprocess(
            size=self.input_size, resize=None, interpolation="bilinear", channels=self.in_channels, mean=mean, std=std
        )

    def to_json(self) -> dict[str, Any]:
        """How to build it again."""
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "in_channels": self.in_channels,
            "input_size": list(self.input_size),
            "in_zoo": self.variant is not None,
            "source_file": self.source_file,
            "parameters": sum(p.numel() for p in self.module.parameters()),
        }


def recipe_name(model: object) -> str:
    """The recipe of a network that comes without one: its own where that is a usual one, else ``fast``."""
    own = find_variant(model).recipe if isinstance(model, str) and not is_architecture_file(model) else "fast"
    return own if own in USUAL else "fast"


def choose_network(source: Source) -> str:
    """A sensible network where none is named: by the size and colours of the first readable picture."""
    height, width, channels = picture_shape(source)
    if max(height, width) > SMALL_SIDE:
        return "resnet18"
    return "fashion_cnn" if channels == 1 else "resnet20_cifar"


def picture_shape(source: Source) -> tuple[int, int, int]:
    """(height, width, channels) of the first readable picture.

    Raises:
        Refused: when none of the first hundred is readable.
    """
    raw = Preprocess(size=(1, 1), resize=None, interpolation="bilinear", channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    first: StriateError | None = None
    for i in range(min(len(source), 100)):
        try:
            data = source.read(i)
            picture = data if isinstance(data, np.ndarray) else raw.picture(data, source.key(i))
        except StriateError as error:
            first = first or error
            continue
        return picture.shape[0], picture.shape[1], picture.shape[2]
    raise Refused(
        "No readable picture", where=source.location, why=first.what if first else "it is empty", fix="run `striate check` on it"
    )


def make_subject(
    model: str | nn.Module | Callable[..., nn.Module] | None, source: Source, recipe: Recipe, begun: bool = False
) -> Subject:
    """Builds the network for the classes and pictures of ``source``, initialised from the recipe's seed.

    Args:
        model: a name of the zoo, ``FILE.py:FUNCTION``, a module, or a function that returns one.
        begun: it will begin with weights of another task, which know pictures of the network's own size.

    Raises:
        UsageError: an unknown name or a size that the network cannot have.
        Refused: a network whose outputs are not the data's classes.
    """
    num_outputs = max(1, len(source.classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if isinstance(model, str) and not is_architecture_file(model):
            return _from_zoo(model, source, recipe, num_outputs, begun)
        file = model if isinstance(model, str) else name_architecture(model)
        made: Any = load_architecture(model) if isinstance(model, str) else model
        return _own(made, file, source, recipe, num_outputs)


def _from_zoo(name: str, source: Source, recipe: Recipe, num_outputs: int, begun: bool) -> Subject:
    variant = find_variant(name)
    height, width, pictured = picture_shape(source)
    channels = recipe.channels or (pictured if isinstance(source, ArraySource) else variant.in_channels)
    if recipe.size:
        size = (recipe.size, recipe.size)
    elif max(height, width) <= SMALL_SIDE and not (variant.fixed_size or begun):  # small pictures are not blown up to photo size
        size = (max(height, variant.min_size[0]), max(width, variant.min_size[1]))
    else:
        size = variant.input_size
    module = build(name, num_classes=num_outputs, in_channels=channels, input_size=size)
    return Subject(module, name, num_outputs, channels, size, variant)


def _own(made: Any, file: str | None, source: Source, recipe: Recipe, num_outputs: int) -> Subject:
    """A user's network. A function is called with what loading the model will call it with: classes, channels and size."""
    height, width, pictured = picture_shape(source)
    size = (recipe.size, recipe.size) if recipe.size else (height, width) if max(height, width) <= SMALL_SIDE else (224, 224)
    if isinstance(made, nn.Module):
        channels = recipe.channels or _first_channels(made) or pictured
        return Subject(made, type(made).__name__, num_outputs, channels, size, None, file)
    channels = recipe.channels or pictured
    module = build_architecture(made, num_outputs, channels, size)
    if recipe.channels is None:  # one that does not ask may have channels of its own
        channels = _first_channels(module) or channels
    return Subject(module, getattr(made, "__name__", type(module).__name__), num_outputs, channels, size, None, file)


def _first_channels(module: nn.Module) -> int | None:
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    return first.in_channels if first is not None else None


@torch.no_grad()
def check_forward(subject: Subject) -> None:
    """Runs two blank images through the network, so that a wrong shape is named before any training.

    Raises:
        Refused: the network does not take the images, or has another number of outputs than the data has classes.
    """
    was_training = subject.module.training
    device = next(iter(subject.module.parameters()), torch.empty(0)).device
    images = torch.zeros(2, subject.in_channels, *subject.input_size, device=device)
    shape = " x ".join(map(str, images.shape[1:]))
    try:
        logits = subject.module.eval()(images)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Refused(
            f"{subject.name} does not take images of {shape} (channels x height x width)",
            why=str(error).splitlines()[0],
            fix="give it the shape it expects: --channels N and --size N, or another --model",
        ) from error
    finally:
        subject.module.train(was_training)
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, subject.num_classes):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise Refused(
            f"{subject.name} returns {got} for 2 images; the data needs (2, {subject.num_classes})",
            why="one output a class (one in all for numbers) is what the loss reads",
            fix=f"give its last layer {subject.num_classes} outputs; a function that takes num_classes is called with it",
        )
