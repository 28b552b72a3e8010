"""Exact search, near-duplicates and maps of vectors, against what plain NumPy says of all pairs at once."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate import search
from striate.embedding_map import COLORS, PAPER, pca_plane, umap_plane, write_map
from striate.errors import Refused, UsageError
from striate.index import FORMAT_VERSION, Index, Origin, read_index, write_index
from striate.search import Vectors, near_duplicates, nearest

ORIGIN = Origin("net", "0" * 64, "1" * 64, "/models/net.safetensors")


def unit(rows: Any) -> Vectors:
    rows = np.asarray(rows, np.float64)
    vectors: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def random_unit(num: int, width: int, seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(num, width)))


def make_index(vectors: Vectors, kind: str = "label", **more: Any) -> Index:
    num = len(vectors)
    targets = {
        "label": np.arange(num) % 2,
        "labels": (np.arange(num)[:, None] % np.array([2, 3]) == 0).astype(np.float32),
        "value": np.linspace(-1, 1, num, dtype=np.float32),
    }[kind]
    classes = () if kind == "value" else ("cat", "dog")
    keys = tuple(f"pictures/{i} ü.jpg" for i in range(num))
    made: dict[str, Any] = {"keys": keys, "targets": targets, "classes": classes, "kind": kind, "origin": ORIGIN}
    return Index(vectors, **{**made, "location": "folder:/pictures", "root": "/pictures", **more})


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks in both directions, the last ones not full."""
    monkeypatch.setattr(search, "ROWS", 7)
    monkeypatch.setattr(search, "COLUMNS", 11)


# Nearest


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("k", [1, 5, 11, 40, 100])
def test_blocks_find_what_all_pairs_at_once_say(k: int) -> None:
    vectors, queries = random_unit(40, 8), random_unit(16, 8, seed=1)
    found = nearest(vectors, queries, k)
    products = queries.astype(np.float64) @ vectors.T
    want = np.argsort(-products, axis=1)[:, :k]
    np.testing.assert_array_equal(found.positions, want)
    # A sum of 8 products, each at most 1, in float32.
    np.testing.assert_allclose(found.similarities, np.take_along_axis(products, want, 1), rtol=0, atol=8 * 2**-24)


@pytest.mark.usefixtures("small_blocks")
def test_of_equal_ones_the_earlier_comes_first() -> None:
    axes = np.eye(4, dtype=np.float32)[np.arange(48) % 4]  # products are exactly 0 and 1
    found = nearest(axes, axes[:4], 20)
    for row, query in zip(found.positions.tolist(), range(4), strict=True):
        same = [i for i in range(48) if i % 4 == query]
        assert row == same + [i for i in range(48) if i % 4 != query][: 20 - len(same)]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.integers(1, 8))
@settings(deadline=None)
def test_any_similarities_in_any_order(values: list[float], k: int) -> None:
    """Vectors of one number each: their products with 1 are any floats, both zeros and denormal ones included."""
    vectors = np.array(values, np.float32)[:, None]
    found = nearest(vectors, np.ones((1, 1), np.float32), k)
    want = np.argsort(-vectors[:, 0], kind="stable")[:k]
    np.testing.assert_array_equal(found.positions[0], want)
    np.testing.assert_array_equal(found.similarities[0], vectors[want, 0])


@pytest.mark.usefixtures("small_blocks")
def test_a_picture_is_not_its_own_neighbour() -> None:
    vectors = np.concatenate([random_unit(30, 6)] * 2)  # each has a twin, which does count
    own = np.arange(60)
    found = nearest(vectors, vectors, 100, exclude=own)
    assert found.positions.shape == (60, 59)
    assert not (found.positions == own[:, None]).any()
    np.testing.assert_array_equal(found.positions[:, 0], (own + 30) % 60)


def test_nothing_to_find() -> None:
    vectors = random_unit(3, 4)
    assert nearest(vectors[:1], vectors[:1], 5, exclude=np.array([0])).positions.shape == (1, 0)
    assert nearest(vectors, vectors[:0], 2).positions.shape == (0, 2)
    with pytest.raises(UsageError, match="k is 0"):
        nearest(vectors, vectors, 0)
    with pytest.raises(ValueError, match=r"not \[Q, 4\]"):
        nearest(vectors, random_unit(2, 5), 1)


@pytest.mark.parametrize("exclude", [None, np.arange(20)])
def test_faiss_says_the_same(monkeypatch: pytest.MonkeyPatch, exclude: np.ndarray[Any, Any] | None) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu (the extra faiss)")
    vectors = random_unit(50, 8)
    want = nearest(vectors, vectors[:20], 6, exclude)
    monkeypatch.setattr(search, "MANY", 10)
    found = nearest(vectors, vectors[:20], 6, exclude)
    np.testing.assert_array_equal(found.positions, want.positions)
    np.testing.assert_allclose(found.similarities, want.similarities, rtol=0, atol=1e-6)


