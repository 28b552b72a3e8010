"""Every network that torchvision or timm has, against theirs: the same weights, outputs and gradients, in float64.

``make parity`` runs it in an environment of its own, where PyTorch's libraries are the project's and these two come without
their dependencies. The compiled part of torchvision does not load beside CPU torch and is not needed: its two operators that
are declared on import are declared here, empty.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

if any(importlib.util.find_spec(library) is None for library in ("torchvision", "timm")):
    pytest.skip("torchvision and timm, in an environment of their own (make parity)", allow_module_level=True)

OPERATORS = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402, TID251
import torchvision  # noqa: E402, TID251

from striate import zoo  # noqa: E402
from striate.models.variant import Network  # noqa: E402

TIMM = {
    "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2",
    "xception": "legacy_xception",
    **{f"resnet{depth}_v2": f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)},
    "seresnet50": "seresnet50",
    "seresnet50_caffe": "legacy_seresnet50",
    "mobilenet_v1": "mobilenetv1_100",
}
"""Networks of ours that torchvision does not have -> timm's name."""
TOLERANCE = 1e-10


def in_torchvision() -> set[str]:
    return set(zoo.MODELS) & set(torchvision.models.list_models(module=torchvision.models))


PAIRS = [name for name in zoo.MODELS if name in in_torchvision() or name in TIMM]


def build_theirs(name: str) -> nn.Module:
    """Where it can be, on the meta device: RegNet computes its widths with tensors."""
    if name not in in_torchvision():
        with torch.device("meta"):
            return timm.create_model(TIMM[name], pretrained=False)
    auxiliary = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return torchvision.models.get_model(name, weights=None, **auxiliary)


def ours_on_meta(name: str) -> Network:
    with torch.device("meta"):
        return zoo.build(name)


@torch.no_grad()
def random_state(network: nn.Module) -> dict[str, Tensor]:
    """Values with which numbers neither vanish nor explode on their way through the network."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1)
            continue
        value = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
        if tensor.dim() > 1 and (fan_in := tensor[0].numel()) > 1:
            value *= (2 / fan_in) ** 0.5
        elif key.endswith(("weight", "running_var", "layer_scale")):
            value = 0.5 + torch.rand(tensor.shape, dtype=torch.float64, generator=generator)
        else:
            value *= 0.1
        state[key] = value
    return state


def filled(network: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """The network with these very tensors, every one of them and no others, in evaluation mode."""
    network.load_state_dict(state, strict=True, assign=True)
    assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))
    for parameter in network.parameters():
        parameter.requires_grad_()
    return network.eval()


def all_logits(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The head's, then those of the auxiliary classifiers, first to last."""
    if isinstance(network, Network):
        logits, auxiliary = network.forward_with_aux(images)
        return [logits, *auxiliary]
    network.training = hasattr(network, "aux_logits")  # of the network alone: its dropout and batch norms stay in evaluation
    out = network(images)
    return [out] if isinstance(out, Tensor) else [out[0], *reversed(out[1:])]


def difference(first: Tensor, second: Tensor) -> float:
    """The largest, in parts of the largest number."""
    assert first.shape == second.shape
    first, second = first.detach(), second.detach()
    return float((first - second).abs().max() / first.abs().max().clamp(min=1e-300))


def gradients(network: nn.Module, logits: list[Tensor], images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """By the image and by every parameter, of a sum in which each logit has another weight."""
    weights = torch.linspace(-1, 1, logits[0].numel(), dtype=torch.float64).view_as(logits[0])
    loss = sum((weights * each).sum() / number for number, each in enumerate(logits, 1))
    named = [("image", images), *network.named_parameters()]
    yield from zip((key for key, _ in named), torch.autograd.grad(loss, [each for _, each in named]), strict=True)


def image_side(name: str) -> int:
    """Small, so that the whole comparison takes minutes; Inception v3's auxiliary classifier there reads one size only."""
    return 299 if name == "inception_v3" else max(64, *zoo.MODELS[name].min_size)


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_weights_give_the_same_outputs_and_gradients(name: str, compared: dict[str, list[str]]) -> None:
    ours, theirs = ours_on_meta(name), build_theirs(name)
    state = random_state(ours)
    shapes = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert list(shapes.items()) == [(key, tuple(value.shape)) for key, value in theirs.state_dict().items()]
    filled(ours, state), filled(theirs, state)
    images = torch.randn(2, 3, image_side(name), image_side(name), dtype=torch.float64, requires_grad=True)
    outputs = [all_logits(network, images) for network in (ours, theirs)]
    assert len(outputs[0]) == len(outputs[1])
    assert all(each.std() > 1e-3 for each in outputs[0])  # numbers, not what biases leave of them
    assert all(difference(first, second) < TOLERANCE for first, second in zip(*outputs, strict=True))
    sides = (gradients(network, logits, images) for network, logits in zip((ours, theirs), outputs, strict=True))
    for (key, first), (same_key, second) in zip(*sides, strict=True):
        assert key == same_key
        assert difference(first, second) < TOLERANCE, key
    back = filled(ours_on_meta(name), theirs.state_dict())
    assert torch.equal(all_logits(back, images)[0], outputs[0][0])
    compared["torchvision" if name in in_torchvision() else "timm"].append(name)


def test_all_that_they_have_was_compared(alone: list[str]) -> None:
    """A family's other name there would be missed in silence: each of ours without a counterpart is listed."""
    alone += [name for name in zoo.MODELS if name not in PAIRS]
    assert PAIRS
    known = {re.sub(r"[^a-z0-9]", "", name) for name in (*timm.list_models(), *torchvision.models.list_models())}
    assert [name for name in alone if re.sub(r"[^a-z0-9]", "", name) in known] == []
