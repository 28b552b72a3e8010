"""Each network against its paper: parameters, MACs, every stage's shape, on the meta device at full size.

Expected numbers come from ``architectures.json`` alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from striate import zoo
from striate.arithmetic import Convolution, Dense, Pooling, chain
from striate.layers import LinkedConv2d, arithmetic_of
from striate.models.letters_cnn import C3_LINKS
from striate.models.variant import Network

TRUTH: dict[str, dict[str, Any]] = {
    row["name"]: row for row in json.loads((Path(__file__).parent / "architectures.json").read_text())
}
ROWS = {
    "lenet1": "lenet1",
    "lenet5": "lenet5_slide",
    **{name: name for name in zoo.MODELS if name.startswith("resn") and name in TRUTH},
}
STAGES = {
    "lenet1": {"C1": "c1", "S2": "s2", "C3": "c3", "S4": "s4", "out": "output"},
    "lenet5": {"0": "c1", "2": "s2", "3": "c3", "5": "s4", "6": "c5"},
}


def on_meta(name: str) -> Network:
    with torch.device("meta"):
        return zoo.build(name)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def stage_shapes(network: Network, size: tuple[int, ...], paths: list[str]) -> dict[str, list[int]]:
    """[C, H, W] (or [C] for a dense layer) that comes out of each path, for one image."""
    shapes: dict[str, list[int]] = {}
    for path in paths:
        network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, path=path: shapes.update({path: list(output.shape[1:])})
        )
    network.eval()(torch.empty(1, *size, device="meta"))
    return shapes


def test_every_row_the_zoo_can_be_held_against_is() -> None:
    """At least the networks of the first issue, so that a renamed row does not empty the tests below."""
    assert {"lenet1", "lenet5", "resnet18", "resnet34", "resnet50", "resnet20_cifar"} <= ROWS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_parameters(name: str) -> None:
    assert parameters(on_meta(name)) == TRUTH[ROWS[name]]["params"]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "macs" in TRUTH[row]])
def test_macs_and_kinds_of_numbers(name: str) -> None:
    row, network = TRUTH[ROWS[name]], on_meta(name)
    assert zoo.describe(name).macs == row["macs"]
    kinds = {"conv_linear_weights": 0, "biases": 0, "norm_affine": 0}
    for module in network.modules():
        for key, parameter in module.named_parameters(recurse=False):
            norm = isinstance(module, nn.BatchNorm2d)
            kinds["norm_affine" if norm else "biases" if key == "bias" else "conv_linear_weights"] += parameter.numel()
    assert kinds == {key: row[key] for key in kinds}
    statistics = [b for key, b in network.named_buffers() if key.endswith(("running_mean", "running_var"))]
    assert sum(buffer.numel() for buffer in statistics) == row["running_stat_buffers"]
    assert len(network.state_dict()) == row["n_state_keys"]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if TRUTH[row].get("stages")])
def test_every_stage(name: str) -> None:
    row = TRUTH[ROWS[name]]
    paths = STAGES.get(name, {stage: stage for stage in row["stages"]})
    shapes = stage_shapes(on_meta(name), tuple(row["input"]), list(paths.values()))
    assert {stage: shapes[path] for stage, path in paths.items()} == row["stages"]


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if "first_keys" in TRUTH[row]])
def test_parameter_names_are_the_published_ones(name: str) -> None:
    row, keys = TRUTH[ROWS[name]], list(on_meta(name).state_dict())
    assert keys[: len(row["first_keys"])] == row["first_keys"]
    assert keys[-len(row["last_keys"]) :] == row["last_keys"]


def test_version_1_strides_in_the_first_convolution() -> None:
    assert zoo.describe("resnet50_v1").macs == TRUTH["resnet50"]["macs_v1_stride_in_1x1"]


def test_lenet1_layer_by_layer() -> None:
    row, network = TRUTH["lenet1"], on_meta("lenet1")
    layers = [arithmetic_of(network.get_submodule(path)) for path in STAGES["lenet1"].values()]
    rows = chain(tuple(row["input"]), [layer for layer in layers if layer is not None])
    assert {stage: r.parameters for stage, r in zip(STAGES["lenet1"], rows, strict=True)} == row["params_per_layer"]
    assert sum(r.connections for r in rows) == row["connections"]
    links = [[int(channel in channels) for channels in C3_LINKS] for channel in range(len(row["c3_table"]))]
    assert links == row["c3_table"]


def test_fashion_cnn_is_its_list_of_layers() -> None:
    """Conv 32 3x3, max-pool 2, conv 64 3x3, max-pool 2, dense 128, dense 10."""
    layers = [Convolution(32, 3), Pooling(2), Convolution(64, 3), Pooling(2), Dense(128), Dense(10)]
    rows, network = chain((1, 28, 28), layers), on_meta("fashion_cnn")
    assert parameters(network) == sum(row.parameters for row in rows)
    assert zoo.describe("fashion_cnn").macs == sum(row.macs for row in rows)
    paths = ["conv1", "pool1", "conv2", "pool2", "fc1", "fc2"]
    shapes = stage_shapes(network, (1, 28, 28), paths)
    assert [shapes[path] for path in paths] == [list(row.output) if row.output[1] > 1 else [row.output[0]] for row in rows]


@pytest.mark.parametrize("name", zoo.MODELS)
def test_macs_are_half_the_flops_that_pytorch_counts(name: str) -> None:
    variant, network = zoo.MODELS[name], on_meta(name).eval()
    unlinked = 0  # PyTorch also counts the zeros that stand for missing links

    def count(module: LinkedConv2d, _inputs: object, output: Tensor) -> None:
        nonlocal unlinked
        unlinked += (module.kernels().numel() - module.weight.numel()) * output[0, 0].numel()

    for module in network.modules():
        if isinstance(module, LinkedConv2d):
            module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, variant.in_channels, *variant.input_size, device="meta"))
    assert 2 * (zoo.describe(name).macs + unlinked) == counter.get_total_flops()
