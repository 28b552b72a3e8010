"""A model as the two modules that are exported: from ready tensors to raw outputs, and from whole pictures to probabilities."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from striate.data.preprocess import Preprocess
from striate.exporting.folding import fold_batch_norm
from striate.exporting.pixels import Pixels
from striate.prediction import Model
from striate.tasks.decoding import Decoder


class TensorGraph(nn.Module):
    """Normalises in float32, then runs the network in its own precision.

    Args:
        network: in eval mode; takes normalised images.
        preprocess: of which the normalisation.
    """

    factor: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        shape = (1, preprocess.channels, 1, 1)
        unshifted = replace(preprocess, mean=(0.0,))
        self.register_buffer("factor", torch.from_numpy(unshifted.normalize(np.ones(shape, np.uint8))))
        self.register_buffer("offset", torch.from_numpy(preprocess.normalize(np.zeros(shape, np.uint8))))
        like = next((p for p in network.parameters() if p.is_floating_point()), self.factor)
        self.dtype = like.dtype

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, C, h, w] -> raw outputs float32 [N, K]."""
        logits: Tensor = self.network((images.float() * self.factor + self.offset).to(self.dtype))
        return logits.float()


class ImageGraph(nn.Module):
    """The preprocessing, a :class:`TensorGraph`, and what is made of its outputs."""

    def __init__(self, pixels: Pixels, tensor: TensorGraph, decoder: Decoder) -> None:
        super().__init__()
        self.pixels, self.tensor, self.decoder = pixels, tensor, decoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, H, W, 3] -> raw outputs [N, K], and probabilities [N, K] (numbers in the targets' units, [N, 1])."""
        logits = self.tensor(self.pixels(images))
        if self.decoder.kind == "value":
            return logits, logits * self.decoder.target_std + self.decoder.target_mean
        return logits, logits.softmax(1) if self.decoder.kind == "label" else logits.sigmoid()


@dataclass(frozen=True)
class Graphs:
    """What is exported of a model.

    Attributes:
        tensor, images: without the preprocessing; with it, and with probabilities.
        folded: path of a layer in the exported network -> path in the model's of the batch norm that is now part of it.
        preprocess, decoder: the model's own.
    """

    tensor: TensorGraph
    images: ImageGraph
    folded: dict[str, str]
    preprocess: Preprocess
    decoder: Decoder

    @property
    def example(self) -> Tensor:
        """What ``tensor`` takes: uint8 [2, C, h, w]."""
        return torch.zeros(2, self.preprocess.channels, *self.preprocess.size, dtype=torch.uint8)


def make_graphs(model: Model, dtype: torch.dtype = torch.float32) -> Graphs:
    """The graphs of a torch model, on the CPU: batch norm folded in float64, the network then cast to ``dtype``.

    The model itself is left as it is.

    Raises:
        UsageError: the model was loaded from an exported graph.
    """
    preprocess = model.preprocess
    network = copy.deepcopy(model.module).cpu().float().eval().requires_grad_(False)
    folded = fold_batch_norm(network, torch.zeros(1, preprocess.channels, *preprocess.size))
    network = network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    tensor = TensorGraph(network, preprocess)
    images = ImageGraph(Pixels(preprocess), tensor, model.decoder)
    return Graphs(tensor.eval(), images.eval(), folded, preprocess, model.decoder)
