"""Small models as files: a bundle, and the pair of files that `striate export` writes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import FRUIT, card, preprocess_28
from torch import nn

from striate.bundle import write_bundle
from striate.prediction import load
from striate.tasks.classify import Classify
from striate.zoo import build


def write_fruit(folder: Path) -> Path:
    """A network of the zoo with weights by chance, large enough that its answers differ between pictures."""
    torch.manual_seed(0)
    net = build("fashion_cnn", num_classes=3, in_channels=3, input_size=(28, 28))
    for part in net.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.3)
    path = folder / "fruit.safetensors"
    write_bundle(path, net.state_dict(), card(Classify(FRUIT), preprocess_28()))
    return path


def export_fruit(folder: Path, to: str = "onnx") -> Path:
    """NAME.EXT beside NAME.tensor.EXT; the path of the first."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(to, to), reason=f"needs {to}")
    from striate.exporting.conversion import CONVERTERS, Pair, order_for

    pair = Pair.at(folder / "fruit", to)
    CONVERTERS[to, "fp32"](order_for(load(write_fruit(folder)), to, "fp32"), pair)
    return pair.images
