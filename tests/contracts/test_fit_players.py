"""Players in ``fit``: whoever's turn it is, nothing of the other moves: no weight, no gradient, no buffer, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from tiny import PLAIN, TinyBatches
from torch import Tensor, nn
from torch.nn.functional import softplus

from striate.errors import Failed
from striate.recipe import Optimizer, Schedule
from striate.tasks.base import Batch, Player, Task
from striate.training import fit

SIDES = ("discriminator", "generator")
STEADY = replace(PLAIN, schedule=Schedule("constant", warmup=0.0))


class Pair(nn.Module):
    """Each side holds a batch norm, so that each has buffers that move whenever it is called in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6))
        self.discriminator = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False), nn.LeakyReLU(), nn.BatchNorm1d(8), nn.Linear(8, 1)
        )


@dataclass(frozen=True)
class Game(Task):
    """Detaches nothing, and notes everything as each turn begins (``seen``)."""

    turns: int = 2
    optimizers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    broken: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)

    def players(self, model: nn.Module) -> dict[str, Player]:
        return {
            name: Player(tuple(model.get_submodule(name).parameters()), self.turns, self.optimizers.get(name)) for name in SIDES
        }

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        if model.training:
            self.seen.append({"player": player, **{name: snapshot(model.get_submodule(name)) for name in SIDES}})
        loss = game_loss(model, batch, player)
        if model.training:
            self.seen[-1]["loss"] = loss.item()
        return {"game": loss * (float("nan") if player == self.broken else 1.0)}

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        made: Tensor = model.get_submodule("generator")(batch["noise"])
        return made

    def decode(self, raw: Any) -> Any:
        return raw

    def meter(self) -> NoFigures:
        return NoFigures()


class NoFigures:
    def update(self, prediction: Any, batch: Batch) -> None:
        pass

    def compute(self) -> dict[str, float]:
        return {}


def game_loss(model: nn.Module, batch: Batch, player: str) -> Tensor:
    generator, discriminator = model.get_submodule("generator"), model.get_submodule("discriminator")
    judged = discriminator(generator(batch["noise"]))
    if player == "generator":
        return softplus(-judged).mean()
    return softplus(judged).mean() + softplus(-discriminator(batch["image"])).mean()


