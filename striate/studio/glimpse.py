"""A look into a training while it goes on: the first layer's filters, and what the network says of the same few pictures."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.architecture_file import build_architecture, load_architecture
from striate.checkpoint import list_checkpoints, newest_checkpoint
from striate.data.preprocess import Preprocess
from striate.data.source import Source
from striate.data.split import read_split
from striate.errors import Refused, StriateError
from striate.prediction import load
from striate.report.thumbnails import Pictures
from striate.runs import SPLIT_FILE, Run
from striate.studio.breaking import unnormalised
from striate.studio.opened import Opened
from striate.studio.trainings import asked_of
from striate.tasks.decoding import Decoder
from striate.torch_network import TorchNetwork
from striate.zoo import MODELS, build

NUM_PICTURES = 16
MOST_FILTERS = 64
KEPT = 8


class Glimpses:
    """Computed once a checkpoint, however many pages look.

    Args:
        opened: where the pictures of a run are looked for: only in data that were opened.
        arch: ``FILE.py:FUNCTION`` of the command line, for networks of one's own.
    """

    def __init__(self, opened: Opened, arch: str | None) -> None:
        self.opened, self.arch = opened, arch
        self._known: OrderedDict[Path, tuple[str, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: Run) -> dict[str, Any] | None:
        """Of the newest weights that are on the disk; None where there are none yet.

        Returns:
            ``step``; ``filters``: [F][C][h][w] numbers of the first convolution (empty: there is none); ``predictions``: for
            each of the fixed pictures (label, probability, whether right).
        """
        checkpoints = list_checkpoints(run.path / "checkpoints")
        newest = run.model_path if run.model_path.exists() else checkpoints[0] if checkpoints else None
        if newest is None:
            return None
        sign = f"{newest.name} {newest.stat().st_mtime_ns}" if newest.exists() else ""
        with self._lock:
            if (known := self._known.get(run.path)) is not None and known[0] == sign:
                return known[1]
            glimpse = self._look(run)
            self._known[run.path] = (sign, glimpse)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return glimpse

    def pictures(self, run: Run) -> list[dict[str, Any]]:
        """The fixed pictures: a thumbnail each, and the true class in words; none where the data are not open."""
        source = self._source(run)
        if source is None:
            return []
        taken = []
        pictures = Pictures(source, "")
        for i in fixed_positions(source, run).tolist():
            thumbnail = pictures.take(i, source.key(i))
            uri, pixelated = (thumbnail.uri, thumbnail.pixelated) if thumbnail is not None else (None, False)
            taken.append({"uri": uri, "pixelated": pixelated, "label": _label(source, i)})
        return taken

    def _look(self, run: Run) -> dict[str, Any]:
        record, module, step = run.record, *self._network(run)
        glimpse: dict[str, Any] = {"step": step, "filters": first_filters(module), "predictions": []}
        source = self._source(run)
        if source is None:
            return glimpse
        preprocess = Preprocess.from_json(record["preprocess"])
        network, decoder = TorchNetwork(module, preprocess), Decoder.from_json(record["task"], record["classes"])
        for i in fixed_positions(source, run).tolist():
            try:
                pixels = preprocess(source.read(i), source.key(i))
            except StriateError:
                glimpse["predictions"].append(None)
                continue
            raw = network(pixels.transpose(2, 0, 1)[None])
            glimpse["predictions"].append(_said(decoder, raw, source, i) if np.isfinite(raw).all() else None)
        return glimpse

    def _network(self, run: Run) -> tuple[nn.Module, int | None]:
        """The network with the newest weights, and the step they are of; None: the finished model."""
        make = self._maker(run)
        if run.model_path.exists():
            return load(run.path, arch=make).module, None
        _, checkpoint = newest_checkpoint(run.path / "checkpoints")
        model = run.record["model"]
        size = tuple(model["input_size"])
        with torch.random.fork_rng(devices=[]):
            if make is None:
                module: nn.Module = build(model["name"], model["num_classes"], model["in_channels"], size)
            else:
                module = build_architecture(make, model["num_classes"], model["in_channels"], size)
        module.load_state_dict(checkpoint.get("model"), strict=False)  # metric learning trains another head than it keeps
        return module.eval(), int(checkpoint.state["global_step"])

    def _maker(self, run: Run) -> Any:
        """What builds a network that is not of the zoo; nothing that a run's files name is ever run."""
        if run.record["model"]["in_zoo"]:
            return None
        asked = asked_of(run.path)
        if asked.get("preset") == "normalisation" and asked.get("network") in MODELS:
            return partial(unnormalised, asked["network"])
        if self.arch is None:
            fix = "start the studio with --arch FILE.py:FUNCTION to look into it"
            raise Refused("This run trains a network of your own", where=run.path, fix=fix)
        return load_architecture(self.arch)

    def _source(self, run: Run) -> Source | None:
        """The run's data where they were opened too."""
        asked = asked_of(run.path).get("data")
        for name in self.opened.data:
            try:
                source = self.opened.source(name)
            except StriateError:
                continue
            if name == asked or source.location == run.record["data"]["location"]:
                return source
        return None


def fixed_positions(source: Source, run: Run) -> NDArray[np.int64]:
    """The same few samples every time: of validation, evenly over its order; of all, where the split is of other data."""
    try:
        among = read_split(run.path / SPLIT_FILE, source).validation
    except StriateError:
        among = np.arange(len(source))
    return np.unique(among[np.linspace(0, len(among) - 1, min(NUM_PICTURES, len(among))).astype(np.int64)])


def first_filters(module: nn.Module) -> list[Any]:
    """Weights of the first convolution, [F][C][h][w] rounded to four digits of their largest; of grouped ones too."""
    first = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None:
        return []
    weights = first.weight.detach().float()[:MOST_FILTERS].numpy()
    if not np.isfinite(weights).all():
        return []
    scale = float(np.abs(weights).max()) or 1.0
    filters: list[Any] = np.round(weights / scale, 4).tolist()
    return filters


def _label(source: Source, i: int) -> str:
    target = source.targets[i]
    if source.kind == "value":
        return f"{float(target):.4g}"
    if source.kind == "labels":
        return ", ".join(source.classes[k] for k in np.flatnonzero(target)) or "none"
    return source.classes[int(target)]


def _said(decoder: Decoder, raw: NDArray[np.float32], source: Source, i: int) -> dict[str, Any]:
    prediction = decoder.predictions(decoder.scores(raw), [""], 1)[0]
    if prediction.value is not None:
        return {"label": f"{prediction.value:.4g}", "probability": None, "right": None}
    said = ", ".join(prediction.labels) or "none"
    return {"label": said, "probability": prediction.probability, "right": said == _label(source, i)}
