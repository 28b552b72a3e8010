"""Batches: the same samples in the same order, whatever the threads, the cache, a restart or a bad file."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from striate.data import arrays
from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.data.batches import Batch, Batches
from striate.data.decode import ImageError
from striate.data.prefetch import Stopped, ordered
from striate.data.preprocess import Preprocess
from striate.data.source import ArraySource, FileSource
from striate.data.stores import whole_picture
from striate.errors import Refused

PREPROCESS = Preprocess((12, 12), resize=14, mean=(0.5,), std=(0.25,))


def array_source(num: int = 50, shape: tuple[int, int, int] = (28, 28, 1)) -> ArraySource:
    images = np.random.default_rng(0).integers(0, 256, (num, *shape), dtype=np.uint8)
    images.setflags(write=False)  # as np.frombuffer gives them
    return ArraySource(
        images, name="array", location="npz:nowhere", kind="label", classes=("a", "b", "c"),
        targets=np.arange(num) % 3, given=np.zeros(num, dtype=np.uint8),
    )  # fmt: skip


def file_source(folder: Path, num: int = 20, bad: tuple[int, ...] = (), **changes: Any) -> FileSource:
    """JPEGs of different sizes in three classes; ``bad`` ones are cut off."""
    folder.mkdir(exist_ok=True)
    keys = [f"{i:02d}.jpg" for i in range(num)]
    rng = np.random.default_rng(1)
    for i, key in enumerate(keys):
        height, width = 16 + 9 * (i % 4), 20 + 7 * (i % 5)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(folder / key)
        if i in bad:
            (folder / key).write_bytes((folder / key).read_bytes()[:300])
    fields: dict[str, Any] = {
        "name": "files", "location": f"folder:{folder}", "kind": "label", "classes": ("a", "b", "c"),
        "targets": np.arange(num) % 3, "given": np.zeros(num, dtype=np.uint8),
    }  # fmt: skip
    return FileSource(folder, keys, **(fields | changes))


def make(source: ArraySource | FileSource, preprocess: Preprocess = PREPROCESS, **changes: Any) -> Batches:
    num = len(source)
    options: dict[str, Any] = {"batch": 4, "seed": 3, "augmented": False, "workers": 0} | changes
    split = options.pop("split", num * 4 // 5)
    return Batches(source, np.arange(split), np.arange(split, num), preprocess, **options)


def same(first: Batch, second: Batch) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def all_same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) > 0 and all(map(same, first, second))


def images_of(batches: list[Batch]) -> dict[int, npt.NDArray[np.uint8]]:
    return {int(i): image.numpy() for batch in batches for i, image in zip(batch["index"], batch["image"], strict=True)}


# ---- order


def test_an_epoch_has_every_image_once_with_its_label() -> None:
    source = array_source()
    batches = make(source, Preprocess((28, 28), channels=1), batch=8)
    assert (batches.num_train, batches.num_validation, batches.steps) == (40, 10, 5)
    epoch = list(batches.train(0))
    index = torch.cat([batch["index"] for batch in epoch])
    assert sorted(index.tolist()) == list(range(40))
    assert torch.equal(torch.cat([batch["label"] for batch in epoch]), index % 3)
    assert torch.equal(torch.cat([batch["image"] for batch in epoch])[:, 0], torch.tensor(source.images[index.numpy(), :, :, 0]))
    assert epoch[0]["image"].dtype == torch.uint8
    assert not torch.equal(index, torch.cat([batch["index"] for batch in batches.train(1)]))
    assert torch.cat([batch["index"] for batch in batches.validation()]).tolist() == list(range(40, 50))


@pytest.mark.parametrize(("num", "steps"), [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2), (8, 2), (9, 2), (11, 2), (13, 3)])
def test_the_partial_batch_is_dropped_beside_two_full_ones_or_where_it_is_one_image(num: int, steps: int) -> None:
    batches = make(array_source(num), Preprocess((28, 28), channels=1), split=num)
    assert batches.steps == steps == len(list(batches.train(0)))


@pytest.mark.parametrize("augmented", [False, True])
def test_restarting_in_the_middle_gives_the_remaining_batches(tmp_path: Path, augmented: bool) -> None:
    for source in (array_source(), file_source(tmp_path)):
        batches = make(source, augmented=augmented, workers=2)
        whole = list(batches.train(5))
        assert all_same(whole[2:], list(make(source, augmented=augmented).train(5, start_step=2)))
        assert list(batches.train(5, start_step=batches.steps)) == []


def test_weights_draw_with_replacement() -> None:
    source = array_source(3000, (4, 4, 1))
    weights = np.where(source.targets == 2, 8.0, 1.0)
    batches = make(source, Preprocess((4, 4), channels=1), split=3000, batch=100, sample_weights=weights)
    epoch = list(batches.train(0))
    labels = torch.cat([batch["label"] for batch in epoch])
    assert len(labels) == 3000
    assert abs((labels == 2).float().mean().item() - 0.8) < 5 * (0.8 * 0.2 / 3000) ** 0.5
    drawn = Counter(torch.cat([batch["index"] for batch in epoch]).tolist())
    turns = Counter((int(i), int(k)) for batch in epoch for i, k in zip(batch["index"], batch["occurrence"], strict=True))
    assert all(turns[index, turn] == 1 for index, count in drawn.items() for turn in range(count))
    assert all_same(epoch, list(batches.train(0)))
    assert not all_same(epoch, list(batches.train(1)))
    with pytest.raises(ValueError, match="3 entries for 3000"):
        make(source, split=3000, sample_weights=np.ones(3))


# ---- pixels


@pytest.mark.parametrize(
    ("shape", "preprocess"),
    [((28, 28, 1), Preprocess((32, 32), channels=1)), ((28, 28, 1), Preprocess((28, 28), channels=3)),
     ((30, 41, 3), Preprocess((24, 24), resize=27)), ((30, 41, 3), Preprocess((30, 20), interpolation="bicubic")),
     ((19, 23, 4), Preprocess((16, 18), channels=3)), ((19, 23, 4), Preprocess((16, 18), channels=4)),
     ((16, 16, 3), Preprocess((12, 16), resize=15, channels=1))],
)  # fmt: skip
def test_arrays_give_the_very_pixels_of_preprocess(
    shape: tuple[int, int, int], preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_STACK_PIXELS", 7000)  # several stacks, the last one smaller
    source = array_source(20, shape)
    found = images_of([*make(source, preprocess).train(0), *make(source, preprocess).validation()])
    assert len(found) == 20
    for i, image in found.items():
        assert np.array_equal(image.transpose(1, 2, 0), preprocess(source.images[i]))


def test_arrays_of_the_right_size_are_not_copied() -> None:
    source = array_source()
    images = arrays.pixels(arrays.whole(source.images, Preprocess((28, 28), channels=1)), Preprocess((28, 28), channels=1))
    assert np.shares_memory(images, source.images)


@pytest.mark.parametrize("cached", [False, True])
def test_files_give_the_very_pixels_of_preprocess(tmp_path: Path, cached: bool) -> None:
    source = file_source(tmp_path / "data")
    batches = make(source, cache=tmp_path / "cache" if cached else None, augmented=True)
    for _ in range(2):
        for i, image in images_of(list(batches.validation())).items():
            assert np.array_equal(image.transpose(1, 2, 0), PREPROCESS(source.read(i)))
    plain = make(source, cache=tmp_path / "cache" if cached else None)
    for i, image in images_of(list(plain.train(1))).items():
        assert np.array_equal(image.transpose(1, 2, 0), PREPROCESS(source.read(i)))
    batches.close()


def test_whole_pictures_lie_in_the_corner_of_their_canvas(tmp_path: Path) -> None:
    source = file_source(tmp_path)
    prepare = whole_picture(PREPROCESS)
    for batch in make(source, augmented=True).train(0):
        assert batch["image"].shape[2:] == tuple(batch["extent"].amax(0))
        for image, (height, width), i in zip(batch["image"], batch["extent"], batch["index"], strict=True):
            picture = torch.from_numpy(prepare(source.read(int(i)), "").transpose(2, 0, 1))
            assert torch.equal(image[:, :height, :width], picture)
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()


@pytest.mark.parametrize(("resize", "side"), [(None, 14), (13, 14), (20, 20)])  # ceil(1.15 * 12), or the resize
@pytest.mark.parametrize(("height", "width"), [(15, 40), (14, 9), (14, 14), (100, 60), (60, 200)])
def test_whole_pictures_are_shrunk_as_stated_and_never_enlarged(height: int, width: int, resize: int | None, side: int) -> None:
    picture = whole_picture(replace(PREPROCESS, resize=resize))(np.zeros((height, width, 3), dtype=np.uint8), "")
    assert min(picture.shape[:2]) == min(side, height, width)
    assert picture.shape[1] / picture.shape[0] == pytest.approx(width / height, rel=0.5 / side)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(100, 160), (301, 17)])
def test_whole_pictures_are_shrunk_as_pillow_shrinks(height: int, width: int, channels: int, interpolation: str) -> None:
    preprocess = Preprocess((10, 10), interpolation=interpolation, channels=channels)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    shrunk = whole_picture(preprocess)(pixels, "")
    want = replace(preprocess, size=shrunk.shape[:2]).pixels(pixels)
    assert shrunk.shape == want.shape
    assert np.abs(shrunk.astype(int) - want).max() <= 1  # both round after each pass
    assert want.std() > 5  # noise: a picture moved by a pixel would be off by more than a level


def test_arrays_stay_whole_for_augmentation_that_resizes() -> None:
    source = array_source()
    batch = next(make(source, Preprocess((32, 32), channels=1), augmented=True).train(0))
    assert batch["image"].shape == (4, 1, 28, 28)
    assert batch["extent"].tolist() == [[28, 28]] * 4
    assert "extent" not in next(make(source, Preprocess((28, 28), channels=1), augmented=True).train(0))
    enlarged = Augmenter(Augment(), (32, 32), 0, 3)(batch, 0)["image"]
    expected = np.stack([Preprocess((32, 32), channels=1)(source.images[i]) for i in batch["index"]])
    # Pillow rounds twice, once a pass.
    assert np.abs(enlarged.numpy() - expected.transpose(0, 3, 1, 2)).max() <= 1.01


def test_labels_of_every_kind(tmp_path: Path) -> None:
    many = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
    batch = next(make(file_source(tmp_path, kind="labels", classes=tuple("abcd"), targets=many)).train(0))
    assert torch.equal(batch["label"], torch.from_numpy(many)[batch["index"]])
    values = np.linspace(0, 1, 20, dtype=np.float32)
    batch = next(make(file_source(tmp_path, kind="value", classes=(), targets=values)).train(0))
    assert batch["label"].dtype == torch.float32
    assert torch.equal(batch["label"], torch.from_numpy(values)[batch["index"]])


# ---- threads


@pytest.mark.parametrize("augmented", [False, True])
def test_threads_and_cache_change_nothing(tmp_path: Path, augmented: bool) -> None:
    source = file_source(tmp_path / "data")
    plain = make(source, augmented=augmented)
    expected = [[*plain.train(epoch), *plain.validation()] for epoch in range(2)]
    for workers, cache in ((1, None), (3, None), (0, "a"), (3, "b"), (2, "b")):
        batches = make(source, augmented=augmented, workers=workers, cache=cache and tmp_path / cache)
        for epoch in range(2):
            assert all_same(expected[epoch], [*batches.train(epoch), *batches.validation()])
        assert batches.notes == []
        batches.close()


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("striate-decode")]


def test_abandoned_epochs_leave_no_thread(tmp_path: Path) -> None:
    batches = make(file_source(tmp_path), workers=3, batch=1)
    epoch = batches.train(0)
    next(epoch)
    assert decoding_threads()
    epoch.close()  # type: ignore[attr-defined]
    assert not decoding_threads()

    def interrupted() -> None:
        for _ in batches.train(0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert not decoding_threads()


def test_work_is_ordered_bounded_and_stopped() -> None:
    taken, started, release = [], threading.Event(), threading.Event()

    def items() -> Any:
        for i in range(100):
            taken.append(i)
            yield i

    def slow_when_early(i: int, stop: threading.Event) -> int:
        threading.Event().wait(0.01 if i % 3 == 0 else 0)
        return i

    results = ordered(slow_when_early, items(), workers=4, ahead=5)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) == 15
    results.close()  # type: ignore[attr-defined]

    def endless(i: int, stop: threading.Event) -> int:
        started.set()
        if i == 0:
            return 0
        while not stop.is_set():
            release.wait(0.001)
        raise Stopped

    results = ordered(endless, range(10), workers=2, ahead=2)
    assert next(results) == 0
    assert started.wait(5)
    results.close()  # type: ignore[attr-defined]
    assert not decoding_threads()


def test_threads_give_way_to_training() -> None:
    import os
    import sys

    if sys.platform != "linux":
        pytest.skip("NOT RUN: thread priorities are Linux's")
    own = os.getpriority(os.PRIO_PROCESS, 0)

    def priority(i: int, stop: threading.Event) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert set(ordered(priority, range(4), workers=2, ahead=2, give_way=True)) == {19}
    assert set(ordered(priority, range(4), workers=2, ahead=2)) == {own}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


# ---- bad files


def test_scan_names_bad_files_and_leaves_them_out(tmp_path: Path) -> None:
    source = file_source(tmp_path / "data", bad=(1, 4, 18))
    (tmp_path / "data" / "02.jpg").unlink()
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        batches = make(source, workers=2, cache=cache, augmented=True)
        progress = Mock()
        assert batches.scan(progress).tolist() == [1, 2, 1]  # 18; 1 and 4; 2
        reasons = {"01.jpg": "truncated", "02.jpg": "missing", "04.jpg": "truncated", "18.jpg": "truncated"}
        assert sorted(batches.bad) == sorted(reasons.items())
        progress.assert_called_with(20, 20)
        assert (batches.num_train, batches.num_validation) == (13, 3)
        seen = [int(i) for part in (batches.train(0), batches.validation()) for batch in part for i in batch["index"]]
        assert not {1, 2, 4, 18} & set(seen)
        batches.close()


def test_without_a_scan_a_bad_file_stops_the_epoch_by_name(tmp_path: Path) -> None:
    for workers in (0, 2):
        with pytest.raises(ImageError, match=r"07\.jpg"):
            list(make(file_source(tmp_path, bad=(7,)), workers=workers).train(0))


def test_scan_counts_each_class_of_a_file(tmp_path: Path) -> None:
    many = np.zeros((20, 3), dtype=np.float32)
    many[4, [0, 2]] = 1
    assert make(file_source(tmp_path, bad=(4,), kind="labels", targets=many)).scan().tolist() == [1, 0, 1]
    values = np.zeros(20, dtype=np.float32)
    assert make(file_source(tmp_path, bad=(4, 5), kind="value", classes=(), targets=values)).scan().tolist() == [2]
    assert make(array_source()).scan().tolist() == [0, 0, 0]


def test_weights_follow_what_scan_leaves(tmp_path: Path) -> None:
    source = file_source(tmp_path, bad=(0,))
    weights = np.zeros(16)
    weights[[0, 5]] = 1
    batches = make(source, sample_weights=weights)
    batches.scan()
    assert {int(i) for batch in batches.train(0) for i in batch["index"]} == {5}


# ---- cache


def counting(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    reads: Counter[str] = Counter()
    read = source.read

    def counted(i: int) -> bytes:
        reads[source.key(i)] += 1
        return read(i)

    monkeypatch.setattr(source, "read", counted)
    return reads


def test_after_a_scan_nothing_is_read_again_but_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = file_source(tmp_path / "data")
    reads = counting(source, monkeypatch)
    batches = make(source, augmented=True, cache=tmp_path / "cache")
    batches.scan()
    for epoch in range(3):
        assert list(batches.train(epoch))
        assert list(batches.validation())
    assert set(reads.values()) == {1}
    assert len(reads) == 20
    batches.close()
    Image.new("RGB", (33, 21)).save(tmp_path / "data" / "03.jpg")
    again = make(source, augmented=True, cache=tmp_path / "cache")
    found = images_of([batch for epoch in range(2) for batch in again.train(epoch)])
    assert not found[3].any()
    assert reads["03.jpg"] == 2
    assert sum(reads.values()) == 21
    again.close()


def test_other_pixels_have_another_cache_and_another_normalisation_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = file_source(tmp_path / "data")
    reads = counting(source, monkeypatch)
    normalised = replace(PREPROCESS, mean=(0.1,) * 3, std=(2.0,) * 3)
    for preprocess, expected in ((PREPROCESS, 20), (normalised, 20), (replace(PREPROCESS, resize=13), 40)):
        batches = make(source, preprocess, cache=tmp_path / "cache")
        batches.scan()
        for i, image in images_of(list(batches.train(0))).items():
            assert np.array_equal(image.transpose(1, 2, 0), preprocess((tmp_path / "data" / source.key(i)).read_bytes()))
        assert sum(reads.values()) == expected
        batches.close()


def test_a_full_or_forbidden_cache_is_said_and_changes_nothing(tmp_path: Path) -> None:
    source = file_source(tmp_path / "data")
    expected = list(make(source, augmented=True).train(0))
    small = make(source, augmented=True, cache=tmp_path / "cache", cache_limit=5000)
    assert all_same(expected, list(small.train(0)))
    assert "bound" in small.notes[0]
    assert all_same(expected, list(small.train(0)))
    small.close()
    (tmp_path / "file").write_text("not a folder")
    without = make(source, augmented=True, cache=tmp_path / "file")
    assert "No cache in" in without.notes[0]
    assert all_same(expected, list(without.train(0)))


def test_damaged_cache_bytes_never_reach_a_batch(tmp_path: Path) -> None:
    source = file_source(tmp_path / "data")
    expected = [list(make(source, augmented=augmented).train(0)) for augmented in (False, True)]
    for augmented in (False, True):
        batches = make(source, augmented=augmented, cache=tmp_path / "cache")
        batches.scan()
        batches.close()
    for pixels in (tmp_path / "cache").glob("*/pixels"):
        data = bytearray(pixels.read_bytes())
        for place in range(0, len(data), 997):
            data[place] ^= 1 << place % 8
        pixels.write_bytes(data)
    for augmented in (False, True):
        batches = make(source, augmented=augmented, cache=tmp_path / "cache", workers=2)
        assert all_same(expected[augmented], list(batches.train(0)))
        assert all_same(expected[augmented], list(batches.train(0)))
        batches.close()


# ---- resume


def test_the_state_is_only_a_check_of_what_the_order_follows_from(tmp_path: Path) -> None:
    source = file_source(tmp_path)
    state = make(source).state_dict()
    make(source, workers=2).load_state_dict(state)
    with pytest.raises(Refused, match="samples"):
        make(source, split=12).load_state_dict(state)
    with pytest.raises(Refused, match="seed"):
        make(source, seed=4).load_state_dict(state)
    with pytest.raises(Refused, match="batch"):
        make(source, batch=5).load_state_dict(state)
    (tmp_path / "00.jpg").unlink()
    with pytest.raises(Refused, match="data"):
        make(source).load_state_dict(state)


def test_real_photos_from_the_cache_match_the_files(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "imagenet_samples"
    keys = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))[:24]
    source = FileSource(
        root, keys, name="photos", location=f"folder:{root}", kind="label", classes=("one",),
        targets=np.zeros(24, dtype=np.int64), given=np.zeros(24, dtype=np.uint8),
    )  # fmt: skip
    preprocess = Preprocess((96, 96), resize=110)
    batches = make(source, preprocess, split=12, augmented=True, cache=tmp_path, workers=2)
    assert batches.scan().tolist() == [0]
    augmenter = Augmenter(Augment(crop_scale=(0.1, 1), flip_horizontal=0.5), (96, 96), 0, 1, preprocess.resize)
    for batch in batches.train(1):
        crops = augmenter(batch, 1)["image"]
        assert crops.shape == (4, 3, 96, 96)
        assert 0 <= crops.min() <= crops.max() <= 255
        assert crops.float().std() > 20
    for i, image in images_of(list(batches.validation())).items():
        assert np.array_equal(image.transpose(1, 2, 0), preprocess(source.read(i)))
    batches.close()
