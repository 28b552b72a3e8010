"""What `striate check` writes: a safe offline page, a split that can be used, a contact sheet."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from striate.checking import CheckResult, check
from striate.data.augment import Augment
from striate.data.formats import open_source
from striate.data.split import read_split
from striate.errors import UsageError
from striate.preparation import prepare
from striate.progress import Silent
from striate.recipe_fields import apply_fields
from striate.recipes import get_recipe
from striate.subject import make_subject
from striate.training import make_augmenter

EVIL = "<script>window.hacked=1<∕script>"
EVIL_FILE = "\"><img src=x onerror=hacked()>'.png"


class Page(HTMLParser):
    """Every tag with its attributes, and all text outside style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.text += "" if self._inside in ("style", "script") else data


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((120, 90))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "pets"
    for k, name in enumerate(("cats", EVIL)):
        (root / name).mkdir(parents=True)
        for i in range(14):
            noise(100 * k + i).save(root / name / f"{i}.png")
    noise(0).save(root / EVIL / EVIL_FILE)
    noise(1).resize((60, 90)).save(root / "cats/narrow.png")
    (root / EVIL / f"bad {EVIL_FILE}").write_bytes(b"<b>no</b>")
    return root


@pytest.fixture(scope="module")
def checked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> CheckResult:
    return check(folder, tmp_path_factory.mktemp("out") / "check", seed=5)


@pytest.fixture(scope="module")
def page(checked: CheckResult) -> Page:
    return Page(checked.files[0].read_text(encoding="utf-8"))


def test_names_are_words_and_never_tags(page: Page) -> None:
    assert EVIL in page.text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all((attributes["src"] or "").startswith("data:image/") for tag, attributes in page.tags if tag == "img")


