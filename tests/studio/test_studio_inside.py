"""The Inside screen: what its requests answer, and a reader's path from a picture to one of its pixels."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from studio_running import Visitor, encoded, until

from striate.look import Inspection
from striate.look.explanations import EXPLANATIONS
from striate.progress import Progress
from striate.studio.events import work_stream
from striate.studio.inspections import Inspections, draw_sheet, plain, steps_of, tiles
from striate.studio.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Page

STRIPES = (127 + 90 * np.sin(np.mgrid[:28, :28][0])).astype(np.uint8)
NOISE = np.random.default_rng(3).integers(0, 256, (32, 32, 3)).astype(np.uint8)
EVENT = re.compile(r"event: (\w+)\ndata: (.*)")
SMALL = "resnet20_cifar@untrained"


def looked(client: TestClient, model: str, picture: np.ndarray) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The answer, and the maps of the strip."""
    reply = client.post(f"/api/inside/look?model={model}", content=encoded(picture))
    assert reply.status_code == 200, reply.text
    told = [EVENT.fullmatch(block) for block in reply.text.strip().split("\n\n")]
    events = [(event[1], json.loads(event[2])) for event in told if event is not None]
    assert len(events) == len(told)
    assert events[0][0] == "answer"
    return events[0][1], [data for name, data in events[1:] if name == "maps"]


def test_a_trained_model_answers_as_it_does_elsewhere(client: TestClient) -> None:
    answer, strip = looked(client, "stripes", STRIPES)
    tried = client.post("/api/try/predict?model=stripes", content=encoded(STRIPES)).json()
    assert [each["label"] for each in answer["top"]] == [each["label"] for each in tried["top"]]
    np.testing.assert_allclose(
        [each["probability"] for each in answer["top"]], [each["probability"] for each in tried["top"]], rtol=1e-4
    )
    assert answer["trained"]
    assert [each["layer"] for each in strip] == [node["id"] for node in answer["nodes"]]
    picture = np.frombuffer(base64.b64decode(answer["picture"].partition(",")[2]), np.uint8)
    assert picture[1:4].tobytes() == b"PNG"


def test_the_strip_keeps_signs_and_says_its_scale(client: TestClient, studio: Studio) -> None:
    answer, strip = looked(client, SMALL, NOISE)
    assert not answer["trained"]
    sheet = next(each for each in strip if each["layer"] == "conv1")
    codes = np.frombuffer(base64.b64decode(sheet["codes"]), np.uint8).reshape(len(sheet["channels"]), *sheet["size"])
    exact = client.get(f"/api/inside/map?look={answer['look']}&layer=conv1&channel={sheet['channels'][2]}")
    numbers = np.frombuffer(exact.content, "<f4").reshape(32, 32)
    # Rounding to 254 steps: half a step, but for the 1 % beyond the scale.
    within = np.abs(numbers) <= sheet["bound"]
    assert within.mean() > 0.9
    found = (codes[2].astype(float) - 128) * sheet["bound"] / 127
    assert np.abs(found - numbers)[within].max() <= sheet["bound"] / 254 * 1.001
    assert ((found < 0) <= (numbers < 0)).all()


@pytest.mark.parametrize(("layer", "chain"), [("conv1", 0), ("bn1", 1), ("relu", 2)])
def test_a_number_is_told_with_its_norm_and_relu(client: TestClient, layer: str, chain: int) -> None:
    answer, _ = looked(client, SMALL, NOISE)
    assert {"conv1", "bn1", "relu"} <= {node["id"] for node in answer["nodes"]}
    told = client.get(f"/api/inside/pixel?look={answer['look']}&layer={layer}&unit=3,0,31").json()
    assert [step["layer"] for step in told["steps"]] == ["conv1", "bn1", "relu"]
    assert told["asked"] == chain
    assert all(step["agrees"] for step in told["steps"])
    first, norm, relu = told["steps"]
    assert norm["terms"][0]["value"] == first["network"]
    assert relu["network"] == max(norm["network"], 0)
    products = sum(each["sum"] for each in first["window"]["channels"]) + first["window"]["rest"]["sum"]
    assert products + (first["bias"] or 0) == pytest.approx(first["total"], abs=1e-12 * first["absolute_sum"])
    assert told["field"] == [[0, 2], [30, 32]]


def test_the_way_back_ends_at_a_pixel(client: TestClient) -> None:
    answer, _ = looked(client, SMALL, NOISE)
    told = client.get(f"/api/inside/pixel?look={answer['look']}&layer=input&unit=2,7,9").json()
    assert [step["kind"] for step in told["steps"]] == ["input"]
    pixel = told["pixel"]
    assert pixel["value"] == NOISE[7, 9, 2]
    assert (pixel["value"] * pixel["scale"] - pixel["mean"]) / pixel["std"] == pytest.approx(
        told["steps"][0]["network"], rel=1e-5
    )


