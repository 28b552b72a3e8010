"""The report of a run: what it says, that it is safe and whole, and that no run breaks it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import epoch_rows, guesses, make_run, write_run

from striate.data.audit import audit
from striate.data.formats import open_source
from striate.errors import Failed, Refused, UsageError
from striate.report import write_report
from striate.report.run_folder import read_run
from striate.tasks.decoding import Kind

LIMIT = 5_000_000
HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page: ``tags`` with their attributes, and the text within each kind of tag."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    def within(self, tag: str) -> list[str]:
        return [text for inside, text in self.texts if inside == tag]

    def words(self) -> str:
        """Everything a reader sees, on one line."""
        hidden = ("script", "style")
        return re.sub(r"\s+", " ", "".join(text for tag, text in self.texts if tag not in hidden))

    def cells(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(next(text for text in self.within("script") if text.startswith("{")))
        return found


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the small Fashion-MNIST, with its audit and its report."""
    source = open_source("demo:fashion")
    folder = make_run(tmp_path_factory.mktemp("runs") / "fashion-1", source, epoch_rows(30, overfits=True))
    (folder / "audit.json").write_text(json.dumps(audit(source).to_json()))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(fashion: Path) -> Page:
    return Page(fashion / "report.html")


def test_every_section_is_there_and_linked(page: Page) -> None:
    sections = {"verdict", "curves", "confusion", "mistakes", "classes", "calibration", "data", "recipe", "again"}
    assert sections <= page.ids()
    assert not page.open
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert {f"#{name}" for name in sections - {"verdict"}} <= links
    assert {link[1:] for link in links} <= page.ids()


def test_it_asks_for_nothing_over_a_network(page: Page) -> None:
    addresses = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href", "action", "srcset")
    ]
    assert len(addresses) > 30
    assert all(address.startswith(("#", "data:")) for address in addresses)
    styles = "".join(page.within("style"))
    assert "@import" not in styles
    assert "url(" not in styles
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import\()", "".join(page.within("script")))


