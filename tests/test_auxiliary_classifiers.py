"""Auxiliary classifiers count in training, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from tiny import TinyBatches
from torch import Tensor, nn

from striate.errors import UsageError
from striate.models.variant import Network
from striate.recipe import Optimizer, Recipe
from striate.tasks.classify import Classify
from striate.training import fit

CLASSES = ("ant", "bee", "cat")


class Forked(Network):
    """A dense head, and two auxiliary classifiers on the same three numbers."""

    channels, strides, stage_paths = (), (), {"stem": ()}
    head_path, embedding_dim, aux_head_paths, aux_weight = "head", 3, ("first", "second"), 0.3

    def __init__(self) -> None:
        super().__init__()
        self.head, self.first, self.second = (nn.Linear(3, 3) for _ in range(3))

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return []

    def embed(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))

    def forward_with_aux(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        embedding = self.embed(x)
        return self.head(embedding), (self.first(embedding), self.second(embedding))


def batch() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"image": torch.rand(6, 3, 4, 4), "label": torch.tensor([0, 1, 2, 0, 1, 2]), "index": torch.arange(6)}


def test_training_adds_each_by_its_weight() -> None:
    task, model, some = Classify(CLASSES, label_smoothing=0.1), Forked().train(), batch()
    losses = task.losses(model, some, "model")
    logits, auxiliary = model.forward_with_aux(some["image"])
    expected = [nn.functional.cross_entropy(each, some["label"], label_smoothing=0.1) for each in (logits, *auxiliary)]
    assert losses.keys() == {"cross_entropy", "auxiliary"}
    torch.testing.assert_close(losses["cross_entropy"], expected[0])
    torch.testing.assert_close(losses["auxiliary"], 0.3 * (expected[1] + expected[2]))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_evaluation_reads_the_head_alone() -> None:
    task, model, some = Classify(CLASSES), Forked().eval(), batch()
    assert task.losses(model, some, "model").keys() == {"cross_entropy"}
    assert task.validation_losses(model, some, task.forward(model, some)).keys() == {"cross_entropy"}


def test_a_run_trains_and_validates_such_a_network() -> None:
    model = Forked()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    recipe = Recipe(epochs=1, batch=6, optimizer=Optimizer("sgd", lr=0.1))
    row = fit(Classify(CLASSES), model, TinyBatches(batch(), 2), recipe).history[-1]
    assert row["train"]["loss"] == pytest.approx(row["train"]["cross_entropy"] + row["train"]["auxiliary"], rel=1e-5)
    assert "auxiliary" not in row["validation"]
    assert all(not torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_wrong_number_of_outputs_is_named_in_training_too() -> None:
    with pytest.raises(UsageError, match="Build it with num_classes=2"):
        Classify(CLASSES[:2]).losses(Forked().train(), batch(), "model")
