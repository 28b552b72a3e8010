"""Which file is an exported graph, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.onnx_runtime import OnnxNetwork
from striate.backends.openvino_ir import OpenVinoNetwork
from striate.data.preprocess import Preprocess
from striate.errors import UsageError

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def _open_program(path: str | Path, threads: int | None = None) -> Any:
    from striate.backends.torch_program import TorchProgramNetwork

    if threads is not None:
        raise UsageError("A .pt2 has no threads of its own", where=path, fix="set torch's: striate.machine.tune(threads)")
    return TorchProgramNetwork(path)


NETWORKS: dict[str, Callable[..., Any]] = {".onnx": OnnxNetwork, ".xml": OpenVinoNetwork, ".pt2": _open_program}
"""By the file's suffix."""


def is_artefact(path: str | Path) -> bool:
    """Whether the name is that of an exported graph."""
    return Path(path).suffix.lower() in NETWORKS


def open_artefact(path: str | Path, threads: int | None = None) -> tuple[Network, dict[str, Any]]:
    """An exported graph as a network that takes what ``Preprocess`` makes, and its card.

    Args:
        path: of either file of the pair that `striate export` wrote.
        threads: of its operators; None: one a core. A .pt2 takes None alone: it runs on torch's own.

    Raises:
        UsageError: no such file, or what runs it is not installed.
        Refused: the file is damaged or not an artefact of ours.
    """
    network = NETWORKS[Path(path).suffix.lower()](path, threads)
    card: dict[str, Any] = network.card
    if card["export"]["form"] == "images":
        network = FramedNetwork(network, Preprocess.from_json(card["preprocess"]))
    return network, card


class FramedNetwork:
    """A graph that takes whole pictures, given pixels that are preprocessed already: it leaves them as they are.

    They become the middle of a picture whose size is that between the resize and the crop: every weight of the graph's
    resize is then 0 or 1.
    """

    def __init__(self, network: Network, preprocess: Preprocess) -> None:
        self._network, self._preprocess = network, preprocess

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, h, w] as ``Preprocess`` makes them -> raw outputs float32 [N, K]."""
        pictures = images.transpose(0, 2, 3, 1)
        if pictures.shape[-1] == 1:
            pictures = np.repeat(pictures, 3, axis=-1)
        # What the shortest and the narrowest of all pictures are scaled to: the least that covers the crop.
        height, width = self._preprocess.resized(1, 1 << 20)[0], self._preprocess.resized(1 << 20, 1)[1]
        if height >= images.shape[2] and width >= images.shape[3]:
            return self._network(_framed(pictures, (height, width)))
        # A black border: of a tall picture on the left and right, of a wide one above and below, never only elsewhere.
        return np.concatenate([self._network(_without_border(picture[None], (height, width))) for picture in pictures])


def _framed(pictures: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if pictures.shape[1:3] == size:
        return pictures
    top, left = (size[0] - pictures.shape[1]) // 2, (size[1] - pictures.shape[2]) // 2
    framed = np.zeros((len(pictures), *size, pictures.shape[3]), np.uint8)
    framed[:, top : top + pictures.shape[1], left : left + pictures.shape[2]] = pictures
    return framed


def _without_border(pictures: NDArray[np.uint8], inner: tuple[int, int]) -> NDArray[np.uint8]:
    top, left = (pictures.shape[1] - inner[0]) // 2, (pictures.shape[2] - inner[1]) // 2
    tall = pictures[:, :, left : left + inner[1]]
    if tall.any() and not pictures[:, :, :left].any() and not pictures[:, :, left + inner[1] :].any():
        return tall
    return pictures[:, top : top + inner[0]]
