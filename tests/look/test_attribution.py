"""Attributions against what can be said by hand of small networks, and against captum."""

from __future__ import annotations

import copy
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop, Occlusion, Saliency
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from striate.errors import Refused, UsageError
from striate.look.attribution import deconvnet, integrated_gradients, magnitude, occlusion, saliency
from striate.look.target import Unit, layer_output
from striate.progress import Silent


class Linear(nn.Module):
    """Logits are weighted sums of all pixels."""

    def __init__(self, num_classes: int = 4, shape: tuple[int, int, int] = (3, 6, 5)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, *shape, generator=torch.Generator().manual_seed(0)).double())
        self.bias = nn.Parameter(torch.linspace(-1, 1, num_classes).double())

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", x, self.weight) + self.bias


def small_net(seed: int = 0) -> nn.Sequential:
    """Convolutions, batch norm, in-place ReLUs, max pooling and a dense head, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 2 * 2, 5),
        )  # fmt: skip
        net[1].running_mean.uniform_(-0.5, 0.5)
        net[1].running_var.uniform_(0.5, 2)
        return net.double().eval()


def picture(seed: int = 1, shape: tuple[int, int, int] = (3, 12, 12)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def test_of_a_linear_network_everything_is_known() -> None:
    net, x = Linear(), picture(shape=(3, 6, 5))
    for k in range(4):
        weights = net.weight[k].detach()
        assert torch.equal(saliency(net, x, k), weights)
        shares = integrated_gradients(net, x, k, steps=3)
        torch.testing.assert_close(shares.attribution, weights * x, rtol=1e-12, atol=1e-12)
        assert shares.gap == pytest.approx(0, abs=1e-12)
        assert shares.difference == pytest.approx(float((weights * x).sum()), abs=1e-12)
        begin = picture(2, (3, 6, 5))
        moved = integrated_gradients(net, x, k, baseline=begin, steps=3)
        torch.testing.assert_close(moved.attribution, weights * (x - begin), rtol=1e-12, atol=1e-12)
    assert torch.equal(magnitude(net.weight[0].detach()), net.weight[0].detach().abs().amax(dim=0))


@given(side=st.integers(1, 5), stride=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_occlusion_of_a_linear_network_is_the_sum_below_the_window(side: int, stride: int, seed: int) -> None:
    net, x = Linear(), picture(seed, (3, 6, 5))
    products = (net.weight[1] * x).sum(dim=0).detach()
    found = occlusion(net, x, 1, window=side, stride=stride, batch=3)
    covering = torch.zeros(6, 5).double()
    count = torch.zeros(6, 5).double()
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            box = (slice(top, top + side), slice(left, left + side))
            assert found.drop[row, column] == pytest.approx(float(products[box].sum()), abs=1e-9)
            covering[box] += products[box].sum()
            count[box] += 1
    torch.testing.assert_close(found.pixels, covering / count.clamp(min=1), rtol=1e-9, atol=1e-9)
    assert found.tops[0] == found.lefts[0] == 0
    assert (found.tops[-1], found.lefts[-1]) == (6 - side, 5 - side)


class Listening(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.told.append((name, done, total))


def test_slow_maps_tell_how_far_they_are() -> None:
    net, x, heard = Linear(), picture(shape=(3, 6, 5)), Listening()
    occlusion(net, x, 0, window=2, stride=2, batch=4, progress=heard)
    integrated_gradients(net, x, 0, steps=5, batch=2, progress=heard)
    assert heard.told[:3] == [("occlusion", 0, 9), ("occlusion", 4, 9), ("occlusion", 8, 9)]
    assert [done for _, done, _ in heard.told[3:]] == [0, 2, 4]


def test_occlusion_sees_the_fill() -> None:
    net, x = Linear(), picture(shape=(3, 6, 5))
    found = occlusion(net, x, 0, window=2, stride=2, fill=1.5)
    expected = (net.weight[0] * (x - 1.5)).sum(dim=0)[:2, :2].sum()
    assert found.drop[0, 0] == pytest.approx(float(expected.detach()), abs=1e-9)


def test_deconvnet_of_linear_layers_is_the_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)).double()
    x = picture(shape=(3, 10, 10))
    assert torch.equal(deconvnet(net, x, 1), saliency(net, x, 1))


def test_deconvnet_by_hand() -> None:
    """One hidden layer: what comes from above is rectified, whatever the ReLU let through on the way up."""
    draw = torch.Generator().manual_seed(1)
    first, second = torch.randn(7, 12, generator=draw).double(), torch.randn(2, 7, generator=draw).double()

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x.flatten(1) @ first.T) @ second.T

    x = picture(shape=(3, 2, 2))
    opened = (first @ x.flatten() > 0).double()
    gradient = (second[0] * opened) @ first
    projected = second[0].clamp(min=0) @ first
    guided = (second[0].clamp(min=0) * opened) @ first
    torch.testing.assert_close(saliency(Net(), x, 0).flatten(), gradient)
    torch.testing.assert_close(deconvnet(Net(), x, 0).flatten(), projected)
    torch.testing.assert_close(deconvnet(Net(), x, 0, guided=True).flatten(), guided)
    assert not torch.allclose(projected, guided)


@pytest.mark.parametrize("seed", range(3))
def test_captum_agrees(seed: int) -> None:
    net, x = small_net(seed), picture(seed, (3, 12, 12))
    k = int(net(x[None]).argmax())
    plain = copy.deepcopy(net)
    plain[2].inplace = False  # captum's hooks cannot see through it
    batch = x[None].clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {
            "saliency": Saliency(plain).attribute(batch, target=k, abs=False)[0],
            "shares": CaptumIntegratedGradients(plain).attribute(batch, target=k, n_steps=50)[0],
            "deconvnet": Deconvolution(plain).attribute(batch, target=k)[0],
            "guided": GuidedBackprop(plain).attribute(batch, target=k)[0],
            "occlusion": Occlusion(plain).attribute(
                x[None], target=k, sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2), baselines=0.25
            )[0],
        }
    found = {
        "saliency": saliency(net, x),
        "shares": integrated_gradients(net, x).attribution,
        "deconvnet": deconvnet(net, x),
        "guided": deconvnet(net, x, guided=True),
        "occlusion": occlusion(net, x, window=4, stride=2, fill=0.25).pixels.expand(3, -1, -1),
    }
    for name, values in found.items():
        exact = name != "occlusion"  # captum adds these up in float32
        torch.testing.assert_close(
            values, wanted[name].detach().double(), rtol=1e-7 if exact else 1e-4, atol=1e-9 if exact else 1e-7, msg=name
        )


def test_shares_add_up_to_the_difference() -> None:
    net, x = small_net(), picture()
    coarse, fine = (integrated_gradients(net, x, 2, steps=steps) for steps in (4, 400))
    with torch.no_grad():
        difference = float(net(x[None])[0, 2] - net(torch.zeros_like(x)[None])[0, 2])
    for found in (coarse, fine):
        assert found.difference == pytest.approx(difference, abs=1e-12)
        assert found.gap == pytest.approx(float(found.attribution.sum()) - difference, abs=1e-12)
    assert abs(fine.gap) < 0.02 * abs(difference) < 1
    assert abs(fine.gap) < abs(coarse.gap)


def test_batches_do_not_matter() -> None:
    net, x = small_net(), picture()
    whole, parts = (integrated_gradients(net, x, 2, steps=20, batch=batch).attribution for batch in (20, 3))
    torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-12)
    whole, parts = (occlusion(net, x, 2, batch=batch).drop for batch in (64, 5))
    torch.testing.assert_close(whole, parts, rtol=1e-9, atol=1e-12)


def test_a_unit_is_explained_like_a_class() -> None:
    net, x = small_net(), picture()
    kernel = net[0].weight[3].detach()
    scale = (net[1].weight / (net[1].running_var + net[1].eps).sqrt())[3].detach()
    found = saliency(net, x, Unit("1", 3, (4, 7)))
    torch.testing.assert_close(found[:, 3:6, 6:9], kernel * scale)
    assert int((found != 0).sum()) == kernel.numel()
    whole = saliency(net, x, Unit("1", 3))
    torch.testing.assert_close(whole[:, 5, 5], kernel.sum(dim=(1, 2)) * scale / 144)


def test_the_answer_is_explained_where_nothing_is_named() -> None:
    net, x = small_net(), picture()
    assert torch.equal(saliency(net, x), saliency(net, x, int(net(x[None]).argmax())))


def test_the_network_is_left_as_it_was() -> None:
    net, x = small_net().train(), picture()
    net[4].eval()
    net[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for explain in (saliency, integrated_gradients, occlusion, deconvnet):
        with torch.inference_mode():
            explain(net, x, 1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [part.training for part in net] == [part is not net[4] for part in net]
    assert all(p.grad is None for p in net.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


class ReusedInPlace(nn.Module):
    """One ReLU at work three times, in place, as a function and as a method; nothing of it is a module's first output twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        y = F.relu(self.second(y), inplace=True)
        return torch.relu_(y - 0.1).clamp(max=4.0).mean(dim=(2, 3))


