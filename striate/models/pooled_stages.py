"""The plan that AlexNet, ZFNet and VGG share: convolutions in stages, each ended by a max pool, then three dense layers.

A stage's feature map is what its pool reads. That is what others take from these networks: conv4_3 and conv5_3 of VGG-16 in
SSD and Faster R-CNN, the full-resolution stages in U-Net, relu1_2 to relu4_3 in perceptual losses; FCN's pooled maps are one
max pool away, while nothing leads back from a pooled map. VGG's strides are thus 1 to 16, AlexNet's 4 to 16.
"""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from striate.arithmetic import chain
from striate.layers import arithmetic_of
from striate.models.variant import FixedSizeNetwork, Network


def dense_classifier(in_features: int, num_classes: int) -> nn.Sequential:
    """Two dense layers of 4096 with ReLU and dropout, and the last one (A. Krizhevsky et al., NIPS 2012, section 3.5)."""
    return nn.Sequential(
        nn.Linear(in_features, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, num_classes),
    )  # fmt: skip


class PooledStages(Network):
    """``features``, in which a max pool ends each stage, and ``classifier``, whose last layer is the head.

    A subclass sets both, and ``avgpool`` between them where any size is to fit; then it calls :meth:`set_stages`.
    """

    features: nn.Sequential
    classifier: nn.Sequential
    avgpool: nn.Module

    def set_stages(self) -> None:
        """Reads channels, strides, stages and head off the layers."""
        self.channels, self.strides, self.stage_paths = (), (), {"stem": ()}
        paths: tuple[str, ...] = ()
        channels, stride = 0, 1
        for name, layer in self.features.named_children():
            if isinstance(layer, nn.MaxPool2d):
                self.channels, self.strides = (*self.channels, channels), (*self.strides, stride)
                self.stage_paths[str(len(self.channels))] = paths
                paths, stride = (), 2 * stride
            elif next(layer.parameters(), None) is not None:
                paths = (*paths, f"features.{name}")
            if isinstance(layer, nn.Conv2d):
                channels, stride = layer.out_channels, stride * layer.stride[0]
        head = self.classifier[-1]
        assert isinstance(head, nn.Linear)
        self.head_path, self.embedding_dim = f"classifier.{len(self.classifier) - 1}", head.in_features

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        *layers, _ = self.features  # the last pool is the classifier's
        maps = []
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return [*maps, x]

    def embed(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features[-1](self.feature_maps(x)[-1])).flatten(1)
        *layers, _ = self.classifier
        for layer in layers:
            x = layer(x)
        return x


class FixedPooledStages(PooledStages, FixedSizeNetwork):
    """The same for one image size: the flattened features size the first dense layer."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], features: nn.Sequential) -> None:
        super().__init__(in_channels, input_size)
        self.features, self.avgpool = features, nn.Identity()
        layers = [layer for module in features if (layer := arithmetic_of(module)) is not None]
        flattened = prod(chain((in_channels, *input_size), layers)[-1].output)
        self.classifier = dense_classifier(flattened, num_classes)
        self.set_stages()

    def initialize(self, layer: nn.Module) -> None:
        """Normal with standard deviation 0.01, biases 0: what the papers of 2012 and 2013 say of most layers."""
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        return super().feature_maps(x)


def local_response_norm(k: float = 2.0, alpha: float = 1e-4) -> nn.LocalResponseNorm:
    """Each number over (k + alpha x the sum of squares over 5 neighbouring channels) ** 0.75 (NIPS 2012, section 3.3).

    PyTorch divides its own alpha by the 5 channels.
    """
    return nn.LocalResponseNorm(5, alpha=5 * alpha, beta=0.75, k=k)
