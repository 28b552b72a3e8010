"""The convolution lab in Chromium: what a student does there, by mouse, by keyboard, by touch and by a link."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from striate import kernels

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.slow
GOLDEN = {item["id"]: item for item in json.loads((Path(__file__).parents[1] / "papers" / "golden.json").read_text())}
VERTICAL = GOLDEN["s0.conv6x6.vertical"]
Visit = Callable[..., Any]


def grid(page: Page, name: str) -> Locator:
    return page.get_by_role("grid", name=name, exact=True)


def cell(page: Page, name: str, row: int, column: int) -> Locator:
    return grid(page, name).get_by_role("row").nth(row).get_by_role("gridcell").nth(column)


def numbers(page: Page, name: str = "Output") -> list[list[float]]:
    """What a grid shows."""
    grid(page, name).get_by_role("row").first.wait_for()
    rows = grid(page, name).get_by_role("row").all()
    return [[float(text.replace("−", "-")) for text in row.get_by_role("gridcell").all_inner_texts()] for row in rows]


def query(page: Page) -> dict[str, str]:
    # Not `page.url`, which hears of a change only later.
    return {name: values[0] for name, values in parse_qs(page.evaluate("location.search.slice(1)")).items()}


def heading(page: Page) -> str:
    return page.locator("#formula").inner_text()


def drag(page: Page, start: Locator, end: Locator) -> None:
    places = [
        (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in (start.bounding_box(), end.bounding_box()) if box
    ]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def test_the_window_moves_by_mouse_and_by_keys(visit: Visit) -> None:
    page = visit().open("/lab")
    assert numbers(page) == VERTICAL["expected"]
    drag(page, cell(page, "Input", 1, 1), cell(page, "Input", 3, 4))
    assert query(page)["at"] == "0,2,3"
    assert f"row 2, column 3 = {VERTICAL['expected'][2][3]}".replace("-", "−") in heading(page)
    cell(page, "Output", 0, 3).click()
    page.keyboard.press("ArrowDown")
    assert "row 1, column 3" in heading(page)
    cell(page, "Input", 5, 5).click()
    page.keyboard.press("Shift+ArrowLeft")
    assert "row 1, column 2" in heading(page)


def test_a_cell_is_edited_and_back_is_undo(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/lab")
    cell(page, "Input", 0, 0).click()
    page.keyboard.type("-7")
    page.keyboard.press("Enter")
    assert numbers(page)[0][0] == VERTICAL["expected"][0][0] - 10
    page.keyboard.press("ArrowRight")
    page.keyboard.type("9q")
    page.keyboard.press("Enter")
    assert "“9q” is no number" in page.get_by_role("alert").inner_text()
    page.keyboard.press("Escape")
    assert cell(page, "Input", 0, 1).inner_text() == str(VERTICAL["input"][0][1])
    cell(page, "Kernel", 1, 1).dblclick()
    page.keyboard.type("1/3")
    page.keyboard.press("Enter")
    address = page.evaluate("location.pathname + location.search")
    changed = numbers(page)
    page.go_back()
    page.go_back()
    page.wait_for_function("location.search === ''")
    assert numbers(page) == VERTICAL["expected"]
    # What another reader sees who is sent the address.
    assert numbers(visitor.open(address)) == changed
    assert visitor.errors == []


def test_it_plays_by_the_space_bar(visit: Visit) -> None:
    page = visit().open("/lab")
    page.get_by_role("heading", name="Convolution lab").wait_for()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_text("Window 3 of 16").wait_for()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play").wait_for()
    assert query(page)["at"] >= "0,0,2"
    page.get_by_role("button", name="One step back").click()
    assert "row 0, column" in heading(page)


def test_sliders_change_the_arithmetic_and_say_what_is_dropped(visit: Visit) -> None:
    page = visit().open("/lab?example=s1.shape.7_3_s1")
    page.get_by_label("Stride").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert np.shape(numbers(page)) == (2, 2)
    dropped = grid(page, "Input").get_by_role("gridcell", name="dropped")
    assert dropped.count() == 13
    assert "13 pixels of 49 are dropped" in page.get_by_role("region", name="Size of the output").inner_text()
    page.get_by_label("Padding", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert np.shape(numbers(page)) == (3, 3)
    page.get_by_label("Dilation").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Padding", exact=True).focus()
    page.keyboard.press("ArrowLeft")
    assert "does not fit into 7 pixels" in page.locator(".notice").inner_text()


def test_channels_filters_and_groups(visit: Visit) -> None:
    page = visit().open("/lab")
    for label in ("Channels of the input", "Filters"):
        page.get_by_label(label).focus()
        page.keyboard.press("End")
    page.get_by_text("4", exact=True).and_(page.locator("label span")).click()
    assert query(page)["groups"] == "4"
    cell(page, "Output 2", 1, 1).click()
    assert grid(page, "Kernel of filter 2 for channel 2").count() == 1
    assert "not read" in page.get_by_text("Channel 0").locator("..").inner_text()
    assert "of filter 2" in heading(page)


@pytest.mark.parametrize("name", [name for name, item in GOLDEN.items() if item["slide_matches"] is False and item["input"]
                                  and item["op"] in ("conv2d_cross_correlation", "max_pool2d", "avg_pool2d")])  # fmt: skip
def test_what_the_lectures_print_wrong_is_said(visit: Visit, name: str) -> None:
    page = visit().open(f"/lab?example={name}")
    np.testing.assert_allclose(numbers(page), GOLDEN[name]["expected"], atol=0.005)
    marked = grid(page, "Output").get_by_role("gridcell", name="the lecture printed")
    assert marked.count() == len(GOLDEN[name].get("wrong_cells", [0]))
    assert "prints this wrong" in page.locator(".notice").inner_text()


def test_a_number_is_predicted_then_revealed(visit: Visit) -> None:
    page = visit().open("/lab?ask=value")
    card = page.get_by_role("region", name="Predict first")
    assert set(grid(page, "Output").get_by_role("gridcell").all_inner_texts()) == {"?"}
    assert "=" not in heading(page)
    answer = card.get_by_label("Number", exact=True)
    answer.fill("4")
    answer.press("Enter")
    card.get_by_text("Not yet").wait_for()
    card.get_by_role("button", name="Hint").click()
    card.get_by_text("Add the 9 products").wait_for()
    answer.fill("−5")
    answer.press("Enter")
    card.get_by_text("2 + (−7) + 0 = −5").wait_for()
    assert "0 of 1 at the first try" in card.inner_text()
    page.keyboard.press("Enter")  # the next number has the focus
    card.get_by_text("row 0, column 1").wait_for()
    page.keyboard.type(str(VERTICAL["expected"][0][1]))
    page.keyboard.press("Enter")
    card.get_by_text("1 of 2 at the first try").wait_for()
    assert grid(page, "Output").get_by_role("gridcell").all_inner_texts()[:3] == ["−5", "−4", "?"]


def test_sizes_dropped_pixels_and_parameters_are_asked(visit: Visit) -> None:
    page = visit().open("/lab?example=s2.shape.7_3_s3&ask=size")
    card = page.get_by_role("region", name="Predict first")
    assert grid(page, "Output").count() == 0
    for label in ("Rows", "Columns"):
        card.get_by_label(label, exact=True).fill("2")
    card.get_by_role("button", name="Check").click()
    card.get_by_text("Right, at the first try.").wait_for()
    assert np.shape(numbers(page)) == (2, 2)
    card.get_by_text("Dropped pixels").click()
    assert grid(page, "Input").get_by_role("gridcell", name="dropped").count() == 0
    card.get_by_role("button", name="Show me").click()
    assert grid(page, "Input").get_by_role("gridcell", name="dropped").count() == 13
    card.get_by_text("Parameters", exact=True).click()
    card.get_by_role("textbox").fill("10")
    card.get_by_role("button", name="Check").click()
    card.get_by_text("1 · (3 · 3 · 1 + 1) = 10").wait_for()


def test_an_address_that_cannot_be_is_explained(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/lab?stride=0&input=1,2/3&kernel=%3Cscript%3E&at=9,999,999&example=none")
    assert re.search(r"cannot be \(.*example.*input.*kernel.*stride.*\)", page.locator(".notice").inner_text())
    assert np.shape(numbers(page)) == (4, 4)
    assert visitor.errors == []


def canvas(page: Page, which: int) -> np.ndarray:
    """The pixels of a canvas, as [H, W, 4]."""
    address = page.locator("canvas").nth(which).evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA"))


def test_a_photo_is_filtered_in_the_page_alone(visit: Visit, tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    picture = (127 + 100 * np.sin(x / 5) * np.cos(y / 7)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "waves.png")
    visitor = visit()
    page = visitor.open("/lab?view=picture&show=clip")
    page.get_by_label("Filter").select_option("sharpen")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method != "GET" or "/api/" in request.url else None)
    page.locator("input[type=file]").set_input_files(tmp_path / "waves.png")
    page.wait_for_function("document.querySelector('canvas').width === 64")
    expected = kernels.apply_kernel(picture, kernels.find_kernel("sharpen"))
    assert np.abs(canvas(page, 1)[..., 0].astype(int) - expected).max() <= 1  # a canvas rounds half to even
    page.get_by_text("Magnitude").click()
    page.get_by_label("Filter").select_option("sobel_top")
    page.wait_for_function("location.search.includes('magnitude')")
    expected = kernels.apply_kernel(picture, kernels.find_kernel("sobel_top"), show="magnitude")
    assert np.abs(canvas(page, 1)[..., 0].astype(int) - expected).max() <= 1
    # The pixels around the probe, as the lab's input: the window lies on the probe.
    response = page.locator("p[aria-live] b").inner_text()
    page.get_by_role("button", name="These pixels as numbers").click()
    assert heading(page).partition("= ")[2] == response
    assert sent == []
    (tmp_path / "not.png").write_bytes(b"MZ\x90\x00")
    page = visitor.open("/lab?view=picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "not.png")
    assert "could not be opened as an image" in page.get_by_role("alert").inner_text()
    assert visitor.errors == []


def test_signs_are_seen_without_colours(visit: Visit) -> None:
    page = visit().open("/lab?view=picture&contrast=8")
    alpha, red, blue = (canvas(page, 1)[..., channel].astype(int) for channel in (3, 0, 2))
    negative = (alpha > 200) & (red > blue)
    positive = (alpha > 200) & (red < blue)
    assert negative.any()
    assert positive.any()
    diagonal = np.add(*np.indices(alpha.shape)) % 4 == 0
    assert not (negative & diagonal).any()  # hatched: every fourth diagonal is empty
    assert (positive & diagonal).any()


def test_the_camera_runs_and_its_refusal_is_explained(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/lab?view=picture&colours=rgb")
    page.get_by_label("Filter").select_option("curve")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_text("pictures a second").wait_for()
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_text("pictures a second").wait_for(state="detached")
    page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError')) }"
    )
    page.get_by_role("button", name="Use the camera").click()
    assert "allow it in the browser" in page.get_by_role("alert").inner_text()
    assert visitor.errors == []


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_for_every_reader(visit: Visit, width: int, scheme: str) -> None:
    visitor = visit(width, scheme)
    for path in ("/lab?example=s0.conv5x5.xfilter.same", "/lab?example=s3.pool.5x5.floor", "/lab?example=s0.shape.rgb2&ask=value",
                 "/lab?dilation=3", "/lab?view=picture", "/lab?example=s1.lincoln24x16.blur141"):  # fmt: skip
        page = visitor.open(path)
        page.get_by_role("heading", name="Convolution lab").wait_for()
        assert visitor.serious() == [], path
        assert visitor.overflow() == 0, path
    assert visitor.errors == []


def test_on_a_projector(visit: Visit) -> None:
    visitor = visit(1920)
    page = visitor.open("/lab")
    box = cell(page, "Input", 0, 0).bounding_box()
    assert box is not None
    assert box["height"] >= 50
    assert visitor.overflow() == 0


def test_a_cell_is_edited_by_touch(visit: Visit) -> None:
    page = visit(390).open("/lab")
    cell(page, "Input", 4, 4).click()
    assert page.get_by_label("New number").count() == 0
    cell(page, "Input", 4, 4).click()
    page.get_by_label("New number").fill("100")
    page.get_by_label("New number").press("Enter")
    assert "100" in query(page)["input"]
