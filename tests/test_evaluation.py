"""A model on labelled data: every figure against scikit-learn's, the right images, and classes matched by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn import metrics as oracle
from small_models import FRUIT, MeanColour, colour_card, plain, write_colour_model

from striate.bundle import write_bundle
from striate.data.formats import open_source
from striate.data.split import make_split, write_split
from striate.errors import Refused, UsageError
from striate.evaluation import Evaluation, evaluate
from striate.metrics import wilson_interval
from striate.prediction import Model, load

COLOURS = {"apple": "red", "banana": "lime", "cherry": "blue", "damson": "white"}

Folder = Callable[..., Path]


@pytest.fixture
def model() -> Model:
    return Model.from_module(MeanColour(), colour_card())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Makes ``data/[SPLIT/]CLASS/N.png``, each plain in its class's colour."""

    def make(counts: dict[str, int]) -> Path:
        for place, count in counts.items():
            where = tmp_path / "data" / place
            where.mkdir(parents=True)
            for i in range(count):
                # A pixel of its own makes each file another one.
                image = plain(COLOURS[where.name])
                image.putpixel((i, 0), (1, 2, 3))
                image.save(where / f"{i}.png")
        return tmp_path / "data"

    return make


def random_predictions(n: int = 500, num_classes: int = 7) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, num_classes - 1, n)  # the last class never occurs
    logits = rng.normal(size=(n, num_classes)) + 1.5 * np.eye(num_classes)[targets]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), targets


# Figures


def test_figures_of_one_label_equal_scikit_learn() -> None:
    probabilities, targets = random_predictions()
    classes = [f"c{k}" for k in range(7)]
    got = Evaluation.from_probabilities(probabilities, targets, classes)
    predicted = probabilities.argmax(1)
    precision, recall, f1, support = oracle.precision_recall_fscore_support(targets, predicted, labels=range(7), zero_division=0)
    assert got.accuracy == pytest.approx(oracle.accuracy_score(targets, predicted))
    assert got.macro_f1 == pytest.approx(oracle.f1_score(targets, predicted, average="macro"))
    assert got.top5 == pytest.approx(oracle.top_k_accuracy_score(targets, probabilities, k=5, labels=range(7)))
    np.testing.assert_array_equal(got.confusion, oracle.confusion_matrix(targets, predicted, labels=range(7)))
    for k, row in enumerate(got.per_class):
        assert (row.name, row.support, row.predicted) == (f"c{k}", support[k], (predicted == k).sum())
        assert row.precision == pytest.approx(precision[k])
        assert row.f1 == pytest.approx(f1[k])
        assert row.recall == (pytest.approx(recall[k]) if support[k] else None)
    assert got.majority_baseline == np.bincount(targets).max() / 500
    assert got.interval == wilson_interval(int((targets == predicted).sum()), 500)
    assert got.worst_class is not None
    assert got.worst_class.recall == min(recall[:6])
    wrong = oracle.confusion_matrix(targets, predicted) * (1 - np.eye(7, dtype=int))
    assert got.most_confused is not None
    assert wrong[int(got.most_confused.true[1]), int(got.most_confused.predicted[1])] == got.most_confused.num == wrong.max()
    assert (got.n, got.mae, got.mean_average_precision) == (500, None, None)


def test_calibration_adds_up() -> None:
    probabilities, targets = random_predictions()
    got = Evaluation.from_probabilities(probabilities, targets, list("abcdefg")).to_json()
    bins = [b for b in got["reliability"] if b["count"]]
    assert sum(b["count"] for b in bins) == 500
    assert sum(b["count"] * b["accuracy"] for b in bins) / 500 == pytest.approx(got["accuracy"])
    assert sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 500 == pytest.approx(got["ece"])