def test_many_vectors_are_searched_without_faiss_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(search, "MANY", 1)
    assert nearest(random_unit(9, 3), random_unit(9, 3)[4:5], 1).positions.tolist() == [[4]]


# Near-duplicates


def clusters_by_hand(vectors: Vectors, threshold: float) -> list[list[int]]:
    """Breadth first over all pairs."""
    close = vectors.astype(np.float64) @ vectors.T >= threshold
    left, found = set(range(len(vectors))), []
    while left:
        members, front = set(), [min(left)]
        while front:
            members.add(i := front.pop())
            front += [j for j in np.flatnonzero(close[i]).tolist() if j not in members]
        left -= members
        found.append(sorted(members))
    return sorted((members for members in found if len(members) > 1), key=lambda members: (-len(members), members[0]))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("threshold", [0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_what_chains_of_pairs_connect(threshold: float, seed: int) -> None:
    vectors = random_unit(70, 3, seed)
    found = [cluster.tolist() for cluster in near_duplicates(vectors, threshold)]
    assert found == clusters_by_hand(vectors, threshold)
    assert found or threshold > 0.9


def test_equal_vectors_are_duplicates_at_any_threshold() -> None:
    vectors = random_unit(30, 700)[np.arange(90) % 30]
    seen: list[tuple[int, int]] = []
    clusters = near_duplicates(vectors, 1.0, lambda done, num: seen.append((done, num)))
    assert [cluster.tolist() for cluster in clusters] == [[i, i + 30, i + 60] for i in range(30)]
    assert seen[-1] == (90, 90)
    assert near_duplicates(np.eye(5, dtype=np.float32), 0.01) == []
    assert near_duplicates(vectors[:0]) == []
    for wrong in (0.0, -0.5, 1.01, float("nan")):
        with pytest.raises(UsageError, match="more than 0 and at most 1"):
            near_duplicates(vectors, wrong)


def test_a_picture_of_zeros_is_like_nothing() -> None:
    vectors = np.zeros((4, 3), np.float32)
    vectors[3, 0] = 1
    assert near_duplicates(vectors, 0.1) == []
    assert nearest(vectors, vectors[3:], 1).positions.tolist() == [[3]]


# The file


FORMATS = [".npz", pytest.param(".parquet", id="parquet")]


def written(tmp_path: Path, suffix: str, index: Index) -> Path:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow (the extra parquet)")
    return write_index(tmp_path / f"index{suffix}", index)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_an_index_comes_back_as_it_was(tmp_path: Path, suffix: str, kind: str) -> None:
    index = make_index(random_unit(9, 5), kind)
    index.vectors[4] = 0
    back = read_index(written(tmp_path, suffix, index))
    for name in ("vectors", "targets"):
        np.testing.assert_array_equal(getattr(back, name), getattr(index, name), strict=True)
    for name in ("keys", "classes", "kind", "origin", "location", "root"):
        assert getattr(back, name) == getattr(index, name)
    assert [back.label(i) for i in (0, 1, 8)] == {
        "label": ["cat", "dog", "cat"], "labels": ["cat, dog", "", "cat"], "value": ["-1", "-0.75", "1"],
    }[kind]  # fmt: skip
    assert back.path(2) == "/pictures/pictures/2 ü.jpg"


@pytest.mark.parametrize("suffix", FORMATS)
def test_pictures_without_classes(tmp_path: Path, suffix: str) -> None:
    nothing = np.empty((3, 0), np.float32)
    back = read_index(written(tmp_path, suffix, make_index(random_unit(3, 4), "labels", targets=nothing, classes=(), root=None)))
    assert back.targets.shape == (3, 0)
    assert back.label(1) == ""
    assert back.path(1) is None


def test_others_read_it_without_striate(tmp_path: Path) -> None:
    index = make_index(random_unit(4, 3))
    with np.load(write_index(tmp_path / "index.npz", index)) as arrays:
        assert arrays["keys"].tolist() == list(index.keys)
        assert arrays["classes"][arrays["targets"]].tolist() == ["cat", "dog", "cat", "dog"]
        assert arrays["vectors"].dtype == np.float32
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (the extra parquet)")
    table = parquet.read_table(write_index(tmp_path / "index.parquet", index))
    assert table["key"].to_pylist() == list(index.keys)
    assert table["label"].to_pylist() == ["cat", "dog", "cat", "dog"]
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), index.vectors)


def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    index = make_index(random_unit(2, 3), keys=("a\udcff.jpg", "b.jpg"))
    assert read_index(write_index(tmp_path / "index.npz", index)).keys == index.keys
    pytest.importorskip("pyarrow", reason="needs pyarrow (the extra parquet)")
    with pytest.raises(Refused, match=r"no UTF-8[\s\S]*\.npz"):
        write_index(tmp_path / "index.parquet", index)
    assert not (tmp_path / "index.parquet").exists()


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.index.find_spec", lambda name: None)
    for call in (lambda path: write_index(path, make_index(random_unit(2, 3))), read_index):
        with pytest.raises(UsageError, match=r"pyarrow, which is not installed[\s\S]*striate\[parquet\]"):
            call(tmp_path / "index.parquet")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("place", [0.1, 0.5, 0.97])
