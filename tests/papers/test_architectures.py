"""Each network against its paper: parameters, MACs, every stage's shape, on the meta device at full size.

Expected numbers come from ``architectures.json`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from zoo_names import NAMES

from striate import zoo
from striate.arithmetic import Convolution, Dense, Pooling, chain
from striate.catalogue import catalogue
from striate.layers import LinkedConv2d, arithmetic_of
from striate.models.letters_cnn import C3_LINKS
from striate.models.variant import Network
from striate.summary import Summary, summarize

TRUTH: dict[str, dict[str, Any]] = {
    row["name"]: row for row in json.loads((Path(__file__).parent / "architectures.json").read_text())
}
ROWS = {
    "lenet1": "lenet1",
    "lenet5_paper": "lenet5_1998",
    "lenet5_slide": "lenet5",
    "lenet_caffe": "lenet_caffe",
    "alexnet_original": "alexnet_2012",
    "alexnet_slide_ungrouped": "alexnet_lecture",
    "alexnet_torchvision": "alexnet",
    "googlenet_paper": "googlenet_2014",
    "googlenet_torchvision": "googlenet",
    "inception_v3_torchvision": "inception_v3",
    "resnetv2_50": "resnet50_v2",
    "resnetv2_101": "resnet101_v2",
    "seresnet50_caffe_style": "seresnet50_caffe",
    "seresnet50_v1.5": "seresnet50",
    **{
        name: name
        for name in (
            *("zfnet", "vgg11_bn", "vgg13", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
            *("inception_resnet_v2", "xception"),
            *("resnet18", "resnet34", "resnet50", "resnet152", "resnext50_32x4d"),
            *("resnet20_cifar", "resnet32_cifar", "resnet44_cifar", "resnet110_cifar"),
            *("densenet121", "densenet201"),
            *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "squeezenet1_0"),
            *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x2_0"),
            *(f"efficientnet_b{number}" for number in (0, 1, 2, 4, 5, 6, 7)),
            *("efficientnet_v2_s", "convnext_tiny", "convnext_base"),
            *(f"regnet_y_{size}" for size in ("400mf", "800mf", "3_2gf", "8gf", "16gf", "32gf")),
        )
    },
}
"""Row of ``architectures.json`` -> network of ours."""

NOT_BUILT = {
    "lenet3": "no definition was ever published",
    "lenet4": "its connection table was never published: the row holds the paper's estimate, ours is an interpretation",
    "resnet1202_cifar": "the paper's own example of too deep a network",
}
OTHER_TASKS = (
    *("fasterrcnn_", "retinanet_", "ssd300_", "darknet/", "yolov1_"),
    *("fcn", "deeplabv3", "lraspp_", "unet_", "segnet"),
    *("dcgan", "cyclegan_", "patchgan", "pix2pix_", "srresnet_", "srgan_", "edsr_", "johnson_", "vae_", "wgan_"),
    *("pixelcnn", "gated_pixelcnn", "airbench", "int8/"),
)
"""How rows begin that are no classification network: detectors, segmenters, generators, training records, int8 files."""

PEERS = "the networks of the same names in other libraries (make parity)"
PAPER = "its paper's own table"
WITHOUT_ROW = {
    "mlp": "the lecture's sizes, in tests/contracts/test_zoo.py",
    "fashion_cnn": "its list of layers",
    "letters_cnn": PAPER,
    "lenet4": "the row's own remark: what it is without the lost table of links",
    "alexnet_caffe": PAPER,
    "inception_v4": PEERS,
    **{f"resnet{depth}_v1": "the row of its sibling that strides later" for depth in (50, 101, 152)},
    "resnet56_cifar": "published weights, in tests/contracts/test_models.py",
    "resnet200_v2": "its siblings' rows",
    **dict.fromkeys(
        (
            *("vgg11", "vgg13_bn", "resnet101", "wide_resnet50_2", "resnet18_v2", "resnet34_v2", "resnet152_v2"),
            *("densenet161", "densenet169", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x1_5"),
            *("efficientnet_b3", "efficientnet_v2_m", "efficientnet_v2_l"),
            *("regnet_y_1_6gf", "convnext_small", "convnext_large"),
        ),
        PEERS,
    ),
}
"""Networks that no row describes -> what they are held against."""

STAGES = {
    "lenet1": {"C1": "c1", "S2": "s2", "C3": "c3", "S4": "s4", "out": "output"},
    "lenet5": {"0": "c1", "2": "s2", "3": "c3", "5": "s4", "6": "c5"},
    "alexnet_2012": {stage: f"features.{stage}" for stage in TRUTH["alexnet_original"]["stages"]},
    "zfnet": dict(zip(TRUTH["zfnet"]["stages"], (f"features.{index}" for index in (0, 2, 4, 6, 8, 10, 12, 14)), strict=True)),
}
"""Networks whose modules are not named as the row's stages are: stage -> module path."""

TRUTH_OF = {name: TRUTH[row] for row, name in ROWS.items() if name in zoo.MODELS}
"""Network of ours -> its row."""


def on_meta(name: str) -> Network:
    with torch.device("meta"):
        return zoo.build(name)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@cache
def seen(name: str) -> tuple[Network, Summary]:
    """A network and what one run of it on its own image shows: each is built and run once for all tests of this file."""
    variant, network = zoo.MODELS[name], on_meta(name)
    return network, summarize(lambda: network, name, (variant.in_channels, *variant.input_size))


def outputs(name: str) -> dict[str, tuple[int, ...] | None]:
    """(C, H, W), or (C,) for a dense layer, that comes out of each path, for one image."""
    return {part.path: part.output for part in seen(name)[1].whole}


