"""What the tensors within a graph are like on images: ranges that lose least when they are rounded, and figures a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]

from striate.backends.artefact import num_threads

Floats = NDArray[np.float64]

BINS = 8192
REACH = 4.0
"""The histogram goes this many times further than the first images do; what lies beyond is counted in its last bins."""
SAMPLED = 1 << 16
"""Numbers of one tensor and batch that are looked at for the histogram, about; least, largest and the channels see all."""
STEPS = 24
"""Ends of a range that are tried on each side."""


@dataclass
class Seen:
    """Of one tensor, over all images.

    Attributes:
        least, largest: of all numbers.
        mean, square: of each channel, and of its square; float64 [C].
        reach: the histogram's bins cover -reach..reach evenly.
        counts: float64 [BINS].
    """

    least: float
    largest: float
    reach: float
    counts: Floats
    num: int = 0
    sums: Floats = field(default_factory=lambda: np.zeros(1))
    squares: Floats = field(default_factory=lambda: np.zeros(1))

    @property
    def mean(self) -> Floats:
        return self.sums / self.num

    @property
    def square(self) -> Floats:
        return self.squares / self.num

    def add(self, values: NDArray[np.float32], offset: int) -> None:
        """Takes a batch in, [N, C] or [N, C, H, W]."""
        self.least, self.largest = min(self.least, float(values.min())), max(self.largest, float(values.max()))
        rows = values.reshape(values.shape[0], values.shape[1], -1)
        self.num += rows.shape[0] * rows.shape[2]
        self.sums = self.sums + rows.sum((0, 2), dtype=np.float64)
        self.squares = self.squares + np.einsum("ncp,ncp->c", rows, rows, dtype=np.float64)
        stride = (values.size // SAMPLED) | 1  # odd: an even one would see the same columns of every row
        sample = values.reshape(-1)[offset % stride :: stride]
        places = ((sample + self.reach) * (BINS / (2 * self.reach))).clip(0, BINS - 1).astype(np.int64)
        self.counts = self.counts + np.bincount(places, minlength=BINS)

    def range_of_least_error(self, levels: int) -> tuple[float, float]:
        """The range, inside that of all numbers, whose rounding to ``levels`` steps and cutting off has the least mean square."""
        centres = (np.arange(BINS) + 0.5) * (2 * self.reach / BINS) - self.reach
        shares = np.linspace(1 / STEPS, 1, STEPS)
        lows = min(self.least, 0.0) * shares if self.least < 0 else np.zeros(1)
        highs = max(self.largest, 0.0) * shares if self.largest > 0 else np.zeros(1)
        below = np.array([(self.counts * np.minimum(centres - low, 0) ** 2).sum() for low in lows])
        above = np.array([(self.counts * np.maximum(centres - high, 0) ** 2).sum() for high in highs])
        moved = self.counts.sum() - self.counts[BINS // 2 - 1 : BINS // 2 + 1].sum()  # zero itself is kept exactly
        rounding = moved * ((highs[None] - lows[:, None]) / levels) ** 2 / 12
        low, high = np.unravel_index(np.argmin(below[:, None] + above[None] + rounding), rounding.shape)
        return float(lows[low]), float(highs[high])


def observe(graph: ModelProto, images: Iterable[NDArray[np.uint8]], names: Sequence[str] | None = None) -> dict[str, Seen]:
    """Runs a graph and looks at its tensors; those that are not float32 [N, C] or [N, C, H, W] are left out.

    Args:
        graph: takes ready tensors.
        images: batches uint8 [N, C, h, w].
        names: of the tensors; None: all.
    """
    names = list(names) if names is not None else [name for node in graph.graph.node for name in node.output]
    run = tensors_of(graph, names)
    seen: dict[str, Seen] = {}
    for number, batch in enumerate(pieces(images)):
        for name, values in zip(names, run(batch), strict=True):
            if values.dtype != np.float32 or values.ndim not in (2, 4):
                continue
            if name not in seen:
                reach = REACH * max(float(np.abs(values).max()), 1e-6)
                seen[name] = Seen(float(values.min()), float(values.max()), reach, np.zeros(BINS))
            seen[name].add(values, 7919 * number)
    return seen


def pieces(images: Iterable[NDArray[np.uint8]], most: int = 8) -> Iterator[NDArray[np.uint8]]:
    """The same images, few at once: all tensors of a network at once are large."""
    for batch in images:
        for start in range(0, len(batch), most):
            yield np.ascontiguousarray(batch[start : start + most])


def tensors_of(graph: ModelProto, names: Sequence[str]) -> Callable[[NDArray[np.uint8]], list[NDArray[Any]]]:
    """What computes those tensors of a graph."""
    cut = ModelProto()
    cut.CopyFrom(graph)
    del cut.graph.output[:]
    cut.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names))
    session = open_session(cut)
    return lambda images: list(session.run(list(names), {"images": images}))


def open_session(graph: ModelProto) -> Any:
    """ONNX Runtime on a graph in memory."""
    options = SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, num_threads()
    return InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
