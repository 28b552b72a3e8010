"""From a model file to answers: the same pixels by every road, one bad file one error, and nothing run unasked."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from small_models import FRUIT, MeanColour, card, colour_card, noise, plain, preprocess_28, write_colour_model

from striate.bundle import write_bundle
from striate.data.decode import ImageError
from striate.data.preprocess import Preprocess
from striate.errors import Refused, UsageError
from striate.picture_stream import stream_pictures
from striate.prediction import Model, load
from striate.prediction_inputs import expand_inputs, read_input
from striate.prediction_rows import write_csv, write_json_lines
from striate.tasks.classify import Classify
from striate.tasks.decoding import Prediction
from striate.zoo import build


@pytest.fixture
def colours() -> Model:
    return Model.from_module(MeanColour(), colour_card())


@pytest.fixture(scope="module")
def fashion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, torch.nn.Module]:
    """A model read from its file, and the network whose weights were written."""
    torch.manual_seed(0)
    network = build("fashion_cnn", num_classes=7, in_channels=3)
    preprocess = Preprocess((28, 28), None, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    write_bundle(path, network.state_dict(), card(Classify(tuple("abcdefg")), preprocess))
    return load(path.parent), network.eval()


# Loading


def test_a_loaded_network_computes_what_the_written_one_did(fashion: tuple[Model, torch.nn.Module]) -> None:
    model, network = fashion
    images = np.stack([noise(i, 28, 28) for i in range(5)]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        want = network(model.preprocess.normalize(torch.from_numpy(images)))
    # Channels-last sums run in another order: float32 rounding of sums of about 1,000 terms.
    np.testing.assert_allclose(model.raw(images), want.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.probabilities(images), want.softmax(1).numpy(), rtol=0, atol=1e-5)
    assert not model.module.training
    assert model.classes == tuple("abcdefg")


def test_loading_leaves_the_random_numbers_alone(fashion: tuple[Model, torch.nn.Module]) -> None:
    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)
    assert fashion[0].path is not None
    load(fashion[0].path)
    assert torch.equal(torch.rand(4), want)


def test_a_network_of_ones_own_is_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "my_net.py").write_text("raise SystemExit('this must not run')")
    path = write_colour_model(tmp_path / "model.safetensors")
    hint = r"'MeanColour' is not part of striate[\s\S]*where: .*model\.safetensors\n  do: .*--arch my_net\.py:make .*module="
    with pytest.raises(Refused, match=hint):
        load(path)
    with pytest.raises(UsageError, match="give one of them"):
        load(path, module=MeanColour(), arch=MeanColour)


@pytest.mark.parametrize("how", ["module", "class", "file"])
def test_a_network_of_ones_own_by_each_road(tmp_path: Path, how: str) -> None:
    path = write_colour_model(tmp_path / "model.safetensors")
    if how == "module":
        model = load(path, module=MeanColour())
    elif how == "class":
        model = load(path, arch=MeanColour)
    else:
        shutil.copy(Path(__file__).with_name("small_models.py"), tmp_path)
        (tmp_path / "net.py").write_text("import small_models\nmake = lambda num_classes: small_models.MeanColour(num_classes)")
        model = load(path, arch=f"{tmp_path / 'net.py'}:make")
    assert model.predict(plain("lime"))[0].label == "banana"


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    path = write_colour_model(tmp_path / "model.safetensors")
    differing = r"2 missing in the file \(bias, weight\); 1 unknown to the network \(scale\)"
    with pytest.raises(Refused, match=r"not those of Linear[\s\S]*" + differing):
        load(path, module=torch.nn.Linear(2, 2))
    with pytest.raises(Refused, match=r"1 of another shape \(scale: file \(3,\), network \(4,\)\)"):
        load(path, module=MeanColour(4))


def test_a_network_this_version_lacks(tmp_path: Path) -> None:
    info = card(Classify(FRUIT), preprocess_28(), "fashion_cmm")
    write_bundle(tmp_path / "model.safetensors", {}, info)
    with pytest.raises(Refused, match=r"no network 'fashion_cmm'[\s\S]*Did you mean 'fashion_cnn'\?[\s\S]*upgrade"):
        load(tmp_path)


def test_weights_that_do_not_fit_the_card_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    info = card(Classify(FRUIT), preprocess_28())
    info["architecture"]["num_classes"] = 10**12
    write_bundle(tmp_path / "model.safetensors", build("fashion_cnn", 3, 3).state_dict(), info)
    with pytest.raises(Refused, match="of another shape"):
        load(tmp_path)


@pytest.mark.parametrize("part", ["task", "preprocess", "classes", "architecture"])
def test_a_card_without_a_part_is_refused(tmp_path: Path, part: str) -> None:
    info = card(Classify(FRUIT), preprocess_28())
    del info[part]
    write_bundle(tmp_path / "model.safetensors", {}, info)
    with pytest.raises(Refused, match=rf"The model's card[\s\S]*KeyError: '{part}'"):
        load(tmp_path)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No model in this folder[\s\S]*`striate train` printed"):
        load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-1.safetensors").touch()
    with pytest.raises(UsageError, match="`striate resume"):
        load(tmp_path)


def test_a_network_with_other_outputs_than_the_card_says() -> None:
    with pytest.raises(Refused, match=r"returns \[1, 2\] for 1 pictures[\s\S]*names 3 classes"):
        Model.from_module(MeanColour(2), colour_card()).predict(plain("red"))


def test_modes_of_a_training_module_are_kept() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3).eval(), torch.nn.Dropout(0.5), MeanColour()).train()
    network[0].eval()
    model = Model.from_module(network, colour_card())
    first = model.predict(plain("navy"))
    assert first == model.predict(plain("navy")), "dropout must be off"
    assert [part.training for part in network] == [False, True, True]


# Predicting


def test_every_road_to_a_picture_gives_the_same_pixels(tmp_path: Path, colours: Model) -> None:
    pixels, preprocess = noise(1), colours.preprocess
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(noise(2, channels=4)).save(tmp_path / "alpha.png")
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.tif")
    for path in sorted(tmp_path.iterdir()):
        wanted = preprocess(path.read_bytes()).astype(int)
        with Image.open(path) as image:
            by_pillow = read_input(image, preprocess)
        for item in (path, str(path), path.read_bytes()):
            np.testing.assert_array_equal(read_input(item, preprocess), wanted)
        # Files are decoded by simplejpeg's libjpeg-turbo, Pillow images by Pillow's own, which may be another version.
        assert np.abs(by_pillow - wanted).max() <= (2 if path.suffix == ".jpg" else 0), path.name
    np.testing.assert_array_equal(read_input(pixels, preprocess), preprocess((tmp_path / "rgb.png").read_bytes()))
    np.testing.assert_array_equal(read_input(pixels[:, :, 0], preprocess), preprocess((tmp_path / "grey.png").read_bytes()))


def test_predictions_are_named_by_path_or_position(tmp_path: Path, colours: Model) -> None:
    plain("red").save(tmp_path / "red.png")
    encoded = (tmp_path / "red.png").read_bytes()
    rows = colours.predict([plain("blue"), tmp_path / "red.png", np.zeros((9, 9, 3), np.uint8), encoded])
    assert [row.source for row in rows] == ["0", str(tmp_path / "red.png"), "2", "3"]
    assert [row.label for row in rows] == ["cherry", "apple", "apple", "apple"]
    assert [row.source for row in colours.predict(np.zeros((2, 9, 9, 3), np.uint8))] == ["0", "1"]


def test_one_bad_file_is_one_error_and_the_others_come_out(tmp_path: Path, colours: Model) -> None:
    for i, colour in enumerate(("red", "lime", "blue") * 5):
        plain(colour).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "7.png").write_bytes((tmp_path / "7.png").read_bytes()[:-30])
    (tmp_path / "10.png").write_text("hello")
    for batch, workers in itertools.product((1, 4, 64), (1, 3)):
        rows = colours.predict([tmp_path, "gone.jpg"], batch=batch, workers=workers)
        assert [row.source for row in rows] == [*(str(tmp_path / f"{i}.png") for i in range(15)), "gone.jpg"]
        errors = {Path(row.source).stem: row.error for row in rows if row.error}
        assert list(errors) == ["3", "7", "10", "gone"]
        assert errors["3"] == "the file is empty"
        assert errors["gone"] == "no such file"
        assert all(row.top == () and row.label is None for row in rows if row.error)
        assert [row.label for row in rows if not row.error] == [FRUIT[i % 3] for i in range(15) if i not in (3, 7, 10)]


def test_answers_do_not_depend_on_workers(fashion: tuple[Model, torch.nn.Module]) -> None:
    pictures = [noise(i) for i in range(30)]
    assert fashion[0].predict(pictures, batch=8, workers=1) == fashion[0].predict(pictures, batch=8, workers=5)


def test_top_probabilities_are_sorted_and_sum_to_one(fashion: tuple[Model, torch.nn.Module]) -> None:
    (row,) = fashion[0].predict(noise(0), top=7)
    shares = [p for _, p in row.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    assert (row.label, row.probability) == row.top[0]
    assert len(fashion[0].predict(noise(0), top=2)[0].top) == 2


def test_several_labels_and_numbers() -> None:
    # Pixels of 255 normalise to (1 - 0.5) / 0.25 = 2, of 0 to -2: logits are 20 and -20.
    labels = Model.from_module(MeanColour(), colour_card("labels"))
    yellow, black = labels.predict([plain("yellow"), plain("black")])
    assert yellow.labels == ("apple", "banana")
    assert black.labels == ()
    number = Model.from_module(MeanColour(1), colour_card("value"))
    (row,) = number.predict(plain("white"))
    assert row.value == pytest.approx(100 + 20 * 20, rel=1e-6)
    assert row.top == ()


def test_predictions_stream(colours: Model) -> None:
    asked = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal asked
        while True:
            asked += 1
            yield np.full((30, 30, 3), (255, 0, 0), np.uint8)

    stream = colours.predict_iter(endless(), batch=4)
    assert [next(stream).label for _ in range(6)] == ["apple"] * 6
    assert asked <= 6 + 4 * 3, "it read further ahead than a few batches"
    before = threading.active_count()
    stream.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name.startswith("striate-decode"):
            thread.join(5)
    assert threading.active_count() < before


def test_wrong_inputs_are_the_callers_mistake(colours: Model) -> None:
    with pytest.raises(TypeError, match=r"input 1 is a int; give a path"):
        colours.predict([plain("red"), 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 1, 3 or 4\] but this is float64"):
        colours.predict(np.zeros((5, 5, 3)))
    with pytest.raises(ValueError, match=r"reads arrays uint8 \[N, 3, 28, 28\] but was given uint8 \[1, 3, 5, 5\]"):
        colours.raw(np.zeros((1, 3, 5, 5), np.uint8))
    with pytest.raises(ValueError, match="top is 0"):
        colours.predict(plain("red"), top=0)
    with pytest.raises(ValueError, match="batch is 0"):
        colours.predict(plain("red"), batch=0)


def test_read_only_and_flipped_arrays_predict(colours: Model) -> None:
    images = np.broadcast_to(np.array([255, 0, 0], np.uint8)[:, None, None], (2, 3, 28, 28))
    flipped = np.ascontiguousarray(images)[:, :, ::-1]
    np.testing.assert_array_equal(colours.probabilities(images), colours.probabilities(flipped))


def test_a_network_without_torch_predicts_without_torch(tmp_path: Path) -> None:
    plain("blue").save(tmp_path / "blue.png")
    (tmp_path / "card.json").write_text(json.dumps(colour_card()))
    code = (
        "import json, sys; from striate.prediction import Model;"
        "network = lambda images: images.mean((2, 3), dtype='float32');"
        "model = Model(network, json.load(open(sys.argv[1])));"
        "print(model.predict(sys.argv[2])[0].label, 'torch' in sys.modules)\n"
        "try: model.module\n"
        "except ValueError as error: print(str(error).splitlines()[0])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "card.json"), str(tmp_path / "blue.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "cherry False\nAn exported graph is no torch module\n"


def test_real_photos_of_every_mode(shared_data: Path, fashion: tuple[Model, torch.nn.Module]) -> None:
    rows = fashion[0].predict([shared_data / "skimage_photos", shared_data / "hymenoptera" / "train"], batch=32)
    assert len(rows) > 250
    assert [row for row in rows if row.error] == []
    kinds = {Path(row.source).read_bytes()[:3] for row in rows}
    assert {b"\x89PN", b"\xff\xd8\xff"} <= kinds


# Inputs


def test_folders_globs_and_stdin(tmp_path: Path) -> None:
    taken = ("10.jpg", "2.jpg", "[1].jpg", "b/1.PNG", "a/3.gif")
    for name in (*taken, ".hidden.jpg", "notes.txt", ".git/x.jpg", "__MACOSX/2.jpg", "empty/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def names(*paths: str | Path, stdin: str = "") -> list[str]:
        return [str(Path(p).relative_to(tmp_path)) for p in expand_inputs(paths, io.StringIO(stdin))]

    assert names(tmp_path) == ["2.jpg", "10.jpg", "[1].jpg", "a/3.gif", "b/1.PNG"]
    assert names(tmp_path / "*.jpg") == ["2.jpg", "10.jpg", "[1].jpg"]
    assert names(f"{tmp_path}/**/*.gif") == ["a/3.gif"]
    assert names(tmp_path / "[1].jpg") == ["[1].jpg"], "a file of that very name comes before a pattern"
    assert names(tmp_path / "b", tmp_path / "notes.txt") == ["b/1.PNG", "notes.txt"]
    assert names("-", stdin=f"{tmp_path}/a b.jpg\r\n\n{tmp_path}/*.jpg\n") == ["a b.jpg", "*.jpg"]
    assert names(tmp_path / "*.webp", tmp_path / "gone.jpg", tmp_path / "empty") == ["*.webp", "gone.jpg", "empty"]


def test_a_folder_without_pictures_is_an_error_row(tmp_path: Path, colours: Model) -> None:
    (row,) = colours.predict(tmp_path)
    assert (row.source, row.error) == (str(tmp_path), "a folder without pictures")


def test_a_reader_that_breaks_ends_the_stream() -> None:
    def read(i: int) -> NDArray[np.uint8]:
        if i == 3:
            raise ImageError("corrupt", "broken")
        if i == 7:
            raise RuntimeError("a defect")
        return np.full((2, 2, 3), i, np.uint8)

    stream = stream_pictures(range(10), read, batch=5, workers=2)
    first = next(stream)
    assert first.items == [0, 1, 2, 3, 4]
    assert first.images is not None
    assert [outcome if isinstance(outcome, int) else outcome.reason for outcome in first.outcomes] == [0, 1, 2, "corrupt", 3]
    assert first.images[3].tolist() == np.full((3, 2, 2), 4).tolist()
    assert first.images.transpose(0, 2, 3, 1).flags.c_contiguous, "torch reads this as channels last without a copy"
    with pytest.raises(RuntimeError, match="a defect"):
        next(stream)


# Rows


ROWS = [
    Prediction('a,"b"\n.jpg', (("cat", 0.75), ("dog", 0.25)), ("cat",)),
    Prediction("été\udcff.png", (("dog, big", 1.0),), ("dog, big",)),
    Prediction("bad.png", error="the file is empty"),
]


def test_csv_reads_back(tmp_path: Path) -> None:
    with open(tmp_path / "out.csv", "w", newline="", encoding="utf-8") as file:
        assert write_csv(ROWS, file, "label", top=2) == 1
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "error"]
    assert list(rows[0].values()) == ['a,"b"\n.jpg', "cat", "0.75", "dog", "0.25", ""]
    assert list(rows[1].values()) == ["été\\udcff.png", "dog, big", "1", "", "", ""]
    assert list(rows[2].values()) == ["bad.png", "", "", "", "", "the file is empty"]


def test_csv_of_several_labels_and_of_numbers() -> None:
    labels, numbers = io.StringIO(), io.StringIO()
    write_csv([Prediction("a", (("x", 0.9), ("y", 0.6)), ("x", "y")), Prediction("b", (("x", 0.1),))], labels, "labels")
    assert labels.getvalue() == "path,labels,label,probability,error\na,x|y,x,0.9,\nb,,x,0.1,\n"
    write_csv([Prediction("a", value=1 / 3), Prediction("b", error="gone")], numbers, "value")
    assert numbers.getvalue() == "path,value,error\na,0.333333,\nb,,gone\n"


def test_json_lines_read_back() -> None:
    file = io.StringIO()
    assert write_json_lines([*ROWS, Prediction("n", value=2.5)], file) == 1
    first, second, third, number = map(json.loads, file.getvalue().splitlines())
    assert first["top"] == [{"label": "cat", "probability": 0.75}, {"label": "dog", "probability": 0.25}]
    assert (first["path"], first["label"], first["labels"]) == ('a,"b"\n.jpg', "cat", ["cat"])
    assert second["path"] == "été\udcff.png"
    assert third == {"path": "bad.png", "error": "the file is empty"}
    assert number == {"path": "n", "value": 2.5}