def main_part(network: Network, names: Iterable[str]) -> list[str]:
    """Those of the dotted names that lie in no auxiliary classifier."""
    auxiliary = {path.partition(".")[0] for path in network.aux_head_paths}
    return [name for name in names if name.partition(".")[0] not in auxiliary]


def test_every_row_is_built_or_has_its_reason() -> None:
    of_classifiers = {row for row in TRUTH if not row.startswith(OTHER_TASKS)}
    assert of_classifiers == ROWS.keys() | NOT_BUILT.keys()
    assert not ROWS.keys() & NOT_BUILT.keys()
    assert set(ROWS.values()) <= zoo.MODELS.keys()


def test_every_network_is_held_against_something() -> None:
    assert set(ROWS.values()) | WITHOUT_ROW.keys() == zoo.MODELS.keys()
    assert not set(ROWS.values()) & WITHOUT_ROW.keys()


@pytest.mark.parametrize("name", zoo.MODELS)
def test_a_network_is_what_its_row_and_its_paper_say(name: str) -> None:
    """One test a network, so that each is built and run once."""
    network, summary = seen(name)
    if truth := TRUTH_OF.get(name):
        check_parameters(network, truth)
        check_names(network, truth)
        if "macs" in truth:
            assert (list(summary.input), summary.macs) == (truth["input"], truth["macs"])
            check_kinds_of_numbers(network, truth)
        paths = STAGES.get(name, {stage: stage for stage in truth.get("stages", ())})
        assert {stage: list(outputs(name)[path] or ()) for stage, path in paths.items()} == truth.get("stages", {})
    check_the_papers_own_table(name)
    check_the_catalogue(name)


def check_parameters(network: Network, truth: dict[str, Any]) -> None:
    sizes = {key: parameter.numel() for key, parameter in network.named_parameters()}
    assert sum(sizes.values()) == truth.get("params_with_aux", truth["params"])
    assert sum(sizes[key] for key in main_part(network, sizes)) == truth["params"]


def check_names(network: Network, truth: dict[str, Any]) -> None:
    keys = list(network.state_dict())
    assert keys[: len(truth.get("first_keys", ()))] == truth.get("first_keys", [])
    assert keys[len(keys) - len(truth.get("last_keys", ())) :] == truth.get("last_keys", [])


def check_kinds_of_numbers(network: Network, truth: dict[str, Any]) -> None:
    kinds = {"conv_linear_weights": 0, "biases": 0, "norm_affine": 0, "other": 0}
    for path in main_part(network, (path for path, _ in network.named_modules())):
        module = network.get_submodule(path)
        for key, parameter in module.named_parameters(recurse=False):
            weight = "norm_affine" if isinstance(module, nn.BatchNorm2d | nn.LayerNorm) else "conv_linear_weights"
            bias = weight if weight == "norm_affine" else "biases"
            kinds[{"weight": weight, "bias": bias}.get(key, "other")] += parameter.numel()
    assert kinds == {key: truth[key] for key in kinds}
    buffers = dict(network.named_buffers())
    statistics = [key for key in main_part(network, buffers) if key.endswith(("running_mean", "running_var"))]
    assert sum(buffers[key].numel() for key in statistics) == truth["running_stat_buffers"]
    assert len(main_part(network, network.state_dict())) == truth["n_state_keys"]


def check_the_papers_own_table(name: str) -> None:
    """Each printed size is the network's, or a note says why it is not."""
    for row in zoo.MODELS[name].paper_table:
        ours = outputs(name)[row.path]
        assert ours is not None
        flat = ours[:1] if ours[1:] == (1, 1) else ours
        assert row.output in (ours, flat) or row.note, (row, ours)


def check_the_catalogue(name: str) -> None:
    """``catalogue.json`` says what the network is, and every layer with weights was counted."""
    variant, (network, summary), entry = zoo.MODELS[name], seen(name), catalogue()[name]
    assert (entry.parameters, entry.macs) == (parameters(network), summary.macs)
    assert (entry.year, entry.input, entry.paper, entry.accuracy) == (
        variant.year, (variant.in_channels, *variant.input_size), variant.paper, variant.accuracy,
    )  # fmt: skip
    assert summary.uncounted == ()


def test_the_catalogue_holds_every_network_in_order() -> None:
    assert list(catalogue()) == list(zoo.MODELS), "run tools/zoo_page.py"


def test_version_1_strides_in_the_first_convolution() -> None:
    for name in ("resnet50", "resnet152"):
        assert seen(f"{name}_v1")[1].macs == TRUTH[name]["macs_v1_stride_in_1x1"]


def test_lenet4_is_what_the_row_says_it_is_without_its_links() -> None:
    assert f"{parameters(on_meta('lenet4')):,} params" in TRUTH["lenet4"]["note"]


def test_lenet5_of_1998_layer_by_layer() -> None:
    row, (network, _) = TRUTH["lenet5_paper"], seen("lenet5_1998")
    assert {layer: parameters(network.get_submodule(layer.lower())) for layer in row["params_per_layer"]} == row[
        "params_per_layer"
    ]
    assert sum(row["params_per_layer"].values()) == row["params"]


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
    assert seen("fashion_cnn")[1].macs == sum(row.macs for row in rows)
    paths = ["conv1", "pool1", "conv2", "pool2", "fc1", "fc2"]
    shapes = outputs("fashion_cnn")
    assert [list(shapes[path] or ()) for path in paths] == [
        list(row.output) if row.output[1] > 1 else [row.output[0]] for row in rows
    ]


@pytest.mark.parametrize("name", NAMES)
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
    assert 2 * (seen(name)[1].macs + unlinked) == counter.get_total_flops()