def test_the_page_asks_for_nothing(checked: CheckResult, page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    html = checked.files[0].read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(", html)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy


def test_the_page_shows_what_was_found(page: Page) -> None:
    for words in ("not an image", "One picture, two labels", "Duplicates", "Shorter side", "Unreadable files"):
        assert words in page.text
    assert "31 images in 2 classes" in page.text
    links = {(a.get("href") or "")[1:] for tag, a in page.tags if tag == "a"} - {"top"}
    assert links <= {a.get("id") for _, a in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) > 2 * 9
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")


def test_the_split_it_writes_is_the_one_to_train_with(folder: Path, checked: CheckResult) -> None:
    source = open_source(folder)
    split = read_split(checked.files[1], source)
    assert checked.split is not None
    assert split.train.tolist() == checked.split.train.tolist()
    assert split.seed == 5
    twins = [i for i in range(len(source)) if source.key(i) in ("cats/0.png", f"{EVIL}/{EVIL_FILE}")]
    assert sum(bool(np.isin(twins, part).all()) for part in (split.train, split.validation, split.held_out)) == 1


def test_the_audit_file_is_the_json(checked: CheckResult) -> None:
    record = json.loads(checked.files[-1].read_text())
    assert record == json.loads(json.dumps(checked.to_json()))
    assert record["num_bad"] == checked.num_bad == 1
    assert record["split"]["train"] + record["split"]["validation"] + record["split"]["held_out"] == 31


def test_terminal_text(checked: CheckResult) -> None:
    text = checked.text(100)
    assert "pets: 31 images, 2 classes" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("wrote")) <= 100
    bars = {line.split()[0]: line.count("█") for line in text.splitlines() if "█" in line}
    assert bars["cats"] < bars[EVIL.split()[0]], "15 and 16 images"
    assert "1 bad" in text
    assert "error    1 of 31 files cannot be read (1 not an image)" in text


def test_control_characters_never_reach_a_terminal(tmp_path: Path) -> None:
    for name in ("a\x1b[31m", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            noise(i + len(name)).save(tmp_path / "data" / name / f"{i}.png")
    text = check(tmp_path / "data", tmp_path / "out").text(100)
    assert "\x1b" not in text
    assert "\N{REPLACEMENT CHARACTER}[31m" in text


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"tea"):
        place = os.path.join(os.fsencode(tmp_path / "data"), name)
        try:
            os.makedirs(place)
        except OSError:
            pytest.skip("NOT RUN: this file system takes UTF-8 names only")
        for i in range(4):
            noise(i + len(name)).save(os.fsdecode(os.path.join(place, b"%d.png" % i)))
    found = check(tmp_path / "data", tmp_path / "out")
    assert "caf" in found.files[0].read_text(encoding="utf-8")
    found.text(100).encode()
    read_split(found.files[1], open_source(tmp_path / "data"))


@pytest.mark.parametrize("out", [".", "runs/check", "cats"])
def test_nothing_is_written_into_the_data(folder: Path, out: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(UsageError, match=r"within the data[\s\S]*--out"):
        check(folder, folder / out)
    assert sorted(folder.rglob("*")) == before


def test_data_that_cannot_be_divided_is_still_checked(tmp_path: Path) -> None:
    for split in ("val", "test"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(3):
                noise(hash((split, name, i)) % 1000).save(tmp_path / "data" / split / name / f"{i}.png")
    found = check(tmp_path / "data", tmp_path / "out")
    assert found.split is None
    assert "no training images" in found.text(100)
    assert {path.name for path in found.files} == {"check.html", "audit.json"}
    assert "No split was made" in found.files[0].read_text()


def sheet_cells(path: Path, column: int) -> list[NDArray[np.uint8]]:
    """The pictures of 64 x 64 pixels in one column of a contact sheet, where they are drawn twice as large."""
    sheet = np.asarray(Image.open(path))
    left = 20 + column * 134 + 12 * (column > 0)
    return [sheet[top : top + 128 : 2, left : left + 128 : 2] for top in range(36, sheet.shape[0] - 128, 150)]


@pytest.mark.parametrize("augment", [Augment(rotate=30.0, brightness=0.3), Augment(flip_horizontal=0.5, shift=3)])
def test_the_contact_sheet_shows_what_training_sees_in_each_epoch(folder: Path, tmp_path: Path, augment: Augment) -> None:
    """Resampled from whole pictures, or moved after the resize; in either case with fit's own batches beside it."""
    fields: dict[str, Any] = {"size": 64, "augment": augment}
    result = check(folder, tmp_path / "out", model="resnet20_cifar", seed=3, **fields)
    source = open_source(folder)
    recipe = apply_fields(get_recipe("resnet_cifar"), fields | {"seed": 3})
    subject = make_subject("resnet20_cifar", source, recipe)
    split = read_split(tmp_path / "out" / "split.json", source)
    ready = prepare(source, split, subject, subject.preprocess(), recipe, workers=0, cache="off", progress=Silent())
    augmenter = make_augmenter(ready.task, ready.batches, recipe)
    assert augmenter is not None
    for epoch in (0, 4):
        batch = [augmenter(batch, epoch)["image"].round().clamp(0, 255).byte() for batch in ready.batches.train(epoch)]
        seen = {image.permute(1, 2, 0).numpy().tobytes() for image in torch.cat(batch)}
        cells = sheet_cells(result.files[2], 1 + epoch)
        assert len(cells) >= 6
        assert [cell.tobytes() in seen for cell in cells] == [True] * len(cells)


def test_the_contact_sheet_has_the_channels_of_the_network(folder: Path, tmp_path: Path) -> None:
    result = check(folder, tmp_path / "out", model="lenet5", recipe="lenet5")
    sheet = np.asarray(Image.open(result.files[2]))[36:164, 166:294].astype(int)
    assert sheet.std() > 5
    assert (sheet.max(axis=2) == sheet.min(axis=2)).all()


def test_the_contact_sheet_shows_originals_beside_their_versions(tmp_path: Path) -> None:
    still = check("demo:fashion", tmp_path / "still", augment=Augment(shift=1))
    moved = check("demo:fashion", tmp_path / "moved", augment=Augment(rotate=20, mixup=0.4))
    for result in (still, moved):
        assert [path.name for path in result.files] == ["check.html", "split.json", "augmented.png", "audit.json"]
    a, b = (np.asarray(Image.open(result.files[2])) for result in (still, moved))
    assert a.shape == b.shape
    originals = slice(20, 20 + 128)
    assert (a[36:160, originals] == b[36:160, originals]).all(), "the first column is the picture itself"
    assert (a[36:160, 166:294] != b[36:160, 166:294]).any()


def test_the_contact_sheet_is_the_networks_own_recipe_where_none_is_named(tmp_path: Path) -> None:
    sheets = [
        check("demo:letters", tmp_path / name, augmented=True, **fields).files[2].read_bytes()
        for name, fields in (("plain", {}), ("named", {"recipe": "fashion_cnn"}), ("other", {"recipe": "mlp"}))
    ]
    assert sheets[0] == sheets[1] != sheets[2]


@pytest.mark.parametrize("kind", ["labels", "value"])
def test_other_targets_have_a_page_too(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 12, 12, 3), dtype=np.uint8)
    targets = (rng.random((60, 3)) < 0.4).astype(np.int64) if kind == "labels" else rng.random(60).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=targets)
    found = check(tmp_path / "data.npz", tmp_path / "out", augment=Augment(flip_horizontal=0.5))
    assert found.audit.source.kind == kind
    assert ("Numbers" if kind == "value" else "on an image on average") in found.files[0].read_text()
    assert found.text(100)
