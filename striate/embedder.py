"""What a network makes of pictures before its last layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from striate import features, machine
from striate.errors import Refused
from striate.exporting.embedding_graph import Backend, fastest_embedding
from striate.features import weights_digest
from striate.index import Vectors
from striate.models.variant import Network
from striate.prediction import Model
from striate.progress import Progress
from striate.torch_network import TorchNetwork

MANY = 2000
"""Pictures from which on a graph for a faster backend is worth the ten seconds that it takes to make."""


class Embedder:
    """Runs a model up to what its last layer reads.

    A network of one's own may say its embedding itself, by a method ``embed``; else it is what the dense layer reads whose
    output is the network's.

    Attributes:
        model: the model.
        width: numbers an embedding has.

    Raises:
        UsageError: the model is an exported graph.
        Refused: its network has no such method and no such layer, or not one vector a picture.
    """

    def __init__(self, model: Model) -> None:
        preprocess, head = model.preprocess, None
        if not callable(getattr(model.module, "embed", None)):
            head = features.find_head(model.module, (preprocess.channels, *preprocess.size))
            if head is None:
                raise Refused(
                    f"{type(model.module).__name__} does not say what its embedding is",
                    where=model.path,
                    why="it does not end in one torch.nn.Linear with a bias, whose input it would be",
                    fix="give it a method embed(x): images [N, C, H, W] -> what its last layer reads, [N, D]",
                )
        self.model, self._own = model, TorchNetwork(_BeforeHead(model.module, head), preprocess)
        self._network: Callable[[NDArray[np.uint8]], NDArray[np.float32]] = self._own
        self.width = model.module.embedding_dim if isinstance(model.module, Network) else self._measure()

    def __call__(self, images: NDArray[np.uint8]) -> Vectors:
        """uint8 [N, C, h, w] as the model's ``preprocess`` makes them -> float32 [N, width], of length 1.

        Zeros stay zeros; a vector of numbers that are not finite comes out as NaN.
        """
        raw = self._network(images)
        lengths = np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            vectors: Vectors = (raw / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return vectors

    def is_worth_hastening(self, backend: Backend, pictures: int) -> bool:
        """Whether a faster backend gains more time on so many pictures than making its graph costs."""
        on_cpu = next((p.device.type == "cpu" for p in self.model.module.parameters()), True)
        return backend != "auto" or (on_cpu and (pictures >= MANY or self._folder.exists()))

    def hasten(self, images: NDArray[np.uint8], backend: Backend, progress: Progress) -> None:
        """From here on embeds by the fastest backend that agrees on ``images``, see :func:`fastest_embedding`."""
        module, preprocess, card = self._own.module, self.model.preprocess, self.model.info
        self._network = fastest_embedding(module, self._own, preprocess, card, self._folder, images, backend, progress)

    @cached_property
    def _folder(self) -> Path:
        """Of the cache."""
        digest = f"{weights_digest(self.model.module)[:32]}-{self.model.preprocess.fingerprint()[:8]}"
        return machine.cache_folder() / "embedding" / digest

    def _measure(self) -> int:
        preprocess = self.model.preprocess
        shape: tuple[int, ...] = self._network(np.zeros((1, preprocess.channels, *preprocess.size), np.uint8)).shape
        if len(shape) != 2:
            what = f"{type(self.model.module).__name__}.embed returns {list(shape)} for one picture"
            raise Refused(what, where=self.model.path, fix="return one vector a picture, [N, D]")
        return shape[1]


class _BeforeHead(nn.Module):
    """A network whose output is its embedding."""

    def __init__(self, network: Any, head: nn.Module | None) -> None:
        super().__init__()
        self.network, self._heads = network, [head]  # in a list: it is a part of the network already

    def forward(self, x: Tensor) -> Tensor:
        (head,) = self._heads
        embedding: Tensor = self.network.embed(x) if head is None else features.embed(self.network, head, x)
        return embedding
