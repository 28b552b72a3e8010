"""Class folders, split or not, with what people leave in them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from striate.data.decode import ImageError
from striate.data.formats import open_source
from striate.data.source import SPLITS, natural_key
from striate.errors import Refused, StriateError, UsageError

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f00010101001bb6ee56"
    "0000000049454e44ae426082"
)

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def make(*files: str, content: bytes = PNG) -> Path:
        root = tmp_path / "photos"
        root.mkdir(exist_ok=True)
        for name in files:
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return root

    return make


def test_classes_sort_as_people_count(tree: Tree) -> None:
    source = open_source(tree("class10/a.png", "class2/a.png", "Class1/b.png", "class1b/x.jpg"))
    assert source.classes == ("Class1", "class1b", "class2", "class10")
    assert [source.key(i) for i in range(4)] == ["Class1/b.png", "class1b/x.jpg", "class2/a.png", "class10/a.png"]
    assert source.targets.tolist() == [0, 1, 2, 3]
    assert source.given.tolist() == [0, 0, 0, 0]


def test_natural_key_orders_any_mixture() -> None:
    names = ["10", "9", "a10b2", "a10b10", "a9", "B", "a", "", "007", "7", "x²", "٣", "2a"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("9") < ordered.index("10")
    assert ordered.index("a9") < ordered.index("a10b2") < ordered.index("a10b10")
    assert ordered.index("a") < ordered.index("B")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "valid", "testing"), ("training", "validation", "Test")],
)
def test_splits_by_every_spelling(tree: Tree, train: str, val: str, test: str) -> None:
    source = open_source(tree(*(f"{split}/{name}/{i}.png" for split in (train, val, test) for name in "ab" for i in range(2))))
    assert source.classes == ("a", "b")
    assert Counter(SPLITS[code] for code in source.given) == {"train": 4, "val": 4, "test": 4}
    assert source.key(0) == f"{train}/a/0.png"
    assert source.read(0) == PNG


def test_folders_beside_the_splits_are_ignored_by_name(tree: Tree) -> None:
    source = open_source(tree("train/a/1.png", "train/b/1.png", "val/a/1.png", "annotations/x.png", "loose.png"))
    assert len(source) == 3
    assert any("annotations" in line for line in source.ignored)
    assert any("loose.png" in line for line in source.ignored)


def test_a_class_may_be_called_train(tree: Tree) -> None:
    source = open_source(tree("train/1.png", "bus/1.png", "car/1.png"))
    assert source.classes == ("bus", "car", "train")
    assert not source.given.any()


def test_junk_is_left_out_and_listed(tree: Tree) -> None:
    junk = [".DS_Store", "a/.DS_Store", "a/Thumbs.db", "a/notes.txt", "__MACOSX/a/1.png", ".ipynb_checkpoints/x.png", "a/._1.png"]
    root = tree("a/1.png", "b/2.JPG", *junk, "b/README", content=PNG)
    (root / "b/README").write_text("read me")
    (root / "a/noname").write_bytes(PNG)
    source = open_source(root)
    assert sorted(source.key(i) for i in range(len(source))) == ["a/1.png", "a/noname", "b/2.JPG"]
    for name in (".DS_Store", "a/Thumbs.db", "a/notes.txt", "__MACOSX", ".ipynb_checkpoints", "a/._1.png", "b/README"):
        assert any(line.startswith(f"{name}: ") for line in source.ignored), name


def test_a_picture_of_an_unread_format_is_a_sample_not_junk(tree: Tree) -> None:
    source = open_source(tree("a/1.heic", "b/1.png"))
    assert len(source) == 2


def test_nested_folders_belong_to_their_class(tree: Tree) -> None:
    source = open_source(tree("a/x/deep/1.png", "a/2.png", "b/1.png"))
    assert source.targets.tolist() == [0, 0, 1]


def test_links_are_followed_and_a_loop_ends(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    (root / "a" / "again").symlink_to(root / "a")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    source = open_source(root)
    keys = [source.key(i) for i in range(len(source))]
    assert keys == ["a/1.png", "b/1.png", "b/gone.png"]
    assert any("a/again" in line for line in source.ignored)
    with pytest.raises(ImageError) as caught:
        source.read(2)
    assert caught.value.reason == "missing"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_with_a_picture_name_does_not_wait(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    os.mkfifo(root / "b" / "2.png")
    source = open_source(root)
    with pytest.raises(ImageError) as caught:
        source.read(2)
    assert caught.value.reason == "not a file"


def test_names_of_any_bytes_survive(tree: Tree) -> None:
    root = tree("a/1.png", "ü b/1.png")
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/a/\xff\xfe.png")).write_bytes(PNG)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    source = open_source(root)
    assert [source.read(i) for i in range(3)] == [PNG] * 3


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        ((), UsageError, ["no labelled pictures", "make one folder a class"]),
        (
            ("1.png", "2.png"),
            UsageError,
            ["2 pictures lie in it, without class folders", "make one folder a class", "path,label"],
        ),
        (("1.png", "labels.csv"), UsageError, ["give the file itself", "labels.csv"]),
        (("train/1.png", "test/2.png"), UsageError, ["train and test hold no class folders"]),
        (("a/1.png", "b/"), Refused, ["class 'b' has no pictures", "photos/b", "put pictures there, or remove the folder"]),
        (("a/1.png", "a/2.png"), Refused, ["only one class, 'a'", "nothing to tell apart"]),
        (("data/a/1.png", "data/b/1.png"), Refused, ["only one class, 'data'", "give", "photos/data"]),
        (("train/a/1.png", "train/b/1.png", "test/c/1.png"), Refused, ["class 'c' is in test but not in train", "spell"]),
        (("train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/b/1.png"), UsageError, ["the same split", "val, valid"]),
    ],
)
def test_mistakes_are_named(tree: Tree, files: tuple[str, ...], kind: type[StriateError], says: list[str]) -> None:
    root = tree(*files)
    with pytest.raises(kind) as caught:
        open_source(root)
    assert str(root) in str(caught.value)
    for words in says:
        assert words in str(caught.value)


def test_what_a_network_cannot_learn_from_may_be_scored(tree: Tree) -> None:
    source = open_source(tree("a/1.png", "b/"), to_learn=False)
    assert source.classes == ("a", "b")
    assert source.targets.tolist() == [0]
    with pytest.raises(Refused, match="class 'b' has no pictures"):
        open_source(source)


def test_a_class_absent_from_the_test_split_is_allowed(tree: Tree) -> None:
    source = open_source(tree("train/a/1.png", "train/b/1.png", "test/a/1.png"))
    assert source.classes == ("a", "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere/at/all", ["no such file or folder", "nowhere/at/all"]),
        ("mnist", ["a word without a colon is a path", "mnist:"]),
        ("fashion", ["demo:fashion"]),
        ("demo:fashon", ["'fashion'"]),
        ("foldr:x", ["'foldr'", "'folder'"]),
        ("folder:/nowhere", ["no such folder"]),
        ("csv:/nowhere.csv", ["no such file"]),
        ("npz:/nowhere.npz", ["no such file"]),
    ],
)
def test_unknown_data_is_a_usage_error(text: str, says: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_source(text)
    for words in says:
        assert words in str(caught.value)


def test_a_word_is_a_path_even_where_a_scheme_has_its_name(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("mnist/a/1.png", "mnist/b/1.png", "demo:x/a/1.png", "demo:x/b/1.png")
    monkeypatch.chdir(root)
    assert open_source("mnist").classes == ("a", "b")
    assert open_source("demo:x").classes == ("a", "b")


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UsageError, match="unpack it"):
        open_source(tmp_path / "photos.zip")


def test_the_location_reopens_the_same_data_from_anywhere(tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tree("a/1.png", "b/1.png")
    monkeypatch.chdir(root.parent)
    source = open_source("photos")
    monkeypatch.chdir("/")
    again = open_source(source.location)
    assert again.fingerprint() == source.fingerprint()
    assert open_source(source) is source


def test_the_fingerprint_follows_content_names_and_classes_but_not_the_place(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    before = open_source(root).fingerprint()
    moved = root.rename(root.with_name("elsewhere"))
    assert open_source(moved).fingerprint() == before
    (moved / "a/1.png").write_bytes(PNG + b"!")
    changed = open_source(moved).fingerprint()
    assert changed != before
    (moved / "a/1.png").rename(moved / "a/2.png")
    assert open_source(moved).fingerprint() not in (before, changed)


def test_a_copy_has_the_fingerprint_of_its_original(tree: Tree, tmp_path: Path) -> None:
    root = tree("a/1.png", "b/1.png")
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    for file in copy.rglob("*.png"):
        os.utime(file, (1, 1))
    assert open_source(copy).fingerprint() == open_source(root).fingerprint()


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_the_fingerprint_follows_content_of_the_same_size(tree: Tree, place: int) -> None:
    root = tree("a/1.png", "b/1.png")
    content = bytearray(PNG + bytes(100_000 - len(PNG)))
    (root / "a/1.png").write_bytes(content)
    source = open_source(root)
    before = source.fingerprint()
    content[place] ^= 1
    (root / "a/1.png").write_bytes(content)
    os.utime(root / "a/1.png", (2, 2))  # a clock may stand still between two writes
    assert open_source(root).fingerprint() != before
    assert source.fingerprint() != before, "one that is open already sees the change, too"


def test_what_is_no_file_has_a_fingerprint_at_once(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    os.mkfifo(root / "a/fifo.png")
    waiting = open_source(root).fingerprint()
    (root / "a/fifo.png").unlink()
    (root / "a/fifo.png").symlink_to(root / "nowhere")
    assert open_source(root).fingerprint() != waiting


def test_a_stamp_changes_with_the_file_and_only_then(tree: Tree) -> None:
    root = tree("a/1.png", "b/1.png")
    source = open_source(root)
    stamps = [source.stamp(0), source.stamp(1)]
    assert stamps[0] != stamps[1]
    (root / "a/1.png").write_bytes(PNG + b"!")
    assert source.stamp(0) != stamps[0]
    assert source.stamp(1) == stamps[1]
    (root / "a/1.png").unlink()
    assert source.stamp(0) != stamps[0]


def test_a_sample_takes_less_than_150_bytes(tree: Tree) -> None:
    root = tree(*(f"train/class_{c:03d}/n{c:08d}_{i:05d}.png" for c in range(20) for i in range(50)))
    source = open_source(root)
    held = sum(value.nbytes if isinstance(value, np.ndarray) else len(value) for value in vars(source).values() if sized(value))
    assert len(source) == 1000
    assert held / len(source) < 150


def sized(value: object) -> bool:
    return isinstance(value, (np.ndarray, bytes))


def test_hymenoptera(shared_data: Path) -> None:
    source = open_source(shared_data / "hymenoptera")
    assert source.classes == ("ants", "bees")
    assert Counter(SPLITS[code] for code in source.given) == {"train": 245, "val": 153}
