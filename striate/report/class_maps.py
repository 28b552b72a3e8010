"""Grad-CAM of the answers that a report shows as mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from striate.errors import StriateError
from striate.prediction import Model, load
from striate.prediction_inputs import read_input
from striate.report.run_folder import RunFolder
from striate.report.thumbnails import Pictures, Thumbnail, encode
from striate.runs import MODEL_FILE

BATCH = 8


@dataclass(frozen=True)
class ClassMaps:
    """Maps on the images as the network reads them, by position; none where the run has no model, or it none to show.

    Attributes:
        layer: whose maps they are.
        absent: why there are none, where a reader can do something about it.
    """

    maps: dict[int, Thumbnail] = field(default_factory=dict)
    layer: str = ""
    absent: str = ""

    @property
    def size(self) -> int:
        """Bytes that they take on the page."""
        return sum(len(each.uri) for each in self.maps.values())


def explain_mistakes(run: RunFolder, pictures: Pictures, wanted: Sequence[int], model: Model | None = None) -> ClassMaps:
    """Grad-CAM of what the network said of each picture.

    Args:
        wanted: positions of the run's predictions.
        model: the run's; None: that of its folder, if it can be opened.
    """
    if run.predictions is None or pictures.source is None or not wanted:
        return ClassMaps()
    if model is None:
        if not (run.path / MODEL_FILE).exists():
            return ClassMaps()
        try:
            model = load(run.path)
        except StriateError as error:
            return ClassMaps(absent=f"There are no class maps: {error.what}.")
    try:
        return _draw(run, pictures, wanted, model)
    except StriateError:  # a network without feature maps, or without gradients
        return ClassMaps()


def _draw(run: RunFolder, pictures: Pictures, wanted: Sequence[int], model: Model) -> ClassMaps:
    import torch

    from striate.look.cam import grad_cams
    from striate.look.pictures import lay_heat

    assert run.predictions is not None
    shown = {}
    for position in wanted:
        key = str(run.predictions.keys[position])
        data = pictures.read(int(run.predictions.index[position]), key)
        if data is not None:
            shown[position] = read_input(data, model.preprocess, key)
    maps: dict[int, Thumbnail] = {}
    layer, positions = "", list(shown)
    for start in range(0, len(positions), BATCH):
        part = positions[start : start + BATCH]
        pixels = np.stack([shown[position] for position in part])
        images = model.preprocess.normalize(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
        for position, found in zip(part, grad_cams(model.module, images, [_said(run, i) for i in part]), strict=True):
            heat, layer = found.on_image().float().numpy(), found.layer
            maps[position] = encode(lay_heat(shown[position], heat, float(heat.max()) or 1.0))
    return ClassMaps(maps, layer)


def _said(run: RunFolder, position: int) -> int:
    """The output that is wrong: the answer; of several labels the one that was missed by most; the number."""
    assert run.predictions is not None
    if run.kind == "label":
        return int(run.predictions.predicted[position])
    if run.kind == "labels":
        return int(np.abs(run.predictions.probabilities[position] - run.predictions.target[position]).argmax())
    return 0
