"""The split rule, its cut, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from striate.data.source import SPLITS, ArraySource, Kind
from striate.data.split import Split, make_split, read_split, write_split
from striate.data.stratify import apportion, stratify
from striate.errors import Refused


def make_source(
    targets: Sequence[Any] | NDArray[Any], given: Sequence[str] = (), kind: Kind = "label", classes: Sequence[str] = ()
) -> ArraySource:
    array = np.asarray(targets, dtype=np.int64 if kind == "label" else np.float32)
    codes = np.array([SPLITS.index(name) for name in given or [""] * len(array)], dtype=np.uint8)
    if not classes and kind != "value":
        classes = [f"c{k}" for k in range(array.shape[1] if array.ndim == 2 else int(array.max()) + 1)]
    images = np.zeros((len(array), 2, 2, 1), dtype=np.uint8)
    return ArraySource(images, name="tiny", location="npz:tiny", kind=kind, classes=classes, targets=array, given=codes)


class Reordered(ArraySource):
    """The same samples in another order, under the same keys."""

    def __init__(self, source: ArraySource, order: NDArray[np.int64]) -> None:
        self._keys = [source.key(i) for i in order.tolist()]
        common = {"name": source.name, "location": source.location, "kind": source.kind, "classes": source.classes}
        super().__init__(source.images[order], **common, targets=source.targets[order], given=source.given[order])

    def key(self, i: int) -> str:
        return self._keys[i]


def assert_partition(split: Split, total: int) -> None:
    everything = np.concatenate([split.train, split.validation, split.held_out])
    assert sorted(everything.tolist()) == list(range(total))
    for part in (split.train, split.validation, split.held_out):
        assert (np.diff(part) > 0).all()


def test_three_given_splits_are_taken_as_they_are() -> None:
    names = ["train"] * 6 + ["val"] * 3 + ["test"] * 2 + [""]
    split = make_split(make_source([0, 1] * 6, names))
    assert split.train.tolist() == [0, 1, 2, 3, 4, 5, 11], "what is in no split trains"
    assert split.validation.tolist() == [6, 7, 8]
    assert split.held_out.tolist() == [9, 10]
    assert split.held_out_name == "test"


@pytest.mark.parametrize("other", ["val", "test"])
def test_the_only_other_split_is_held_out_and_validation_is_cut_from_train(other: str) -> None:
    source = make_source([0, 1] * 60, ["train"] * 100 + [other] * 20)
    split = make_split(source, validation=0.1)
    assert split.held_out.tolist() == list(range(100, 120))
    assert split.held_out_name == other
    assert np.bincount(source.targets[split.validation]).tolist() == [5, 5]
    assert_partition(split, 120)
    assert f"{other}/ is held out" in split.how
    assert "10 of the 100" in split.how


@pytest.mark.parametrize("only", ["", "train", "test"])
def test_one_split_is_divided_70_15_15(only: str) -> None:
    source = make_source([0] * 100 + [1] * 40, [only] * 140)
    split = make_split(source)
    assert_partition(split, 140)
    sizes = [np.bincount(source.targets[part]).tolist() for part in (split.train, split.validation, split.held_out)]
    assert sizes == [[70, 28], [15, 6], [15, 6]]
    assert split.held_out_name == ""


def test_no_training_images_is_refused() -> None:
    with pytest.raises(Refused, match=r"no training images[\s\S]*2 in val/ and 2 in test/[\s\S]*do:"):
        make_split(make_source([0, 1, 0, 1], ["val", "val", "test", "test"]))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(Refused, match="2 images, too few to divide into 3 parts"):
        make_split(make_source([0, 1]))


def test_the_cut_depends_on_seed_and_keys_alone() -> None:
    source = make_source(np.arange(300) % 7)
    split = make_split(source, seed=3)
    again = make_split(source, seed=3)
    assert all((getattr(split, part) == getattr(again, part)).all() for part in ("train", "validation", "held_out"))
    assert set(make_split(source, seed=4).validation.tolist()) != set(split.validation.tolist())
    order = np.random.default_rng(0).permutation(300)
    shuffled = Reordered(source, order)
    moved = make_split(shuffled, seed=3)
    assert {shuffled.key(i) for i in moved.validation} == {source.key(i) for i in split.validation}


def test_duplicates_are_never_separated_and_classes_keep_their_shares() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, 800)
    groups = np.arange(800)
    for _ in range(60):  # sets of 2 to 5 within a class
        members = rng.choice(np.flatnonzero(targets == rng.integers(0, 4)), rng.integers(2, 6), replace=False)
        groups[members] = members.min()
    source = make_source(targets)
    split = make_split(source, groups=groups)
    assert_partition(split, 800)
    parts = [set(groups[part].tolist()) for part in (split.train, split.validation, split.held_out)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    counts = np.bincount(targets)
    for part, share in ((split.train, 0.7), (split.validation, 0.15), (split.held_out, 0.15)):
        assert np.abs(np.bincount(targets[part], minlength=4) - share * counts).max() <= 1


def test_tiny_classes_train_first_then_are_scored_and_it_is_said() -> None:
    source = make_source([0] * 40 + [1] * 3 + [2] * 2 + [3])
    split = make_split(source)
    where = {
        k: [int((source.targets[part] == k).sum()) for part in (split.train, split.held_out, split.validation)] for k in (1, 2, 3)
    }
    assert where == {1: [1, 1, 1], 2: [1, 1, 0], 3: [1, 0, 0]}
    assert split.notes == (
        "c2 has too few independent images (2 in all): none in validation.",
        "c3 has too few independent images (1 in all): none in held out or validation.",
    )


def test_two_copies_are_one_independent_image() -> None:
    split = make_split(make_source([0] * 20 + [1, 1]), groups=np.array([*range(20), 20, 20]))
    assert {20, 21} <= set(split.train.tolist())
    assert "c1 has too few independent images (2 in all)" in split.notes[0]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), num=st.integers(3, 60), num_classes=st.integers(1, 5), num_groups=st.integers(1, 60))
def test_every_class_of_two_groups_trains(data: st.DataObject, num: int, num_classes: int, num_groups: int) -> None:
    own = data.draw(st.lists(st.integers(0, num_groups - 1), min_size=num, max_size=num))
    groups = np.array(own)
    # A class a group: what duplicates with one label are.
    targets = (groups * 7919) % num_classes
    order = np.random.default_rng(num).permutation(num).astype(np.uint64)
    parts = stratify(targets, groups, order, (0.7, 0.15, 0.15))
    for group in np.unique(groups):
        assert len(np.unique(parts[groups == group])) == 1
    for k in np.unique(targets):
        independent = len(np.unique(groups[targets == k]))
        present = set(parts[targets == k].tolist())
        assert 0 in present
        assert present == set(range(min(3, independent)))


def test_several_classes_each_keep_their_shares() -> None:
    rng = np.random.default_rng(5)
    targets = (rng.random((600, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]).astype(np.float32)
    source = make_source(targets, kind="labels")
    split = make_split(source)
    assert_partition(split, 600)
    total = targets.sum(0)
    # A plain random cut misses these bounds: its spread is sqrt(n p q), 5 images for the largest class.
    for part, share in ((split.train, 0.7), (split.validation, 0.15), (split.held_out, 0.15)):
        assert np.abs(targets[part].sum(0) - share * total).max() <= 3
        assert abs(len(part) - share * 600) <= 12


def test_numbers_are_divided_by_quantile() -> None:
    values = np.random.default_rng(2).lognormal(size=1000).astype(np.float32)
    split = make_split(make_source(values, kind="value"))
    assert_partition(split, 1000)
    edges = np.quantile(values, np.linspace(0, 1, 11))[1:-1]
    for part in (split.train, split.validation, split.held_out):
        tenths = np.bincount(np.searchsorted(edges, values[part]), minlength=10) / len(part)
        assert np.abs(tenths - 0.1).max() < 0.02


@pytest.mark.parametrize(("total", "shares", "least", "expected"), [
    (10, (0.7, 0.15, 0.15), 0, [7, 2, 1]),
    (3, (0.9, 0.05, 0.05), 1, [1, 1, 1]),
    (5, (0.9, 0.1), 1, [4, 1]),
    (0, (1, 1), 0, [0, 0]),
    (4, (0, 1), 0, [0, 4]),
])  # fmt: skip
def test_apportion(total: int, shares: tuple[float, ...], least: int, expected: list[int]) -> None:
    assert apportion(total, shares, least).tolist() == expected


def test_a_split_file_comes_back_for_another_order_and_place(tmp_path: Path) -> None:
    source = make_source(np.arange(50) % 3)
    split = make_split(source, seed=9)
    path = write_split(tmp_path / "new" / "split.json", split, source)
    assert json.loads(path.read_text())["source"]["fingerprint"] == source.fingerprint()
    back = read_split(path, source)
    assert (back.how, back.held_out_name, back.seed, back.notes) == (split.how, split.held_out_name, 9, split.notes)
    assert back.held_out.tolist() == split.held_out.tolist()
    shuffled = Reordered(source, np.random.default_rng(0).permutation(50))
    moved = read_split(path, shuffled)
    assert {shuffled.key(i) for i in moved.train} == {source.key(i) for i in split.train}


def test_a_split_file_for_other_data_is_refused_by_name(tmp_path: Path) -> None:
    source = make_source(np.arange(50) % 3)
    path = write_split(tmp_path / "split.json", make_split(source), source)
    with pytest.raises(Refused, match=r"2 of its samples are not there \(all/00004[89], all/00004[89]\)"):
        read_split(path, make_source(np.arange(48) % 3))
    with pytest.raises(Refused, match=r"4 of the data's samples are in none of its parts \(all/000050, .*, \.\.\.\)"):
        read_split(path, make_source(np.arange(54) % 3))


@pytest.mark.parametrize("spoil", ["twice", "format", "keys", "text"])
def test_a_damaged_split_file_is_refused(tmp_path: Path, spoil: str) -> None:
    source = make_source(np.arange(20) % 2)
    path = write_split(tmp_path / "split.json", make_split(source), source)
    record = json.loads(path.read_text())
    if spoil == "twice":
        record["keys"]["held_out"].append(record["keys"]["train"][0])
    elif spoil == "format":
        record["format"] = "something else"
    elif spoil == "keys":
        record["keys"]["train"] = 7
    path.write_text("{" if spoil == "text" else json.dumps(record))
    said = {"twice": "names a sample twice", "text": "Could not read"}.get(spoil, "not a split file")
    with pytest.raises(Refused, match=said):
        read_split(path, source)


def test_a_file_name_that_is_no_text_survives(tmp_path: Path) -> None:
    class Odd(ArraySource):
        def key(self, i: int) -> str:
            return f"caf\udce9/{i}.jpg"

    source = make_source([0, 1] * 10)
    odd = Odd(
        source.images, name="odd", location="x", kind="label", classes=source.classes, targets=source.targets, given=source.given
    )
    split = make_split(odd)
    assert read_split(write_split(tmp_path / "split.json", split, odd), odd).train.tolist() == split.train.tolist()
