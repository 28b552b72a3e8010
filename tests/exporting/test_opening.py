"""Artefacts open again as models, without torch, only as they were written, and answer as the model does."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import ROOT
from small_models import noise
from trained_run import PREPROCESS

from striate.backends.artefact import UNSEALED
from striate.backends.opening import open_artefact
from striate.data.preprocess import Preprocess
from striate.errors import Refused, UsageError
from striate.exporting.conversion import CONVERTERS, Pair, order_for
from striate.exporting.export import export
from striate.exporting.torch_file import make_program, write_program
from striate.prediction import Model, load
from striate.tasks.decoding import Decoder, Kind


@pytest.fixture(scope="session")
def program_pair(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    pair = Pair.at(tmp_path_factory.mktemp("torch") / "tiny", "torch")
    CONVERTERS["torch", "fp32"](order_for(model, "torch", "fp32"), pair)
    return pair


def pictures(run: Path) -> list[Path]:
    return sorted((run.parent / "data").rglob("*.jpg"))[::9]


def in_fresh_python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["tensor", "images"])
@pytest.mark.parametrize("kind", ["onnx_pair", "program_pair"])
def test_either_file_answers_as_the_model(kind: str, form: str, model: Model, run: Path, request: pytest.FixtureRequest) -> None:
    opened = load(getattr(request.getfixturevalue(kind), form))
    assert not opened.is_torch
    assert opened.classes == model.classes
    assert opened.preprocess == model.preprocess
    for own, exported in zip(model.predict(pictures(run), top=3), opened.predict(pictures(run), top=3), strict=True):
        assert [name for name, _ in own.top] == [name for name, _ in exported.top]
        # float32: some hundred products a logit, and a probability changes at most a quarter as much.
        assert np.allclose([p for _, p in own.top], [p for _, p in exported.top], atol=1e-5)
    with pytest.raises(UsageError, match="no torch module"):
        _ = opened.module


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess((24, 24), resize=28),
        Preprocess((20, 32), resize=23, interpolation="bicubic"),
        Preprocess((32, 32), resize=28),
        Preprocess((21, 40), resize=17),
        Preprocess((20, 31)),
    ],
    ids=lambda preprocess: f"{preprocess.size} {preprocess.resize}",
)
def test_pixels_pass_unchanged_through_a_graph_that_takes_whole_pictures(preprocess: Preprocess) -> None:
    """By the graph's own arithmetic: the pixels are given to it framed, and it must give them back."""
    import torch

    from striate.backends.opening import FramedNetwork
    from striate.exporting.pixels import Pixels

    seen = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(Pixels(preprocess)(torch.from_numpy(images.copy())).numpy())
        return np.zeros((len(images), 1), np.float32)

    rng = np.random.default_rng(0)
    shapes = [(30, 30), (61, 33), (33, 61), (200, 12), (12, 200)]
    whole = [rng.integers(1, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    batch = np.stack([preprocess.pixels(picture) for picture in whole]).transpose(0, 3, 1, 2)
    FramedNetwork(network, preprocess)(batch)
    assert np.array_equal(np.concatenate(seen), batch)


@pytest.mark.parametrize("form", ["tensor", "images"])
def test_no_torch_for_a_prediction(form: str, onnx_pair: Pair, run: Path) -> None:
    path, photo = getattr(onnx_pair, form), pictures(run)[0]
    check = "assert not {'torch', 'onnx', 'fastapi'} & sys.modules.keys(), sorted(sys.modules)"
    api = f"import sys, striate\nprint(striate.load(sys.argv[1]).predict(sys.argv[2])[0].label)\n{check}"
    command = f"import sys\nfrom striate.cli import main\nassert main(['predict', *sys.argv[1:]]) == 0\n{check}"
    for code in (api, command):
        done = in_fresh_python(code, path, photo)
        assert done.returncode == 0, done.stderr
        assert photo.parent.name in done.stdout


def test_a_flipped_bit_or_a_lost_end_is_refused(onnx_pair: Pair, tmp_path: Path) -> None:
    whole = onnx_pair.tensor.read_bytes()
    path = tmp_path / "x.onnx"
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 40).tolist():
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        with pytest.raises(Refused, match=r"Damaged|Not an artefact"):
            load(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(Refused, match="Damaged"):
        load(path)


def test_other_tools_files_and_no_files(tmp_path: Path) -> None:
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(Refused, match="Not an artefact of striate"):
        load(tmp_path / "other.onnx")
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "none.onnx")
    (tmp_path / "x.pt2").write_bytes(b"PK no archive")
    with pytest.raises(Refused, match=r"Not a \.pt2 archive"):
        load(tmp_path / "x.pt2")
    with pytest.raises(UsageError, match="CPU"):
        load(tmp_path / "other.onnx", device="cuda")


def test_a_newer_format_says_so(onnx_pair: Pair, tmp_path: Path) -> None:
    from striate.exporting.onnx_file import write_onnx

    graph, card = onnx.load(onnx_pair.tensor), open_artefact(onnx_pair.tensor)[1]
    write_onnx(tmp_path / "new.onnx", graph, {**card, "export": {**card["export"], "format": 99}})
    with pytest.raises(Refused, match="newer striate"):
        load(tmp_path / "new.onnx")


def rewritten(path: Path, target: Path, entries: dict[str, bytes]) -> Path:
    """A copy of an archive with some entries replaced or added, sealed anew as an attacker could."""
    from striate.backends.artefact import SEAL, sealed
    from striate.backends.torch_program import contents

    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        inner = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()} | entries
    inner[f"extra/{SEAL}"] = sealed(*contents(inner | {f"extra/{SEAL}": UNSEALED.encode()}))
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in inner.items():
            archive.writestr(f"{root}/{name}", data)
    return target


