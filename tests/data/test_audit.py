"""What an audit finds in a folder that was spoilt on purpose, and what it must not find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from striate.data.audit import Audit, audit
from striate.data.duplicates import SAME_PICTURE, SAME_SCENE, components, difference_hash, near_pairs
from striate.data.formats import open_source
from striate.data.source import ArraySource


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Smooth colours, unlike for every seed: what a photo is to a hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """cats: 12 good ones, a copy, a resized and a turned one, bad ones; dogs: a mislabelled cat; test: two leaks."""
    root = tmp_path_factory.mktemp("dirty")
    cats, dogs, test = (root / part for part in ("train/cats", "train/dogs", "test/cats"))
    for folder in (cats, dogs, test, root / "test/dogs"):
        folder.mkdir(parents=True)
    for i in range(12):
        scene(i).save(cats / f"{i}.png")
        scene(100 + i).save(dogs / f"{i}.png")
    for i in range(4):
        scene(200 + i).save(test / f"{i}.png")
        scene(300 + i).save(root / f"test/dogs/{i}.png")
    scene(0).save(cats / "copy of 0.bmp")
    scene(1).resize((80, 60)).save(cats / "small 1.jpg", quality=70)
    shutil.copy(cats / "2.png", dogs / "mislabelled.png")
    shutil.copy(cats / "3.png", test / "leak.png")
    scene(104).save(root / "test/dogs/near leak.webp", quality=60)
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(400).save(cats / "turned.jpg", exif=exif)
    scene(401).convert("CMYK").save(cats / "cmyk.jpg")
    scene(402).save(cats / "really a.jpg", "PNG")
    scene(403).quantize(16).save(cats / "palette.gif")
    Image.fromarray(np.arange(120 * 160, dtype=np.uint16).reshape(120, 160) * 3).save(cats / "deep.png")
    clear = scene(404)
    clear.putalpha(200)
    clear.save(cats / "clear.png")
    (cats / "empty.jpg").write_bytes(b"")
    (dogs / "page.jpg").write_bytes(b"<html>")
    (cats / "cut.png").write_bytes((cats / "0.png").read_bytes()[:2000])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found = audit(open_source(root))
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}, "the data is only read"
    return found


def keys(found: Audit, positions: Any) -> list[str]:
    return [found.source.key(int(i)) for i in positions]


def test_bad_files_are_named_with_the_reason(dirty: Audit) -> None:
    assert [(bad.key, bad.reason) for bad in dirty.bad] == [
        ("train/cats/cut.png", "truncated"),
        ("train/cats/empty.jpg", "empty"),
        ("train/dogs/page.jpg", "not an image"),
    ]
    assert dirty.num_bad == 3
    assert dict(zip(dirty.source.classes, dirty.bad_counts.tolist(), strict=True)) == {"cats": 2, "dogs": 1}
    assert len(dirty.readable) == len(dirty.source) - 3


def test_equal_pixels_are_found_whatever_the_file(dirty: Audit) -> None:
    assert [sorted(keys(dirty, group)) for group in dirty.exact] == [
        ["train/cats/0.png", "train/cats/copy of 0.bmp"],
        ["train/cats/2.png", "train/dogs/mislabelled.png"],
        ["test/cats/leak.png", "train/cats/3.png"],
    ]


def test_near_duplicates_are_these_and_no_others(dirty: Audit) -> None:
    assert {frozenset(keys(dirty, (pair.i, pair.j))) for pair in dirty.near} == {
        frozenset({"train/cats/1.png", "train/cats/small 1.jpg"}),
        frozenset({"train/dogs/4.png", "test/dogs/near leak.webp"}),
    }


def test_groups_join_duplicates_and_nothing_else(dirty: Audit) -> None:
    together = {frozenset(keys(dirty, np.flatnonzero(dirty.groups == group))) for group in np.unique(dirty.groups)}
    assert sum(len(group) > 1 for group in together) == 5
    assert frozenset({"train/cats/1.png", "train/cats/small 1.jpg"}) in together


def test_leaks_are_pairs_across_splits(dirty: Audit) -> None:
    (leak,) = dirty.leaks
    assert leak.splits == ("train", "test")
    assert {tuple(keys(dirty, pair)) for pair in leak.pairs} == {
        ("train/cats/3.png", "test/cats/leak.png"),
        ("train/dogs/4.png", "test/dogs/near leak.webp"),
    }


def test_conflicting_labels(dirty: Audit) -> None:
    (conflict,) = dirty.conflicts
    assert keys(dirty, (conflict.i, conflict.j)) == ["train/cats/2.png", "train/dogs/mislabelled.png"]
    assert conflict.exact


def test_traits_modes_and_sizes(dirty: Audit) -> None:
    found = {trait: keys(dirty, where) for trait, where in dirty.traits.items()}
    assert found == {
        "exif_rotated": ["train/cats/turned.jpg"],
        "sixteen_bit": ["train/cats/deep.png"],
        "alpha": ["train/cats/clear.png"],
        "palette": ["train/cats/palette.gif"],
        "cmyk": ["train/cats/cmyk.jpg"],
        "animated": [],
        "misnamed": ["train/cats/really a.jpg"],
    }
    assert dirty.modes["CMYK"] == 1
    assert dirty.formats["BMP"] == 1
    assert sum(dirty.formats.values()) == len(dirty.readable)
    assert dirty.size_range(0) == (60, 120, 160), "the turned one is measured upright"
    assert dirty.size_range(1) == (80, 160, 160)


def test_findings_say_what_where_and_what_to_do(dirty: Audit) -> None:
    said = {finding.section: finding for finding in dirty.findings}
    assert [finding.level for finding in dirty.findings][:1] == ["error"]
    assert "3 of 46 files cannot be read (1 truncated, 1 empty, 1 not an image); most in cats: 2 of 27, 7.4 %" in said["bad"].text
    assert "never trained on" in said["bad"].fix
    assert "2 of the 10 images in test/ are also in train/" in said["leaks"].text
    assert "train/cats/2.png is cats, train/dogs/mislabelled.png is dogs" in said["conflicts"].text
    assert "1 in printing colours (CMYK), converted to RGB" in said["files"].text


def test_json_holds_every_count(dirty: Audit) -> None:
    record = json.loads(json.dumps(dirty.to_json()))
    assert record["num_bad"] == 3
    assert record["counts"] == [27, 19]
    assert record["splits"]["test"]["num"] == 10
    assert record["duplicates"]["num_exact_groups"] == 3
    assert record["leaks"][0]["images"] == 2
    assert record["traits"]["cmyk"] == 1


def test_threads_and_a_subset_change_nothing_else(dirty: Audit) -> None:
    once, told = audit(dirty.source, threads=1), []
    twice = audit(dirty.source, threads=4, progress=lambda done, total: told.append((done, total)))
    assert once.to_json() == twice.to_json() == dirty.to_json()
    assert told[-1] == (46, 46)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    some = audit(dirty.source, indices=dirty.readable[:5])
    assert some.indices.tolist() == dirty.readable[:5].tolist()
    assert some.num_bad == 0
    assert len(some.groups) == len(dirty.source)


def arrays(images: NDArray[np.uint8], targets: list[int]) -> ArraySource:
    classes = [f"c{k}" for k in range(max(targets) + 1)]
    given = np.zeros(len(images), dtype=np.uint8)
    return ArraySource(images, name="a", location="npz:a", kind="label", classes=classes, targets=np.array(targets), given=given)


def test_arrays_and_files_are_recognised_by_the_same_marks(tmp_path: Path) -> None:
    pictures = np.stack([np.asarray(scene(seed, (40, 30))) for seed in range(6)])
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / ("x" if i < 3 else "y") / f"{i}.png")
    from striate.data.examine import Examined, examine

    ours, theirs = examine(arrays(pictures, [0, 0, 0, 1, 1, 1]), range(6)), examine(open_source(tmp_path), range(6))
    for a, b in zip(ours, theirs, strict=True):
        assert isinstance(a, Examined)
        assert isinstance(b, Examined)
        assert (a.pixels, a.hash, a.thumbnail.tolist()) == (b.pixels, b.hash, b.thumbnail.tolist())


def test_the_difference_hash_is_the_definition() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    bits = "".join("1" if grey[y, x + 1] > grey[y, x] else "0" for y in range(8) for x in range(8))
    assert int(difference_hash(grey[None])[0]) == int(bits, 2)


def test_near_pairs_equal_a_search_of_every_pair() -> None:
    rng = np.random.default_rng(3)
    thumbnails = rng.integers(0, 256, (4500, 256), dtype=np.uint8)  # more than one tile wide
    hashes = rng.integers(0, 2**63, 4500, dtype=np.uint64)
    expected = set()
    for copy, (original, flips) in enumerate([(7, 0), (4200, 5), (4100, 8), (90, 9), (63, 3)], start=4400):
        thumbnails[copy] = np.clip(thumbnails[original].astype(int) + rng.integers(-4, 5, 256), 0, 255)
        hashes[copy] = hashes[original] ^ np.uint64(sum(1 << int(b) for b in rng.choice(64, flips, replace=False)))
        expected |= {(original, copy)} if flips <= SAME_SCENE.bits else set()
    hashes[10] = hashes[20]  # equal hashes, unlike pictures
    found, likeness = near_pairs(hashes, thumbnails)
    assert likeness == SAME_SCENE
    assert {(pair.i, pair.j) for pair in found} == expected
    for pair in found:
        truth = 1 - np.corrcoef(thumbnails[pair.i], thumbnails[pair.j])[0, 1]
        assert pair.difference == pytest.approx(truth, abs=1e-5)
        assert pair.bits == bin(int(hashes[pair.i] ^ hashes[pair.j])).count("1")


def test_even_grey_is_like_nothing() -> None:
    flat = np.repeat(np.arange(50, 60, dtype=np.uint8)[:, None], 256, axis=1)
    found, _ = near_pairs(np.zeros(10, dtype=np.uint64), flat)
    assert found == []


def test_thousands_of_copies_stay_one_chain() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, 256)
    thumbnails = np.clip(base + rng.integers(-1, 2, (4200, 256)), 0, 255).astype(np.uint8)
    found, _ = near_pairs(np.zeros(4200, dtype=np.uint64), thumbnails)
    assert len(found) < 4200 * 300, "bounded, not all 8.8 million pairs"
    assert (components(4200, np.array([(pair.i, pair.j) for pair in found])) == 0).all()


def test_components() -> None:
    assert components(7, np.array([[5, 3], [3, 1], [6, 2]])).tolist() == [0, 1, 2, 1, 4, 1, 2]
    assert components(3, np.empty((0, 2))).tolist() == [0, 1, 2]


def test_simple_shapes_do_not_drown_the_user() -> None:
    found = audit(open_source("demo:fashion"))
    assert found.likeness == SAME_PICTURE
    assert len(found.near) <= 0.005 * len(found.source)
    assert len(found.exact) == 0


def test_real_photos_have_no_false_pairs(shared_data: Path) -> None:
    found = audit(open_source(shared_data / "hymenoptera"))
    assert found.likeness == SAME_SCENE
    assert len(found.near) == 0
    assert found.num_bad == 0


@pytest.mark.parametrize(("targets", "text"), [
    ([0] * 12, "one class only, c0"),
    ([0] * 40 + [1] * 10, "c0 has 4 times the images of c1 (40 and 10)"),
    ([0] * 12 + [1] * 3, "1 class has fewer than 10 images: c1 (3)"),
    ([0] * 12 + [2] * 12, "1 class has no image that can be read: c1"),
])  # fmt: skip
def test_uneven_and_missing_classes_are_said(targets: list[int], text: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (len(targets), 8, 8, 1), dtype=np.uint8)
    assert any(text in finding.text for finding in audit(arrays(images, targets)).findings)
