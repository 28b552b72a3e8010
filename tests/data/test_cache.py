"""The cache of decoded pictures: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from striate.data.cache import PixelCache, default_limit, stamp_of

PLENTY = 1 << 30


def picture(number: int, height: int | None = None, width: int | None = None) -> npt.NDArray[np.uint8]:
    """A picture that is a function of its number; of varying size unless told."""
    shape = (height or 5 + number % 7, width or 4 + number % 5, 3)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def stamps(*numbers: int) -> npt.NDArray[np.uint64]:
    return np.array([stamp_of(str(number).encode()) for number in numbers], dtype=np.uint64)


def store(cache: PixelCache, *numbers: int) -> list[int]:
    return [cache.put(stamp_of(str(number).encode()), picture(number)) for number in numbers]


def lookup(cache: PixelCache, number: int) -> npt.NDArray[np.uint8] | None:
    record = int(cache.find(stamps(number))[0])
    return None if record < 0 else cache.get(record)


def holds(cache: PixelCache, number: int) -> bool:
    found = lookup(cache, number)
    return found is not None and np.array_equal(found, picture(number))


def test_pictures_come_back_now_and_after_reopening(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    assert (cache.find(stamps(1, 2)) == -1).all()
    store(cache, *range(40))
    assert all(holds(cache, number) for number in range(40))
    cache.close()
    again = PixelCache(tmp_path, "a", PLENTY)
    assert len(again) == 40
    assert all(holds(again, number) for number in range(40))
    assert lookup(again, 99) is None
    view = lookup(again, 3)
    assert view is not None
    assert not view.flags.writeable
    again.close()
    assert np.array_equal(view, picture(3))


def test_a_picture_is_stored_once(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    assert store(cache, 5, 5, 6) == [0, 0, 1]
    assert (tmp_path / "a" / "pixels").stat().st_size == picture(5).nbytes + picture(6).nbytes


def test_many_records_are_found_after_they_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("striate.data.cache._MAX_RECENT", 16)
    cache = PixelCache(tmp_path, "a", PLENTY)
    for number in range(100):
        store(cache, number)
        assert holds(cache, number // 2)
    assert all(holds(cache, number) for number in range(100))
    assert (cache.find(stamps(3, 1000, 99)) >= 0).tolist() == [True, False, True]


def test_gather_is_one_array_in_the_asked_order(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    records = np.array([cache.put(number, picture(number, 6, 6)) for number in range(20)])
    chosen = np.array([7, 3, 3, 19, 0])
    gathered = cache.gather(records[chosen])
    assert gathered is not None
    assert np.array_equal(gathered, np.stack([picture(number, 6, 6) for number in chosen]))


def test_flipped_bytes_are_noticed_and_stored_anew(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    for number in range(3):
        cache.put(int(stamps(number)[0]), picture(number, 6, 6))
    with open(tmp_path / "a" / "pixels", "r+b") as file:
        file.seek(6 * 6 * 3 + 11)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 16]))
    reopened = PixelCache(tmp_path, "a", PLENTY)
    assert reopened.gather(np.array([0, 1])) is None
    assert lookup(reopened, 1) is None
    found = lookup(reopened, 0)
    assert found is not None
    assert reopened.put(int(stamps(1)[0]), picture(1, 6, 6)) == 3
    found = lookup(reopened, 1)
    assert found is not None
    assert np.array_equal(found, picture(1, 6, 6))
    third = PixelCache(tmp_path, "a", PLENTY)
    found = lookup(third, 1)
    assert found is not None
    assert np.array_equal(found, picture(1, 6, 6))


@pytest.mark.parametrize("cut", [1, 17, 39])
def test_half_a_record_does_not_count_and_is_overwritten(tmp_path: Path, cut: int) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    store(cache, 0, 1, 2)
    cache.close()
    rows = tmp_path / "a" / "rows"
    os.truncate(rows, rows.stat().st_size - cut)
    reopened = PixelCache(tmp_path, "a", PLENTY)
    assert [holds(reopened, number) for number in range(3)] == [True, True, False]
    store(reopened, 3, 2)
    fresh = PixelCache(tmp_path, "a", PLENTY)
    assert all(holds(fresh, number) for number in range(4))


def test_records_without_their_pixels_do_not_count(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    store(cache, 0, 1, 2)
    cache.close()
    os.truncate(tmp_path / "a" / "pixels", picture(0).nbytes + 5)
    reopened = PixelCache(tmp_path, "a", PLENTY)
    assert len(reopened) == 1
    assert [holds(reopened, number) for number in range(3)] == [True, False, False]
    store(reopened, 1, 2)
    assert all(holds(PixelCache(tmp_path, "a", PLENTY), number) for number in range(3))


@pytest.mark.parametrize("garbage", [b"\0" * 4000, bytes(range(256)) * 20])
def test_garbage_for_records_is_ignored(tmp_path: Path, garbage: bytes) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    store(cache, 0)
    cache.close()
    with open(tmp_path / "a" / "rows", "ab") as file:
        file.write(garbage)
    reopened = PixelCache(tmp_path, "a", PLENTY)
    assert len(reopened) == 1
    store(reopened, 1)
    assert holds(reopened, 0)
    assert holds(PixelCache(tmp_path, "a", PLENTY), 1)


def test_the_bound_holds_and_is_said(tmp_path: Path) -> None:
    limit = sum(picture(number).nbytes for number in range(6)) + 10
    cache = PixelCache(tmp_path, "a", limit)
    records = store(cache, *range(20))
    assert records[:6] == list(range(6))
    assert records[6:] == [-1] * 14
    assert str(tmp_path) in cache.stopped
    assert all(holds(cache, number) for number in range(6))
    assert (tmp_path / "a" / "pixels").stat().st_size <= limit


def test_the_longest_unused_cache_makes_room_and_one_in_use_does_not(tmp_path: Path) -> None:
    for age, name in ((300, "oldest"), (200, "older"), (100, "used")):
        old = PixelCache(tmp_path, name, PLENTY)
        store(old, *range(10))
        old.close()
        when = time.time() - age
        os.utime(tmp_path / name / "rows", (when, when))
    used = PixelCache(tmp_path, "used", PLENTY)
    os.utime(tmp_path / "used" / "rows", (0, 0))
    each = (tmp_path / "used" / "pixels").stat().st_size
    cache = PixelCache(tmp_path, "new", 3 * each)
    store(cache, 0)
    assert {folder.name for folder in tmp_path.iterdir()} == {"older", "used", "new"}
    assert cache.put(77, np.zeros((1, 2 * each - picture(0).nbytes, 1), dtype=np.uint8)) == 1
    assert {folder.name for folder in tmp_path.iterdir()} == {"used", "new"}
    assert store(cache, 1) == [-1]
    assert cache.stopped
    assert all(holds(used, number) for number in range(10))


def test_no_space_stops_the_cache_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    store(cache, 0)
    real, room = os.pwrite, [picture(1).nbytes // 2]

    def full_disk(file: int, data: memoryview, offset: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[: room.pop()], offset)

    monkeypatch.setattr(os, "pwrite", full_disk)
    assert store(cache, 1) == [-1]
    assert "No space left" in cache.stopped
    monkeypatch.undo()
    assert store(cache, 2) == [-1]
    assert holds(cache, 0)
    later = PixelCache(tmp_path, "a", PLENTY)
    store(later, 1, 2)
    assert all(holds(PixelCache(tmp_path, "a", PLENTY), number) for number in range(3))


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    wrong: list[int] = []

    def work(first: int) -> None:
        for number in range(200):
            number = (number + first) % 200
            store(cache, number)
            if not holds(cache, number):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(50 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 200


def _fill(root: Path, first: int) -> None:
    cache = PixelCache(root, "a", PLENTY)
    for number in range(300):
        store(cache, (number + first) % 300)
        assert holds(cache, (number + first) % 300)


@pytest.mark.slow
def test_processes_share_a_cache_and_survive_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_fill, args=(tmp_path, 100 * k)) for k in range(3)]
    for process in processes:
        process.start()
    rows = tmp_path / "a" / "rows"
    while not rows.exists() or rows.stat().st_size < 40 * 50:
        time.sleep(0.01)
    assert processes[0].pid is not None
    os.kill(processes[0].pid, signal.SIGKILL)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes[1:]] == [0, 0]
    cache = PixelCache(tmp_path, "a", PLENTY)
    assert all(holds(cache, number) for number in range(300))
    assert len(cache) == 300


def test_default_limit_leaves_most_of_the_disk(tmp_path: Path) -> None:
    assert 0 < default_limit(tmp_path) <= 16 << 30


def test_many_are_stored_at_once_as_one_by_one(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", PLENTY)
    assert store(cache, 3) == [0]
    asked = [1, 3, 2, 1]
    found = cache.put_all(stamps(*asked).tolist(), [picture(number) for number in asked])
    assert found == [1, 0, 2, 1]
    for opened in (cache, PixelCache(tmp_path, "a", PLENTY)):
        assert len(opened) == 3
        assert all(holds(opened, number) for number in (1, 2, 3))


def test_of_many_as_many_are_stored_as_there_is_room_for(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "a", 2 * picture(0).nbytes + 1)
    assert cache.put_all(stamps(*range(4)).tolist(), [picture(0)] * 4) == [0, 1, -1, -1]
    assert "at their bound" in cache.stopped
