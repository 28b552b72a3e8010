"""Which kinds of artefact there are, and what writes each: a file for ready tensors and one for whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.artefact import missing_package
from striate.errors import UsageError, nearest
from striate.progress import Progress, Silent

if TYPE_CHECKING:
    import onnx

    from striate.exporting.graphs import Graphs
    from striate.prediction import Model

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
PRECISIONS = ("fp32", "bf16", "int8")

Card = Mapping[str, Any]
Calibration = Callable[[], Iterator[NDArray[np.uint8]]]
"""Yields batches uint8 [N, C, h, w] of the user's training images, as the model's preprocessing makes them."""


@dataclass(frozen=True)
class Pair:
    """The two files of an artefact, and the OpenVINO weights of each that has some.

    Attributes:
        tensor: takes uint8 [N, C, h, w], returns ``logits``.
        images: takes uint8 [N, H, W, 3], returns ``logits`` and ``probabilities``.
    """

    tensor: Path
    images: Path

    @staticmethod
    def at(stem: Path, to: str) -> Pair:
        """NAME.tensor.EXT and NAME.EXT."""
        suffix = SUFFIXES[to]
        return Pair(stem.with_name(f"{stem.name}.tensor{suffix}"), stem.with_name(f"{stem.name}{suffix}"))

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, weights before what refers to them."""
        return tuple(
            file
            for path in (self.tensor, self.images)
            for file in ((path.with_suffix(".bin"), path) if path.suffix == ".xml" else (path,))
        )


@dataclass(frozen=True)
class Order:
    """What is to be written.

    Attributes:
        graphs: of the model, its network in the precision of the file.
        to, precision: keys of :data:`CONVERTERS`.
        card: of the model.
        model_sha256: of the model's file; None where it has none.
        calibration: None: the kind needs none.
        progress: told of what calibration tries.
        fallback: whether int8 may leave layers in float.
    """

    graphs: Graphs
    to: str
    precision: str
    card: Card
    model_sha256: str | None = None
    calibration: Calibration | None = None
    progress: Progress = field(default_factory=Silent)
    fallback: bool = True

    def calibrated(self, calibration: Calibration, progress: Progress | None = None, fallback: bool = True) -> Order:
        """The same, with images to calibrate by."""
        return replace(self, calibration=calibration, progress=progress or Silent(), fallback=fallback)

    def card_of(self, form: str, layers: list[tuple[str, str]] | None = None, **more: Any) -> dict[str, Any]:
        """The card of the artefact of this form (``tensor`` or ``images``)."""
        export = {
            "format": 1,
            "to": self.to,
            "precision": self.precision,
            "form": form,
            "model_sha256": self.model_sha256,
            "layers": layers or [],
            **more,
        }
        return {**self.card, "export": export}


def onnx_graphs(order: Order) -> tuple[onnx.ModelProto, onnx.ModelProto, list[tuple[str, str]]]:
    """See :func:`striate.exporting.onnx_file.make_onnx`.

    Raises:
        UsageError: what it takes is not installed.
    """
    try:
        import_module("onnxscript")  # torch's exporter is written in it
        from striate.exporting.onnx_file import make_onnx
    except ImportError as error:
        raise missing_package("onnx or onnxscript", "export", None, error) from error
    return make_onnx(order.graphs)


def _write_onnx(order: Order, pair: Pair) -> None:
    tensor, images, layers = onnx_graphs(order)
    from striate.exporting.onnx_file import write_onnx

    write_onnx(pair.tensor, tensor, order.card_of("tensor", layers))
    write_onnx(pair.images, images, order.card_of("images", layers))


def _write_openvino(order: Order, pair: Pair) -> None:
    from striate.exporting.openvino_file import from_onnx, write_openvino

    tensor, images, layers = onnx_graphs(order)
    write_openvino(pair.tensor, from_onnx(tensor), order.card_of("tensor", layers))
    write_openvino(pair.images, from_onnx(images), order.card_of("images", layers))


def _write_torch(order: Order, pair: Pair) -> None:
    from striate.exporting.pixels import example_pictures
    from striate.exporting.torch_file import make_program, program_layers, write_program

    graphs = order.graphs
    tensor = make_program(graphs.tensor, graphs.example, (0,))
    write_program(pair.tensor, tensor, order.card_of("tensor", program_layers(tensor, graphs.folded)))
    images = make_program(graphs.images, example_pictures(graphs.preprocess), (0, 1, 2))
    write_program(pair.images, images, order.card_of("images", program_layers(images, graphs.folded)))


def _write_onnx_int8(order: Order, pair: Pair) -> None:
    try:
        from striate.exporting.onnx_int8 import write_onnx_int8
    except ImportError as error:
        raise missing_package("onnx or onnxruntime", "export", None, error) from error
    write_onnx_int8(order, pair)


def _write_openvino_int8(order: Order, pair: Pair) -> None:
    from striate.exporting.openvino_int8 import write_openvino_int8

    write_openvino_int8(order, pair)


CONVERTERS: dict[tuple[str, str], Callable[[Order, Pair], None]] = {
    ("onnx", "fp32"): _write_onnx,
    ("onnx", "int8"): _write_onnx_int8,
    ("openvino", "fp32"): _write_openvino,
    ("openvino", "bf16"): _write_openvino,  # the same graph: the precision is set when it is opened
    ("openvino", "int8"): _write_openvino_int8,
    ("torch", "fp32"): _write_torch,
    ("torch", "bf16"): _write_torch,
}
"""(to, precision) -> what writes the pair."""

NOT_MADE = {
    ("onnx", "bf16"): "ONNX Runtime's CPU provider has no bf16 convolution",
    ("torch", "int8"): "static int8 is made for ONNX Runtime and OpenVINO",
}
"""(to, precision) -> why there is none."""


def check_kind(to: str, precision: str) -> None:
    """Refuses a kind of artefact that is not made.

    Raises:
        UsageError: with the reason, and what is made.
    """
    if to not in SUFFIXES:
        raise UsageError(f"Unknown target {to!r}", where="--to", fix=nearest(to, SUFFIXES))
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}", where="--precision", fix=nearest(precision, PRECISIONS))
    if (to, precision) not in CONVERTERS:
        made = [f"--to {other} --precision {kind}" for other, kind in CONVERTERS if other == to or kind == precision]
        what = f"{precision} is not made for {to}"
        raise UsageError(what, why=NOT_MADE[to, precision], fix="one of: " + ", ".join(made))


def order_for(model: Model, to: str, precision: str, model_sha256: str | None = None) -> Order:
    """An order for a torch model, without calibration."""
    check_kind(to, precision)
    import torch

    from striate.exporting.graphs import make_graphs

    dtype = torch.bfloat16 if (to, precision) == ("torch", "bf16") else torch.float32
    return Order(make_graphs(model, dtype), to, precision, model.info, model_sha256)
