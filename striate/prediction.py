"""A trained model: from its one file to what it says of any picture.

This module imports no torch: a network of another kind (an exported graph) predicts without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.architecture_file import is_architecture_file
from striate.backends.opening import is_artefact, open_artefact
from striate.bundle import MODEL_FILE, read_bundle
from striate.data.decode import ImageError
from striate.data.preprocess import Preprocess
from striate.errors import Refused, StriateError, UsageError
from striate.picture_stream import Item, stream_pictures
from striate.prediction_inputs import Input, list_inputs, read_input
from striate.progress import Progress
from striate.tasks.decoding import Decoder, Floats, Prediction

if TYPE_CHECKING:
    from torch import nn

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 [N, C, H, W] of the size that ``Preprocess`` makes, 0..255, not normalised -> raw outputs [N, K]."""

BATCH = 64


class Model:
    """A network with all that it takes to use it: classes, preprocessing, and how its outputs are read.

    Attributes:
        info: the card of its file, see :mod:`striate.bundle`.
        classes: in the order of the outputs; empty for a number.
        kind: ``label``, ``labels`` or ``value``.
        threshold: probability from which one of several ``labels`` counts as present.
        preprocess: from any picture to the pixels that the network reads.
        path: the file it was loaded from, if any.
    """

    def __init__(self, network: Network, info: Mapping[str, Any], path: Path | None = None) -> None:
        self.info, self.path = dict(info), path
        self.preprocess, self._decoder = _read_card(info, path)
        self.classes, self.kind, self.threshold = self._decoder.classes, self._decoder.kind, self._decoder.threshold
        self._network = network

    @classmethod
    def from_module(cls, module: nn.Module, info: Mapping[str, Any], path: Path | None = None) -> Model:
        """A model of a torch module that takes normalised images, e.g. one that has just been trained."""
        from striate.torch_network import TorchNetwork

        return cls(TorchNetwork(module, _read_card(info, path)[0]), info, path)

    @property
    def module(self) -> nn.Module:
        """The torch network itself, in eval mode when loaded. It takes normalised images: see ``preprocess.normalize``.

        Raises:
            UsageError: the model was loaded from an exported graph.
        """
        module: nn.Module | None = getattr(self._network, "module", None)
        if module is None:
            fix = f"load the {MODEL_FILE} it was exported from"
            raise UsageError("An exported graph is no torch module", where=self.path, fix=fix)
        return module

    @property
    def decoder(self) -> Decoder:
        """How the raw outputs are read."""
        return self._decoder

    @property
    def is_torch(self) -> bool:
        """Whether the network is a torch module, not an exported graph."""
        return hasattr(self._network, "module")

    def fastest(self, goal: Literal["latency", "throughput"] = "throughput", backend: str = "auto", **options: Any) -> Model:
        """The same model, run by what is fastest on this machine among the backends and precisions that agree with it.

        They are exported, judged and timed once; artefacts and answer stay in the cache. ``info["chosen"]`` says which and why.
        Arguments and what is raised: see :func:`striate.exporting.fastest.fastest`.
        """
        from striate.exporting.fastest import fastest

        return fastest(self, goal, backend, **options)

    def predict(
        self, inputs: Input | Iterable[Input], top: int = 5, batch: int = BATCH, workers: int | None = None
    ) -> list[Prediction]:
        """What the model says of each picture, in order.

        Args:
            inputs: one or many of: the path of a file, of a folder (every picture below it) or a glob; an encoded file as
                bytes; uint8 [H, W] or [H, W, C], RGB, 0..255; a Pillow image.
            top: most probable classes in each answer.
            batch: pictures that the network takes at once.
            workers: decoding threads; None: one a core.

        Returns:
            One record a picture. A picture that cannot be read has an ``error`` and nothing else.
        """
        return list(self.predict_iter(inputs, top, batch, workers))

    def predict_iter(
        self, inputs: Input | Iterable[Input], top: int = 5, batch: int = BATCH, workers: int | None = None
    ) -> Iterator[Prediction]:
        """As :meth:`predict`, one by one: ``inputs`` may be endless, and is read only a few batches ahead."""
        if top < 1:
            raise UsageError(f"top is {top}", why="it is the number of classes to name", fix="name at least 1")

        def read(named: tuple[str, Input]) -> NDArray[np.uint8]:
            return read_input(named[1], self.preprocess, named[0])

        for (name, _), outcome in self.scores(list_inputs(inputs), read, batch, workers):
            if isinstance(outcome, ImageError):
                yield Prediction(name, error=_one_line(outcome))
            else:
                yield self._decoder.predictions(outcome[None], [name], top)[0]

    def scores(
        self, items: Iterable[Item], read: Callable[[Item], NDArray[np.uint8]], batch: int = BATCH, workers: int | None = None
    ) -> Iterator[tuple[Item, Floats | ImageError]]:
        """Each item with its probabilities [K] (its number, for ``value``), or why it could not be read.

        ``read`` turns an item into uint8 [h, w, C] as ``preprocess`` makes it, in threads, while the network works.
        """
        for group in stream_pictures(items, read, batch, workers):
            rows = self.probabilities(group.images) if group.images is not None else np.empty(0)
            for item, outcome in zip(group.items, group.outcomes, strict=True):
                yield item, outcome if isinstance(outcome, ImageError) else rows[outcome]

    def probabilities(self, images: NDArray[np.uint8]) -> Floats:
        """uint8 [N, C, h, w] as ``preprocess`` makes them -> [N, K], 0..1; for ``value`` numbers [N] in the targets' units."""
        return self._decoder.scores(self.raw(images))

    def raw(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, h, w] as ``preprocess`` makes them -> what the network returns: logits [N, K], or [N, 1] for ``value``."""
        wanted = (self.preprocess.channels, *self.preprocess.size)
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != wanted:
            given = f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
            need = f"uint8 [N, {', '.join(map(str, wanted))}]"
            raise ValueError(f"the model reads arrays {need} but was given {given}; `predict` takes pictures of any size")
        raw = self._network(images)
        if raw.shape != (len(images), len(self.classes) or 1):
            raise Refused(
                f"The network returns {list(raw.shape)} for {len(images)} pictures",
                where=self.path,
                why=f"its card names {len(self.classes)} classes" if self.classes else "its card says one number",
                fix="give the network that was trained",
            )
        return raw


def load(
    path: str | Path,
    module: nn.Module | None = None,
    arch: str | Callable[..., nn.Module] | None = None,
    device: str = "cpu",
    weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Model:
    """Opens a model: every byte is checked before a weight reaches the network.

    Args:
        path: a run folder, the model's file, or what `striate export` wrote of one (torch is then imported for a .pt2 alone);
            with ``weights`` the name of a network.
        module: the network to put the weights into, where striate does not know it. It is changed in place.
        arch: instead, what builds it: ``FILE.py:FUNCTION``, or a function that takes ``num_classes``, ``in_channels`` and
            ``input_size`` (those of them that it names). The name of a network opens another tool's weights as its own.
        device: where the network runs: ``cpu``, ``cuda``; an exported graph on the CPU alone.
        weights: a file of any tool, or the name of published ones (``imagenet``), see :func:`striate.build`.
        progress: told how far a download is.

    Raises:
        UsageError: there is no such model, network, file or device.
        Refused: the file is damaged or another tool's, its weights do not fit, or its network is not known and neither
            ``module`` nor ``arch`` is given.
        Failed: published weights are not here, and cannot be downloaded.
    """
    if is_artefact(path) and weights is None:
        if module is not None or arch is not None:
            raise UsageError("An exported graph brings its own network", where=path, fix="leave the other one out")
        if device != "cpu":
            raise UsageError(f"An exported graph runs on the CPU, not on {device}", where=path)
        network, info = open_artefact(path)
        return Model(network, info, Path(path))
    named = isinstance(arch, str) and not is_architecture_file(arch)
    if weights is not None:
        if arch is not None or module is not None:
            raise UsageError("Weights are given, and two networks for them", where=path, fix="name one of them")
        info, state, path = _read_pretrained(str(path), weights, progress)
    elif named:
        info, state, path = _read_pretrained(str(arch), model_file(path), progress)
    else:
        path = model_file(path)
        _refuse_mere_name(path)
        info, state = read_bundle(path)
    _read_card(info, path)
    from striate.torch_network import restore_module

    restored = restore_module(path, info, state, module, None if named else arch)
    return Model.from_module(restored.to(machine.usable_device(device)), info, path)


def _read_pretrained(name: str, weights: str | Path, progress: Progress | None) -> tuple[dict[str, Any], dict[str, Any], Path]:
    from striate.pretrained import read_pretrained

    return read_pretrained(name, weights, progress)


def _refuse_mere_name(path: Path) -> None:
    """A network of the zoo is no model before it has weights."""
    if path.exists():
        return
    from striate.zoo import MODELS

    if str(path) in MODELS:
        fix = f"name them, published ones or a file: --weights imagenet (in Python: striate.load({str(path)!r}, weights=...))"
        raise UsageError(f"{path} is a network without weights", fix=fix)


def model_file(path: str | Path) -> Path:
    """The model's file where a run folder is given.

    Raises:
        UsageError: the folder holds none.
    """
    path = Path(path)
    if path.is_dir() and not (path / MODEL_FILE).exists():
        resumable = any(path.glob("checkpoints/*"))
        fix = f"finish the run first: `striate resume {path}`" if resumable else "give the folder that `striate train` printed"
        raise UsageError("No model in this folder", where=path, why=f"it has no {MODEL_FILE}", fix=fix)
    return path / MODEL_FILE if path.is_dir() else path


def _read_card(info: Mapping[str, Any], path: Path | None) -> tuple[Preprocess, Decoder]:
    """How pictures go in and outputs come out."""
    try:
        if info["task"]["name"] != "classify":
            raise Refused(f"A model for another task: {info['task']['name']}", where=path, why="this reads classes and numbers")
        return Preprocess.from_json(info["preprocess"]), Decoder.from_json(info["task"], info["classes"])
    except StriateError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        why, fix = f"{type(error).__name__}: {error}", "train it again with this version"
        raise Refused("The model's card lacks what prediction needs", where=path, why=why, fix=fix) from error


def _one_line(error: ImageError) -> str:
    return f"{error.what} ({error.why})" if error.why else error.what
