"""Graphs of layers: what a trace finds in networks of every make, what it counts, and what it says where one breaks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
import torch
from odd_modules import ODD, Choosing, Functional, Nested, Shared, TwoInputs
from torch import Tensor, nn
from zoo_names import DEEP, EVERY

from striate import StriateError, zoo
from striate.look import LayerGraph, trace
from striate.look.folding import Block
from striate.summary import summarize

FAMILIES = {variant.build: name for name, variant in reversed(zoo.MODELS.items())}.values()
MANY = DEEP | {"inception_v3", "efficientnet_b0", "regnet_y_400mf", "mobilenet_v2", "mobilenet_v3_large"}
"""Operations."""
NAMES = [
    name if name in FAMILIES and name not in MANY else pytest.param(name, marks=pytest.mark.slow)
    for name in zoo.MODELS
    if EVERY or name in FAMILIES
]
"""The first of each family; all of them in `make test-all` alone."""
EXPORTED = ("resnet18", "googlenet", "shufflenet_v2_x0_5", "convnext_tiny")


def of_zoo(name: str) -> LayerGraph:
    with torch.device("meta"):
        network = zoo.build(name)
    variant = zoo.MODELS[name]
    return trace(network, (variant.in_channels, *variant.input_size), name)


def edges(graph: LayerGraph) -> Counter[str]:
    return Counter(f"{edge.source}>{edge.target}" for edge in graph.edges)


@pytest.mark.parametrize("name", ODD)
def test_odd_networks_have_the_graphs_counted_by_hand(name: str) -> None:
    odd = ODD[name]
    graph = trace(odd.make(), odd.inputs)
    assert [node.id for node in graph.nodes] == odd.nodes.split()
    assert edges(graph) == Counter(odd.edges.split())
    assert graph.failure is None
    assert graph.unused_parameters == (Choosing().left.weight.numel() + 2 if name == "control flow" else 0)
    json.dumps(graph.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_the_zoo(name: str) -> None:
    graph, described = of_zoo(name), zoo.describe(name)
    assert (graph.parameters, graph.macs, graph.uncounted) == (described.parameters, described.macs, ())
    ids = {node.id for node in graph.nodes}
    assert len(ids) == len(graph.nodes)
    # Nothing hangs in the air: every node but the image reads one, and every node but the last is read.
    assert {edge.target for edge in graph.edges} == ids - {"input"}
    assert {edge.source for edge in graph.edges} | set(graph.outputs) == ids
    assert graph.nodes[-1].output_shapes == ((zoo.MODELS[name].num_classes,),)
    assert all(node.source is not None for node in graph.nodes[1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_the_compiler_of_pytorch_finds_the_same_operations(name: str) -> None:
    """``torch.export`` is another way to the same graph."""
    with torch.device("meta"):
        network = zoo.build(name).eval()
        image = torch.zeros(1, 3, 224, 224)
    exported = torch.export.export(network, (image,), strict=False).graph_module.graph
    targets = (str(node.target) for node in exported.nodes if node.op == "call_function")
    names = Counter(target.split(".")[1].rstrip("_") for target in targets if target.startswith("aten."))
    found = Counter(node.operation for node in of_zoo(name).nodes)
    compared = ("conv2d", "linear", "batch_norm", "layer_norm", "relu", "gelu", "hardswish", "max_pool2d", "cat", "add", "chunk")
    assert {each: found[each] for each in compared} == {each: names[each] for each in compared}
    assert found["conv2d"] > 10


def test_what_a_node_says() -> None:
    graph = of_zoo("resnet50")
    first, middle, last = graph.find("conv1"), graph.find("layer2.0.conv2"), graph.find("fc")
    assert (first.label, first.kind, first.module, first.parameters, first.macs) == (
        "conv2d 7x7 /2", "weighted_sum", "Conv2d", 9408, 118_013_952,
    )  # fmt: skip
    assert first.input_shapes == ((3, 224, 224),)
    assert first.output_shapes == ((64, 112, 112),)
    assert first.source is not None
    assert first.source.file == "striate/models/resnet.py"
    assert "self.conv1(x)" in first.source.text
    assert middle.receptive_field is not None
    assert (middle.receptive_field.size, middle.receptive_field.jump, middle.stage) == ((43, 43), (8, 8), "2")
    assert (first.stage, last.stage, graph.find("maxpool").stage) == ("stem", "classifier", "1")


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "lenet5"])
def test_receptive_fields_are_those_of_the_summary(name: str) -> None:
    variant = zoo.MODELS[name]
    summary = summarize(lambda: zoo.build(name), name, (variant.in_channels, *variant.input_size))
    fields = {part.path: part.receptive_field for part in summary.whole}
    nodes = [node for node in of_zoo(name).nodes if node.id == node.path]
    assert [node.receptive_field for node in nodes] == [fields[node.path] for node in nodes]
    assert sum(node.receptive_field is not None for node in nodes) >= 5


def test_a_layer_by_path_or_id() -> None:
    graph = of_zoo("resnet18")
    assert graph.find("layer1").id == graph.find("layer1.1").id == "layer1.1.relu#2"
    assert graph.find("layer1.0.relu").call == 1
    assert graph.find("layer1.0.relu#2").call == 2
    assert graph.find("layer1.0:add").operation == "add"
    with pytest.raises(StriateError, match=r"Did you mean 'layer1.0.conv2'"):
        graph.find("layer1.0.cnv2")
    with pytest.raises(StriateError, match=r"Did you mean 'layer1.0.relu#2'"):
        graph.find("layer1.0.relu#3")


def test_what_is_shared_is_counted_once() -> None:
    graph = trace(Shared(), (3, 8, 8))
    assert [(node.parameters, node.shared_parameters) for node in graph.nodes] == [
        (0, 0), (84, 0), (0, 0), (0, 84), (0, 0), (0, 81),
    ]  # fmt: skip
    assert (graph.parameters, graph.macs) == (84, 3 * 81 * 64)


def test_weights_made_from_parameters_are_those_parameters() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.gain = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * self.gain[:, None, None, None]
            return nn.functional.conv2d(x, weight)

    graph = trace(Standardised(), (3, 8, 8))
    assert [(node.id, node.parameters) for node in graph.nodes] == [("input", 0), (":conv2d", 4 * 27 + 4)]


def test_the_numbers_decide_where_a_network_looks_at_them() -> None:
    network = Choosing()
    assert [node.id for node in trace(network, torch.ones(1, 3, 8, 8)).nodes][3] == "left"
    assert [node.id for node in trace(network, -torch.ones(1, 3, 8, 8)).nodes][3] == "right"


def test_a_network_is_left_as_it_was() -> None:
    network = zoo.build("resnet20_cifar").train()
    network.layer1.eval()
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trace(network, (3, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Breaks(nn.Module):
    """The third layer reads another number of channels than the second returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.Conv2d(16, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(self.first(x))))


