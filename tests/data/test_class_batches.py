"""Batches of P classes with K images each: always so many, all images about equally often, the same after a restart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from striate.data.class_batches import ClassBatches, class_order
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource, FileSource, Kind
from striate.errors import Refused, UsageError

PREPROCESS = Preprocess((8, 8), channels=1, mean=(0.5,), std=(0.25,))


def source(counts: list[int], kind: Kind = "label") -> ArraySource:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    targets = labels if kind == "label" else np.eye(len(counts), dtype=np.float32)[labels]
    return ArraySource(
        np.random.default_rng(1).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8), name="few", location="npz:nowhere",
        kind=kind, classes=tuple(map(str, range(len(counts)))), targets=targets, given=np.zeros(len(labels), np.uint8),
    )  # fmt: skip


def make(data: ArraySource | FileSource, num_train: int | None = None, **changes: Any) -> ClassBatches:
    num_train = len(data) if num_train is None else num_train
    options: dict[str, Any] = {"batch": 24, "seed": 3, "augmented": False, "images_per_class": 4, "workers": 0} | changes
    return ClassBatches(data, np.arange(num_train), np.arange(num_train, len(data)), PREPROCESS, **options)


def drawn(labels: NDArray[np.int64], classes: int, images: int, steps: int, epochs: int) -> NDArray[np.int64]:
    """[epochs, steps, classes, images]"""
    orders = [class_order(labels, classes, images, steps, 5, epoch) for epoch in range(epochs)]
    return np.stack(orders).reshape(epochs, steps, classes, images)


@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=12), st.integers(1, 3), st.integers(1, 6), st.integers(1, 12),
    st.integers(0, 99),
)  # fmt: skip
def test_every_batch_is_p_by_k(counts: list[int], classes: int, images: int, steps: int, seed: int) -> None:
    """Whatever the sizes: P different classes a batch, K images of each, repeated only where the class has fewer than K; and
    within an epoch a class's images are drawn equally often but for one time."""
    labels = np.repeat(np.arange(len(counts)), counts)
    assume(np.count_nonzero(counts) >= classes)
    order = class_order(labels, classes, images, steps, seed, 1).reshape(steps, classes, images)
    for batch in order:
        own = labels[batch]
        assert (own == own[:, :1]).all()
        assert len(set(own[:, 0])) == classes
        for hand in batch:
            assert len(set(hand)) == min(images, counts[labels[hand[0]]])
    times = np.bincount(order.reshape(-1), minlength=len(labels))
    for k in np.flatnonzero(counts):
        assert np.ptp(times[labels == k]) <= 1


def test_an_epoch_of_even_classes_has_every_image_about_once() -> None:
    """18 classes of 540: 75 batches of 16 by 8 are 9,600 of 9,720 images; over 20 epochs each comes 19.75 times on average."""
    labels = np.arange(9720) % 18
    order = drawn(labels, 16, 8, 75, 20)
    once = np.bincount(order[0].reshape(-1), minlength=9720)
    assert set(once) <= {0, 1}
    often = np.bincount(order.reshape(-1), minlength=9720)
    # Left out in an epoch with probability 1 / 81: a few of 20, never 6 (binomial: below 1e-6 an image).
    assert often.min() >= 15
    assert often.max() <= 20
    by_class = np.bincount(labels, weights=often)
    assert np.ptp(by_class) < 0.02 * by_class.mean()


def test_uneven_classes_are_drawn_by_their_images() -> None:
    """From 3 (fewer than K) to 60 images: over many epochs an image of any class comes equally often."""
    counts = [60, 50, 40, 30, 20, 10, 3]
    labels = np.repeat(np.arange(7), counts)
    order = drawn(labels, 3, 4, 17, 400)
    expected = 400 * 17 * 12 / 213
    often = np.bincount(order.reshape(-1), minlength=213) / expected
    by_class = np.bincount(labels, weights=often) / counts
    # Systematic rounding: the turns of a class in an epoch are within 1 of the share, so at most deviation 1/2 an epoch.
    for share, count in zip(by_class, counts, strict=True):
        assert abs(share - 1) < 5 * 0.5 * math.sqrt(400) * 4 / (count * expected)


def test_a_class_of_most_images_is_in_every_batch_and_no_more() -> None:
    labels = np.repeat(np.arange(4), [1000, 50, 20, 10])
    order = drawn(labels, 2, 4, 30, 50)
    own = labels[order[..., 0]]
    assert (own == 0).any(axis=2).all()
    others = np.bincount(own.reshape(-1))[1:] / (50 * 30)
    np.testing.assert_allclose(others, np.array([50, 20, 10]) / 80, atol=0.01)


def test_classes_meet_ever_other_classes() -> None:
    """40 classes, 4 a batch: in an epoch of 100 batches each class meets most of the others."""
    order = drawn(np.arange(4000) % 40, 4, 10, 100, 1)[0, :, :, 0] % 40
    met = {k: set(order[(order == k).any(axis=1)].reshape(-1)) - {k} for k in range(40)}
    # 10 batches with 3 others each: 30 of 39 draws, some twice; 21 are expected.
    assert np.mean([len(others) for others in met.values()]) > 18