def test_rectifiers_of_every_make_are_found() -> None:
    net, x = ReusedInPlace().double(), picture(3)
    first, second = net.first.weight.detach(), net.second.weight.detach()
    middle = net.second(net.first(x[None]).relu()).detach()
    above = torch.zeros(1, 4, *middle.shape[2:]).double()
    above[:, 2] = (middle.relu() - 0.1 < 4)[:, 2] / above[0, 0].numel()  # nothing is negative so far: the rule changes nothing
    down = F.conv_transpose2d(above, second).clamp(min=0)
    torch.testing.assert_close(deconvnet(net, x, 2), F.conv_transpose2d(down, first)[0])


def test_a_layer_is_seen_before_it_is_overwritten() -> None:
    net, x = small_net(), picture()
    with torch.no_grad():
        batch_norm = net[1](net[0](x[None]))
        found = layer_output(net, x[None], "1")
    assert torch.equal(found, batch_norm)
    assert (found < 0).any()


def test_threads_share_a_network() -> None:
    net, x = small_net(), picture()
    alone = saliency(net, x, Unit("4", 1))
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.extend(saliency(net, x, Unit("4", 1)) for _ in range(20))) for _ in range(3)]
    threads += [threading.Thread(target=lambda: [net(x[None]) for _ in range(60)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60
    assert all(torch.equal(each, alone) for each in found)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda net, x: saliency(net, x, 5), "classes are 0 to 4"),
        (lambda net, x: saliency(net, x, Unit("40", 0)), "no layer '40'"),
        (lambda net, x: saliency(net, x, Unit("4", 6)), "channel 0 to 5, row 0 to 3, column 0 to 3"),
        (lambda net, x: saliency(net, x, Unit("4", 0, (4, 0))), "no unit 0,4,0"),
        (lambda net, x: saliency(net, x, Unit("8", 0, (1, 1))), "neuron 0 to 4"),
        (lambda net, x: saliency(net, x[0]), "normalised image"),
        (lambda net, x: saliency(net, (255 * x).byte()), "normalised image"),
        (lambda net, x: occlusion(net, x, window=13), "1 to 12 pixels"),
        (lambda net, x: occlusion(net, x, stride=0), "stride of at least 1"),
        (lambda net, x: integrated_gradients(net, x, steps=0), "at least 1"),
        (lambda net, x: deconvnet(nn.Sequential(nn.SiLU(), net), x, guided=True), None),
        (
            lambda net, x: deconvnet(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten()).double(), x),
            "activations are gelu",
        ),
    ],
)
def test_mistakes_are_named(call: object, said: str | None) -> None:
    net, x = small_net(), picture()
    if said is None:  # a network with other activations beside its ReLUs is no mistake
        call(net, x)  # type: ignore[operator]
        return
    with pytest.raises(UsageError) as error:
        call(net, x)  # type: ignore[operator]
    assert said in str(error.value)


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.head(x.mean(dim=(2, 3)))


def test_without_gradients_occlusion_is_left() -> None:
    x = picture().float()
    with pytest.raises(Refused, match="occlusion"):
        saliency(Detached(), x, 0)
    assert occlusion(Detached(), x, 0).drop.abs().max() > 0


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(Refused, match="one vector an image"):
        saliency(nn.Conv2d(3, 2, 3).double(), picture(), 0)
