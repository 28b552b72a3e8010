"""Parameter groups, schedules and the average of weights."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from striate.errors import UsageError
from striate.optimization import Plateau, WeightAverage, make_optimizer, rate_factor
from striate.recipe import Optimizer, Schedule


def test_norms_and_biases_are_not_decayed() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    groups = make_optimizer(model.parameters(), Optimizer(weight_decay=0.1)).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    assert decayed == {id(model[0].weight), id(model[2].weight)}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    everything = make_optimizer(model.parameters(), Optimizer(weight_decay=0.1, decay_norms_and_biases=True)).param_groups
    assert [group["weight_decay"] for group in everything] == [0.1]


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(UsageError, match="Nesterov"):
        make_optimizer([nn.Parameter(torch.zeros(2, 2))], Optimizer("sgd", momentum=0.0, nesterov=True))


def test_rmsprop_takes_its_settings() -> None:
    settings = Optimizer("rmsprop", lr=0.1, momentum=0.5, smoothing=0.8, eps=0.25, weight_decay=0.0)
    parameter = nn.Parameter(torch.tensor([[3.0]]))
    optimizer = make_optimizer([parameter], settings)
    value, square, velocity = 3.0, 0.0, 0.0
    for gradient in (2.0, -1.0, 4.0):
        parameter.grad = torch.tensor([[gradient]])
        optimizer.step()
        square = 0.8 * square + 0.2 * gradient**2
        velocity = 0.5 * velocity + gradient / (math.sqrt(square) + 0.25)
        value -= 0.1 * velocity
        assert parameter.item() == pytest.approx(value, rel=1e-5)
    with pytest.raises(UsageError, match=r"smoothing is 1.0"):
        make_optimizer([parameter], Optimizer("rmsprop", smoothing=1.0))


def test_linear_schedule_falls_evenly_to_its_end() -> None:
    schedule = Schedule("linear", warmup=0.0, final=0.2)
    assert [rate_factor(schedule, t) for t in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([1, 0.8, 0.6, 0.2])
    late = Schedule("linear", warmup=0.5, final=0.0)
    assert [rate_factor(late, t) for t in (0.249, 0.75, 1.0)] == pytest.approx([0.5, 0.5, 0])


def test_step_schedule_multiplies_at_its_milestones() -> None:
    schedule = Schedule("step", warmup=0.0, milestones=(0.5, 0.75), gamma=0.1)
    assert [rate_factor(schedule, t) for t in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_smooth_schedules_rise_to_one_and_fall_to_their_end(name: str) -> None:
    schedule = Schedule(name, warmup=0.25, final=0.01)  # type: ignore[arg-type]
    factors = [rate_factor(schedule, t / 1000) for t in range(1001)]
    peak = factors.index(max(factors))
    assert max(factors) == pytest.approx(1.0, abs=1e-3)
    assert 0.24 <= peak / 1000 <= 0.26
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(factors[: peak + 1]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(factors[peak:]))
    assert factors[-1] == pytest.approx(0.01)


def test_one_cycle_is_pytorchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    steps = 200
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps + 1,
        pct_start=0.25 * steps / steps,
        div_factor=25,
        final_div_factor=1 / 0.04 / 25 * 100,
    )
    schedule = Schedule("one_cycle", warmup=0.25, final=0.04 / 100)
    for step in range(steps):
        # PyTorch rounds the peak to a whole step; one step of 200 moves a cosine by at most pi / 2 / 50.
        assert rate_factor(schedule, step / steps) == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.032)
        optimizer.step()
        theirs.step()


def test_plateau_waits_then_multiplies_and_stops_at_its_floor() -> None:
    plateau = Plateau(Schedule("plateau", patience=1, gamma=0.1, final=0.05))
    for improved in (True, False):
        plateau.update(improved)
    assert plateau.factor == 1.0
    plateau.update(False)
    assert plateau.factor == pytest.approx(0.1)
    for _ in range(4):
        plateau.update(False)
    assert plateau.factor == 0.05
    again = Plateau(Schedule("plateau"))
    again.load_state_dict(plateau.state_dict())
    assert (again.factor, again.waited) == (plateau.factor, plateau.waited)


def test_average_is_the_bias_corrected_mean_of_what_it_saw() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    average = WeightAverage(model, decay=0.9)
    seen = []
    for step in range(1, 6):
        with torch.no_grad():
            model[0].weight.fill_(float(step))
            model[1].num_batches_tracked.fill_(step)
        average.update()
        seen.append(float(step))
        weights = [0.9 ** (step - i) for i in range(1, step + 1)]
        expected = sum(w * x for w, x in zip(weights, seen, strict=True)) / sum(weights)
        assert average.module[0].weight.item() == pytest.approx(expected, rel=1e-5)  # type: ignore[index]
    assert int(average.module[1].num_batches_tracked) == 5, "counters are copied, not averaged"  # type: ignore[index]


def test_decay_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        WeightAverage(nn.Linear(1, 1), 1.0)


OPTIMIZERS = [
    (Optimizer("adamw", lr=0.01), partial(torch.optim.AdamW, lr=0.01, weight_decay=0.01)),
    (Optimizer("sgd", lr=0.01, weight_decay=0.0), partial(torch.optim.SGD, lr=0.01, momentum=0.9, nesterov=True)),
    (Optimizer("rmsprop", lr=0.01, weight_decay=0.0), partial(torch.optim.RMSprop, lr=0.01, alpha=0.99, momentum=0.9)),
]


@pytest.mark.parametrize(("settings", "theirs"), OPTIMIZERS)
def test_steps_are_those_of_pytorch(settings: Optimizer, theirs: Any) -> None:
    ends = []
    for make in (lambda parameters: make_optimizer(parameters, settings), theirs):
        weight = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))
        optimizer = make([weight])
        for step in range(6):
            optimizer.zero_grad()
            ((weight * (step - 2)).sum() + (weight**2).sum()).backward()
            optimizer.step()
            state = optimizer.state_dict()
            optimizer = make([weight])
            optimizer.load_state_dict(state)
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=0)  # fused or not: their sums may be rounded otherwise


def test_a_step_does_not_load_the_compiler() -> None:
    code = """
import sys, torch
from striate.optimization import make_optimizer
from striate.recipe import Optimizer
weight = torch.nn.Parameter(torch.ones(2, 2))
for name in ("adamw", "sgd", "rmsprop"):
    optimizer = make_optimizer([weight], Optimizer(name))
    weight.square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.slow
def test_neither_does_a_whole_run(tmp_path: Path) -> None:
    code = """
import sys
from striate.cli import main
status = main(sys.argv[1:])
print(status, "torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""
    words = ["train", "demo:fashion", "--model", "fashion_cnn", "--epochs", "1", "--no-probe", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False False"
