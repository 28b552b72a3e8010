"""Regimes beside one another: who may be drawn, what the figures claim, what is drawn of them, and that nothing is done twice."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from striate.comparison.cells import REGIMES, Cell, Result, Results, make_cells
from striate.comparison.comparing import RESULTS_FILE, compare
from striate.comparison.draws import pool, write_draw
from striate.comparison.figures import Figures, half_width
from striate.comparison.picture import DARK, LIGHT, draw
from striate.comparison.text import table
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import make_split
from striate.errors import Interrupted, Refused
from striate.progress import Silent
from striate.signals import StopRequest
from striate.transferring import Regime

SVG = "{http://www.w3.org/2000/svg}"
NETWORK = """
from torch import nn

def make(num_classes=3):
    maps = [nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))


def result(images: int | None, seed: int, regime: Regime, accuracy: float, seconds: float = 10.0, **more: Any) -> Result:
    course = more.pop("course", ((seconds / 2, accuracy - 0.1), (seconds, accuracy)))
    return Result(Cell(images, seed, regime), accuracy, 0.55, 200, 90, 10, seconds, len(course), course, "a machine")


# ---- draws


def write_folder(root: Path, splits: Sequence[str], num: int) -> Source:
    for split in splits:
        for k, name in enumerate(("cats", "dogs")):
            (root / split / name).mkdir(parents=True)
            for i in range(num + k):
                colour = (40 * len(split), 90 * k, 7 * i)
                Image.new("RGB", (12, 12), colour).save(root / split / name / f"{i}.png")
    return open_source(root)


def keys(data: Path, split: str) -> set[str]:
    source = open_source(data)
    code = ("", "train", "val", "test").index(split)
    return {source.key(i) for i in np.flatnonzero(source.given == code).tolist()}


def test_draws_are_nested_seeded_and_never_of_the_held_out(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "pets", ("train", "val"), 12)
    whole = make_split(source)
    held_out = {str(source.path(i).absolute()) for i in whole.held_out.tolist()}  # type: ignore[union-attr]
    assert len(held_out) == 25
    drawn = {
        (images, seed): write_draw(tmp_path / "draws", source, whole, images, seed) for images in (3, 6, None) for seed in (0, 1)
    }
    for (images, _), path in drawn.items():
        assert keys(path, "test") == held_out
        learnt = keys(path, "train")
        assert not learnt & held_out
        assert not keys(path, "val"), "validation is cut from the draw"
        for name in ("cats", "dogs"):
            assert sum(f"/{name}/" in key for key in learnt) == (images or {"cats": 12, "dogs": 13}[name])
    assert keys(drawn[3, 0], "train") < keys(drawn[6, 0], "train") < keys(drawn[None, 0], "train")
    assert keys(drawn[3, 0], "train") != keys(drawn[3, 1], "train")
    again = write_draw(tmp_path / "again", source, whole, 6, 1)
    assert again.read_bytes() == drawn[6, 1].read_bytes()
    parts = make_split(open_source(drawn[6, 0]), seed=0)
    assert (len(parts.train), len(parts.validation), len(parts.held_out)) == (10, 2, 25)


def test_images_that_the_data_give_for_validation_are_not_drawn(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "pets", ("train", "val", "test"), 4)
    whole = make_split(source)
    assert set(pool(source, whole).tolist()) == set(whole.train.tolist())
    few = write_draw(tmp_path / "draws", source, whole, 3, 0)
    assert not keys(few, "val")
    assert all("/train/" in key for key in keys(few, "train"))
    every = write_draw(tmp_path / "draws", source, whole, None, 0)
    assert all("/val/" in key for key in keys(every, "val"))
    assert len(keys(every, "val")) == 9


def test_one_folder_without_splits_is_divided_once(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "pets", (".",), 20)
    whole = make_split(source)
    assert sorted([*pool(source, whole).tolist(), *whole.held_out.tolist()]) == list(range(41))


