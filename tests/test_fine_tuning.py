"""What learns, when and how fast: by the weights that move, and by how much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import PLAIN, TinyBatches
from torch import nn

from striate import zoo
from striate.errors import Interrupted, UsageError
from striate.fine_tuning import FineTuning, depth_groups, freeze, trainable_parameters
from striate.progress import Silent
from striate.recipe import FineTune, Optimizer, Recipe
from striate.signals import StopRequest
from striate.tasks.classify import Classify
from striate.training import fit

TASK = Classify(("a", "b", "c"))


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"image": torch.randn(6, 3, 32, 32, generator=generator), "index": torch.arange(6), "label": torch.arange(6) % 3}


def network() -> nn.Module:
    torch.manual_seed(0)
    return zoo.build("resnet20_cifar", num_classes=3)


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """The first part of the names of tensors that are no longer as they were."""
    after = model.state_dict()
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value)}


def copied(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("until", "learning"),
    [
        ("stem", {"layer1", "layer2", "layer3", "linear"}),
        ("2", {"layer3", "linear"}),
        ("early", {"layer3", "linear"}),
        ("3", {"linear"}),
        ("layer2.0", {"layer2", "layer3", "linear"}),
    ],
)
def test_freezing_up_to_a_part_includes_it_and_its_statistics(until: str, learning: set[str]) -> None:
    model = network()
    numbers = sum(p.numel() for p in model.parameters())
    frozen = freeze(model, until)
    assert frozen + sum(p.numel() for p in trainable_parameters(model)) == numbers
    before = copied(model)
    fit(TASK, model, TinyBatches(batch(), 3), replace(PLAIN, batch=6))
    assert moved(model, before) == learning
    if until == "layer2.0":
        assert torch.equal(model.state_dict()["layer2.0.bn2.running_mean"], before["layer2.0.bn2.running_mean"])


def test_the_early_part_of_networks_without_such_a_stage_is_the_first_half() -> None:
    wrapped = nn.Sequential(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(5)), nn.ReLU()))
    freeze(wrapped, "early")
    assert [layer[1].requires_grad for layer in wrapped.named_parameters()] == [False] * 4 + [True] * 6
    perceptron = zoo.build("mlp", num_classes=3)
    freeze(perceptron, "early")
    assert trainable_parameters(perceptron)[-1] is list(perceptron.parameters())[-1]
    with pytest.raises(UsageError, match="no early part"):
        freeze(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "early")


def test_unknown_parts_are_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="layer2") as caught:
        freeze(network(), "layer2x")
    assert "layer2" in str(caught.value.fix)
    with pytest.raises(UsageError, match="no parameters"):
        freeze(network(), "avgpool")


def test_groups_by_depth_hold_each_parameter_once() -> None:
    for name in ("resnet20_cifar", "mobilenet_v2", "vgg11_bn", "lenet5"):
        with torch.device("meta"):
            model = zoo.build(name)
        groups = depth_groups(model)
        assert sorted(id(p) for group in groups for p in group) == sorted(map(id, model.parameters()))
        assert any(p is model.get_submodule(model.head_path).weight for p in groups[-1])
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    assert [len(group) for group in depth_groups(own)] == [2, 2]


def test_rates_fall_with_every_stage_from_the_head() -> None:
    """Plain SGD moves a weight by rate x gradient, so the same batch shows each stage's rate."""
    steps = []
    for decay in (1.0, 0.5):
        model = network()
        before = copied(model)
        recipe = Recipe(
            batch=6, epochs=1, fine_tune=FineTune(rate_decay=decay),
            optimizer=Optimizer("sgd", lr=1e-3, momentum=0.0, nesterov=False, weight_decay=0.0),
        )  # fmt: skip
        fit(TASK, model, TinyBatches(batch(), 1), recipe)
        names = ("linear.weight", "layer3.0.conv1.weight", "layer2.0.conv1.weight", "layer1.0.conv1.weight", "conv1.weight")
        steps.append([(model.state_dict()[name] - before[name]).norm() for name in names])
    ratios = [float(slow / fast) for fast, slow in zip(*steps, strict=True)]
    assert ratios == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625], rel=1e-3)