class Runs:
    """What an attacker pickles."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('the archive ran code')",))


def test_an_archive_that_could_run_code_is_not_opened(program_pair: Pair, tmp_path: Path) -> None:
    path = program_pair.tensor
    with zipfile.ZipFile(path) as archive:
        entry = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    evil = pickle.dumps(Runs())
    weights = entry["data/weights/model_weights_config.json"]
    graph = entry["models/model.json"].decode()
    symbol = re.search(r'"expr_str": "([^"]*)"', graph)
    assert symbol is not None
    planted = {
        "sample inputs": {"data/sample_inputs/model.pt": evil},
        "another entry": {"data/weights/extra.pkl": evil},
        "a pickled weight": {"data/weights/model_weights_config.json": weights.replace(b"false", b"true")},
        "a call": {"models/model.json": graph.replace("torch.ops.aten.conv2d.default", "torch.hub.load", 1).encode()},
        "an expression": {"models/model.json": graph.replace(symbol[1], "exec(chr(112))", 1).encode()},
    }  # fmt: skip
    for what, entries in planted.items():
        with pytest.raises(Refused, match="could run code"):
            load(rewritten(path, tmp_path / f"{what}.pt2", entries))
    assert load(rewritten(path, tmp_path / "same.pt2", {})).classes


def test_a_changed_weight_of_an_archive_is_refused(program_pair: Pair, tmp_path: Path) -> None:
    with zipfile.ZipFile(program_pair.tensor) as archive, zipfile.ZipFile(tmp_path / "x.pt2", "w") as changed:
        for name in archive.namelist():
            data = bytearray(archive.read(name))
            if name.endswith("weight_0"):
                data[0] ^= 1
            changed.writestr(name, bytes(data))
    with pytest.raises(Refused, match="Damaged"):
        load(tmp_path / "x.pt2")


def test_bf16_of_torch_agrees(model: Model, run: Path, tmp_path: Path) -> None:
    order = order_for(model, "torch", "bf16")
    program = make_program(order.graphs.tensor, order.graphs.example, (0,))
    write_program(tmp_path / "x.pt2", program, order.card_of("tensor"))
    images = np.stack([PREPROCESS(path.read_bytes()) for path in pictures(run)]).transpose(0, 3, 1, 2)
    own, half = model.raw(images), load(tmp_path / "x.pt2").raw(images)
    assert half.dtype == np.float32
    # Eight bits of mantissa: 2**-9 a rounding, a handful of layers.
    assert 0 < np.abs(own - half).max() <= 0.05 * np.abs(own).max()


NO_CONNECTION = """
import socket, sys
tried = []
def refuse(*words):
    tried.append(words)
    raise OSError("no connection from a test")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from striate.backends.openvino_ir import import_openvino