def snapshot(module: nn.Module) -> dict[str, Tensor | None]:
    """Weights, buffers and gradients, copied."""
    state: dict[str, Tensor | None] = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        state[f"gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
    return state


def moved(before: dict[str, Tensor | None], after: dict[str, Tensor | None]) -> set[str]:
    """Names of what is not the same, bit for bit."""
    return {name for name, a in before.items() if (a is None) != (after[name] is None) or not _same(a, after[name])}


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is None or b is None or torch.equal(a, b)


def batch_of_numbers() -> Batch:
    return {"image": torch.randn(16, 6), "noise": torch.randn(16, 4), "index": torch.arange(16)}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_turn_moves_nothing_of_the_other_player() -> None:
    """Turns go D D G G, D D G G: gradients are cleared as a player's own turn begins, so they are compared within a pair."""
    task, model = Game(turns=2), Pair()
    fit(task, model, TinyBatches(batch_of_numbers(), steps=3), STEADY)

    assert [turn["player"] for turn in task.seen] == ["discriminator", "discriminator", "generator", "generator"] * 3
    for before, after in zip(task.seen, task.seen[1:], strict=False):
        mine, other = before["player"], SIDES[before["player"] == SIDES[0]]
        cleared = gradients_of(before[other]) if after["player"] == other else set()
        assert moved(before[other], after[other]) <= cleared, f"{mine}'s turn moved the {other}"
        assert {"0.weight", "1.running_mean", "1.num_batches_tracked"} <= moved(before[mine], after[mine])

    others_gradients = gradients_of(task.seen[5]["generator"])  # a second turn of the discriminator, after the generator's
    assert all(task.seen[5]["generator"][name] is not None for name in others_gradients), "nothing was compared"


def gradients_of(state: dict[str, Tensor | None]) -> set[str]:
    return {name for name in state if name.startswith("gradient")}


def test_buffers_count_their_own_turns_alone() -> None:
    """A discriminator's turn calls it twice, a generator's turn once; validation calls both. Only its own turns may count."""
    task, model = Game(turns=1), Pair()
    fitted = fit(task, model, TinyBatches(batch_of_numbers(), steps=5), STEADY)
    counts = {name: int(buffer) for name, buffer in fitted.model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {
        "generator.1.num_batches_tracked": 5,
        "discriminator.1.num_batches_tracked": 10,
        "discriminator.3.num_batches_tracked": 10,
    }


def test_validation_loss_is_the_first_players_in_eval_mode() -> None:
    task, batch = Game(turns=1), batch_of_numbers()
    fitted = fit(task, Pair(), TinyBatches(batch, steps=2), STEADY)
    assert not fitted.model.training
    with torch.no_grad():
        expected = game_loss(fitted.model, batch, "discriminator").item()
    assert fitted.history[-1]["validation"]["loss"] == pytest.approx(expected, rel=1e-5)


def test_each_players_training_loss_is_the_mean_over_its_turns() -> None:
    task = Game(turns=2)
    fitted = fit(task, Pair(), TinyBatches(batch_of_numbers(), steps=3), STEADY)
    for name in SIDES:
        losses = [turn["loss"] for turn in task.seen if turn["player"] == name]
        assert fitted.history[-1]["train"][f"{name}.game"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_player_may_have_an_optimizer_of_its_own() -> None:
    """Plain gradient descent for one (w - 0.5 g exactly), the recipe's AdamW for the other (about lr a weight at first)."""
    descent = {"name": "sgd", "lr": 0.5, "momentum": 0.0, "nesterov": False}
    task, model, batch = Game(turns=1, optimizers={"discriminator": descent}), Pair(), batch_of_numbers()
    twin = deepcopy(model).train()
    old = dict(twin.discriminator.named_parameters())
    slopes = torch.autograd.grad(game_loss(twin, batch, "discriminator"), tuple(old.values()))

    recipe = replace(STEADY, optimizer=Optimizer(lr=1e-3, weight_decay=0.0))
    fit(task, model, TinyBatches(batch, steps=1), recipe)
    for (name, weight), slope in zip(old.items(), slopes, strict=True):
        torch.testing.assert_close(model.discriminator.get_parameter(name), weight - 0.5 * slope, rtol=1e-5, atol=1e-7)
    pairs = zip(model.generator.parameters(), twin.generator.parameters(), strict=True)
    assert max(float((p - q).detach().abs().max()) for p, q in pairs) == pytest.approx(1e-3, rel=1e-2)


def test_what_requires_a_gradient_is_as_it_was() -> None:
    """A weight frozen by the user stays frozen and where it was; everything else can be trained on."""
    task, model = Game(turns=1), Pair()
    frozen = model.generator.get_parameter("0.weight").requires_grad_(False)
    weight = frozen.clone()
    fit(task, model, TinyBatches(batch_of_numbers(), steps=2), STEADY)
    assert torch.equal(frozen, weight)
    wanted = {name: name != "generator.0.weight" for name, _ in model.named_parameters()}
    assert {name: p.requires_grad for name, p in model.named_parameters()} == wanted


@pytest.mark.parametrize("broken", SIDES)
def test_one_player_without_a_finite_loss_stops_the_run(broken: str) -> None:
    """The other player's good turns must not hide it, and the broken one's weights and buffers stay where they were."""
    task, model = Game(turns=1, broken=broken), Pair()
    start = snapshot(model.get_submodule(broken))
    with pytest.raises(Failed, match=broken):
        fit(task, model, TinyBatches(batch_of_numbers(), steps=20), replace(STEADY, nonfinite_limit=3))
    assert len([turn for turn in task.seen if turn["player"] == broken]) == 3
    assert moved(start, snapshot(model.get_submodule(broken))) == set()
