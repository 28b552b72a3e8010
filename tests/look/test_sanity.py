"""The randomisation check, and the two measures of likeness that it is made of."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor, nn

from striate.data.image_file import read_file
from striate.errors import Refused
from striate.look.explanations import EXPLANATIONS
from striate.look.sanity import SanityCheck, sanity_check
from striate.look.similarity import rank_correlation, ssim
from striate.prediction import load


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=40))
@settings(max_examples=50, deadline=None)
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(values, float) for values in zip(*pairs, strict=True))
    found = rank_correlation(torch.tensor(first), torch.tensor(second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(float(spearmanr(first, second).statistic), abs=1e-12)


def test_rank_correlation_of_any_rising_function_is_one() -> None:
    values = torch.randn(9, 9, generator=torch.Generator().manual_seed(0))
    assert rank_correlation(values, values.exp()) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)


def test_structural_similarity() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(24, 20, generator=draw), torch.rand(24, 20, generator=draw)
    assert ssim(first, first) == pytest.approx(1)
    assert ssim(first, 3 * first - 7) == pytest.approx(1)  # both are stretched
    assert ssim(first, second) == pytest.approx(ssim(second, first))
    assert abs(ssim(first, second)) < 0.2
    assert ssim(first, 1 - first) < -0.5
    noisy = [ssim(first, first + share * second) for share in (0.1, 0.4, 1.6)]
    assert noisy == sorted(noisy, reverse=True)
    assert ssim(torch.zeros(5, 5), torch.zeros(5, 5)) == pytest.approx(1)
    # Equation 13 for the one window of a picture as large as it, its weights written out.
    a, b = (each[:11, :11].double() for each in (first, second))
    a, b = ((each - each.min()) / (each.max() - each.min()) for each in (a, b))
    offsets = np.arange(11) - 5
    bell = np.exp(-(offsets**2) / 4.5)
    weights = torch.from_numpy(np.outer(bell, bell) / bell.sum() ** 2)
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    variances = (weights * (a - mean_a) ** 2).sum() + (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4) / ((mean_a**2 + mean_b**2 + 1e-4) * (variances + 9e-4))
    assert ssim(first[:11, :11], second[:11, :11]) == pytest.approx(float(expected), abs=1e-9)


def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8 * 144, 4)).eval()


def edges(_net: nn.Module, image: Tensor, _target: int) -> Tensor:
    """An "explanation" that looks at the image alone."""
    return image[0].diff(dim=1, append=image[0, :, -1:]).abs().sum(dim=0)


def first_weights(module: nn.Module, image: Tensor, _target: int) -> Tensor:
    """One that looks at the weights alone."""
    return module.get_submodule("0").weight.detach()[:, 0].reshape(8, 9)  # type: ignore[union-attr, operator]


def test_what_looks_at_the_image_alone_is_found_out() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = sanity_check(net(), image, edges, draws=1)
    assert found.rank_correlation == pytest.approx((1,) * len(found.layers))
    assert found.ssim == pytest.approx((1,) * len(found.layers))
    assert (found.score, found.verdict) == (pytest.approx(1), "hardly depends on the weights")
    assert "hardly depends" in found.text()


def test_layers_are_made_random_from_the_last_down() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = sanity_check(net(), image, first_weights, steps=4, draws=2)
    assert found.layers == ("6", "3", "1", "0")
    assert found.num_layers == (1, 2, 3, 4)
    assert found.rank_correlation[:3] == pytest.approx((1, 1, 1))
    assert abs(found.rank_correlation[3]) < 0.5
    assert sanity_check(net(), image, first_weights, steps=2, draws=1).layers == ("3", "0")
    assert sanity_check(net(), image, first_weights, steps=99, draws=1).layers == found.layers


def test_weights_keep_their_scale_and_the_network_its_weights() -> None:
    network, seen = net(), []
    before = copy.deepcopy(network.state_dict())

    def note(module: nn.Module, _image: Tensor, _target: int) -> Tensor:
        seen.append({name: value.clone() for name, value in module.state_dict().items()})
        return torch.rand(4, 4)

    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    sanity_check(network, image, note, steps=1, draws=1, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    for name, value in seen[-1].items():
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values), name
    assert not torch.equal(seen[-1]["0.weight"], before["0.weight"])
    sanity_check(network, image, note, steps=1, draws=1, seed=3)
    assert all(torch.equal(seen[-1][name], seen[1][name]) for name in seen[1])


def test_the_class_stays_that_of_the_trained_network() -> None:
    network, asked = net(), []
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))

    def note(_module: nn.Module, _image: Tensor, target: int) -> Tensor:
        asked.append(target)
        return torch.rand(4, 4)

    sanity_check(network, image, note, draws=2)
    assert set(asked) == {int(network(image[None]).argmax())}


@pytest.mark.parametrize(
    ("ranks", "verdict"),
    [
        ((0.9, 0.8, 0.3), "hardly depends on the weights"),
        ((0.6, 0.5, 0.25), "depends on the weights in part"),
        ((0.3, -0.1, 0.0), "depends on the weights"),
    ],
)
def test_verdicts(ranks: tuple[float, ...], verdict: str) -> None:
    assert SanityCheck(("a", "b", "c"), (1, 2, 3), ranks, ranks).verdict == verdict


def test_without_weights_nothing_can_be_made_random() -> None:
    with pytest.raises(Refused, match="no weights"):
        sanity_check(nn.Sequential(nn.ReLU(), nn.Flatten()), torch.rand(3, 4, 4), edges)


@pytest.mark.slow
def test_on_trained_weights_the_usual_verdicts(shared_data: Path) -> None:
    """Adebayo et al., figure 3: guided backpropagation stays as the top layers go, the gradient and Grad-CAM do not."""
    model = load("resnet20_cifar", weights=shared_data / "weights" / "cifar10_resnets" / "resnet20-12fca82f.th")
    photos = sorted((shared_data / "imagenet_samples").glob("n02*.jpg"))[:40:10]
    scores: dict[str, list[float]] = {}
    for photo in photos:
        pixels = model.preprocess(read_file(photo)).transpose(2, 0, 1)[None].copy()
        image = model.preprocess.normalize(torch.from_numpy(pixels))
        for name in ("grad_cam", "saliency", "guided_backpropagation"):
            found = sanity_check(model.module, image, EXPLANATIONS[name].explain, steps=3, draws=2)
            scores.setdefault(name, []).append(found.score)
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    assert max(means["grad_cam"], means["saliency"]) + 0.1 < means["guided_backpropagation"], means