import_openvino()
import_openvino("nncf")
from striate.prediction import load
answers = load(sys.argv[1]).predict(sys.argv[2])
import gc, threading
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(5)
assert not tried, tried
assert "openvino_telemetry.main" not in sys.modules
print(answers[0].label)
"""


@pytest.mark.slow
def test_openvino(model: Model, run: Path, tmp_path: Path) -> None:
    """One export for all: it answers as the model does, opens without torch, calls nobody, and is refused once changed."""
    pair = export(model, "openvino", out=tmp_path / "tiny").pair
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.xml", "tiny.bin", "tiny.tensor.xml", "tiny.tensor.bin"}
    for path in (pair.tensor, pair.images):
        found = [answer.label for answer in load(path).predict(pictures(run))]
        assert found == [answer.label for answer in model.predict(pictures(run))]
    photo = pictures(run)[0]
    done = in_fresh_python(NO_CONNECTION, pair.tensor, photo)
    assert done.returncode == 0, done.stderr
    assert photo.parent.name in done.stdout
    code = "import sys, striate\nstriate.load(sys.argv[1]).predict(sys.argv[2])\nassert 'torch' not in sys.modules"
    done = in_fresh_python(code, pair.images, photo)
    assert done.returncode == 0, done.stderr
    text = pair.images.read_text(encoding="utf-8")
    marked = text.count('name="DisablePrecisionConversion"')
    assert marked > 20, "where bf16 is the default, positions would be computed with eight bits"
    data = bytearray(pair.tensor.with_suffix(".bin").read_bytes())
    data[100] ^= 1
    shutil.copy(pair.tensor, tmp_path / "bad.xml")
    (tmp_path / "bad.bin").write_bytes(data)
    with pytest.raises(Refused, match="Damaged"):
        load(tmp_path / "bad.xml")
    (tmp_path / "bad.bin").unlink()
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "bad.xml")


def test_a_card_is_readable_by_any_tool(onnx_pair: Pair) -> None:
    import onnxruntime

    entries = onnxruntime.InferenceSession(onnx_pair.images).get_modelmeta().custom_metadata_map
    assert entries["classes"].splitlines() == ["apple", "banana", "cherry"]
    assert json.loads(entries["striate"])["preprocess"] == json.loads(json.dumps(PREPROCESS.to_json()))
    assert entries["striate_seal"].startswith("striate-sha256:")


@pytest.mark.parametrize("kind", ["label", "labels", "value"])
def test_probabilities_of_every_kind_of_target(kind: Kind, onnx_pair: Pair, model: Model) -> None:
    import onnxruntime

    from striate.exporting.onnx_file import join, pixels_graph

    tensor = onnx.load(onnx_pair.tensor)
    decoder = Decoder(kind, model.classes if kind != "value" else (), target_mean=20.0, target_std=3.0)
    whole = join(pixels_graph(PREPROCESS), tensor, decoder)
    picture = noise(0, 50, 40)[None]
    session = onnxruntime.InferenceSession(whole.SerializeToString())
    logits, figures = session.run(["logits", "probabilities"], {"images": picture})
    # A network for one number has one output; that of this one, with three, is read a column at a time.
    columns = logits.T[:, :, None] if kind == "value" else [logits]
    expected = np.stack([decoder.scores(column) for column in columns], axis=-1).reshape(figures.shape)
    assert np.allclose(figures, expected, rtol=1e-6, atol=1e-6)
    assert np.array_equal(logits, load(onnx_pair.images).raw(PREPROCESS.pixels(picture[0]).transpose(2, 0, 1)[None]))