def test_figures_of_several_labels_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((300, 4)) < [0.1, 0.5, 0.7, 0.3]).astype(np.float32)
    probabilities = np.clip(0.3 * rng.normal(size=(300, 4)) + 0.25 + 0.5 * targets, 0, 1)
    got = Evaluation.from_probabilities(probabilities, targets, "abcd", "labels")
    said = probabilities >= 0.5
    assert got.accuracy == pytest.approx(oracle.accuracy_score(targets, said))
    assert got.macro_f1 == pytest.approx(oracle.f1_score(targets, said, average="macro"))
    assert got.mean_average_precision == pytest.approx(oracle.average_precision_score(targets, probabilities))
    assert [row.recall for row in got.per_class] == pytest.approx(list(oracle.recall_score(targets, said, average=None)))
    assert (got.confusion, got.ece, got.top5) == (None, None, None)
    assert got.majority_baseline == np.unique(targets, axis=0, return_counts=True)[1].max() / 300


def test_figures_of_numbers_equal_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    targets = rng.normal(50, 10, 200).astype(np.float32)
    values = targets + rng.normal(0, 3, 200)
    got = Evaluation.from_probabilities(values, targets, kind="value")
    assert got.mae == pytest.approx(oracle.mean_absolute_error(targets, values))
    assert got.rmse == pytest.approx(oracle.root_mean_squared_error(targets, values))
    assert got.r2 == pytest.approx(oracle.r2_score(targets, values))
    assert got.baseline_mae == pytest.approx(np.abs(targets - targets.mean()).mean(), rel=1e-5)
    assert (got.accuracy, got.interval, got.confusion, got.per_class, got.majority_baseline) == (None, None, None, (), None)


@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_json_is_strict_even_where_figures_have_no_value(kind: str) -> None:
    """One sample of one class: no spread, no positive of the others, empty bins."""
    probabilities = np.array([[0.9, 0.1]]) if kind != "value" else np.array([3.0])
    targets = {"label": np.array([0]), "labels": np.array([[0.0, 0.0]]), "value": np.array([3.0])}[kind]
    got = Evaluation.from_probabilities(probabilities, targets, () if kind == "value" else "ab", kind)  # type: ignore[arg-type]
    record = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert record["n"] == 1
    assert record["r2"] is None
    assert record["mean_average_precision"] is None
    assert got.text()


@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_a_diverged_network_is_scored_without_a_crash(kind: str) -> None:
    shape, targets = ((4, 2), np.array([0, 1, 1, 1])) if kind == "label" else ((4, 2), np.ones((4, 2)))
    if kind == "value":
        shape, targets = (4,), np.arange(4.0)  # type: ignore[assignment]
    got = Evaluation.from_probabilities(np.full(shape, np.nan), targets, () if kind == "value" else "ab", kind)  # type: ignore[arg-type]
    json.dumps(got.to_json(), allow_nan=False)
    assert got.text()


def test_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"kind 'label' with 3 classes needs probabilities \[2, 3\].*got \[2, 4\] and \[2\]"):
        Evaluation.from_probabilities(np.zeros((2, 4)), np.zeros(2, int), "abc")
    with pytest.raises(ValueError, match="N at least 1"):
        Evaluation.from_probabilities(np.zeros((0, 3)), np.zeros(0, int), "abc")


# Which images


def test_a_bad_file_is_named_and_in_no_figure(folder: Folder, model: Model) -> None:
    data = folder({"apple": 4, "banana": 5, "cherry": 6})
    (data / "banana" / "2.png").write_bytes(b"")
    (data / "cherry" / "9.jpg").write_text("no picture")
    plain("red").save(data / "cherry" / "0.png")
    seen: list[tuple[int, int]] = []

    class Listener:
        def stage(self, name: str, done: int, total: int) -> None:
            seen.append((done, total))

    got = evaluate(model, data, batch=4, progress=Listener())  # type: ignore[arg-type]
    assert (got.n, got.num_bad) == (14, 2)
    assert dict(got.bad) == {"banana/2.png": "the file is empty", "cherry/9.jpg": "not a picture"}
    assert got.accuracy == 13 / 14
    assert got.worst_class is not None
    assert got.most_confused is not None
    assert (got.worst_class.name, got.most_confused.true, got.most_confused.predicted) == ("cherry", "cherry", "apple")
    wrong = got.keys[~got.correct]  # type: ignore[operator]
    assert wrong.tolist() == ["cherry/0.png"]
    source = open_source(data)
    assert [source.key(i) for i in got.index.tolist()] == got.keys.tolist()
    assert seen == [(4, 16), (8, 16), (12, 16), (16, 16)]
    text = got.text()
    for words in ("14 images, 2 more could not be read", "92.86 %", "cherry: 83.33 % of 6 found", "taken for apple: 1 image"):
        assert words in text, text
    assert text.endswith("could not be read:\n  banana/2.png: the file is empty\n  cherry/9.jpg: not a picture")


