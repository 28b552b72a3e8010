"""Pictures that are looked into: each with every number that a network made of it, the latest few kept."""

from __future__ import annotations

import base64
import copy
import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.errors import Failed
from striate.studio.shelf import BETWEEN, UNTRAINED, Shelf

if TYPE_CHECKING:
    from torch import Tensor, nn

    from striate.look.inspection import Inspection
    from striate.look.pixel_arithmetic import Arithmetic
    from striate.prediction import Model

KEPT_BYTES = 2**30
"""Of all numbers that are kept; the latest picture stays whatever it takes."""

NARROW = 32
"""A vector up to this long is one row; longer ones are folded into a square."""


@dataclass(frozen=True)
class Look:
    """One picture in one network.

    Attributes:
        id: what requests call it.
        model: whose.
        pixels: uint8 [H, W, C], as the network reads them but for the normalisation.
        image: float [1, C, H, W], normalised.
        inside: the run.
    """

    id: str
    model: Model
    pixels: NDArray[np.uint8]
    image: Tensor
    inside: Inspection


class Inspections:
    """Looks by browser: none sees another's pictures.

    Args:
        shelf: of the trained models.
        most: bytes to keep.
    """

    def __init__(self, shelf: Shelf, most: int = KEPT_BYTES) -> None:
        self._shelf, self._most = shelf, most
        self._looks: OrderedDict[tuple[str, str], Look] = OrderedDict()
        self._untrained: tuple[str, Model] | None = None
        self._apart: tuple[Model, nn.Module] | None = None
        self._lock = threading.Lock()
        self._building, self._running, self._explaining = threading.Lock(), threading.Lock(), threading.Lock()

    def open(self, name: str) -> Model:
        """A trained model, or ``NETWORK@untrained``. Raises what :meth:`striate.studio.shelf.Shelf.open` does."""
        network, _, tag = name.partition(BETWEEN)
        if tag != UNTRAINED:
            return self._shelf.open(name)
        with self._building:
            if self._untrained is None or self._untrained[0] != network:
                self._untrained = None
                self._untrained = network, _build_untrained(network)
            return self._untrained[1]

    def look(self, browser: str, name: str, data: bytes) -> Look:
        """Runs a model on a picture, or finds it among those that were run.

        Args:
            browser: whose picture it is.
            name: of the model.
            data: an encoded picture.

        Raises:
            ImageError: it is none.
            UsageError: there is no such model, or it is an exported graph.
            Refused: the network cannot be looked into.
        """
        import torch

        from striate.look.inspection import Inspection
        from striate.look.target import beside_weights

        model = self.open(name)
        # A model that was trained again is another object; its file's time is part of neither name nor picture.
        key = hashlib.sha256(f"{name}\0{id(model)}\0".encode() + data).hexdigest()[:24]
        if (kept := self.find(browser, key)) is not None:
            return kept
        pixels = model.preprocess(data, "the picture")
        normal = model.preprocess.normalize(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
        image = beside_weights(model.module, normal)
        with self._running:
            inside = Inspection(model.module, image, str(model.info["architecture"]["name"]))
        look = Look(key, model, pixels, image, inside)
        with self._lock:
            self._looks[browser, key] = look
            while len(self._looks) > 1 and sum(each.inside.memory for each in self._looks.values()) > self._most:
                self._looks.popitem(last=False)
        return look

    @contextmanager
    def explaining(self, look: Look) -> Iterator[nn.Module]:
        """A copy of the look's network, for one explanation at a time: what that hangs on its layers, no other run meets.

        A look at another picture does not wait for an explanation, which may take long.
        """
        with self._explaining:
            if self._apart is None or self._apart[0] is not look.model:
                self._apart = None
                with self._running:
                    self._apart = look.model, copy.deepcopy(look.model.module)
            yield self._apart[1]

    def find(self, browser: str, key: str) -> Look | None:
        """What is kept; None: it never was, or others took its place."""
        with self._lock:
            if (browser, key) in self._looks:
                self._looks.move_to_end((browser, key))
            return self._looks.get((browser, key))


def _build_untrained(network: str) -> Model:
    """A network of the zoo with the random weights of seed 0: a link shows everybody the same numbers."""
    import torch

    from striate.data.preprocess import Preprocess
    from striate.prediction import Model
    from striate.zoo import build, find_variant

    variant = find_variant(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(network)
    info = {
        "architecture": {"name": network},
        "task": {"name": "classify", "kind": "label"},
        "classes": [f"output {k}" for k in range(variant.num_classes)],
        "preprocess": Preprocess.for_variant(variant).to_json(),
    }
    return Model.from_module(module.eval(), info)


def tiles(values: Tensor) -> Tensor | None:
    """An output as pictures [T, h, w]: its channels; a vector [K] as one, folded row by row, NaN where it ends; None: neither."""
    import torch

    values = values.detach().float()
    if values.ndim == 3 and values.numel():
        return values
    if values.ndim == 2 and values.numel():
        return values[None]
    if values.ndim != 1 or not len(values):
        return None
    columns = len(values) if len(values) <= NARROW else math.isqrt(len(values) - 1) + 1
    rows = -(-len(values) // columns)
    return torch.nn.functional.pad(values, (0, rows * columns - len(values)), value=math.nan).reshape(1, rows, columns)


@dataclass(frozen=True)
class Sheet:
    """Some of a layer's maps, small, a byte a pixel.

    Attributes:
        channels: which.
        size: (height, width) of each, of at most the asked side: larger maps are averaged over areas.
        bound: byte 128 is 0, 1 is ``-bound`` and below, 255 ``bound`` and above; 0 is no number.
        codes: the bytes, map by map, row by row.
        num_maps: that the layer has.
    """

    channels: tuple[int, ...]
    size: tuple[int, int]
    bound: float
    codes: bytes
    num_maps: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the bytes in base64."""
        return {**vars(self), "codes": base64.b64encode(self.codes).decode()}


def draw_sheet(values: Tensor, count: int, side: int) -> Sheet | None:
    """The ``count`` maps of the largest mean magnitude, in their own order; None for an output that is no picture."""
    import torch

    from striate.look.maps import strongest
    from striate.look.pictures import bound_of

    maps = tiles(values)
    if maps is None:
        return None
    chosen = strongest(maps.nan_to_num(), count)
    shown = maps[chosen]
    if max(shown.shape[1:]) > side:
        height, width = (min(side, length) for length in shown.shape[1:])
        shown = torch.nn.functional.adaptive_avg_pool2d(shown[None], (height, width))[0]
    numbers = shown.cpu().numpy()
    bound = bound_of(numbers)
    # An infinite number lies beyond the scale, like any that is too large; what is none has a code of its own.
    scaled = np.clip(np.nan_to_num(np.rint(127 * (numbers / bound)), nan=-128.0), -127, 127)
    codes = np.where(np.isnan(numbers), 0, scaled + 128).astype(np.uint8)
    return Sheet(tuple(chosen), (shown.shape[1], shown.shape[2]), bound, codes.tobytes(), len(maps))


def steps_of(inside: Inspection, layer: str, unit: Sequence[int], output: int = 0) -> tuple[list[Arithmetic], int]:
    """The arithmetic of a number with what goes directly into it and comes directly out of it, one number by one.

    Back from a batch norm or a ReLU to the sum that it takes, and on from a sum to what norm and ReLU make of it.

    Returns:
        The steps in the order of computing, and which of them is the number that was asked for.
    """
    steps = [inside.pixel(layer, unit, output)]
    while _alone(steps[0]) and len(steps[0].origins) == 1:
        steps.insert(0, steps[0].back())
    asked = len(steps) - 1
    while (following := _following(inside, steps[-1])) is not None:
        steps.append(following)
    return steps, asked


def _alone(step: Arithmetic) -> bool:
    return step.kind in ("pointwise", "normalisation") and step.num_terms == 1 and len(step.terms) == 1


def _following(inside: Inspection, step: Arithmetic) -> Arithmetic | None:
    """What the next operation makes of the number, where it is the only one that reads it, and reads it by itself."""
    readers = [edge for edge in inside.graph.edges if (edge.source, edge.output) == (step.layer, step.output)]
    if len(readers) != 1:
        return None
    node = inside.graph.find(readers[0].target)
    if node.kind not in ("pointwise", "normalisation") or len(node.input_shapes) != 1 or node.output_shapes != node.input_shapes:
        return None
    found = inside.pixel(node.id, step.unit)
    return found if _alone(found) and found.terms[0].position == step.unit else None


def scores_of(look: Look) -> NDArray[np.floating[Any]]:
    """What the network returned, read as its model reads it: probabilities [K], or a number [1].

    Raises:
        Failed: it returned something else.
    """
    from torch import Tensor

    returned = look.inside.returned
    if not isinstance(returned, Tensor) or returned.shape != (1, len(look.model.classes) or 1):
        raise Failed("The network does not return one number a class", where=look.inside.graph.name)
    return look.model.decoder.scores(returned.float().cpu().numpy()).reshape(-1)


def plain(value: Any) -> Any:
    """The same JSON value without numbers that JSON does not know: they become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
