"""Parts of a batch, what stands still, and what batch norm cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyBatches
from torch import nn

from striate.data.batches import Batches
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource
from striate.errors import Failed
from striate.recipe import Optimizer, Recipe
from striate.tasks.base import Batch
from striate.tasks.classify import Classify
from striate.training import fit
from striate.turns import batch_size, split_batch


def batch_of(num: int, side: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(num)
    image = torch.rand(num, 1, side, side, generator=generator) * 255
    return {"image": image, "index": torch.arange(num), "label": torch.arange(num) % 2}


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 40])
@pytest.mark.parametrize("total", [1, 2, 3, 5, 9, 17, 33])
def test_parts_are_even_and_never_one_image_alone(total: int, size: int) -> None:
    parts = list(split_batch(batch_of(total), size))
    assert torch.equal(torch.cat([part["index"] for part in parts]), torch.arange(total))
    sizes = [batch_size(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= size + 1
    if size > 1 and total > 1:
        assert min(sizes) > 1
    # Larger than asked only where parts of the size asked would leave one image alone: odd totals in pairs.
    assert max(sizes) <= size or (size == 2 and total % 2 == 1)


@pytest.mark.parametrize(("num", "batch", "steps"), [(17, 16, 1), (18, 16, 2), (33, 16, 2), (5, 16, 1), (1, 16, 1), (16, 16, 1)])
def test_no_training_batch_holds_a_lone_image_beside_others(num: int, batch: int, steps: int) -> None:
    source = ArraySource(
        np.zeros((num, 4, 4, 1), np.uint8), name="n", location="n", kind="label", classes=("a", "b"),
        targets=np.arange(num) % 2, given=np.zeros(num, np.uint8),
    )  # fmt: skip
    preprocess = Preprocess((4, 4), resize=None, channels=1, mean=(0.5,), std=(0.25,))
    batches = Batches(source, np.arange(num), np.arange(0), preprocess, batch=batch, seed=0, augmented=False)
    sizes = [len(each["index"]) for each in batches.train(0)]
    assert batches.steps == len(sizes) == steps
    assert num == 1 or min(sizes) > 1


def test_batch_norm_with_one_number_a_channel_says_what_to_do(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    with pytest.raises(Failed, match="one number a channel") as caught:
        fit(Classify(("a", "b")), model, TinyBatches(batch_of(1), 1), Recipe(batch=1, epochs=1))
    assert "--batch 2" in str(caught.value.fix)


def test_a_frozen_batch_norm_never_moves_and_normalises_by_what_it_learnt() -> None:
    model = normed()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean.fill_(3.0)  # type: ignore[union-attr]
    for part in (model[0], norm):
        part.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("5.")}
    seen: list[bool] = []
    norm.register_forward_hook(lambda module, _inputs, _output: seen.append(module.training))
    fit(Classify(("a", "b")), model, TinyBatches(batch_of(8), 3), Recipe(batch=8, epochs=2, optimizer=Optimizer(lr=0.1)))
    assert seen
    assert not any(seen), "in training mode it would normalise by the batch"
    after = model.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_a_batch_norm_that_learns_still_follows_its_batches() -> None:
    model = normed()
    before = model[1].running_mean.clone()  # type: ignore[union-attr,operator]
    fit(Classify(("a", "b")), model, TinyBatches(batch_of(8), 3), Recipe(batch=8, epochs=1))
    assert not torch.equal(model[1].running_mean, before)  # type: ignore[arg-type]
