"""Every network of the zoo passes the fp32 gate as ONNX: one of a family, and in the thorough suite all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import FRUIT, card
from trained_run import write_photos
from zoo_names import EVERY, SIBLINGS

from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.exporting.conversion import CONVERTERS, Pair, order_for
from striate.exporting.gate import LOGITS, judge
from striate.exporting.images import LabelledImages
from striate.prediction import Model
from striate.tasks.classify import Classify
from striate.zoo import MODELS, build

FULL = {"resnet50", "mobilenet_v2"}
"""At their own size; the others, where they take any, at 64 pixels: the graph is the same, and runs sooner."""
SPREAD = 50 * LOGITS
"""Below it a graph that did not look at its picture would nearly pass."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if EVERY or name not in SIBLINGS or name in FULL]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> LabelledImages:
    source = open_source(write_photos(tmp_path_factory.mktemp("zoo") / "data", each=3))
    return LabelledImages(source, np.arange(len(source)), "all")


def of_zoo(name: str, photos: LabelledImages) -> Model:
    """A network with weights by chance, and statistics of ``photos`` in its batch norms."""
    variant = MODELS[name]
    small = [min(side, max(least, 64)) for side, least in zip(variant.input_size, variant.min_size, strict=True)]
    size = variant.input_size if variant.fixed_size or name in FULL else (small[0], small[1])
    preprocess = Preprocess.for_variant(variant, size)
    torch.manual_seed(0)
    network = build(name, num_classes=3, input_size=size)
    model = Model.from_module(network, card(Classify(FRUIT), preprocess, name))
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.register_forward_pre_hook(take_power)
    with torch.no_grad():
        network.eval()(preprocess.normalize(torch.from_numpy(photos.tensors(model).copy())))
    for part in network.modules():
        part._forward_pre_hooks.clear()
    for _ in range(4):  # small weights by chance, and hardly anything of the picture is left in the logits
        if spread(model, photos) >= SPREAD:
            break
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1 if parameter.ndim < 2 else 2)
    return model


def spread(model: Model, photos: LabelledImages) -> float:
    """How much of the largest logit tells the pictures apart."""
    logits = model.raw(photos.tensors(model))
    return float(logits.std(0).max() / np.abs(logits).max())


def take_power(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
    """A tenth of each channel's mean, and about the power of them all: another a channel, so that a mixed-up fold is seen.

    The pictures' own deviations are so small deep in a network of chance that dividing by them fifty times makes logits of the
    last bits: float32 itself would be off from float64 by a tenth, and otherwise on every processor.
    """
    (x,) = inputs
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(0.1 * x.mean((0, 2, 3)))
    norm.running_var.uniform_(0.7, 1.4).mul_(x.square().mean())


@pytest.mark.parametrize("name", NAMES)
def test_every_network_passes_the_gate_as_onnx(name: str, photos: LabelledImages, tmp_path: Path) -> None:
    model = of_zoo(name, photos)
    assert spread(model, photos) >= SPREAD
    pair = Pair.at(tmp_path / name, "onnx")
    CONVERTERS["onnx", "fp32"](order_for(model, "onnx", "fp32"), pair)
    verdict = judge(model, pair, photos, "fp32")
    assert verdict.status == "passed", "\n".join(f"{row.name}: {row.measured}" for row in verdict.checks if not row.passed)