def test_decoded_images_are_drawn_into_an_archive(tmp_path: Path) -> None:
    images = np.arange(40, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    labels = np.array(["no", "yes"])[np.arange(40) % 2]
    np.savez(
        tmp_path / "all.npz", train_images=images[:30], train_labels=labels[:30],
        test_images=images[30:], test_labels=labels[30:], classes=np.array(["yes", "no"]),
    )  # fmt: skip
    source = open_source(tmp_path / "all.npz")
    made: Any = open_source(write_draw(tmp_path / "draws", source, make_split(source), 4, 0))
    assert made.classes == ("yes", "no")
    learnt = made.images[made.given == 1][:, 0, 0, 0]
    assert len(set(learnt.tolist())) == 8
    assert learnt.max() < 30
    assert (made.images[made.given == 3][:, 0, 0, 0] >= 30).all()
    for value, target in zip(made.images[:, 0, 0, 0].tolist(), made.targets.tolist(), strict=True):
        assert made.classes[target] == ("yes" if value % 2 else "no"), "each keeps its own class"


def test_names_that_a_table_would_read_otherwise_are_refused(tmp_path: Path) -> None:
    for name in ("a|b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (9, 9), 10 * i).save(tmp_path / "data" / name / f"{i}.png")
    source = open_source(tmp_path / "data")
    with pytest.raises(Refused, match="do not survive"):
        write_draw(tmp_path / "draws", source, make_split(source), 3, 0)
    assert not list((tmp_path / "draws").iterdir())


# ---- figures


def test_cells_come_a_seed_after_the_other_and_the_head_first() -> None:
    cells = make_cells(("scratch", "small", "scratch"), (5, None, 5), 2)
    assert [cell.name for cell in cells] == [
        "5-0-small", "5-0-scratch", "all-0-small", "all-0-scratch", "5-1-small", "5-1-scratch", "all-1-small", "all-1-scratch",
    ]  # fmt: skip


def test_intervals_are_students_over_seeds_and_wilsons_over_images() -> None:
    figures = Figures([result(5, seed, "small", accuracy) for seed, accuracy in enumerate((0.80, 0.86, 0.83))])
    found = figures.estimate(5, "small")
    assert found is not None
    assert found.mean == pytest.approx(0.83)
    # A spread of 0.03 over three seeds, and the quantile of two degrees of freedom.
    assert found.high - found.mean == pytest.approx(4.303 * 0.03 / math.sqrt(3), rel=1e-3)
    assert str(found) == "83.0 ± 7.5"
    one = Figures([result(5, 0, "small", 0.83)]).estimate(5, "small")
    assert one is not None
    # Wilson's centre (p + 1.92 / n) / (1 + 3.84 / n) of 166 in 200.
    assert (one.low + one.high) / 2 == pytest.approx((0.83 + 1.9208 / 200) / (1 + 3.8416 / 200), rel=1e-4)
    assert str(one) == "83.0 (77 to 88)"
    assert half_width([0.0, 1.0] * 50) == pytest.approx(2.042 * math.sqrt(0.25 * 100 / 99) / 10, rel=1e-6)


def advised(small: Sequence[float], mid: Sequence[float]) -> str:
    rows = [result(5, seed, "small", accuracy) for seed, accuracy in enumerate(small)]
    return Figures(rows + [result(5, seed, "mid", accuracy) for seed, accuracy in enumerate(mid)]).advice(5)


def test_the_cheaper_regime_is_taken_unless_another_is_clearly_better() -> None:
    assert advised((0.80, 0.90, 0.85), (0.84, 0.94, 0.89)) == "mid", "paired by seed: 4 points each time"
    assert advised((0.80, 0.90, 0.85), (0.90, 0.86, 0.91)) == "small", "4 points on average, and anything from -4 to 10"
    assert advised((0.80, 0.80, 0.80), (0.805, 0.805, 0.805)) == "small", "one image of 200 decides nothing"
    assert advised((0.80, 0.80, 0.80), (0.82, 0.82, 0.82)) == "mid"
    assert advised((0.80,), (0.84,)) == "small", "the intervals over 200 images overlap"
    assert advised((0.70,), (0.90,)) == "mid"


def some_figures() -> Figures:
    rows = []
    for seed, change in enumerate((-0.01, 0.0, 0.01)):
        rows += [result(number, seed, "small", 0.90 + change, 4.0, course=((4.0, 0.9),)) for number in (5, None)]
        rows += [result(5, seed, "mid", 0.85 - change, 60.0), result(None, seed, "mid", 0.95 + change, 60.0)]
        rows += [result(5, seed, "scratch", 0.5 + change, 60.0), result(None, seed, "scratch", 0.65 + change, 60.0)]
    return Figures(rows)


def test_the_verdict_says_what_to_take_and_what_the_weights_are_worth() -> None:
    assert some_figures().verdict() == (
        "Take small with 5 images a class; mid with all images, where nothing else is clearly better over these seeds; "
        "from scratch it is 30 to 40 points less."
    )
    alone = Figures([result(5, 0, "mid", 0.5)]).verdict()
    assert alone == "There is nothing to compare mid with."


def test_the_time_of_fine_tuning_includes_the_head_it_begins_from() -> None:
    figures = some_figures()
    assert figures.seconds(None, "small") == pytest.approx(4)
    assert figures.seconds(None, "mid") == pytest.approx(64)
    assert figures.seconds(None, "scratch") == pytest.approx(60)
    begun, half, end = figures.course(None, "mid")
    assert (begun.seconds, half.seconds, end.seconds) == pytest.approx((4, 34, 64))
    assert (begun.accuracy, end.accuracy) == pytest.approx((0.9, 0.95))
    assert figures.course(None, "scratch")[0].seconds == pytest.approx(30)


def test_the_table_has_every_figure() -> None:
    lines = table(some_figures()).splitlines()
    assert lines[0].split("  ")[0] == "regime"
    assert re.search(r"mid +85\.0 ± 2\.5 +95\.0 ± 2\.5 +1 min 4 s", "\n".join(lines))
    assert any("200 held-out images" in line and "Student's t" in line for line in lines)
    assert not any(mark in line for line in lines for mark in ("|", "<", "**"))
    partly = table(Figures([result(5, 0, "small", 0.9), result(None, 0, "scratch", 0.5)]))
    assert re.search(r"small +90\.0 \(85 to 93\) +- +-", partly)


def test_results_are_whole_lines_that_come_back(tmp_path: Path) -> None:
    path = tmp_path / RESULTS_FILE
    results = Results(path)
    rows = [result(5, 0, "small", 1 / 3), result(None, 1, "scratch", 0.5)]
    for row in rows:
        results.add(row)
    assert len(path.read_text().splitlines()) == 2
    again = Results(path)
    assert again.among([row.cell for row in rows]) == rows
    assert Cell(5, 1, "small") not in again
    path.write_text(path.read_text()[:-20])
    with pytest.raises(Refused, match="damaged"):
        Results(path)


# ---- the picture


def shapes(svg: str, regime: str) -> list[str]:
    found = (each for each in ET.fromstring(svg).iter() if each.get("class") == f"{regime} mark")
    return [each.tag.removeprefix(SVG) + str(len((each.get("points") or "").split())) for each in found]


def test_markers_tell_the_regimes_without_colour() -> None:
    rows = [result(n, s, r, 0.6 + 0.1 * i) for n in (5, None) for s in (0, 1) for i, r in enumerate(REGIMES)]
    svg = draw(Figures(rows))
    kinds = [set(shapes(svg, regime)) for regime in REGIMES]
    assert all(len(kind) == 1 for kind in kinds)
    outlines = {regime: re.search(rf'class="{regime} mark" [^>]*?points="([^"]*)"', svg) for regime in REGIMES[1:]}
    corners = {regime: len(match[1].split()) for regime, match in outlines.items() if match}
    assert corners == {"mid": 4, "enough": 3, "scratch": 4}
    assert kinds[0] == {"circle0"}
    assert corners["mid"] == corners["scratch"], "a square on its side, and one on its corner"
    # Once in the legend, at two numbers of images, and once against time.
    assert [len(shapes(svg, regime)) for regime in REGIMES] == [4] * 4


def scale(svg: str) -> Callable[[float], float]:
    """From pixels to percent, by the labels of the left axis."""
    places = {}
    for each in ET.fromstring(svg).iter(f"{SVG}text"):
        if each.get("text-anchor") == "end" and float(each.get("x", 0)) < 100:
            places[float(str(each.text).removesuffix(" %"))] = float(each.get("y", 0)) - 4
    (low, at_low), (high, at_high) = min(places.items()), max(places.items())
    return lambda pixels: low + (high - low) * (pixels - at_low) / (at_high - at_low)


def test_an_interval_is_drawn_where_its_numbers_are() -> None:
    figures = some_figures()
    svg = draw(figures)
    percent, found = scale(svg), figures.estimate(None, "mid")
    assert found is not None
    group = next(
        each for each in ET.fromstring(svg).iter(f"{SVG}g") if (each.findtext(f"{SVG}title") or "").startswith("mid, all")
    )
    path = group.find(f"{SVG}path")
    assert path is not None
    ends = re.match(r"M[\d.]+ ([\d.]+)V([\d.]+)", path.get("d", ""))
    assert ends is not None
    # A tenth of a pixel, at least two of which are a point here.
    assert percent(float(ends[1])) == pytest.approx(100 * found.low, abs=0.1)
    assert percent(float(ends[2])) == pytest.approx(100 * found.high, abs=0.1)


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_stand_out_from_both_papers() -> None:
    svg = draw(some_figures())
    light, dark = re.findall(r"\.paper\{fill:(#\w{6})\}", svg)
    assert svg.index("prefers-color-scheme: dark") > svg.index(light)
    for paper, colours in ((light, LIGHT), (dark, DARK)):
        for colour in colours.values():
            low, high = sorted((luminance(paper), luminance(colour)))
            assert (high + 0.05) / (low + 0.05) > 4.5, "the contrast that WCAG 2 asks of text"


def test_a_single_number_and_a_certain_answer_are_drawn() -> None:
    svg = draw(Figures([result(None, 0, "small", 1.0), result(None, 0, "mid", 1.0, 600.0)]))
    ET.fromstring(svg)
    assert "minutes" in svg


# ---- runs


def write_data(folder: Path) -> Path:
    """Waves in three directions, 20 a class to learn from and 10 held out; a network of one's own, and weights for it."""
    draw_from = np.random.default_rng(0)
    targets = np.arange(90) % 3
    rows, columns = np.mgrid[:24, :24]
    waves = np.stack([rows * np.sin(a) + columns * np.cos(a) for a in (0.0, 1.0, 2.0)])[targets]
    pixels = 120 + 60 * np.sin(waves + draw_from.uniform(0, 6, (90, 1, 1))) + draw_from.normal(0, 25, waves.shape)
    images = np.clip(pixels, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=3)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "waves.npz",
        train_images=images[:60],
        train_labels=targets[:60],
        test_images=images[60:],
        test_labels=targets[60:],
    )
    (folder / "net.py").write_text(NETWORK)
    torch.manual_seed(0)
    save_file(make(10).state_dict(), folder / "weights.safetensors")
    return folder


def make(num_classes: int = 3) -> nn.Module:
    """The network of ``net.py``."""
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    network: nn.Module = scope["make"](num_classes)
    return network


class Notes(Silent):
    """What was said; asks for a stop in the middle of the training of one run."""

    def __init__(self, stop_in: str = "", request: StopRequest | None = None) -> None:
        self.rows: list[tuple[str, str]] = []
        self.messages: list[str] = []
        self._stop_in, self._request = stop_in, request

    def plan(self, rows: list[tuple[str, str]]) -> None:
        self.rows += rows

    def message(self, text: str) -> None:
        self.messages.append(text)

    def stage(self, name: str, done: int, total: int) -> None:
        if self._request is not None and self._stop_in in name and name.endswith("training") and 2 * done > total:
            self._request.stop(signal.SIGTERM)


SETTINGS: dict[str, Any] = {"images": (4, None), "seeds": 2, "budget": "1s", "regimes": ("small", "enough", "scratch")}


@pytest.mark.slow
def test_what_was_stopped_goes_on_and_nothing_is_done_twice(tmp_path: Path) -> None:
    folder = write_data(tmp_path)
    request = StopRequest()
    first = Notes("4 images a class, seed 1, enough", request)
    given = (folder / "waves.npz", f"{folder / 'net.py'}:make", folder / "weights.safetensors")
    with pytest.raises(Interrupted, match=r"run 8/12 \(4 images a class, seed 1, enough\)[\s\S]*same command goes on") as caught:
        compare(*given, **SETTINGS, out=tmp_path / "out", progress=first, stop=request)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    done = [json.loads(line) for line in (tmp_path / "out" / RESULTS_FILE).read_text().splitlines()]
    assert len(done) == 7
    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*/model.safetensors")}
    assert len(models) == 7
    half = json.loads((tmp_path / "out" / "runs" / "4-1-enough" / "recipe.json").read_text())
    second = Notes()
    made = compare(*given, **SETTINGS, out=tmp_path / "out", progress=second)
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert any("4-1-enough" in text and "resuming" in text for text in second.messages)
    assert json.loads((tmp_path / "out" / "runs" / "4-1-enough" / "recipe.json").read_text()) == half
    assert dict(second.rows)["runs"].endswith("7 done already")
    assert [r.cell for r in made.results] == make_cells(SETTINGS["regimes"], SETTINGS["images"], 2)
    rows = [json.loads(line) for line in (tmp_path / "out" / RESULTS_FILE).read_text().splitlines()]
    assert rows[:7] == done
    assert [row["num_held_out"] for row in rows] == [30] * 12
    assert {row["num_train"] + row["num_validation"] for row in rows if row["images"] == 4} == {12}
    assert {row["epochs"] for row in rows if row["regime"] == "small"} == {1}
    assert not list((tmp_path / "out" / "runs").glob("*/checkpoints"))
    (tmp_path / "out" / RESULTS_FILE).unlink()
    third = compare(*given, **SETTINGS, out=tmp_path / "out")
    assert third.results == made.results, "read again from the runs"
    assert made.text().startswith("regime")
    assert ET.parse(tmp_path / "out" / "comparison.svg")
    with pytest.raises(Refused, match=r"another comparison[\s\S]*budget_seconds was 1\.0, now 2\.0"):
        compare(*given, **{**SETTINGS, "budget": "2s"}, out=tmp_path / "out")


@pytest.mark.slow
def test_a_killed_comparison_goes_on(tmp_path: Path, striate_command: Callable[..., Any]) -> None:
    folder = write_data(tmp_path)
    words = [
        "transfer", str(folder / "waves.npz"), "--compare", "--arch", f"{folder / 'net.py'}:make",
        "--weights", str(folder / "weights.safetensors"), "--regimes", "small,enough", "--images", "4,all", "--seeds", "1",
        "--budget", "2s", "--checkpoint-seconds", "0.2", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    running = subprocess.Popen([sys.executable, "-m", "striate", *words], env=os.environ, stderr=subprocess.DEVNULL)
    half = tmp_path / "out" / "runs" / "all-0-enough" / "checkpoints"
    while not list(half.glob("step-*.safetensors")):
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    running.kill()
    running.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*/model.safetensors")}
    assert len(done) == 3
    ended = striate_command(*words, "--json")
    assert ended.status == 0, ended.err
    assert "resuming" in ended.err
    assert {path: path.stat().st_mtime_ns for path in done} == done
    answer = json.loads(ended.out)
    assert [row["regime"] for row in answer["results"]] == ["small", "enough"] * 2
    assert answer["verdict"].startswith("Take ")


def test_what_a_comparison_cannot_do(tmp_path: Path, striate_command: Callable[..., Any]) -> None:
    folder = write_data(tmp_path)
    own = ("--arch", f"{folder / 'net.py'}:make")
    given = ("transfer", folder / "waves.npz", "--weights", folder / "weights.safetensors", "--out", tmp_path / "out")
    for words, told in (
        (("--compare", "--regimes", "small,medium"), "Unknown regime 'medium'"),
        (("--compare", "--images", ","), "Nothing to compare"),
        (("--compare", "--images", "5,many"), "'many' is no number"),
        (("--compare", "--fine-tune.freeze", "9"), "The regime mid cannot freeze make up to '9'"),
        (("--compare", "--regimes", "small,enough", "--images", "21"), "'0' has 20 to learn from"),
        (("--compare", "--regimes", "small,enough", "--images", "1"), "too few"),
        (("--compare", "--regimes", "enough", "--budget", "soon"), "is not a time"),
        (("--compare", "--epochs", "3"), "epochs is not to be set"),
        (("--compare", "--regimes", "small", "--optimizer.lr", "1"), "optimizer.lr does nothing in the regime small"),
        (("--compare", "--regimes", "scratch", "--fine-tune.freeze", "0"), "does nothing in the regime scratch"),
        (("--compare", "--seed", "3"), "seed is not to be set"),
        (("--compare", "--arch", "fashion_cnn"), "do not fit"),
        (("--seeds", "3"), "--seeds says what to compare"),
        (("--imagse", "3"), "--images"),
    ):
        ended = striate_command(*given, *words, *(() if "--arch" in words else own))
        assert ended.status in (2, 3), words
        assert told in ended.err, ended.err
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_without_comparing_it_is_a_training_by_the_regime_that_fits(tmp_path: Path, striate_command: Callable[..., Any]) -> None:
    folder = write_data(tmp_path)
    given = ("--weights", folder / "weights.safetensors", "--arch", f"{folder / 'net.py'}:make", "--out", tmp_path / "run")
    ended = striate_command("transfer", folder / "waves.npz", *given, "--augment.flip-horizontal", "0", "--json")
    assert ended.status == 0, ended.err
    assert "regime small: 18 images a class" in ended.err
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["command"][:2] == ["striate", "train"]
    assert record["recipe"]["augment"]["flip_horizontal"] == 0
    assert json.loads(ended.out)["recipe"] == "transfer_small"