def test_one_preprocessing_for_prediction_and_evaluation(shared_data: Path) -> None:
    model = Model.from_module(MeanColour(2), colour_card(classes=("ants", "bees")))
    got = evaluate(model, shared_data / "hymenoptera", split="val")
    assert got.n == 153
    rows = model.predict([shared_data / "hymenoptera" / "val" / key.removeprefix("val/") for key in got.keys])
    np.testing.assert_array_equal(got.probabilities.max(axis=1), [row.probability for row in rows])


def test_the_held_out_split_is_found(folder: Folder, model: Model) -> None:
    data = folder({"train/apple": 4, "train/cherry": 1, "val/apple": 2, "test/apple": 3})
    scored = [evaluate(model, data, split=split) for split in (None, "train", "val", "test", "all")]
    assert [(e.split, e.n) for e in scored] == [("test", 3), ("train", 5), ("val", 2), ("test", 3), ("all", 10)]


def test_val_is_held_out_where_there_is_no_test(folder: Folder, model: Model) -> None:
    data = folder({"train/apple": 4, "train/cherry": 1, "val/apple": 2})
    assert (evaluate(model, data).split, evaluate(model, data).n) == ("val", 2)
    with pytest.raises(UsageError, match=r"no split 'test'[\s\S]*its splits: train, val[\s\S]*--split all"):
        evaluate(model, data, split="test")
    with pytest.raises(UsageError, match=r"Unknown split 'tset'[\s\S]*Did you mean 'test'"):
        evaluate(model, data, split="tset")


def test_a_run_scores_its_own_data_by_its_own_split(folder: Folder, tmp_path: Path) -> None:
    """Without splits in the data, all of it would include what the model was trained on."""
    source = open_source(folder({"apple": 20, "banana": 20, "cherry": 20}))
    split = make_split(source)
    (tmp_path / "run").mkdir()
    write_colour_model(tmp_path / "run" / "model.safetensors", data={"fingerprint": source.fingerprint()})
    write_split(tmp_path / "run" / "split.json", split, source)
    model = load(tmp_path / "run", arch=MeanColour)
    held_out = evaluate(model, source)
    assert held_out.split == "held out"
    assert held_out.index.tolist() == split.held_out.tolist()
    assert evaluate(model, source, split="val").index.tolist() == split.validation.tolist()
    assert evaluate(model, source, split="all").n == 60

    elsewhere = Model.from_module(MeanColour(), colour_card())
    assert evaluate(elsewhere, source).split == "all"
    by_file = evaluate(elsewhere, source, split_file=tmp_path / "run" / "split.json")
    assert by_file.index.tolist() == split.held_out.tolist()


def test_chosen_positions(folder: Folder, model: Model) -> None:
    got = evaluate(model, folder({"apple": 4, "banana": 4}), indices=np.array([6, 1]), split="validation")
    assert (got.split, got.keys.tolist(), got.targets.tolist()) == ("validation", ["banana/2.png", "apple/1.png"], [1, 0])


# Classes


def test_classes_are_matched_by_name(folder: Folder) -> None:
    data = folder({"banana": 2, "cherry": 3})
    reordered = Model.from_module(MeanColour(), colour_card(classes=("cherry", "banana", "apple")))
    got = evaluate(reordered, data)  # its red is called cherry, its green banana, its blue apple
    assert got.classes == ("cherry", "banana", "apple")
    assert sorted(got.targets.tolist()) == [0, 0, 0, 1, 1]
    assert got.accuracy == 2 / 5
    assert got.confusion is not None
    assert got.confusion.tolist() == [[0, 0, 3], [0, 2, 0], [0, 0, 0]]
    assert got.per_class[2].recall is None