def test_a_damaged_index_is_refused(tmp_path: Path, suffix: str, place: float) -> None:
    path = written(tmp_path, suffix, make_index(random_unit(400, 16)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(place * len(whole))])
    with pytest.raises(Refused, match="index"):
        read_index(path)


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = write_index(tmp_path / "index.npz", make_index(random_unit(400, 16)))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1  # the lowest bits of a vector's number
    path.write_bytes(data)
    with pytest.raises(Refused, match="Not a readable index"):
        read_index(path)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"vectors": 2 * random_unit(6, 3)}, "another length than 1"),
    ({"vectors": random_unit(5, 3)}, "5 vectors, 6 keys"),
    ({"vectors": np.full((6, 3), np.nan, np.float32)}, "another length than 1"),
    ({"vectors": random_unit(6, 3).astype(np.float64)}, "float64"),
    ({"targets": np.full(6, 2)}, "no number of a class"),
    ({"kind": "labels"}, "targets a picture for 2 classes"),
]


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_an_index_that_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = write_index(tmp_path / "index.npz", replace(make_index(random_unit(6, 3)), **change))
    with pytest.raises(Refused, match=told):
        read_index(path)


def test_other_files_are_no_index(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.arange(2))
    with pytest.raises(Refused, match="Not a readable index"):
        read_index(tmp_path / "images.npz")
    card = make_index(random_unit(2, 3)).card()
    np.savez(tmp_path / "newer.npz", card=np.array(json.dumps({**card, "format_version": FORMAT_VERSION + 1})))
    with pytest.raises(Refused, match="newer striate"):
        read_index(tmp_path / "newer.npz")
    np.savez(tmp_path / "pickled.npz", card=np.array([{}], dtype=object))
    with pytest.raises(Refused, match="Not a readable index"):
        read_index(tmp_path / "pickled.npz")
    for name, told in (("index.pt", r"an \.npz or a \.parquet"), ("missing.npz", "No such index")):
        with pytest.raises(UsageError, match=told):
            read_index(tmp_path / name)


# Maps


def test_principal_components_are_those_of_the_singular_values() -> None:
    vectors = random_unit(50, 7)
    plane = pca_plane(vectors)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    want = centred @ directions[:2].T
    np.testing.assert_allclose(np.abs(plane.points), np.abs(want), rtol=0, atol=1e-9)
    shares = 100 * values**2 / (values**2).sum()
    assert plane.axes[0] == f"component 1 ({shares[0]:.1f} % of the variance)"
    assert plane.axes[1] == f"component 2 ({shares[1]:.1f} % of the variance)"


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_the_pictures() -> None:
    vectors, order = random_unit(40, 6), np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(pca_plane(vectors[order]).points, pca_plane(vectors).points[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (2, 2)])
def test_maps_of_next_to_nothing(shape: tuple[int, int]) -> None:
    plane = pca_plane(random_unit(*shape))
    assert plane.points.shape == (shape[0], 2)
    assert np.isfinite(plane.points).all()
    with pytest.raises(Refused, match="No vectors"):
        pca_plane(np.empty((0, 4), np.float32))


def test_a_map_as_a_table(tmp_path: Path) -> None:
    index = make_index(random_unit(5, 4))
    with open(write_map(tmp_path / "map.csv", index), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == list(index.keys)
    assert [row["label"] for row in rows] == ["cat", "dog", "cat", "dog", "cat"]
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    np.testing.assert_allclose(points, pca_plane(index.vectors).points, rtol=1e-5, atol=0)


def test_a_map_as_a_picture_shows_each_class_in_its_colour(tmp_path: Path) -> None:
    vectors = unit([[1, 0.1 * i * (-1) ** i, 0] for i in range(1, 9)])
    with Image.open(write_map(tmp_path / "map.png", make_index(vectors))) as picture:
        pixels = np.asarray(picture)[:860, :890]  # without legend and caption
    columns = [np.flatnonzero((pixels == color).all(axis=2).any(axis=0)) for color in COLORS[:3]]
    assert len(columns[2]) == 0, "there are two classes"
    assert columns[0].max() < columns[1].min() or columns[1].max() < columns[0].min()
    assert tuple(pixels[5, 5]) == PAPER
    with pytest.raises(UsageError, match=r"\.csv or a \.png"):
        write_map(tmp_path / "map.svg", make_index(vectors))


@pytest.mark.slow
def test_umap_keeps_neighbours_and_repeats_itself() -> None:
    pytest.importorskip("umap", reason="needs umap-learn (the extra umap)")
    centres = np.repeat(np.eye(3), 20, axis=0)
    vectors = unit(centres + 0.1 * np.random.default_rng(0).normal(size=(60, 3)))
    points = umap_plane(vectors).points
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()
    np.testing.assert_array_equal(umap_plane(vectors).points, points)


def test_umap_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match=r"striate\[umap\][\s\S]*--method pca"):
        umap_plane(random_unit(9, 3))