def test_what_is_no_picture_no_layer_or_another_browsers_is_explained(client: TestClient, studio: Studio) -> None:
    bad = client.post("/api/inside/look?model=stripes", content=b"MZ\x90\x00 this program cannot be run in DOS mode")
    assert bad.status_code == 422
    assert bad.json()["error"]["what"]
    assert client.post("/api/inside/look?model=nothing", content=encoded(STRIPES)).status_code == 400
    unknown = client.post("/api/inside/look?model=resnet19@untrained", content=encoded(STRIPES))
    assert "resnet18" in unknown.json()["error"]["fix"]
    answer, _ = looked(client, "stripes", STRIPES)
    look = answer["look"]
    wrong = client.get(f"/api/inside/pixel?look={look}&layer=fc9&unit=1").json()["error"]
    assert "fc9" in wrong["what"]
    assert "no position" in client.get(f"/api/inside/pixel?look={look}&layer=input&unit=a,b").json()["error"]["what"]
    assert client.get(f"/api/inside/explain?look={look}&target=3").status_code == 400
    assert client.get(f"/api/inside/explain?look={look}&target=0&method=magic").status_code == 400
    other = client.post("/session", json={"token": studio.keys.new_token()})
    assert other.status_code == 200
    # The cookie is another one now: what the first browser showed is not the second one's to see.
    assert client.get(f"/api/inside/pixel?look={look}&layer=input&unit=0,0,0").status_code == 410


def test_samples_are_pictures(client: TestClient) -> None:
    names = client.get("/api/inside/samples").json()
    assert {"name": "demo-fashion:1", "label": "trouser"} in [{**each, "label": each["label"].lower()} for each in names]
    for each in names:
        assert client.get("/api/inside/sample", params={"name": each["name"]}).content[1:4] == b"PNG"
    assert client.get("/api/inside/sample?name=patterns:0").status_code == 400


def test_class_maps_and_the_sanity_check(client: TestClient) -> None:
    answer, _ = looked(client, SMALL, NOISE)
    given = f"look={answer['look']}&target={answer['top'][0]['index']}"
    for method in client.get("/api/inside/models").json()["methods"]:
        if method["name"] == "occlusion":
            continue
        told = client.get(f"/api/inside/explain?{given}&method={method['name']}").text
        found = np.frombuffer(base64.b64decode(json.loads(told.rpartition("event: map\ndata: ")[2])), "<f4")
        assert found.shape == (32 * 32,)
        assert method["signed"] or found.min() >= 0
    told = client.get(f"/api/inside/sanity?{given}&method=saliency").text
    assert "event: progress" in told
    check = json.loads(told.rpartition("data: ")[2])
    assert 0 <= check["score"] <= 1
    assert len(check["layers"]) == 6


def test_work_ends_where_nobody_listens() -> None:
    ended = threading.Event()

    def work(progress: Progress) -> None:
        try:
            while True:
                progress.stage("endless", 1, 2)
                time.sleep(0.01)
        finally:
            ended.set()

    async def listen() -> None:
        told = work_stream("never", work).body_iterator
        while b"endless" not in await anext(aiter(told)):
            pass
        await told.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen())
    assert ended.wait(10)


def test_the_latest_pictures_are_kept_within_the_memory(studio: Studio) -> None:
    kept = Inspections(studio.shelf)
    first = kept.look("me", "stripes", encoded(STRIPES))
    assert kept.look("me", "stripes", encoded(STRIPES)) is first
    bounded = Inspections(studio.shelf, most=2 * first.inside.memory)
    looks = [bounded.look("me", "stripes", encoded(np.full((28, 28), k, np.uint8))) for k in range(3)]
    assert [bounded.find("me", each.id) is not None for each in looks] == [False, True, True]
    assert bounded.find("you", looks[2].id) is None


def test_outputs_of_any_shape_are_drawn() -> None:
    assert tiles(torch.tensor(1.0)) is None
    folded = tiles(torch.arange(1.0, 51.0))
    assert folded is not None
    assert folded.shape == (1, 7, 8)
    assert folded.isnan().sum() == 6
    sheet = draw_sheet(torch.tensor([-2.0, 0.0, float("nan"), float("inf"), 1.0]), 8, 40)
    assert sheet is not None
    assert list(sheet.codes)[1:4] == [128, 0, 255]
    assert sheet.codes[0] < 128 < sheet.codes[4]
    assert plain({"a": [float("nan"), 1.0]}) == {"a": [None, 1.0]}


def test_steps_stop_where_numbers_meet() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            twice: torch.Tensor = torch.relu(y) + y
            return twice

    inside = Inspection(Twice().eval(), torch.randn(1, 1, 5, 5))
    steps, asked = steps_of(inside, "conv", (0, 1, 1))
    assert [step.layer for step in steps] == ["conv"]
    steps, asked = steps_of(inside, ":relu", (0, 1, 1))
    assert [step.layer for step in steps] == ["conv", ":relu"]
    assert asked == 1
    steps, asked = steps_of(inside, ":add", (0, 1, 1))
    assert [step.layer for step in steps] == [":add"]


