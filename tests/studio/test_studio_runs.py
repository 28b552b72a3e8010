"""What was opened and nothing else; runs as files; models and the pictures they are shown."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from small_models import write_colour_model
from studio_running import encoded

from striate.errors import UsageError
from striate.locking import locked
from striate.studio.opened import Opened, classify
from striate.studio.runs_api import REPORT_POLICY
from striate.studio.shelf import KEPT
from striate.studio.studio import Studio


def error_of(answer: object) -> dict[str, str]:
    return answer.json()["error"]  # type: ignore[attr-defined, no-any-return]


# What was opened


def test_what_a_path_is(trained: Path, patterns: Path, photos: Path, tmp_path: Path) -> None:
    assert classify(str(trained)) == "run"
    assert classify(str(trained.parent)) == "runs"
    assert classify(str(trained / "model.safetensors")) == "model"
    assert classify(str(patterns)) == "data"
    assert classify(str(photos)) == "data"
    assert classify("demo:letters") == "data"
    with pytest.raises(UsageError, match="nothing to open"):
        classify(str(tmp_path / "none"))


def test_names_stay_apart(trained: Path, patterns: Path, tmp_path: Path) -> None:
    for root in ("runs", "others"):
        shutil.copytree(trained, tmp_path / root / "stripes")
    model = str(trained / "model.safetensors")
    opened = Opened.from_paths(
        [str(tmp_path / "others"), str(tmp_path / "runs" / "stripes"), model, model, str(patterns)], tmp_path / "runs"
    )
    assert set(opened.runs()) == {"stripes", "others~stripes"}
    assert opened.runs()["others~stripes"].path == tmp_path / "others" / "stripes"
    assert set(opened.models) == {"model", "model-2"}
    assert set(opened.data) == {"demo-fashion", "demo-letters", "patterns"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../../etc", "runs/stripes", "./stripes", "..", "", "stripes/../stripes"])
def test_a_path_that_was_not_opened_is_refused(client: TestClient, name: str) -> None:
    asked = {
        "/api/runs/history": {"run": name},
        "/api/runs/run": {"run": name},
        "/api/runs/report": {"run": name},
        "/api/train/watch": {"run": name},
        "/api/try/model": {"model": name},
        "/api/data/audit": {"data": name},
        "/api/data/thumbnail": {"data": name, "index": "0"},
    }
    for path, query in asked.items():
        answer = client.get(path, params=query)
        assert answer.status_code == 400, path
        assert "only what was opened" in error_of(answer)["why"]
    for path, body in {
        "/api/runs/delete": {"run": name},
        "/api/runs/rename": {"run": name, "name": "new"},
        "/api/train/start": {"data": name},
    }.items():
        assert client.post(path, json=body).status_code == 400, path


# Runs


def test_the_list_and_the_curves(client: TestClient) -> None:
    (row,) = client.get("/api/runs").json()
    assert (row["name"], row["status"], row["model"], row["epochs"]) == ("stripes", "done", "mlp", 2)
    history = client.get("/api/runs/history?run=stripes").json()
    assert [each["epoch"] for each in history["rows"]] == [1, 2]
    assert history["epochs"] == 2
    detail = client.get("/api/runs/run?run=stripes").json()
    assert detail["command"].startswith("striate train ")
    assert detail["data"]["num_held_out"] == 18
    assert detail["bytes"] > 10_000


def test_a_report_reaches_nothing(client: TestClient, studio: Studio) -> None:
    answer = client.get("/api/runs/report?run=stripes")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == REPORT_POLICY
    assert REPORT_POLICY.startswith("sandbox")
    assert "allow-same-origin" not in REPORT_POLICY
    assert "connect-src" not in REPORT_POLICY
    assert "default-src 'none'" in REPORT_POLICY
    report = studio.opened.run("stripes").report_path
    report.unlink()
    assert client.get("/api/runs/report?run=stripes").status_code == 200
    assert report.exists()


def test_renaming_moves_the_folder(client: TestClient, studio: Studio) -> None:
    path = studio.opened.run("stripes").path
    answer = client.post("/api/runs/rename", json={"run": "stripes", "name": "two epochs"})
    assert answer.json() == {"run": "two epochs"}
    assert not path.exists()
    assert client.get("/api/runs/history?run=two epochs").status_code == 200
    for name in ("../out", "a/b", "", ".hidden", "a\0b", "x" * 101, "end."):
        assert client.post("/api/runs/rename", json={"run": "two epochs", "name": name}).status_code == 400
    (path.parent / "taken").mkdir()
    assert "already" in error_of(client.post("/api/runs/rename", json={"run": "two epochs", "name": "taken"}))["what"]
    assert list(studio.opened.runs()) == ["two epochs"]


def test_deleting_takes_the_folder_and_no_other(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    path = studio.opened.run("stripes").path
    beside = tmp_path / "runs" / "notes.txt"
    beside.write_text("kept")
    link = tmp_path / "runs" / "link"
    link.symlink_to(shutil.copytree(path, tmp_path / "elsewhere"))
    assert client.post("/api/runs/delete", json={"run": "stripes"}).json() == {"deleted": "stripes"}
    assert not path.exists()
    assert beside.exists()
    (name,) = studio.opened.runs()
    assert client.post("/api/runs/delete", json={"run": name}).status_code == 422
    assert (tmp_path / "elsewhere" / "recipe.json").exists()


def test_a_run_in_training_is_left_alone(client: TestClient, studio: Studio) -> None:
    with locked(studio.opened.run("stripes").path):
        for path, body in (("delete", {}), ("rename", {"name": "other"})):
            answer = client.post(f"/api/runs/{path}", json={"run": "stripes", **body})
            assert answer.status_code == 422
            assert "being trained" in error_of(answer)["what"]
    assert list(studio.opened.runs()) == ["stripes"]


def test_damaged_runs_are_told_apart(client: TestClient, studio: Studio) -> None:
    path = studio.opened.run("stripes").path
    (path / "metrics.jsonl").write_text("{]\n")
    assert error_of(client.get("/api/runs/history?run=stripes"))["what"] == "The record of its epochs is damaged"
    (path / "recipe.json").write_text("{")
    assert client.get("/api/runs").json()[0]["status"] == "unreadable"
    assert client.get("/api/runs/run?run=stripes").status_code == 422
    assert client.get("/api/try/models").json() == []


# Models


def test_a_run_is_tried(client: TestClient, patterns: Path, studio: Studio) -> None:
    (listed,) = client.get("/api/try/models").json()
    assert listed == {"name": "stripes", "kind": "run", "note": "mlp on patterns"}
    model = client.get("/api/try/model?model=stripes").json()
    assert (model["num_classes"], model["channels"], model["size"]) == (3, 1, [28, 28])
    image = np.load(patterns)["test_images"][4]
    answer = client.post("/api/try/predict?model=stripes&top=2", content=encoded(image))
    assert answer.status_code == 200
    ours = studio.shelf.open("stripes").predict(encoded(image), top=2)[0]
    assert [(each["label"], each["probability"]) for each in answer.json()["top"]] == [tuple(pair) for pair in ours.top]
    assert str(studio.opened.model("stripes")) in model["python"]


def test_what_speaks_for_a_class(client: TestClient, studio: Studio, monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    monkeypatch.setenv("STRIATE_WEIGHTS", str(shared_data / "weights"))
    photo = (shared_data / "imagenet_samples" / "n01440764_tench.jpg").read_bytes()
    asked = {"model": "mobilenet_v2@imagenet", "label": "tench"}
    maps = [client.post("/api/try/map", params={**asked, **more}, content=photo) for more in ({}, {"label": "goldfish"})]
    pictures = [np.asarray(Image.open(io.BytesIO(answer.content))) for answer in maps]
    assert [picture.shape for picture in pictures] == [(224, 224, 3)] * 2
    assert (pictures[0] != pictures[1]).any()
    assert "tench" in error_of(client.post("/api/try/map", params={**asked, "label": "tenhc"}, content=photo))["fix"]
    assert client.post("/api/try/map", params={**asked, "method": "magic"}, content=photo).status_code == 400
    # A network of dense layers alone has no map, and says so.
    image = encoded(np.zeros((28, 28), np.uint8))
    answer = client.post("/api/try/map", params={"model": "stripes", "label": "down"}, content=image)
    assert answer.status_code == 422
    assert "no feature map" in error_of(answer)["what"]


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it is 60,000 x 60,000."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(2**20))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"# a page of text\n", "not a picture"),
        (b"MZ\x90\x00\x03 an executable called photo.png", "not a picture"),
        (b"\x7fELF\x02\x01\x01", "not a picture"),
        (bomb(), "60000 x 60000"),
        (b"\x89PNG\r\n\x1a\n", ""),
    ],
    ids=["nothing", "text", "exe", "elf", "bomb", "cut"],
)
def test_what_is_no_picture_is_said(client: TestClient, data: bytes, says: str) -> None:
    answer = client.post("/api/try/predict?model=stripes", content=data)
    assert answer.status_code == 422
    assert says in error_of(answer)["what"]


def test_a_picture_cut_short_is_said(client: TestClient) -> None:
    whole = encoded(np.full((64, 64, 3), 120, np.uint8))
    assert client.post("/api/try/predict?model=stripes", content=whole[: len(whole) // 2]).status_code == 422


def test_only_a_few_models_are_kept(studio: Studio) -> None:
    path = studio.opened.run("stripes").path
    for i in range(KEPT + 1):
        shutil.copytree(path, path.with_name(f"copy-{i}"))
    first = studio.shelf.open("copy-0")
    assert studio.shelf.open("copy-0") is first
    for i in range(1, KEPT + 1):
        studio.shelf.open(f"copy-{i}")
    assert studio.shelf.open("copy-0") is not first


def test_weights_that_are_not_here_are_not_fetched(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "none"))
    monkeypatch.delenv("STRIATE_WEIGHTS", raising=False)
    answer = client.get("/api/try/model?model=mobilenet_v2@imagenet")
    assert answer.status_code == 400
    assert "--weights imagenet" in error_of(answer)["fix"]


def test_published_weights_that_are_here_are_offered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    monkeypatch.setenv("STRIATE_WEIGHTS", str(shared_data / "weights"))
    assert "mobilenet_v2@imagenet" in {each["name"] for each in client.get("/api/try/models").json()}
    photo = (shared_data / "imagenet_samples" / "n01440764_tench.jpg").read_bytes()
    answer = client.post("/api/try/predict?model=mobilenet_v2@imagenet", content=photo).json()
    assert answer["top"][0]["label"] == "tench"


def test_a_network_of_ones_own_takes_the_command_line_to_be_run(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    path = write_colour_model(tmp_path / "model.safetensors")
    studio.opened.add(str(path))
    answer = client.get("/api/try/model?model=model")
    assert answer.status_code == 422
    assert "--arch" in error_of(answer)["fix"]


# Zoo


def test_the_zoo_is_the_catalogue(client: TestClient) -> None:
    names = [each["name"] for each in client.get("/api/zoo").json()]
    assert json.loads(Path(__file__).parents[2].joinpath("striate/catalogue.json").read_text())[0]["name"] == names[0]
    page = client.get("/api/zoo/network?name=lenet5").json()
    assert page["paper_table"]
    assert all(set(row) >= {"layer", "printed", "ours", "agrees"} for row in page["paper_table"])


def test_a_photo_in_any_clothes(client: TestClient) -> None:
    """EXIF, palettes and alpha are read as everywhere else."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    for data in (encoded(picture.convert("P")), encoded(picture.convert("RGBA")), encoded(picture, "JPEG"), file.getvalue()):
        assert client.post("/api/try/predict?model=stripes", content=data).status_code == 200