def test_parts_are_unfrozen_one_by_one_from_the_deepest() -> None:
    """Stem to stage 3 are frozen at first; every two epochs one more part learns."""
    model = network()
    recipe = replace(PLAIN, batch=6, epochs=7, fine_tune=FineTune(freeze="3", unfreeze_every=2))
    last = copied(model)
    seen: list[set[str]] = []

    class Watch(Silent):
        def epoch(self, row: dict[str, object]) -> None:
            nonlocal last
            seen.append(moved(model, last))
            last = copied(model)

    fit(TASK, model, TinyBatches(batch(), 2), recipe, progress=Watch())
    assert seen == [
        {"linear"}, {"linear"}, {"linear", "layer3"}, {"linear", "layer3"}, {"linear", "layer3", "layer2"},
        {"linear", "layer3", "layer2"}, {"linear", "layer3", "layer2", "layer1"},
    ]  # fmt: skip


def test_what_the_user_froze_stays_frozen() -> None:
    model = network()
    assert isinstance(model.conv1, nn.Conv2d)
    model.conv1.weight.requires_grad_(False)
    before = copied(model)
    tuning = FineTuning(model, FineTune(freeze="1", unfreeze_every=1))
    tuning.begin_epoch(10)
    assert not model.conv1.weight.requires_grad
    fit(TASK, model, TinyBatches(batch(), 1), replace(PLAIN, batch=6, epochs=5, fine_tune=FineTune(freeze="1", unfreeze_every=1)))
    assert torch.equal(model.state_dict()["conv1.weight"], before["conv1.weight"])
    assert model.layer1[0].conv1.weight.requires_grad  # type: ignore[index,union-attr]


def test_a_pull_keeps_weights_near_their_start_and_the_head_free() -> None:
    distances = []
    for l2_sp in (0.0, 20.0):
        model = network()
        before = copied(model)
        fit(TASK, model, TinyBatches(batch(), 12), replace(PLAIN, batch=6, fine_tune=FineTune(l2_sp=l2_sp)))
        after = model.state_dict()
        distances.append([float((after[name] - before[name]).norm()) for name in ("layer2.0.conv1.weight", "linear.weight")])
    (far, free), (near, still_free) = distances
    assert near < 0.6 * far
    assert still_free > 0.5 * free


def test_a_run_that_is_pulled_resumes_to_the_same_weights(tmp_path: Path) -> None:
    """The starting weights lie in the run's folder: the network that resume builds need not have them."""
    recipe = replace(PLAIN, batch=6, epochs=4, fine_tune=FineTune(freeze="1", unfreeze_every=1, rate_decay=0.5, l2_sp=5.0))
    whole = fit(TASK, network(), TinyBatches(batch(), 2), recipe)
    request = StopRequest()

    class After(Silent):
        def epoch(self, row: dict[str, object]) -> None:
            request.stop()

    with pytest.raises(Interrupted):
        fit(TASK, network(), TinyBatches(batch(), 2), recipe, run=tmp_path, progress=After(), stop=request)
    torch.manual_seed(99)
    stranger = zoo.build("resnet20_cifar", num_classes=3)
    resumed = fit(TASK, stranger, TinyBatches(batch(), 2), recipe, run=tmp_path, resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_starting_weights_that_nothing_beats_are_kept() -> None:
    """A rate that ruins the network: without the start as a candidate the last ruin would be the result."""
    model = network()
    good = fit(TASK, model, TinyBatches(batch(), 40), replace(PLAIN, batch=6, optimizer=Optimizer(lr=3e-3)))
    assert good.best is not None
    assert good.best.figure == 1.0
    start = copied(good.model)
    ruin = replace(
        PLAIN, batch=6, epochs=2, optimizer=Optimizer("sgd", lr=1e3, nesterov=False), validate_start=True, nonfinite_limit=99
    )
    kept = fit(TASK, good.model, TinyBatches(batch(), 2), ruin)
    assert kept.best is not None
    assert kept.best.epoch == 0
    for name, value in start.items():
        assert torch.equal(kept.model.state_dict()[name], value), name


@pytest.mark.parametrize("wrong", [{"rate_decay": 0.0}, {"l2_sp": -1.0}, {"unfreeze_every": 2}, {"unfreeze_every": -1}])
def test_settings_that_no_run_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FineTune(**wrong)  # type: ignore[arg-type]
