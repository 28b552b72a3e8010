"""One picture in one network: every map of it, drawn into a folder, and the arithmetic of one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate.columns import align
from striate.errors import UsageError, nearest
from striate.files import make_folder
from striate.look.drawing import MAPS, Drawing, Drawn
from striate.look.explanations import EXPLANATIONS
from striate.look.inspection import Inspection
from striate.look.pixel_arithmetic import Arithmetic
from striate.look.sanity import SanityCheck, sanity_check
from striate.look.target import beside_weights
from striate.prediction import Model
from striate.prediction_inputs import Input, read_input
from striate.progress import Progress, Silent
from striate.tasks.decoding import Prediction

TOP = 5


@dataclass(frozen=True)
class Looked:
    """What was found in a network for one picture.

    Attributes:
        image: its name.
        prediction: the network's answer.
        target, class_name: the explained class; 0 and "" for a network that returns a number.
        inside: the run, with its graph and all that was computed.
        arithmetic: of the unit.
        files: what was drawn.
        notes: what could not be, and why.
        sanity: of the map that was to be checked: its name, and what is left of it without what was learned.
    """

    image: str
    prediction: Prediction
    target: int
    class_name: str
    inside: Inspection
    arithmetic: Arithmetic
    files: tuple[Drawn, ...]
    notes: tuple[str, ...]
    sanity: tuple[str, SanityCheck] | None = None

    def text(self, columns: int | None = None) -> str:
        """For the terminal: the answer, the layers, the arithmetic of the unit, the files."""
        explained = f"The maps explain {self.class_name}." if self.class_name else "The maps explain the number."
        files = align([(each.path.name, each.shows) for each in self.files])
        parts = [
            f"{self.image}: {answer(self.prediction)}",
            self.inside.graph.text(columns),
            self.arithmetic.text(columns),
            "\n".join([f"{explained} Written to {self.files[0].path.parent}:", *(f"  {line}" for line in files)]),
            *(f"note: {note}" for note in self.notes),
        ]
        if self.sanity is not None:
            name, check = self.sanity
            parts.append(f"{EXPLANATIONS[name].title} as the weights are made random, from the last layer down:\n{check.text()}")
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: all of the above but the pixels."""
        return {
            "image": self.image,
            "prediction": {"top": [list(pair) for pair in self.prediction.top], "value": self.prediction.value},
            "class": {"number": self.target, "name": self.class_name or None},
            "graph": self.inside.graph.to_json(),
            "unit": self.arithmetic.to_json(),
            "files": {each.path.stem: {"path": str(each.path), "shows": each.shows} for each in self.files},
            "notes": list(self.notes),
            "sanity": None if self.sanity is None else {"map": self.sanity[0], **self.sanity[1].to_json()},
        }


def look_at(
    model: Model,
    image: Input,
    out: Path,
    *,
    layer: str | None = None,
    unit: Sequence[int] | None = None,
    target: str | int | None = None,
    sanity: str | None = None,
    name: str = "image",
    progress: Progress | None = None,
) -> Looked:
    """Draws what a network sees in one picture.

    Each map has a file of the size of what the network reads, pixel on pixel with ``input.png``; ``overview.png`` shows them
    side by side with their scales.

    Args:
        model: of a torch network.
        image: any picture, as ``predict`` takes it.
        out: the folder, made where it is not there; files of the same names are replaced.
        layer: whose maps are drawn: a module's path or a node's id; None: the last convolution that puts out a map.
        unit: whose arithmetic is written out: (channel, row, column) or (feature,); None: the layer's largest number.
        target: the class to explain, by name or number; None: the network's answer.
        sanity: one of :data:`~striate.look.explanations.EXPLANATIONS`, to check by :func:`~striate.look.sanity.sanity_check`.
        name: of the picture, for the text.
        progress: told how far it is.

    Raises:
        UsageError: no such layer, unit, class or map, or the model is an exported graph.
        ImageError: the picture cannot be read.
        Refused: the network does not take such a picture.
        Failed: the folder cannot be written to.
    """
    if sanity is not None and sanity not in EXPLANATIONS:
        raise UsageError(f"No map is called {sanity!r}", fix=nearest(sanity, EXPLANATIONS))
    chosen = None if target is None else find_class(model, target)
    pixels = read_input(image, model.preprocess, name)
    (prediction,) = model.predict([image], TOP)
    normal = beside_weights(model.module, model.preprocess.normalize(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())))
    inside = Inspection(model.module, normal, str(model.info["architecture"]["name"]))
    node = default_layer(inside) if layer is None else inside.graph.find(layer).id
    place = largest(inside.values(node)) if unit is None else tuple(unit)
    arithmetic = inside.pixel(node, place)
    if chosen is None:
        chosen = model.classes.index(prediction.label) if prediction.label is not None else 0
    class_name = model.classes[chosen] if model.classes else ""
    drawing = Drawing(model, pixels, normal, chosen, make_folder(out))
    steps: list[Callable[[], None]] = [
        drawing.input,
        *(partial(drawing.explanation, key) for key in MAPS),
        partial(drawing.features, inside, node),
        drawing.filters,
        partial(drawing.receptive_field, inside, node, place),
        partial(drawing.overview, f"{name}: {answer(prediction)}"),
    ]
    for done, step in enumerate(steps):
        (progress or Silent()).stage("drawing", done, len(steps))
        drawing.attempt(step)
    checked = sanity and (sanity, sanity_check(model.module, normal, EXPLANATIONS[sanity].explain, chosen, progress=progress))
    files, notes = tuple(drawing.files), tuple(drawing.notes)
    return Looked(name, prediction, chosen, class_name, inside, arithmetic, files, notes, checked or None)


def answer(prediction: Prediction) -> str:
    """``Irish water spaniel 58.8 %, curly-coated retriever 35.7 %``, or the number."""
    if prediction.value is not None:
        return f"{prediction.value:.6g}"
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in prediction.top)


def find_class(model: Model, target: str | int) -> int:
    """The number of a class, given by its name or its number.

    Raises:
        UsageError: there is no such class.
    """
    if not model.classes:
        raise UsageError("The model returns one number: it has no classes", fix="leave the class out")
    if isinstance(target, str) and target in model.classes:
        return model.classes.index(target)
    folded = {name.casefold(): place for place, name in reversed([*enumerate(model.classes)])}
    if isinstance(target, str) and target.casefold() in folded:
        return folded[target.casefold()]
    try:
        place = int(target)
    except ValueError:
        raise UsageError(f"The model has no class {target!r}", fix=nearest(str(target), model.classes)) from None
    if not 0 <= place < len(model.classes):
        raise UsageError(f"The model has no class number {place}", fix=f"its classes are 0 to {len(model.classes) - 1}")
    return place


def default_layer(inside: Inspection) -> str:
    """The last convolution whose output has a height and a width; else the last dense layer, or whatever comes last."""
    graph = inside.graph
    convolutions = [node.id for node in graph.nodes if node.operation == "conv2d" and min(node.output_shapes[0][1:]) > 1]
    dense = [node.id for node in graph.nodes if node.operation == "linear"]
    return (convolutions or dense or list(graph.outputs))[-1]


def largest(values: Tensor) -> tuple[int, ...]:
    """The position of the largest number."""
    return tuple(int(at) for at in np.unravel_index(int(values.argmax()), tuple(values.shape)))
