"""The benchmarks' own arithmetic: ratios within rounds, medians, exponents, quiet machines; striate's side of each, tiny."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import environments, infer, made_data, quiet, side_by_side, train_small
from benchmarks.comparison import Figure, Spread, best_peer, ceiling_lines, ratio, spread, table
from benchmarks.peers.job import read_small
from benchmarks.peers.striate_train import training_speeds
from benchmarks.scale import exponent, growth
from benchmarks.side_by_side import Options, Side, compare
from benchmarks.train_small import make_job, reached
from striate.data.formats import open_source
from striate.data.source import ArraySource
from striate.data.split import read_split

ROOT = Path(__file__).resolve().parents[1]
SPEED = Figure("images_per_second", "images/s")
SECONDS = Figure("seconds", "seconds", less_is_better=True)
MACHINE = {
    "cpu": "a processor", "cores": 2, "instructions": ["avx2"], "available_memory": 2**31, "platform": "Linux", "striate": "1",
    "git_commit": None, "torch": "2",
}  # fmt: skip


def reading(speed: float, seconds: float = 1.0) -> dict[str, Any]:
    wait = {"seconds": 2.0, "others": 0.0, "quiet": True}
    return {"images_per_second": speed, "seconds": seconds, "others": 0.1, "stolen": 0.0, "wait": wait, "threads": 2}


def make_record(sides: dict[str, list[float]], peers: tuple[str, ...] = ()) -> dict[str, Any]:
    rounds = [
        {name: reading(speed, 1 / speed) for name, speed in zip(sides, row, strict=True)}
        for row in zip(*sides.values(), strict=True)
    ]
    asked = {"sides": {name: {"peer": name in peers, "absent": None, "job": {"epochs": 2}} for name in sides}}
    return {"question": "speed", "asked": asked, "machine": MACHINE, "rounds": rounds}


def test_a_ratio_is_formed_within_each_round() -> None:
    # The machine halves its speed in the second round: the ratio does not notice.
    record = make_record({"striate": [100.0, 50.0, 120.0], "other": [50.0, 25.0, 40.0]})
    assert ratio(record, "other", SPEED) == Spread(2.0, 2.0, 3.0, 3)
    found = ratio(record, "other", SECONDS)
    assert found is not None
    assert (found.median, found.least, found.most) == pytest.approx((2.0, 2.0, 3.0))
    assert spread(record, "other", "images_per_second") == Spread(40.0, 25.0, 50.0, 3)


def test_rounds_without_a_figure_do_not_count() -> None:
    record = make_record({"striate": [100.0, 50.0], "other": [50.0, 10.0]})
    record["rounds"][1]["other"] = {"error": "exit 1: no memory", "others": 0.0, "stolen": 0.0, "wait": {"quiet": True}}
    assert ratio(record, "other", SPEED) == Spread(2.0, 2.0, 2.0, 1)
    assert "failed: exit 1: no memory" in "\n".join(table(record, [SPEED]))


def test_the_best_peer_is_the_fastest_of_those_that_count() -> None:
    record = make_record({"striate": [9.0], "plain": [3.0], "keras": [4.0], "tuned": [8.0]}, peers=("plain", "keras"))
    assert best_peer(record, SPEED) == "keras"
    assert best_peer(record, SECONDS) == "keras"
    last = table(record, [SPEED])[-1]
    assert last == "| best peer | keras | 2.25x |"


def test_every_row_of_the_table_has_a_cell_for_each_column() -> None:
    lines = [
        line for line in table(make_record({"striate": [9.0], "plain": [3.0]}, ("plain",)), [SPEED, SECONDS]) if line[:1] == "|"
    ]
    assert {line.count("|") for line in lines} == {6}
    assert lines[3].startswith("| plain | 3 | 3.00x |")


def test_a_side_that_cannot_run_says_why() -> None:
    record = make_record({"striate": [9.0], "bf16": [1.0]})
    record["rounds"][0].pop("bf16")
    record["asked"]["sides"]["bf16"]["absent"] = "no bf16 here"
    assert "| bf16 | not run: no bf16 here |" in "\n".join(table(record, [SPEED]))


def test_share_of_the_ceiling() -> None:
    record = make_record({"striate": [1000.0]})
    assert ceiling_lines(record, 10**9) == []
    record["ceilings"] = {"fp32_tflops": 4.0, "bf16_tflops": None, "copy_gbs": 1.0, "first_touch_gbs": 1.0}
    assert ceiling_lines(record, 10**9) == ["striate: 1.000 TFLOP/s, 25.0 % of the ceiling of 4.000"]
    record["ceilings"]["bf16_tflops"] = 8.0
    assert "12.5 % of the ceiling of 8.000" in ceiling_lines(record, 10**9)[0]


def test_what_was_reached_is_counted() -> None:
    record = make_record({"striate": [1.0, 1.0]})
    for round_, score in zip(record["rounds"], (0.92, 0.90), strict=True):
        round_["striate"]["accuracy"] = score
    assert reached(record, 0.91) == ["striate: 2 epochs; 1 of 2 runs reached 91 % of the test set"]


def test_epochs_that_validate_do_not_count_where_others_do_not() -> None:
    rows = [{"images_per_second": float(n), "validation": {"accuracy": 1.0} if n % 2 else {}} for n in range(5)]
    assert training_speeds(rows) == [2.0, 4.0]
    assert training_speeds(rows[:2]) == [1.0]
    assert training_speeds(rows[:1]) == [0.0]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law(power: float) -> None:
    counts = [10.0, 1_000.0, 50_000.0]
    assert exponent(counts, [3 * count**power for count in counts]) == pytest.approx(power, abs=1e-9)


def test_no_exponent_from_one_point() -> None:
    assert exponent([10.0, 10.0], [1.0, 2.0]) is None


def test_growth_takes_medians_of_the_rounds() -> None:
    rows = [
        {"count": n, "side": "striate", "index_seconds": n * factor, "cpu_seconds": 1.0}
        for n in (10, 1000)
        for factor in (1, 2, 9)
    ]
    assert growth("files", rows)[1:] == [["striate: index seconds", "20 s", "2e+03 s", "n^1.00"]]


def test_ticks_of_the_machine() -> None:
    text = "cpu  100 20 30 4000 50 6 7 8 9 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    found = quiet.parse_ticks(text, 100)
    assert (found.busy, found.stolen) == pytest.approx((1.63, 0.08))
    assert quiet.Ticks(5.0, 1.0) - quiet.Ticks(2.0, 0.25) == quiet.Ticks(3.0, 0.75)


def test_waiting_ends_when_others_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    busy = iter([0.0, 2.0, 2.0, 2.01, 2.01, 2.02])  # three looks: a core, then nearly nothing
    stolen = iter([0.5, 0.0])  # and after the second look the host wants the cores
    monkeypatch.setattr(quiet, "read_ticks", lambda: quiet.Ticks(next(busy), 0.0))
    monkeypatch.setattr(quiet, "stolen_in_burst", lambda: next(stolen))
    monkeypatch.setattr(quiet.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(quiet.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    assert quiet.wait_until_quiet(0.05, 100.0) == quiet.Wait(6.0, 0.005, True, 0.0)


def test_a_burst_keeps_all_cores_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "BURST", 0.05)
    ticks = iter([quiet.Ticks(0.0, 1.0), quiet.Ticks(0.0, 1.02)])
    monkeypatch.setattr(quiet, "read_ticks", lambda: next(ticks))
    begun = time.process_time()
    assert 0.0 < quiet.stolen_in_burst() <= 0.4
    assert time.process_time() - begun > 0.03


def test_patience_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter(range(100))
    monkeypatch.setattr(quiet, "WINDOW", 0.01)
    monkeypatch.setattr(quiet, "read_ticks", lambda: quiet.Ticks(float(next(busy)), 0.0))
    waited = quiet.wait_until_quiet(0.05, 0.0)
    assert not waited.quiet
    assert waited.others is not None
    assert waited.others > 1


def test_a_run_that_the_host_disturbed_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[float] = []
    stolen = iter([0.8, 0.3, 0.5, 0.2, 0.05])

    def once(side: Side, job: dict[str, Any], options: Options) -> dict[str, Any]:
        ran.append(next(stolen))
        return {**reading(1.0), "stolen": ran[-1]}

    monkeypatch.setattr(side_by_side, "_run_once", once)
    side, options = Side("striate", "a"), Options(tmp_path, stolen=0.1, repeats=2)
    found = side_by_side.run_side(side, {}, options)
    assert (ran, found["stolen"], found["repeated"]) == ([0.8, 0.3, 0.5], 0.3, 2)
    found = side_by_side.run_side(side, {}, options)
    assert (found["stolen"], found["repeated"]) == (0.05, 1)
    monkeypatch.setattr(side_by_side, "_run_once", lambda *_: {**reading(1.0), "stolen": None})
    assert side_by_side.run_side(side, {}, options)["repeated"] == 0


def test_rounds_alternate_and_a_stopped_comparison_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def run(side: Side, job: dict[str, Any], options: Options) -> dict[str, Any]:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append((side.name, job["seed"]))
        return reading(2.0 if side.name == "striate" else 1.0)

    monkeypatch.setattr(side_by_side, "run_side", run)
    monkeypatch.setattr(side_by_side, "describe_machine", lambda: MACHINE)
    sides, options = [Side("striate", "a"), Side("other", "b", peer=True)], Options(tmp_path, pairs=2)
    with pytest.raises(KeyboardInterrupt):
        compare("question", sides, {"task": "x"}, [SPEED], options)
    assert ran == [("striate", 0), ("other", 0), ("striate", 1)]
    ran.clear()
    record = compare("question", sides, {"task": "x"}, [SPEED], options)
    assert ran == [("other", 1)]
    assert json.loads((tmp_path / "question.json").read_text()) == record
    ran.clear()
    compare("question", sides, {"task": "another"}, [SPEED], Options(tmp_path, pairs=1))
    assert ran == [("striate", 0), ("other", 0)]
    assert json.loads((tmp_path / "question.old.json").read_text()) == record


def test_networks_of_different_size_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"striate": 10, "other": 11}
    monkeypatch.setattr(side_by_side, "run_side", lambda side, job, options: {**reading(1.0), "parameters": sizes[side.name]})
    monkeypatch.setattr(side_by_side, "describe_machine", lambda: MACHINE)
    with pytest.raises(SystemExit, match="other has 11 parameters"):
        compare("question", [Side("striate", "a"), Side("other", "b")], {}, [SPEED], Options(tmp_path, pairs=1))


def test_a_side_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no side is called 'kears'"):
        compare("question", [Side("striate", "a")], {}, [SPEED], Options(tmp_path, sides=("kears",)))


def test_a_side_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    found = side_by_side.run_side(Side("striate", "striate_train"), {"no": "job"}, Options(tmp_path, patience=0.0))
    assert found["error"].startswith("exit 1: KeyError: ")
    assert found["cpu_seconds"] > 0


def test_environments_are_pinned_and_named_by_their_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    for name, environment in environments.ENVIRONMENTS.items():
        pins = (environments.HERE / environment.requirements).read_text().split()
        assert pins
        assert all(pin.count("==") == 1 for pin in pins)
        assert environments.folder_of(name).is_relative_to(tmp_path)
    before = environments.folder_of("torch")
    monkeypatch.setattr(sys, "version", "another")
    assert environments.folder_of("torch") != before


def test_photos_are_the_same_for_every_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(tmp_path / "photos" / "a.jpg")
    folder = made_data.photo_folder([tmp_path / "photos"], (1000, 400), 11)
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) == 11
    assert len({file.parent.name for file in files}) == made_data.CLASSES
    with Image.open(files[0]) as first:
        assert first.size == (1000, 400)
    assert made_data.photo_folder([tmp_path / "photos"], (1000, 400), 11) == folder
    assert made_data.photo_folder([tmp_path / "photos"], (1000, 400), 11, seed=1) != folder


def test_a_tree_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path))
    distinct, linked = (made_data.noise_tree(130, 5, 3, 16, linked) for linked in (False, True))
    for folder, inodes in ((distinct, 130), (linked, made_data.LINKED)):
        files = list(folder.glob("class*/level1/level2/*.jpg"))
        assert len(files) == 130
        assert len({os.stat(file).st_ino for file in files}) == inodes


@pytest.fixture
def small_idx(tmp_path: Path) -> str:
    """Digits of noise in the four files of MNIST, 300 and 60."""
    chance = np.random.default_rng(0)
    for part, num in (("train", 300), ("t10k", 60)):
        images, labels = chance.integers(0, 256, (num, 28, 28), dtype=np.uint8), (np.arange(num) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
            with gzip.open(tmp_path / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())
    return f"idx:{tmp_path}"


def test_all_sides_are_given_the_same_images(small_idx: str, tmp_path: Path) -> None:
    job = make_job(small_idx, "fashion_cnn", tmp_path / "out")
    source = open_source(small_idx)
    assert isinstance(source, ArraySource)
    parts = read_split(job["split"], source)
    assert len(parts.train) == 270
    data = read_small(job)
    assert (data.images == source.images[parts.train, :, :, 0]).all()
    assert (data.labels == source.targets[parts.train]).all()
    assert (data.scored_images == source.images[parts.held_out, :, :, 0]).all()
    chosen = read_small({**job, "score": "validation"})
    assert (chosen.scored_labels == source.targets[parts.validation]).all()
    padded = read_small({**job, "model": "lenet5"})
    assert padded.images.shape[1:] == (32, 32)
    assert (padded.images[:, 2:-2, 2:-2] == data.images).all()


def run_side(module: str, job: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    found = side_by_side.run_side(Side("striate", module), job, Options(tmp_path, patience=0.0, timeout=300.0))
    assert "error" not in found, found
    return found


@pytest.mark.slow
def test_striates_side_of_train_small(small_idx: str, tmp_path: Path) -> None:
    job = make_job(small_idx, "fashion_cnn", tmp_path / "out")
    found = run_side("striate_train", {**job, "batch": 64, "epochs": 2, "seed": 0}, tmp_path)
    assert found["images_per_second"] > 0
    assert found["parameters"] == 225_034
    assert 0 <= found["accuracy"] <= 1
    assert found["peak_memory"] > 2**26


@pytest.mark.slow
def test_striates_side_of_train_large_and_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    made = {"task": "large", "model": "resnet20_cifar", "size": 32, "batch": 16, "epochs": 2, "seed": 0}
    found = run_side("striate_steps", {**made, "images": str(made_data.made_images(32, 32))}, tmp_path)
    assert found["images_per_second"] > 0
    assert 0 <= found["input_share"] < 1
    folder = made_data.noise_tree(40, 10, 1, 64, linked=False)
    job = {
        "task": "input",
        "folder": str(folder),
        "workers": 1,
        "size": 48,
        "batch": 16,
        "epochs": 2,
        "scale": [0.35, 1.0],
        "seed": 0,
    }
    for cache in (True, False):
        found = run_side("striate_input", {**job, "cache": cache}, tmp_path)
        assert found["first_epoch"] > 0
        assert found["images_per_second"] > 0


@pytest.mark.slow
def test_striates_side_of_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    folder = made_data.noise_tree(60, 10, 2, 16, linked=False)
    job = {"task": "index", "folder": str(folder), "audit": True, "size": 32, "batch": 8, "scale": [0.35, 1.0]}
    found = run_side("striate_scale", job, tmp_path)
    assert found["num"] == 60
    assert 20 < found["held_bytes"] < 150
    assert {"index_seconds", "split_seconds", "fingerprint_seconds", "audit_seconds", "first_batch_seconds"} <= found.keys()
    step = run_side("striate_scale", {"task": "step", "model": "resnet20_cifar", "size": 32, "classes": 20}, tmp_path)
    assert step["step_seconds"] > 0


def test_the_runner_never_imports_what_the_peers_need() -> None:
    code = (
        "import sys, benchmarks.train_small, benchmarks.train_large, benchmarks.input, benchmarks.scale, benchmarks.infer\n"
        "foreign = {'torchvision', 'tensorflow', 'keras', 'jax', 'cv2', 'openvino', 'onnxruntime'} & sys.modules.keys()\n"
        "assert not foreign, foreign"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_fewest_epochs_that_reach_the_target_on_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int]] = []

    def run(side: Side, job: dict[str, Any], options: Options) -> dict[str, Any]:
        assert job["score"] == "validation"
        asked.append((side.name, job["epochs"], job["seed"]))
        curve = [0.8 + 0.03 * n + 0.01 * (job["seed"] - 1) for n in range(job["epochs"])]  # 0.80, 0.83, ... in the mean
        return {"accuracy": curve[-1], "accuracies": curve}

    monkeypatch.setattr(train_small, "run_side", run)
    monkeypatch.setattr(train_small, "describe_machine", lambda: MACHINE)
    sides = [
        Side("striate", "striate_train"),
        Side("plain", "plain_torch"),
        Side("plain, freed memory kept", "plain_torch", environ={"A": "B"}),
    ]

    def epochs_to(target: float, name: str = "epochs.json", some: list[Side] = sides) -> dict[str, int]:
        asked.clear()
        return train_small.calibrate(some, {}, target, 3, Options(tmp_path), tmp_path / name)

    found = epochs_to(0.855)
    assert found == {"striate": 3, "plain": 3}
    assert [tries[1:] for tries in asked if tries[0] == "striate"] == [(epochs, seed) for epochs in (3, 2) for seed in range(3)]
    assert {epochs for name, epochs, _ in asked if name == "plain"} == {train_small.TRIES[0]}
    assert epochs_to(0.855) == found
    assert asked == []
    assert epochs_to(1.105, "more.json", sides[1:2]) == {"plain": 12}
    assert [epochs for _, epochs, _ in asked] == [epochs for epochs in train_small.TRIES for _ in range(3)]
    for target, epochs, tries in ((0.79, 1, {3, 2, 1}), (0.825, 2, {3, 2, 1}), (0.91, 5, {3, 4, 5})):
        assert epochs_to(target, f"{target}.json", sides[:1]) == {"striate": epochs}
        assert {epochs for _, epochs, _ in asked} == tries
    with pytest.raises(SystemExit, match="does not reach 200 %"):
        epochs_to(2.0, "never.json", sides[1:2])


PREPARED = {
    "files": {"onnx fp32": "a.tensor.onnx", "openvino fp32": "a.tensor.xml", "openvino int8": "b.tensor.xml"},
    "left_out": {"onnx int8": "The artefact is rejected by the gate", "openvino bf16": "no bf16 here"},
    "chosen": {"throughput": {"seconds": {"onnx fp32": 0.01, "openvino fp32": 0.02, "openvino int8": 0.005}}},
}


def test_what_did_not_pass_the_gate_is_no_peer_of_inference() -> None:
    sides = {side.name: side for side in infer.speed_sides(PREPARED, {})}
    assert next(iter(sides)) == "striate"
    assert sides["ONNX Runtime int8"].absent == "The artefact is rejected by the gate"
    assert sides["OpenVINO bf16"].absent == "no bf16 here"
    assert sides["OpenVINO fp32"].absent is None
    assert sides["OpenVINO, its own default"].job["precision"] is None
    assert not sides["OpenVINO, its own default"].peer, "no gate has seen what it computes in"
    assert infer.best_openvino(PREPARED) == ("openvino int8", "b.tensor.xml")
    none = {**PREPARED, "files": {"onnx fp32": "a.tensor.onnx"}}
    assert infer.best_openvino(none) == (None, None)
    (_, _, by_hand) = infer.folder_sides(none, {}, {"model_file": "m", "model": "m", "folder": "f", "photos": "p"}, Path("place"))
    assert by_hand.absent == "nothing of OpenVINO passed the gate"


def test_what_is_demanded_of_inference_is_told_with_its_outcome() -> None:
    def rounds(key: str, **figures: float) -> dict[str, Any]:
        sides = {name.replace("_", " "): value for name, value in figures.items()}
        record = make_record({name: [value] for name, value in sides.items()}, tuple(sides)[1:])
        return record | {"rounds": [{name: {**reading(1.0), key: value} for name, value in sides.items()}]}

    assert infer.against_best(rounds("single", striate=95.0, slow=10.0, fast=100.0)) == [
        "one at a time, images/s: of fast, the best used directly: 0.95 (at least 0.95): met"
    ]
    assert infer.against_best(rounds("batched", striate=94.0, fast=100.0))[0].endswith("0.94 (at least 0.95): MISSED")
    (line,) = infer.first_lines(rounds("first_line", striate_predict=0.61, script=0.2))
    assert line == "striate predict: first answer after 0.61 s (at most 0.6): MISSED"
    told = rounds("images_per_second", striate_predict=80.0, script_on_PyTorch=10.0)
    assert infer.folder_lines(told, "mobilenet_v2") == ["folder to table: times script on PyTorch: 8.00 (at least 8): met"]


def test_any_program_is_timed_from_outside(tmp_path: Path) -> None:
    words = ["-c", "import time; print('first', flush=True); time.sleep(0.3)"]
    found = run_side("timed_process", {"words": words, "times": 1, "images": 6}, tmp_path)
    assert 0 < found["first_line"] < found["whole"] - 0.29
    assert found["images_per_second"] == pytest.approx(6 / found["whole"])
    failed = side_by_side.run_side(
        Side("a", "timed_process"), {"words": ["-c", "raise SystemExit('why')"], "times": 1}, Options(tmp_path, patience=0.0)
    )
    assert failed["error"] == "exit 1: why"


@pytest.mark.slow
def test_sides_of_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of chance, from its file to every answer; without its gate, which would have nothing to say of it."""
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos" / "n01440764"
    photos.mkdir(parents=True)
    chance = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(chance.integers(0, 256, (300, 260, 3), dtype=np.uint8)).save(photos / f"{number}.jpg")
    file, table = tmp_path / "model.safetensors", tmp_path / "table.csv"
    job = {
        "model": "shufflenet_v2_x0_5", "model_file": str(file), "photos": f"imagenet:{photos.parent}", "weights": None,
        "judged": False, "int8": False, "batch": 2, "measure_seconds": 0.01, "folder": str(photos),
    }  # fmt: skip
    cache = {"STRIATE_CACHE": str(tmp_path / "cache")}
    options = Options(tmp_path, patience=0.0, timeout=900.0)
    prepared = side_by_side.run_side(Side("striate", "striate_inference", environ=cache), {**job, "task": "prepare"}, options)
    assert "error" not in prepared, prepared
    assert {"onnx fp32", "openvino fp32"} <= prepared["files"].keys()
    sides = [side for side in infer.speed_sides(prepared, cache) if side.environment != "torch" and side.absent is None]
    assert [side.name for side in sides] == ["striate", "ONNX Runtime fp32", "OpenVINO fp32", "OpenVINO, its own default"]
    sides += [side for side in infer.first_sides(prepared, cache, job["model"], photos / "0.jpg") if side.environment != "torch"]
    for side in sides:
        asked = {"task": "speed", **job} if "words" not in side.job else {"times": 1, "unmeasured": 0}
        found = side_by_side.run_side(side, asked, options)
        assert "error" not in found, (side.name, found)
        assert found.get("single", found.get("first_line")) > 0
    ours = infer.folder_sides(prepared, cache, job, tmp_path)[0]
    found = side_by_side.run_side(ours, {"times": 1, "unmeasured": 0, "images": 5}, options)
    assert "error" not in found, found
    assert len(table.read_text().splitlines()) == 6
