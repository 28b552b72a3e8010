"""The record that describes one buildable network, and the contract every network keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn


class PaperRow(NamedTuple):
    """One row of the table in a paper, beside the module whose output it describes.

    Attributes:
        layer: the row's name, in the paper's words.
        path: of the module in the network.
        output: (channels, height, width), or (features,), as printed; for one image of the variant's own input size.
        note: where the paper prints something else than its own arithmetic gives, or counts otherwise.
    """

    layer: str
    path: str
    output: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Variant:
    """One network by name: what builds it and what its paper says of it.

    ``build`` is called as ``build(num_classes, in_channels, **arguments)``, with ``input_size=`` where ``fixed_size``.

    Attributes:
        name: the public name; the bare one is the network whose published weights load.
        build: the network class of the file.
        arguments: what tells this variant from its siblings (depths, widths).
        num_classes, in_channels, input_size: the variant's own; ``input_size`` is (height, width) in pixels.
        min_size: smallest (height, width) that reaches the head.
        fixed_size: the head is sized by a flatten, so that only the built ``input_size`` is accepted.
        recipe: name of the recipe that reaches the published figure; looked up above the models.
        mean, std: per channel, on the 0..1 scale; one entry a channel of ``in_channels``.
        resize: shorter side before the centre crop, in pixels; None: the image is resized to ``input_size`` outright.
        interpolation: ``bilinear`` or ``bicubic``.
        paper: citation in one line, with arXiv id where there is one.
        year: of publication.
        accuracy: what the paper states, in one line with its protocol: "top-5 error 7.3 % (ImageNet test, 7 networks)".
        paper_table: the paper's own table of layers, row by row; empty where it prints none with sizes.
    """

    name: str
    build: Callable[..., Network]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int = 1000
    in_channels: int = 3
    input_size: tuple[int, int] = (224, 224)
    min_size: tuple[int, int] = (1, 1)
    fixed_size: bool = False
    recipe: str = "fast"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    resize: int | None = 256
    interpolation: str = "bilinear"
    paper: str = ""
    year: int = 0
    accuracy: str = ""
    paper_table: tuple[PaperRow, ...] = ()


class Network(nn.Module, ABC):
    """What any detector, segmenter, recipe or page may rely on in a network of the zoo.

    Attributes set by a subclass in ``__init__``:
        channels: channels of each feature map, finest first; empty for a network without convolutions.
        strides: input pixels from one feature-map pixel to the next, finest first.
        stage_paths: ``stem``, then ``1``, ``2``, ... as the feature maps coarsen -> paths of the modules with parameters
            that the map needs and the finer ones do not. What comes after the last map is the classifier: in no stage.
        head_path: module path of the last layer.
        embedding_dim: width of what the head reads.
        aux_head_paths: module paths of the last layers of auxiliary classifiers, which training alone reads.
        aux_weight: what each auxiliary classifier's loss counts beside the head's.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    stage_paths: dict[str, tuple[str, ...]]
    head_path: str
    embedding_dim: int
    aux_head_paths: tuple[str, ...] = ()
    aux_weight: float = 0.0

    @abstractmethod
    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """[N, C, H, W] -> one [N, channels[i], H_i, W_i] a stage, finest first.

        H_i is ceil(H / strides[i]) where every convolution pads, less by a border where some do not.
        """

    def walk(self, x: Tensor, stages: Mapping[str, Sequence[str]]) -> list[Tensor]:
        """What comes out of each stage but the stem, where ``stages`` names every module on the way, in order."""
        maps = []
        for paths in stages.values():
            for path in paths:
                x = self.get_submodule(path)(x)
            maps.append(x)
        return maps[1:]

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, embedding_dim], what the head reads."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> logits [N, num_classes], in train and eval mode alike."""
        logits: Tensor = self.get_submodule(self.head_path)(self.embed(x))
        return logits

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[N, C, H, W] -> the logits, and those of each auxiliary classifier in the order of ``aux_head_paths``."""
        return self(x), ()

    def initialize(self, layer: nn.Module) -> None:
        """Initialises one layer as the paper says, given each module of the network. Default: PyTorch's own stays."""

    def reset_head(self, num_classes: int) -> None:
        """Replaces the last layer, and that of each auxiliary classifier, by a new one with ``num_classes`` outputs.

        It is initialised as the paper says and lies on the same device in the same dtype. A last layer is dense or a 1x1
        convolution; a network with another one overrides this.
        """
        if num_classes < 1:
            raise ValueError(f"reset_head: num_classes is {num_classes}; a head needs at least 1 output")
        for path in (self.head_path, *self.aux_head_paths):
            parent_path, _, name = path.rpartition(".")
            old = self.get_submodule(path)
            like: dict[str, Any] = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
            if isinstance(old, nn.Linear):
                new: nn.Module = nn.Linear(old.in_features, num_classes, **like)
            elif isinstance(old, nn.Conv2d) and old.kernel_size == (1, 1):
                new = nn.Conv2d(old.in_channels, num_classes, 1, **like)
            else:
                raise TypeError(f"reset_head: {path} is {type(old).__name__}: neither dense nor a 1x1 convolution")
            self.initialize(new)
            setattr(self.get_submodule(parent_path), name, new.train(old.training))


class FixedSizeNetwork(Network):
    """A network whose first dense layer is sized by the flattened feature map, so that it reads one image size only."""

    def __init__(self, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.in_channels, self.input_size = in_channels, input_size

    def check_input(self, x: Tensor) -> None:
        """Raises ``ValueError`` naming the expected size where ``x`` is not [N, in_channels, *input_size]."""
        want, got = (self.in_channels, *self.input_size), tuple(x.shape[1:])
        if got != want:
            raise ValueError(
                f"{type(self).__name__} reads images of {_times(want)} (channels x height x width) but got {_times(got)}: its "
                f"first dense layer is sized by the flattened feature map. Resize the images to {_times(self.input_size)}, or "
                f"build the network for theirs: build(..., in_channels={got[0]}, input_size={got[1:]})"
            )


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