def test_only_its_own_script_may_run(page: Page) -> None:
    policies = [attributes["content"] for _, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    script = next(text for text in page.within("script") if not text.startswith("{"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policies[0]
    assert f"script-src 'sha256-{digest}'" in policies[0]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_the_verdict_holds_score_interval_baseline_and_fit(page: Page, fashion: Path) -> None:
    scores = json.loads((fashion / "evaluation.json").read_text())
    low, high = scores["interval"]
    words = page.words().replace("\N{NO-BREAK SPACE}", " ")
    expected = f"{100 * scores['accuracy']:.1f} % of 600 held-out images named correctly"
    expected += f" (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"
    assert expected in words
    assert "against 10.0 % for always answering the most frequent class; it overfits: validation loss rose after epoch" in words


def test_the_cells_are_the_confusion_matrix_with_their_images(page: Page, fashion: Path) -> None:
    run = read_run(fashion)
    assert run.confusion is not None
    assert run.predictions is not None
    data = page.cells()
    counts = np.zeros_like(run.confusion)
    for true, said, count, members in data["cells"]:
        counts[true, said] = count
        assert len(members) == min(count, 12)
        for position in members:
            assert (run.predictions.target[position], run.predictions.predicted[position]) == (true, said)
            assert data["pictures"][str(position)]["name"] == run.predictions.keys[position]
    assert (counts == run.confusion).all()


def test_every_picture_is_on_the_page_once(page: Page) -> None:
    in_galleries = {attributes["data-picture"] for tag, attributes in page.tags if "data-picture" in attributes}
    stored = {position for position, entry in page.cells()["pictures"].items() if "src" in entry}
    needed = set(page.cells()["pictures"])
    assert len(in_galleries) == 32
    assert not in_galleries & stored
    assert needed <= in_galleries | stored


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    target = draw.integers(0, 3, 60)
    keys = [f'{i}"><img src=x onerror=alert(1)>{HOSTILE}.png' for i in range(60)]
    names = [HOSTILE, "</script><b>", "' onmouseover='x"]
    path = write_report(write_run(tmp_path / "run", guesses(target, 3), target, names, epoch_rows(3), keys=keys))
    page = Page(path)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.cells()["classes"] == names
    assert HOSTILE in page.words()


def test_a_name_that_is_no_utf_8_is_written_all_the_same(tmp_path: Path) -> None:
    target = np.array([0, 1] * 10)
    probabilities = np.tile([[0.9, 0.1]], (20, 1))
    keys = [f"{i}\udcff.jpg" for i in range(20)]
    path = write_report(write_run(tmp_path / "run", probabilities, target, ["a", "b"], epoch_rows(3), keys=keys))
    assert "1?.jpg" in Page(path).words()


def test_without_the_images_it_says_so_and_names_them(tmp_path: Path) -> None:
    target = np.arange(300) % 10
    folder = write_run(tmp_path / "run", guesses(target, 10), target, list("abcdefghij"), epoch_rows(5))
    page = Page(write_report(folder))
    assert "The images are not where they were (there is no such file or folder)" in page.words()
    assert not [tag for tag, _ in page.tags if tag == "img"]
    cell = next(members for true, said, _, members in page.cells()["cells"] if true != said)
    assert page.cells()["pictures"][str(cell[0])]["name"] == str(cell[0])


def test_images_that_changed_since_are_not_passed_off_as_those_scored(tmp_path: Path) -> None:
    source = open_source("demo:fashion")
    folder = make_run(tmp_path / "run", source, epoch_rows(5))
    page = Page(write_report(folder, source="demo:letters"))
    assert "The data have changed since this run" in page.words()
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_a_report_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(3))
    record = json.loads((folder / "recipe.json").read_text())
    record["data"]["location"] = f"mnist:{tmp_path / 'gone'}"
    (folder / "recipe.json").write_text(json.dumps(record))
    asked: list[object] = []
    monkeypatch.setattr("striate.data.idx.fetch_first", lambda *words, **options: asked.append(words))
    assert "The images are not where they were" in Page(write_report(folder)).words()
    assert asked == []
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_a_network_that_diverged_has_a_report(tmp_path: Path, kind: Kind) -> None:
    names = [] if kind == "value" else ["a", "b", "c"]
    said = np.full((30, 3) if names else 30, np.nan, np.float32)
    target = np.arange(30) % 3 if kind != "labels" else np.eye(3)[np.arange(30) % 3]
    words = Page(write_report(write_run(tmp_path / "run", said, target, names, epoch_rows(3), kind=kind))).words()
    assert "nan" not in re.findall(r"[a-z]+", words.lower())


def test_numbers_that_are_all_the_same_have_no_determination(tmp_path: Path) -> None:
    said, true = np.arange(30, dtype=np.float32), np.full(30, 3.0, np.float32)
    folder = write_run(tmp_path / "run", said, true, [], epoch_rows(3, metric="mae"), kind="value")
    assert json.loads((folder / "evaluation.json").read_text())["r2"] is None
    assert "R²" in Page(write_report(folder)).words()


def test_many_large_pictures_stay_within_the_limit(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(26), 40)
    images = draw.integers(0, 256, (len(labels), 96, 96, 3), dtype=np.uint8)  # noise: nothing compresses worse
    np.savez(tmp_path / "noise.npz", train_images=images[:26], train_labels=labels[::40], test_images=images, test_labels=labels)
    source = open_source(tmp_path / "noise.npz")
    path = write_report(make_run(tmp_path / "run", source, epoch_rows(5), skill=2.0))
    assert 3_000_000 < path.stat().st_size < LIMIT
    # Where not every picture fits, each of the most confused pairs still has some.
    cells = Page(path).cells()["cells"]
    assert all(members for true, said, _, members in cells[:20])


@pytest.mark.parametrize("num_classes", [100, 1000])
def test_many_classes_show_the_most_confused_and_stay_small(tmp_path: Path, num_classes: int) -> None:
    target = np.arange(4 * num_classes) % num_classes
    names = [f"class number {k}" for k in range(num_classes)]
    path = write_report(write_run(tmp_path / "run", guesses(target, num_classes, 5.0), target, names, epoch_rows(5)))
    page = Page(path)
    assert path.stat().st_size < LIMIT
    assert f"The 20 most confused of {num_classes:,} classes" in page.words()
    assert len(page.cells()["first"]) == 20
    pairs = [attributes["data-pair"] for tag, attributes in page.tags if "data-pair" in attributes]
    first, second = pairs[0].split(",")
    assert page.cells()["first"][:2] == [int(first), int(second)]
    assert len(pairs) == 18
    assert "zoom" in page.ids()


def test_one_epoch_is_no_trend(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:letters"), epoch_rows(1))
    words = Page(write_report(folder)).words()
    assert "1 epoch with both losses: too few to read a trend." in words
    assert "overfit" not in words


def test_without_validation_overfitting_is_not_denied(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(10, validation=False))
    words = Page(write_report(folder)).words()
    assert "without a validation split, overfitting cannot be seen" in words
    assert "Accuracy on validation" not in words


def test_a_stopped_run_has_a_report_of_what_it_has(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(3))
    for name in ("evaluation.json", "predictions.npz"):
        (folder / name).unlink()
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "trai')  # cut short by a power cut
    page = Page(write_report(folder))
    assert "3 epochs trained, not scored yet" in page.words()
    assert not {"confusion", "mistakes", "classes", "calibration"} & page.ids()


def test_scores_alone_still_give_matrix_and_classes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(3))
    (folder / "predictions.npz").unlink()
    page = Page(write_report(folder))
    assert {"confusion", "classes"} <= page.ids()
    assert not {"mistakes", "calibration"} & page.ids()
    assert sum(count for _, _, count, _ in page.cells()["cells"]) == 600


def test_a_regression(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    true = draw.uniform(10, 90, 200).astype(np.float32)
    said = true + draw.normal(1, 4, 200).astype(np.float32)
    page = Page(write_report(write_run(tmp_path / "run", said, true, [], epoch_rows(8, metric="mae"), kind="value")))
    words = page.words()
    mae, baseline = np.abs(said - true).mean(), np.abs(true - true.mean()).mean()
    assert (
        f"Off by {mae:.2f} on average over 200 held-out images, against {baseline:.1f} for always answering their mean" in words
    )
    assert "Largest errors" in words
    assert "numbers" in page.ids()
    assert not {"confusion", "classes", "calibration"} & page.ids()


def test_several_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    target = (draw.random((200, 4)) < 0.3).astype(np.float32)
    said = np.clip(0.5 + 0.3 * (target - 0.5) + draw.normal(0, 0.2, target.shape), 0, 1).astype(np.float32)
    names = ["sun", "sea", "sand", "people"]
    rows = epoch_rows(8, metric="mean_average_precision")
    page = Page(write_report(write_run(tmp_path / "run", said, target, names, rows, kind="labels")))
    words = page.words()
    assert "Mean average precision 0." in words
    assert "over 4 labels on 200 held-out images" in words
    assert {"classes", "mistakes"} <= page.ids()
    assert not {"confusion", "calibration"} & page.ids()


def test_scores_of_validation_are_called_flattering(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(3))
    scores = json.loads((folder / "evaluation.json").read_text()) | {"split": "validation"}
    (folder / "evaluation.json").write_text(json.dumps(scores))
    assert (
        "No images were held out: those scored here also chose the weights, so the figures flatter."
        in Page(write_report(folder)).words()
    )


def test_a_report_that_cannot_be_written_leaves_the_old_one(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (fashion / "report.html").read_bytes()

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("striate.files.os.replace", full)
    with pytest.raises(Failed, match="No space left"):
        write_report(fashion)
    assert (fashion / "report.html").read_bytes() == before
    assert not list(fashion.glob(".*"))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"recipe\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", ["evaluation.json", "audit.json", "metrics.jsonl", "predictions.npz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    folder = make_run(tmp_path / "run", open_source("demo:fashion"), epoch_rows(3))
    (folder / name).write_bytes(b"{]\n{}\n")
    with pytest.raises(Refused, match=re.escape(name)):
        write_report(folder)