def test_what_breaks_is_shown_up_to_there() -> None:
    graph = trace(Breaks(), (3, 16, 16))
    assert [node.id for node in graph.nodes] == ["input", "first", "second", ":relu"]
    assert graph.failure is not None
    assert (graph.failure.path, graph.failure.fix) == ("third", "it reads 16 channels and is given 8")
    assert graph.unused_parameters == 16 * 2 * 9 + 2
    assert "breaks at third" in graph.text()
    on_meta = trace(Breaks().to("meta"), (3, 16, 16))
    assert on_meta.failure is not None
    assert (on_meta.failure.path, on_meta.failure.fix, on_meta.nodes) == ("third", graph.failure.fix, graph.nodes)


def test_what_breaks_between_layers() -> None:
    graph = trace(Functional(), (3, 12, 12))
    assert graph.failure is not None
    assert (graph.failure.path, graph.nodes[-1].id) == ("", ":flatten")
    assert "--size 8" in (graph.failure.fix or "")


def test_several_inputs_that_do_not_fit() -> None:
    graph = trace(TwoInputs(), ((3, 8, 8), (5,)))
    assert graph.failure is not None
    assert graph.failure.path == "dense"
    assert "5" in (graph.failure.why or "")


class Block6(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)) + x)


def leaves(parts: Sequence[Block | str]) -> Iterator[str]:
    """Every node of the folded view, unfolded."""
    for part in parts:
        yield from [part] if isinstance(part, str) else chain.from_iterable(part.repetitions)


def test_repeats_fold_and_unfold() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), *(Block6(4) for _ in range(6)), nn.MaxPool2d(2), Block6(4))
    graph = trace(network, (3, 16, 16))
    _, first, six, _, last = graph.blocks
    assert isinstance(six, Block)
    assert (first, six.repeats, six.module, six.path) == ("0", 6, "Block6", "1")
    assert six.paths == tuple("123456")
    assert six.parts == ("1.conv", "1.norm", "1:add", "1:relu")
    assert six.repetitions[5] == ("6.conv", "6.norm", "6:add", "6:relu")
    assert isinstance(last, Block)
    assert last.repeats == 1  # of the same make, at another size
    assert list(leaves(graph.blocks)) == [node.id for node in graph.nodes]
    assert "Block6 x6" in graph.text()


def test_only_what_is_alike_folds() -> None:
    network = nn.Sequential(Block6(3), nn.Sequential(Block6(3)), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.ReLU())
    graph = trace(network, (3, 16, 16))
    assert [part if isinstance(part, str) else (part.path, part.repeats) for part in graph.blocks] == [
        "input", ("0", 1), ("1.0", 1), "2", "3", "4", "5",
    ]  # fmt: skip
    same = trace(nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()))), (3, 8, 8))
    _, pairs = same.blocks
    assert isinstance(pairs, Block)
    assert (pairs.repeats, pairs.parts, pairs.module) == (3, ("0", "1"), "")


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "efficientnet_b0"])
def test_folding_loses_nothing(name: str) -> None:
    graph = of_zoo(name)
    assert list(leaves(graph.blocks)) == [node.id for node in graph.nodes]


def test_the_table_fits_the_page_and_adds_up() -> None:
    graph = of_zoo("densenet121")
    lines = graph.text(columns=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("total") and "7,978,856" in line for line in lines)
    assert len(lines) < 115
    assert ":relu  " in trace(Functional(), (3, 8, 8)).text(columns=80)


def test_a_dictionary_of_outputs() -> None:
    assert trace(Nested(), (3, 8, 8)).outputs == ("heads.first", "heads.second")