def test_unknown_classes_are_refused_by_name(folder: Folder, model: Model) -> None:
    data = folder({"apple": 2, "damson": 2})
    with pytest.raises(Refused, match=r"does not know 1 of the data's 2 classes: 'damson'[\s\S]*it knows apple, banana, cherry"):
        evaluate(model, data)
    assert evaluate(model, data, indices=np.array([0, 1])).accuracy == 1


def test_data_may_hold_one_of_the_models_classes_alone(folder: Folder, model: Model, tmp_path: Path) -> None:
    data = folder({"cherry": 3})
    (data / "banana").mkdir()
    got = evaluate(model, data)
    assert (got.n, got.accuracy, got.classes) == (3, 1.0, model.classes)
    rows = "".join(f"data/cherry/{path.name},cherry\n" for path in (data / "cherry").iterdir())
    (tmp_path / "table.csv").write_text("path,label\n" + rows)
    assert evaluate(model, tmp_path / "table.csv").accuracy == 1.0


def test_several_labels_are_matched_by_name(tmp_path: Path) -> None:
    for name, colour in (("a", "yellow"), ("b", "blue"), ("c", "magenta")):
        plain(colour).save(tmp_path / f"{name}.png")
    (tmp_path / "data.csv").write_text("path,label\na.png,banana|apple\nb.png,cherry\nc.png,cherry|apple\n")
    model = Model.from_module(MeanColour(), colour_card("labels"))
    got = evaluate(model, tmp_path / "data.csv")
    assert got.kind == "labels"
    assert got.targets.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 1]]
    assert (got.accuracy, got.macro_f1, got.mean_average_precision) == (1, 1, 1)
    assert "all labels right" in got.text()


def test_the_models_own_threshold_decides_which_labels_are_present(tmp_path: Path) -> None:
    plain((255, 130, 0)).save(tmp_path / "a.png")  # its green has a probability of 0.6
    (tmp_path / "data.csv").write_text("path,labels\na.png,banana|apple\n")
    for threshold, right in ((0.5, 1.0), (0.9, 0.0)):
        card = colour_card("labels", FRUIT[:2])
        card["task"]["threshold"] = threshold
        write_bundle(tmp_path / "model.safetensors", MeanColour(2).state_dict(), card)
        model = load(tmp_path / "model.safetensors", arch=MeanColour)
        assert len(model.predict(tmp_path / "a.png")[0].labels) == 1 + right
        assert evaluate(model, tmp_path / "data.csv").accuracy == right


def test_numbers(tmp_path: Path) -> None:
    for value in (0, 128, 255):
        Image.new("RGB", (9, 9), (value, 0, 0)).save(tmp_path / f"{value}.png")
    # (v / 255 - 0.5) / 0.25 * 10 * 20 + 100
    rows = [f"{value}.png,{(value / 255 - 0.5) / 0.25 * 200 + 100 + error}" for value, error in ((0, 3), (128, -1), (255, 2))]
    (tmp_path / "data.csv").write_text("path,value\n" + "\n".join(rows) + "\n")
    got = evaluate(Model.from_module(MeanColour(1), colour_card("value")), tmp_path / "data.csv")
    assert got.mae == pytest.approx(2, abs=1e-3)
    assert got.rmse == pytest.approx((14 / 3) ** 0.5, abs=1e-3)
    assert "by always giving the mean" in got.text()


def test_another_kind_of_target_is_refused(folder: Folder) -> None:
    number = Model.from_module(MeanColour(1), colour_card("value"))
    with pytest.raises(Refused, match="the model predicts a number an image, the data gives one class an image"):
        evaluate(number, folder({"apple": 2, "banana": 2}))


def test_nothing_readable_is_refused(folder: Folder, model: Model) -> None:
    data = folder({"apple": 1, "banana": 1})
    for path in data.glob("*/*.png"):
        path.write_bytes(b"")
    why = r"2 files could not be read, the first: apple/0\.png \(the file is empty\)"
    with pytest.raises(Refused, match=r"Nothing to score[\s\S]*" + why):
        evaluate(model, data)