def test_explanations_at_once_do_not_meet(studio: Studio) -> None:
    kept = Inspections(studio.shelf)
    look = kept.look("me", SMALL, encoded(NOISE))
    with kept.explaining(look) as network:
        network.register_forward_hook(lambda *_: pytest.fail("a look met an explanation"))
        kept.look("me", SMALL, encoded(NOISE[::-1].copy()))
        network._forward_hooks.clear()
    alone = EXPLANATIONS["grad_cam"].explain(look.model.module, look.image, 1)
    explain = EXPLANATIONS["grad_cam"].explain

    def once(_: int) -> torch.Tensor:
        with kept.explaining(look) as network:
            found: torch.Tensor = explain(network, look.image, 1)
            return found

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(once, range(8)):
            torch.testing.assert_close(found, alone)


@pytest.mark.slow
def test_a_picture_is_dropped_and_a_number_walked_back_to_its_pixel(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.open(f"/inside?model={SMALL}")
    bad = tmp_path / "program.png"
    bad.write_bytes(b"MZ\x90\x00 this program cannot be run in DOS mode")
    page.get_by_text("This network has random weights").wait_for()
    page.set_input_files("input[type=file]", bad)
    page.get_by_role("alert").wait_for()
    page.set_input_files("input[type=file]", {"name": "noise.png", "mimeType": "image/png", "buffer": encoded(NOISE)})
    page.get_by_role("alert").wait_for(state="detached")
    layers = page.get_by_role("region", name="Layers")
    layers.get_by_role("button", name=re.compile(r"^layer1\.0\.conv2 ")).click()
    layers.locator("li.chosen canvas").wait_for()
    # Hovering, by keyboard: the second number of the third row sees 7 x 7 pixels, cut at the borders.
    plane = page.get_by_role("slider", name=re.compile("^Map of layer1.0.conv2, channel"))
    plane.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    page.get_by_text("rows 0 to 5, columns 0 to 4: 6 × 5 pixels").wait_for()
    assert re.fullmatch(r"\d+, 2, 1: [+−].*", plane.get_attribute("aria-valuetext") or "")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=re.compile(r"^Arithmetic of layer1\.0\.conv2 \[\d+, 2, 1\]")).wait_for()
    link = page.url
    crumbs = page.get_by_role("navigation", name="The way back").get_by_role("button")
    for depth in range(1, 9):
        assert_totals_agree(page)
        page.locator("[aria-label^='Patch of'] button:not([tabindex='-1']), ul button.cell").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        until(lambda depth=depth: crumbs.count() == depth)  # type: ignore[misc]
        until(lambda: page.locator("section.stale").count() == 0)
        if (found := re.search(r"[?&]layer=input&unit=(\d+),(\d+),(\d+)", page.url)) is not None:
            break
    assert found is not None
    channel, row, column = map(int, found.groups())
    page.get_by_text("This is the image: there is nothing before it").wait_for()
    assert page.get_by_text(f"The pixel's value is {NOISE[row, column, channel]} of 255").is_visible()
    crumbs.first.click()
    page.get_by_role("heading", name="Arithmetic of layer1.0.conv2").wait_for()
    assert visitor.serious() == []
    # What is shared holds no picture: another reader sees the same number of a sample.
    assert len(link) < 200
    visitor.open(link.removeprefix(visitor.studio.address))
    page.get_by_role("heading", name="Arithmetic of layer1.0.conv2").wait_for()
    assert [error for error in visitor.errors if "422" not in error] == []


def assert_totals_agree(page: Page) -> None:
    """What is recomputed and what the network has are the same to the digits that are shown, but for the last ones."""
    page.locator("[data-testid='total']").first.wait_for()
    for total, own in zip(
        page.locator("[data-testid='total']").all_text_contents(),
        page.locator("[data-testid='network']").all_text_contents(),
        strict=True,
    ):
        assert as_number(total) == pytest.approx(as_number(own), rel=1e-4, abs=1e-6)


def as_number(text: str) -> float:
    return float(text.replace("−", "-"))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_a_class_is_explained_and_the_explanation_checked(visit: Callable[..., Visitor], width: int, scheme: str) -> None:
    visitor = visit(width, scheme)
    page = visitor.open(f"/inside?model={SMALL}&layer=conv1&unit=3,4,5&sample=demo-fashion:2")
    page.get_by_role("heading", name="Arithmetic of conv1").wait_for()
    page.get_by_role("list", name="Classes").get_by_role("button").nth(1).click()
    page.get_by_text("arXiv:1610.02391").wait_for()
    page.get_by_label(re.compile("^What speaks for")).select_option("saliency")
    assert "method=saliency" in page.url
    page.get_by_role("button", name="Sanity check: does it depend on the weights?").click()
    page.get_by_text(re.compile("^Saliency (hardly )?depends on the weights")).wait_for(timeout=60_000)
    assert visitor.serious() == []
    assert visitor.overflow() <= 0
    assert visitor.errors == []
