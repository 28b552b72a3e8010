"""IDX and NumPy archives: pictures in memory, real ones and broken ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.data.formats import open_source
from striate.data.idx import FASHION, MNIST, read_idx
from striate.data.source import SPLITS, ArraySource
from striate.errors import Refused, StriateError, UsageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)


def idx_bytes(array: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    labels = np.array([3, 1, 3, 0, 1, 3], dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(GREY))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx_bytes(labels))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(GREY[:2])))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels[:2])))
    return tmp_path


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    def save(**arrays: Any) -> Path:
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return save


def arrays_of(source: Any) -> ArraySource:
    assert isinstance(source, ArraySource)
    return source


def test_idx_plain_and_gzipped(idx_folder: Path) -> None:
    source = arrays_of(open_source(idx_folder))
    assert source.classes == ("0", "1", "3")
    assert source.targets.tolist() == [2, 1, 2, 0, 1, 2, 2, 1]
    assert [SPLITS[code] for code in source.given] == ["train"] * 6 + ["test"] * 2
    assert (source.key(1), source.key(7)) == ("train/000001", "test/000001")
    np.testing.assert_array_equal(source.read(7), GREY[1][..., None])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], ["size does not fit", "6 x 5 x 4"]),
        ("train-images-idx3-ubyte", lambda data: data + b"x", ["size does not fit"]),
        ("train-images-idx3-ubyte", lambda data: data[:9], ["ends within its header"]),
        ("train-images-idx3-ubyte", lambda data: b"\x89PNG" + data[4:], ["not the IDX file"]),
        ("train-images-idx3-ubyte", lambda data: data[:4] + b"\xff" * 12 + data[16:], ["size does not fit"]),
        ("t10k-images-idx3-ubyte.gz", lambda data: data[:-9], ["gzip", "download it again"]),
        ("t10k-images-idx3-ubyte.gz", lambda data: data[:30] + bytes((data[30] ^ 1,)) + data[31:], ["t10k"]),
        ("train-labels.idx1-ubyte", lambda data: data[:7] + b"\5" + data[8:-1], ["6 pictures but 5 labels"]),
    ],
)
def test_damaged_idx_is_refused(idx_folder: Path, name: str, change: Callable[[bytes], bytes], says: list[str]) -> None:
    file = idx_folder / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(Refused) as caught:
        open_source(idx_folder)
    for words in says:
        assert words in str(caught.value)


def test_a_missing_idx_file_is_named(idx_folder: Path) -> None:
    (idx_folder / "train-labels.idx1-ubyte").unlink()
    with pytest.raises(UsageError, match="train-labels-idx1-ubyte"):
        open_source(f"idx:{idx_folder}")


def test_labels_beyond_the_classes_are_refused(idx_folder: Path) -> None:
    (idx_folder / "train-labels.idx1-ubyte").write_bytes(idx_bytes(np.full(6, 26, dtype=np.uint8)))
    with pytest.raises(Refused, match="26"):
        open_source(f"mnist:{idx_folder}")


def test_mnist_and_fashion_mnist(shared_data: Path) -> None:
    for scheme, folder, known in (("mnist", "mnist", MNIST), ("fashion", "fashion_mnist", FASHION)):
        source = arrays_of(open_source(f"{scheme}:{shared_data / folder}"))
        assert source.classes == known.classes
        assert source.images.shape == (70_000, 28, 28, 1)
        assert np.bincount(source.given).tolist() == [0, 60_000, 0, 10_000]
        assert np.bincount(source.targets[source.given == 3]).min() > 800


def test_demo_data() -> None:
    fashion, letters = arrays_of(open_source("demo:fashion")), arrays_of(open_source("demo:letters"))
    assert fashion.classes == FASHION.classes
    assert np.bincount(fashion.given).tolist() == [0, 3000, 0, 600]
    assert "".join(letters.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert np.bincount(letters.given).tolist() == [0, 2600, 0, 520]
    assert np.bincount(letters.targets).min() > 100
    assert (fashion.name, fashion.location) == ("demo-fashion", "demo:fashion")


def test_the_demo_data_is_a_part_of_the_real_data(shared_data: Path) -> None:
    whole = read_idx(shared_data / "fashion_mnist" / "train-images-idx3-ubyte.gz", 3)
    known = {picture.tobytes() for picture in whole}
    source = arrays_of(open_source("demo:fashion"))
    assert all(picture.tobytes() in known for picture in source.images[source.given == 1])


@pytest.mark.parametrize(
    ("arrays", "kind", "classes", "targets"),
    [
        ({"images": GREY, "labels": [5, 9, 5, 5, 9, 5]}, "label", ("5", "9"), [0, 1, 0, 0, 1, 0]),
        ({"images": GREY, "labels": [1, 0] * 3, "classes": ["no", "yes", "never"]}, "label", ("no", "yes", "never"), [1, 0] * 3),
        ({"x": GREY, "y": ["b", "a", "b", "b", "a", "b10"]}, "label", ("a", "b", "b10"), [1, 0, 1, 1, 0, 2]),
        ({"images": GREY, "labels": [0.5, 1, 2, 3, 4, 5]}, "value", (), [0.5, 1, 2, 3, 4, 5]),
        ({"images": GREY, "labels": np.eye(6, 3)}, "labels", ("0", "1", "2"), np.eye(6, 3).tolist()),
        ({"x_train": GREY, "y_train": np.array([[1], [2], [1], [2], [1], [2]])}, "label", ("1", "2"), [0, 1, 0, 1, 0, 1]),
    ],
)  # fmt: skip
def test_npz_labels(
    archive: Callable[..., Path], arrays: dict[str, Any], kind: str, classes: tuple[str, ...], targets: list[Any]
) -> None:
    source = open_source(archive(**arrays))
    assert (source.kind, source.classes, source.targets.tolist()) == (kind, classes, targets)


def test_npz_splits_and_layouts(archive: Callable[..., Path]) -> None:
    first = RNG.integers(0, 256, (4, 3, 7, 8), dtype=np.uint8)  # channels first
    last = np.moveaxis(first, 1, 3)
    labels = {"train_labels": [0, 1, 0, 1], "val_labels": [0, 1, 1, 1]}
    source = arrays_of(open_source(archive(train_images=first, val_images=last, **labels)))
    assert source.images.shape == (8, 7, 8, 3)
    np.testing.assert_array_equal(source.images[:4], source.images[4:])
    assert [SPLITS[code] for code in source.given] == ["train"] * 4 + ["val"] * 4


@pytest.mark.parametrize(
    ("arrays", "kind", "says"),
    [
        ({"pictures": GREY}, UsageError, ["no pictures", "pictures [6, 5, 4]", "name the arrays"]),
        ({"images": GREY}, UsageError, ["'images' has no labels"]),
        ({"images": GREY, "labels": [1, 2]}, Refused, ["6 pictures but 2 labels"]),
        ({"images": GREY / 255, "labels": [0] * 6}, UsageError, ["float64", "(images * 255)"]),
        ({"images": GREY.astype(np.uint16), "labels": [0] * 6}, UsageError, ["uint16", "0..255"]),
        ({"images": GREY[:, :, :, None].repeat(2, 3), "labels": [0] * 6}, UsageError, ["[6, 5, 4, 2]"]),
        ({"images": GREY, "labels": [0, 1, 2, 3, 4, 5], "classes": ["a", "b"]}, Refused, ["from 0 to 5", "2 names"]),
        ({"images": GREY, "labels": np.full((6, 2), 7)}, UsageError, ["other than 0 and 1"]),
        ({"images": GREY, "labels": [0, 1, np.nan, 0, 1, 0]}, Refused, ["not numbers"]),
        ({"images": GREY, "labels": np.array([{}] * 6, dtype=object)}, UsageError, ["pickled", "runs code"]),
        ({"images": GREY[:0], "labels": []}, UsageError, ["holds no pictures"]),
        ({"x_train": GREY, "y_train": [0] * 6, "x_test": GREY[:, :3], "y_test": [0] * 6}, Refused, ["different sizes"]),
    ],
)  # fmt: skip
def test_npz_mistakes_are_named(
    archive: Callable[..., Path], arrays: dict[str, Any], kind: type[StriateError], says: list[str]
) -> None:
    file = archive(**arrays)
    with pytest.raises(kind) as caught:
        open_source(file)
    for words in [str(file), *says]:
        assert words in str(caught.value)


def test_a_damaged_archive_is_refused(archive: Callable[..., Path]) -> None:
    file = archive(images=GREY, labels=[0, 1, 0, 1, 0, 1])
    whole = file.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        file.write_bytes(whole[:cut])
        with pytest.raises(StriateError, match=r"data\.npz"):
            open_source(file)
    for position in range(120, 240, 8):  # within the pixels: the archive's own checksum finds it
        file.write_bytes(whole[:position] + bytes((whole[position] ^ 4,)) + whole[position + 1 :])
        with pytest.raises(StriateError, match=r"data\.npz"):
            open_source(file)


def test_the_fingerprint_follows_one_pixel_and_one_label(archive: Callable[..., Path]) -> None:
    other = GREY.copy()
    other[3, 2, 1] ^= 1
    labels = [0, 1, 0, 1, 0, 1]
    pairs = ((GREY, labels), (other, labels), (GREY, labels[::-1]), (GREY, labels))
    prints = [open_source(archive(images=images, labels=values)).fingerprint() for images, values in pairs]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]


def test_stamps_tell_samples_and_archives_apart(archive: Callable[..., Path]) -> None:
    source = open_source(archive(images=GREY, labels=[0, 1, 0, 1, 0, 1]))
    stamps = {source.stamp(i) for i in range(6)}
    assert len(stamps) == 6
    other = open_source(archive(images=GREY[::-1], labels=[0, 1, 0, 1, 0, 1]))
    assert not stamps & {other.stamp(i) for i in range(6)}
