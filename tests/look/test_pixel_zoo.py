"""Numbers drawn from networks of the zoo, with weights and statistics that are not those of a fresh network."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from torch import nn

from striate import zoo
from striate.look import Inspection

FAST = ("lenet5", "lenet1", "resnet20_cifar", "squeezenet1_0", "shufflenet_v2_x0_5", "mobilenet_v3_small")
FAMILIES = list({variant.build: name for name, variant in reversed(zoo.MODELS.items())}.values())
UNITS = 1000


def prepared(name: str, dtype: torch.dtype, side: int) -> Inspection:
    """The network on noise of ``side`` pixels, or more where it needs more."""
    variant = zoo.MODELS[name]
    size = variant.input_size if variant.fixed_size else tuple(max(side, least) for least in variant.min_size)
    torch.manual_seed(11)
    network = zoo.build(name, 10, input_size=(size[0], size[1])).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
    return Inspection(network, torch.randn(variant.in_channels, *size, dtype=dtype), name)


def disagreeing(inside: Inspection, count: int, dtype: torch.dtype, kinds: Counter[str]) -> list[str]:
    """Numbers that are not the network's, of ``count`` drawn evenly over the kinds of operations, then over their nodes."""
    draw = random.Random(inside.graph.name)
    by_operation: dict[str, list[str]] = {}
    for node in inside.graph.nodes[1:]:
        by_operation.setdefault(node.operation, []).append(node.id)
    found = []
    for number in range(count):
        operation = sorted(by_operation)[number % len(by_operation)]
        node = inside.graph.find(draw.choice(by_operation[operation]))
        unit = tuple(map(draw.randrange, node.output_shapes[0]))
        arithmetic = inside.pixel(node.id, unit)
        kinds[arithmetic.kind] += 1
        exact = dtype == torch.float32 or abs(arithmetic.difference) <= 1e-9 * arithmetic.absolute_sum
        if not (arithmetic.agrees and exact):
            found.append(arithmetic.text())
    return found


@pytest.mark.parametrize("name", FAST)
def test_numbers_of_small_networks(name: str) -> None:
    kinds: Counter[str] = Counter()
    assert disagreeing(prepared(name, torch.float32, 64), 40, torch.float32, kinds) == []
    assert len(kinds) >= 3


@pytest.mark.slow
def test_a_thousand_numbers_over_the_zoo() -> None:
    kinds: Counter[str] = Counter()
    found = []
    each = -(-UNITS // (2 * len(FAMILIES)))
    for name in FAMILIES:
        for dtype in (torch.float32, torch.float64):
            found += disagreeing(prepared(name, dtype, 48), each, dtype, kinds)
    assert found == []
    assert kinds.total() >= UNITS
    assert {"weighted_sum", "maximum", "normalisation", "pointwise", "moved", "function"} <= kinds.keys()


@pytest.mark.slow
def test_every_variant_agrees_when_all_are_wanted(thorough: bool) -> None:
    if not thorough:
        pytest.skip("every variant: in make test-all alone")
    kinds: Counter[str] = Counter()
    others = [name for name in zoo.MODELS if name not in FAMILIES]
    assert [text for name in others for text in disagreeing(prepared(name, torch.float32, 48), 16, torch.float32, kinds)] == []
