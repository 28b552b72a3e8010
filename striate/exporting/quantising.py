"""int8 by measurement: which layers of a network stay in float, found on the images that its ranges were taken from.

Nothing is assumed of first layers, last layers or depthwise ones. Where int8 changes more answers than the gate would let
through, each layer is put back to float alone; those that bring the outputs nearest to the float network's stay there, 1, 2, 4,
... at a time, until few enough answers change. No labels are needed: an accuracy cannot fall by more than the share of answers
that change, and the bound that the gate demands grows with every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from striate.errors import Undecided
from striate.progress import Progress
from striate.tasks.decoding import Decoder

CHANGED = 0.01
"""Share of the calibration images whose answer may change: as much accuracy as the gate lets an int8 artefact lose."""
RANKED = 32
"""Calibration images on which each layer is measured alone."""
STEPS = 5
"""Times that twice as many layers go back to float, at most; never more than half of them."""
VALUE = 0.05
"""A number is another answer from so many deviations of the training targets on."""

Raw = NDArray[np.float32]
Run = Callable[[NDArray[np.uint8]], Raw]
G_co = TypeVar("G_co", covariant=True)


class Quantiser(Protocol[G_co]):
    """Makes a float graph into an int8 one.

    Attributes:
        layers: names of what has weights, in the order in which it runs.
    """

    layers: tuple[str, ...]

    def quantised(self, in_float: frozenset[str]) -> G_co:
        """The int8 graph in which these layers are computed in float."""

    def run(self, in_float: frozenset[str]) -> Run:
        """What computes that graph, or one near enough to compare layers by."""


Q = TypeVar("Q", bound=Quantiser[Any])


@dataclass(frozen=True)
class Choice:
    """Which layers stay in float, and how that was found.

    Attributes:
        in_float: their names, the costliest first.
        images: calibration images.
        steps: (layers in float, calibration images whose answer changed) of each graph that was tried.
    """

    in_float: tuple[str, ...]
    images: int
    steps: tuple[tuple[int, int], ...]


def choose(
    quantiser: Quantiser[Any],
    own: Run,
    images: Sequence[NDArray[np.uint8]],
    decoder: Decoder,
    progress: Progress,
    fallback: bool = True,
) -> Choice:
    """Measures which layers have to stay in float.

    Args:
        quantiser: of the toolkit.
        own: the float network.
        images: batches uint8 [N, C, h, w] to measure on.
        decoder: says what an answer is.
        progress: told of every step.
        fallback: False: no layer goes back, whatever changes.

    Returns:
        The first choice that changes few enough answers; where none does, that which changes the fewest.
    """
    expected = outputs(own, images)
    total, layers = len(expected), len(quantiser.layers)
    allowed = int(CHANGED * total)
    tried: list[tuple[int, int]] = []
    ranking: tuple[str, ...] = ()
    for count in (0, *(1 << step for step in range(STEPS) if 2 << step <= layers)):
        if count == 1:
            ranking = rank(quantiser, expected, images, progress)
        different = changed(decoder, expected, outputs(quantiser.run(frozenset(ranking[:count])), images))
        tried.append((different, count))
        kept = "in all layers" if count == 0 else f"with {count} of {layers} layers in float"
        progress.message(f"int8 {kept}: {different} of {total} calibration images are answered otherwise ({allowed} may be)")
        if different <= allowed or not fallback:
            break
    best = min(tried)[1]
    return Choice(ranking[:best], total, tuple((count, different) for different, count in tried))


def rank(quantiser: Quantiser[Any], expected: Raw, images: Sequence[NDArray[np.uint8]], progress: Progress) -> tuple[str, ...]:
    """The layers, first that which alone in float brings the outputs nearest to the expected ones (mean square)."""
    few = spread(images, RANKED)
    wanted = expected[np.linspace(0, len(expected) - 1, len(few)).round().astype(int)]
    errors: dict[str, float] = {}
    for done, layer in enumerate(quantiser.layers, 1):
        apart = quantiser.run(frozenset({layer}))(few).astype(np.float64) - wanted
        errors[layer] = float((apart**2).mean())
        progress.stage("layers put back to float, one by one", done, len(quantiser.layers))
    return tuple(sorted(errors, key=errors.__getitem__))


def nearest_to(own: Run, quantisers: Sequence[Q], images: Sequence[NDArray[np.uint8]]) -> Q:
    """That of several quantisers whose graph, all layers in int8, gives what is nearest to the float outputs (mean square)."""
    expected = outputs(own, images).astype(np.float64)
    return min(quantisers, key=lambda quantiser: float(((outputs(quantiser.run(frozenset()), images) - expected) ** 2).mean()))


def changed(decoder: Decoder, own: Raw, other: Raw) -> int:
    """Images with another answer; an answer that is not finite is another one."""
    if decoder.kind == "value":
        same = (np.abs(own - other) <= VALUE).all(1)
    elif decoder.kind == "label":
        same = own.argmax(1) == other.argmax(1)
    else:
        same = ((decoder.scores(own) >= decoder.threshold) == (decoder.scores(other) >= decoder.threshold)).all(1)
    return int((~same | ~np.isfinite(other).all(1)).sum())


def describe_choice(
    choice: Choice, tensors: Sequence[str], layers: Sequence[tuple[str, str]], folded: Mapping[str, str]
) -> dict[str, Any]:
    """What the card of the artefact says of it.

    Args:
        choice: to be told.
        tensors: what each of its layers makes.
        layers: (path in the model, tensor) of the graph.
        folded: path of a layer -> path of the batch norm that is part of it now.
    """
    inside = {norm: layer for layer, norm in folded.items()}
    paths = {tensor: inside.get(path, path) for path, tensor in layers}
    steps = [{"layers_in_float": count, "answers_changed": different} for count, different in choice.steps]
    return {"float_layers": [paths.get(name, name) for name in tensors], "calibration": {"images": choice.images, "steps": steps}}


def outputs(run: Run, images: Iterable[NDArray[np.uint8]]) -> Raw:
    """Raw outputs [N, K] of all batches."""
    return np.concatenate([run(batch) for batch in images])


def spread(images: Sequence[NDArray[np.uint8]], most: int) -> NDArray[np.uint8]:
    """At most so many of the images, at equal distances."""
    every = np.concatenate(images)
    few: NDArray[np.uint8] = every[np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int)]
    return few


def read_all(batches: Iterable[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """The calibration images.

    Raises:
        Undecided: not one of them could be read.
    """
    images = list(batches)
    if not images:
        raise Undecided("No calibration image could be read", fix="name others with --calibrate")
    return images
