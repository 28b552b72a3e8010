"""Data on the page: the audit, pictures, duplicates, the map; and labels that are corrected without touching a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from striate.data.formats import open_source
from striate.studio.corrections import Corrections
from striate.studio.studio import Studio


def events(answer: Any) -> list[tuple[str, Any]]:
    """(name, data) of a stream that has ended."""
    blocks = [block.splitlines() for block in answer.text.split("\n\n") if block.startswith("event: ")]
    return [(head.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for head, data in blocks]


def audit(client: TestClient, data: str) -> dict[str, Any]:
    name, found = events(client.get("/api/data/audit", params={"data": data}))[-1]
    assert name == "audit", found
    return found  # type: ignore[no-any-return]


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()


def test_the_audit_is_told_as_it_goes(client: TestClient) -> None:
    told = events(client.get("/api/data/audit?data=fruit"))
    assert {name for name, _ in told} <= {"progress", "audit"}
    found = told[-1][1]
    assert (found["num"], found["num_bad"], found["classes"]) == (38, 1, ["apple", "banana", "cherry"])
    assert found["num_duplicates"] == 1
    assert found["num_conflicts"] == 1
    assert found["bad"][0]["key"] == "cherry/broken.png"


def test_pictures_are_asked_for_by_what_they_are(client: TestClient) -> None:
    audit(client, "fruit")

    def keys(**query: Any) -> list[str]:
        answer = client.get("/api/data/samples", params={"data": "fruit", **query}).json()
        assert answer["total"] >= len(answer["samples"])
        return [each["key"] for each in answer["samples"]]

    assert keys(kind="bad") == ["cherry/broken.png"]
    shown = client.get("/api/data/samples?data=fruit&count=200").json()["samples"]
    assert [each["key"] for each in shown if each["bad"]] == ["cherry/broken.png"]
    assert sorted(keys(kind="duplicates")) == ["apple/0.png", "banana/copy.png"]
    assert sorted(keys(kind="conflicts")) == ["apple/0.png", "banana/copy.png"]
    assert len(keys(label="banana")) == 13
    assert keys(search="COPY") == ["banana/copy.png"]
    assert keys(count=5, offset=2) == keys()[2:7]
    assert client.get("/api/data/samples?data=fruit&split=trian").status_code == 400


def test_the_splits_of_the_data(client: TestClient) -> None:
    audit(client, "patterns")
    assert client.get("/api/data/samples?data=patterns&split=test").json()["total"] == 18


def test_duplicates_lie_side_by_side(client: TestClient) -> None:
    audit(client, "fruit")
    (group,) = client.get("/api/data/duplicates?data=fruit").json()["groups"]
    assert [each["key"] for each in group["members"]] == ["apple/0.png", "banana/copy.png"]
    assert (group["difference"], group["labels_differ"], group["across_splits"]) == (0, True, False)


def test_pictures_come_without_what_else_their_files_hold(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "album"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        file = Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (300, 200, 3)).astype(np.uint8))
        exif = Image.Exif()
        exif[0x9286] = "a secret place"
        file.save(folder / name / "1.jpg", exif=exif)
    studio.opened.add(str(folder))
    assert b"secret" in (folder / "a" / "1.jpg").read_bytes()
    for what in ("thumbnail", "picture"):
        answer = client.get(f"/api/data/{what}?data=album&index=0")
        assert answer.headers["content-type"] == "image/jpeg"
        assert b"secret" not in answer.content
    assert client.get("/api/data/picture?data=album&index=2").status_code == 400
    assert client.get("/api/data/thumbnail?data=album&index=-1").status_code == 400
    assert client.get("/api/data/picture?data=patterns&index=0").headers["content-type"] == "image/png"


def test_a_map_of_the_pictures_and_of_what_a_model_makes_of_them(client: TestClient) -> None:
    for model in ("", "stripes"):
        name, plane = events(client.get("/api/data/map", params={"data": "patterns", "model": model}))[-1]
        assert name == "map", plane
        assert len(plane["x"]) == len(plane["y"]) == len(plane["labels"]) == 108
        assert max(map(abs, plane["x"])) <= 1
        # Kinds of stripes lie apart: nearer to their own kind's middle than to the others' for nearly all.
        points, labels = np.array([plane["x"], plane["y"]]).T, np.array(plane["labels"])
        middles = np.stack([points[labels == each].mean(axis=0) for each in sorted(set(labels))])
        nearest = np.array(sorted(set(labels)))[np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)]
        assert (nearest == labels).mean() > 0.9
    name, problem = events(client.get("/api/data/map?data=patterns&model=none"))[-1]
    assert (name, problem["what"]) == ("failed", "No model is open under the name 'none'")


def test_a_label_is_put_right_and_the_files_stay(client: TestClient, photos: Path, studio: Studio) -> None:
    before = digest(photos)
    table = studio.opened.home / "labels-fruit.csv"
    index = next(
        each["index"]
        for each in client.get("/api/data/samples?data=fruit&count=200").json()["samples"]
        if each["key"] == "banana/copy.png"
    )
    answer = client.post("/api/data/label", json={"data": "fruit", "index": index, "label": "apple"}).json()
    assert answer["sample"]["corrected"] == "apple"
    assert (answer["num_corrected"], answer["table"], answer["trainable"]) == (1, str(table), True)
    assert client.get("/api/data/samples?data=fruit&kind=corrected").json()["total"] == 1
    assert client.get("/api/data/samples?data=fruit&label=apple").json()["total"] == 13
    corrected = open_source(f"csv:{table}", to_learn=False)
    assert len(corrected) == 38
    labels = {Path(corrected.path(i) or "").name: corrected.classes[corrected.targets[i]] for i in range(38)}
    assert labels["copy.png"] == "apple"
    # Another start of the studio takes it up again.
    assert Corrections(studio.opened.source("fruit"), "fruit", studio.opened.home).labels == {index: "apple"}
    client.post("/api/data/label", json={"data": "fruit", "index": index, "label": None})
    assert client.get("/api/data/samples?data=fruit&kind=corrected").json()["total"] == 0
    assert digest(photos) == before


def test_labels_of_arrays_are_listed_as_changes(client: TestClient, studio: Studio) -> None:
    answer = client.post("/api/data/label", json={"data": "patterns", "index": 1, "label": "diagonal"}).json()
    assert answer["trainable"] is False
    assert Path(answer["table"]).read_text().splitlines() == ["key,label,was", "train/000001,diagonal,down"]
    assert Corrections(studio.opened.source("patterns"), "patterns", studio.opened.home).labels == {1: "diagonal"}


@pytest.mark.parametrize(("index", "label"), [(-1, "apple"), (38, "apple"), (0, ""), (0, "a|b"), (0, "a\nb"), (0, "x" * 201)])
def test_what_is_no_label_is_refused(client: TestClient, index: int, label: str, studio: Studio) -> None:
    assert client.post("/api/data/label", json={"data": "fruit", "index": index, "label": label}).status_code == 400
    assert not (studio.opened.home / "labels-fruit.csv").exists()


def test_a_table_that_others_were_at_is_not_overwritten(client: TestClient, studio: Studio) -> None:
    table = studio.opened.home / "labels-fruit.csv"
    table.write_text("something,else\n1,2\n")
    answer = client.get("/api/data/audit?data=fruit")
    assert answer.status_code == 422
    assert "cannot be read" in answer.json()["error"]["what"]
    assert table.read_text() == "something,else\n1,2\n"