def test_epochs_and_seeds_differ_and_each_is_reproducible() -> None:
    labels = np.arange(400) % 10
    orders = [class_order(labels, 5, 4, 20, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(orders[i], orders[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert np.array_equal(orders[0], class_order(labels, 5, 4, 20, 0, 0))


def test_batches_hold_the_pixels_and_labels_of_their_images() -> None:
    data = source([30, 20, 25, 15, 28])
    batches = make(data, 100)
    assert (batches.classes_per_batch, batches.images_per_class, batches.batch, batches.steps) == (5, 4, 20, 5)
    for batch in batches.train(2):
        index = batch["index"].numpy()
        assert index.max() < 100
        np.testing.assert_array_equal(batch["image"].numpy()[:, 0], data.images[index, :, :, 0])
        np.testing.assert_array_equal(batch["label"].numpy(), data.targets[index])
        assert np.bincount(batch["label"].numpy()).tolist() == [4] * 5


def test_repeats_are_told_apart() -> None:
    """A class of 2 in hands of 4: the second time an image comes, it is varied otherwise."""
    batch = next(make(source([2, 30]), batch=8).train(0))
    pairs = list(zip(batch["index"].tolist(), batch["occurrence"].tolist(), strict=True))
    assert len(set(pairs)) == 8 > len({index for index, _ in pairs})


@pytest.mark.parametrize("workers", [0, 2])
def test_restarting_in_the_middle_gives_the_remaining_batches(tmp_path: Path, workers: int) -> None:
    for i in range(30):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
    files = FileSource(
        tmp_path, [f"{i:02d}.png" for i in range(30)], name="files", location=f"folder:{tmp_path}", kind="label",
        classes=("a", "b", "c"), targets=np.arange(30) % 3, given=np.zeros(30, np.uint8),
    )  # fmt: skip
    for data in (source([30, 20, 25, 15, 28]), files):
        whole = list(make(data, batch=8, workers=workers).train(4))
        rest = list(make(data, batch=8).train(4, start_step=2))
        assert len(whole) - 2 == len(rest) > 0
        for ours, theirs in zip(whole[2:], rest, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_validation_has_every_image_once_and_several_classes_a_batch() -> None:
    """Also where the split lists one class after the other."""
    counts = [40, 40, 40]
    data = source(counts)
    data.targets = np.sort(data.targets)
    batches = make(data, 60, batch=12)  # trains on two classes, validates on the rest
    found = [batch["index"] for batch in batches.validation()]
    assert sorted(torch.cat(found).tolist()) == list(range(60, 120))
    assert all(len(set(data.targets[index.numpy()])) > 1 for index in found)
    assert torch.equal(torch.cat(found), torch.cat([batch["index"] for batch in batches.validation()]))
    exact = torch.cat([batch["index"] for batch in batches.exact()])
    assert exact.tolist() == batches.positions.tolist()


@pytest.mark.parametrize(
    ("counts", "batch", "images", "expected"),
    [
        ([50] * 30, 128, 8, (16, 8)),
        ([50] * 30, 100, 8, (12, 8)),  # 4 images fewer than asked for: the batch is of 12 x 8
        ([50] * 2, 64, 8, (2, 32)),  # both classes fit: more of each
        ([20, 50], 64, 8, (2, 20)),  # but none twice
        ([3, 50], 64, 8, (2, 8)),  # unless K itself asks for it
    ],
)
def test_how_many_classes_and_images(counts: list[int], batch: int, images: int, expected: tuple[int, int]) -> None:
    batches = make(source(counts), batch=batch, images_per_class=images)
    assert (batches.classes_per_batch, batches.images_per_class) == expected
    assert batches.batch == math.prod(expected)


def test_a_file_that_cannot_be_read_leaves_the_counts(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(np.full((9, 9), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "0.png").write_bytes(b"no picture")
    files = FileSource(
        tmp_path, [f"{i}.png" for i in range(12)], name="files", location="folder:nowhere", kind="label",
        classes=("a", "b"), targets=np.arange(12) % 2, given=np.zeros(12, np.uint8),
    )  # fmt: skip
    batches = make(files, batch=12, images_per_class=2)
    assert batches.images_per_class == 6
    assert batches.scan().tolist() == [1, 0]
    assert batches.images_per_class == 5
    assert 0 not in torch.cat([batch["index"] for batch in batches.train(0)]).tolist()


def test_another_number_of_images_a_class_is_no_resume() -> None:
    data = source([30, 30, 30, 30])
    state = make(data, batch=16, images_per_class=4).state_dict()
    make(data, batch=16, images_per_class=4).load_state_dict(state)
    with pytest.raises(Refused, match="images_per_class"):
        make(data, batch=16, images_per_class=8).load_state_dict(state)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="one class each"):
        make(source([9, 9], kind="labels"))
    with pytest.raises(UsageError, match="A batch of 15 has no two classes of 8"):
        make(source([20, 20]), batch=15, images_per_class=8)
    with pytest.raises(UsageError, match="no two classes of 1 image"):
        make(source([20, 20]), images_per_class=1)
    one = source([20, 20])
    one.targets = np.zeros(40, np.int64)
    with pytest.raises(Refused, match="of one class"):
        make(one)
