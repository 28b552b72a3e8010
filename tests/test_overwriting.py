"""Rectifiers that write over what they read, while a network trains."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import memorise
from torch import Tensor, nn

from striate import zoo
from striate.layers import ConvNormAct, overwriting
from striate.tasks.classify import Classify

NETWORKS = [
    "resnet20_cifar",
    "mobilenet_v1",
    "mobilenet_v2",
    "shufflenet_v2_x0_5",
    "googlenet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "resnext50_32x4d", "seresnet50", "inception_v3")),
]


def gradients(network: nn.Module, images: Tensor) -> tuple[list[Tensor], int]:
    """Of a training step, and the bytes that it kept for the backward pass beside the weights."""
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() in weights:
            return tensor
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network.train().zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = F.cross_entropy(network(images), torch.arange(len(images)))
    loss.backward()  # type: ignore[no-untyped-call]
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None], sum(kept.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_not_a_bit_of_the_gradients_changes(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.build(name, num_classes=10)
    side = 32 if name.endswith("_cifar") else 96
    images = torch.randn(2, 3, side, side)
    plain, bytes_plain = gradients(network, images)
    with overwriting(network):
        assert any(getattr(module, "inplace", False) for module in network.modules())
        written, bytes_written = gradients(network, images)
    assert not any(getattr(module, "inplace", False) for module in network.modules())
    assert len(plain) == len(written) > 0
    assert all(torch.equal(a, b) for a, b in zip(plain, written, strict=True))
    assert bytes_written <= bytes_plain
    if name.startswith("mobilenet"):  # PyTorch's ReLU6 kept both what it read and what it wrote
        assert bytes_written < 0.75 * bytes_plain


class Spy(nn.ReLU):
    """Notes whether it was to write over its input."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(self.inplace)
        return super().forward(x)


class Residual(ConvNormAct):
    """Reads the output of its norm twice, as someone's class may who starts from this one."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self[1](self[0](x))
        return y + self[2](y)


def test_training_overwrites_where_nothing_else_reads() -> None:
    ours, theirs, own = ConvNormAct(1, 2, activation=Spy), Residual(2, 2, activation=Spy), Spy()
    network = nn.Sequential(ours, theirs, nn.Sequential(nn.Conv2d(2, 2, 3), own), nn.Flatten(), nn.LazyLinear(2))
    batch = {"image": torch.randn(4, 1, 8, 8), "label": torch.tensor([0, 1, 0, 1])}
    network(batch["image"])
    for spy in (ours[2], theirs[2], own):
        spy.seen.clear()
    memorise(Classify(classes=("a", "b")), network, batch, steps=2)
    assert ours[2].seen == {True}
    assert theirs[2].seen == own.seen == {False}
    assert not ours[2].inplace
