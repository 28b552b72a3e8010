"""The studio in real Chromium: a user's path through each screen, by pointer and by keyboard, and what goes wrong on the way."""

from __future__ import annotations

import gzip
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from studio_running import Running, Visitor, encoded, start, until

from striate.studio.app import STATIC

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

Visit = Callable[..., Visitor]

SCREENS = ("/zoo?network=lenet5", "/zoo?view=history", "/zoo?view=separable", "/runs?run=stripes&compare=stripes,stripes-again",
           "/data?data=fruit", "/data?data=fruit&view=pictures", "/data?data=fruit&view=duplicates",
           "/data?data=patterns&view=map", "/train", "/train?run=stripes", "/try?model=stripes",
           "/network?network=resnet20_cifar&layer=conv1", "/network?network=alexnet&input=3x20x20&view=drawing",
           "/inside?model=stripes", "/inside?model=resnet20_cifar@untrained&layer=conv1&unit=3,4,5")  # fmt: skip
FIRST_LOAD = 300_000
"""Bytes, compressed, of all that the first page takes."""


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_screen_can_be_read_by_everybody(visit: Visit, width: int, scheme: str) -> None:
    visitor = visit(width, scheme)
    for path in SCREENS:
        page = visitor.open(path)
        page.locator("h1").wait_for()
        page.wait_for_timeout(400)
        assert visitor.serious() == [], path
        assert visitor.overflow() <= 0, path
    assert visitor.errors == []
    assert all(url.startswith((visitor.studio.address, "data:", "blob:")) for url in visitor.asked)
    # What a keyboard reaches first: the way past the navigation.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the screen"


def test_the_first_page_is_light(visit: Visit) -> None:
    visitor = visit()
    visitor.asked.clear()
    page = visitor.open("/")
    page.locator("h1").wait_for()
    files = [url.removeprefix(visitor.studio.address) for url in visitor.asked if "/assets/" in url]
    assert len(files) > 3
    page_itself = gzip.compress((STATIC / "index.html").read_bytes())
    assert sum(len(gzip.compress((STATIC / file.lstrip("/")).read_bytes())) for file in files) + len(page_itself) < FIRST_LOAD
    assert sum(path.stat().st_size for path in (STATIC / "assets").iterdir()) > sum(
        (STATIC / f.lstrip("/")).stat().st_size for f in files
    )


def test_the_zoo_is_walked(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/zoo")
    page.locator("circle[tabindex='0']").focus()
    first = page.evaluate("document.activeElement.dataset.network")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.network")
    assert second != first
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=second, exact=True).wait_for()
    assert f"network={second}" in page.url
    page.locator("circle[data-network='resnet50']").click()
    page.get_by_text("25,557,032").wait_for()
    page.get_by_text(re.compile(r"rows agree")).wait_for()
    page.reload()
    page.get_by_role("heading", name="resnet50", exact=True).wait_for()
    page.go_back()
    page.get_by_role("heading", name=second, exact=True).wait_for()
    page.get_by_text("History", exact=True).click()
    page.get_by_role("button", name="MobileNet", exact=True).click()
    page.get_by_text("4,231,976").wait_for()


def test_a_separable_convolution_is_calculated(visit: Visit) -> None:
    page = visit().open("/zoo?view=separable")
    page.get_by_text("8.8 times fewer").wait_for()
    page.get_by_label("Kernel, K × K").focus()
    page.keyboard.press("ArrowRight")
    # 1 / 512 + 1 / 25
    page.get_by_text("0.0420").wait_for()
    assert "k=5" in page.url
    page.get_by_role("button", name="Few outputs: little gain").click()
    page.get_by_text("1.6 times fewer").wait_for()


def test_runs_are_compared_renamed_and_deleted(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/runs")
    for name in ("stripes", "stripes-again"):
        page.get_by_label(f"Compare {name}", exact=True).check()
    chart = page.get_by_role("slider", name=re.compile("^Validation accuracy"))
    chart.focus()
    page.keyboard.press("Home")
    words = chart.get_attribute("aria-valuetext") or ""
    assert words.startswith("epoch 1: stripes ")
    assert "stripes-again" in words
    page.get_by_text("training loss", exact=True).click()
    assert "curve=training" in page.url
    page.get_by_role("link", name="stripes-again", exact=True).click()
    page.get_by_role("button", name="Rename").click()
    field = page.get_by_label("New name of its folder")
    field.fill("a/b")
    field.press("Enter")
    page.get_by_role("alert").wait_for()
    field.fill("for good")
    field.press("Enter")
    page.get_by_role("heading", name="for good").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="for good").wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_role("link", name="for good").wait_for(state="detached")
    assert "run=" not in page.url
    with visitor.context.expect_page() as opened:
        page.get_by_role("link", name="stripes", exact=True).click()
        page.get_by_role("link", name="Report").click()
    report = opened.value
    report.locator("h2").first.wait_for()
    # A stranger: it sees neither the studio's storage nor its data.
    assert report.evaluate("window.origin") == "null"
    assert report.evaluate("fetch('/api/zoo').then(() => 'answered', () => 'refused')") == "refused"


def test_pictures_are_tried(visit: Visit, tmp_path: Path, patterns: Path) -> None:
    visitor = visit()
    page = visitor.open("/try?model=stripes")
    images, labels = np.load(patterns)["test_images"], np.load(patterns)["test_labels"]
    picture, program, text = tmp_path / "stripes.png", tmp_path / "program.png", tmp_path / "notes.txt"
    picture.write_bytes(encoded(images[3]))
    program.write_bytes(b"MZ\x90\x00" + bytes(100))
    text.write_text("no picture")
    page.set_input_files("input[type=file]", [picture, program, text])
    answers = page.get_by_role("list", name="Answers").locator("> li")
    answers.first.locator(".present").wait_for()
    assert answers.first.locator("h2").text_content() == "stripes.png"
    assert answers.first.locator(".present .label").text_content() == ("across", "down", "diagonal")[labels[3]]
    answers.first.get_by_role("button", name="diagonal").click()
    answers.first.get_by_text("no feature map for Grad-CAM").wait_for()
    for i in (1, 2):
        assert "Not a picture" in (answers.nth(i).get_by_role("alert").text_content() or "")
    # Refused by the page itself: a file that is too large, an empty one, and a folder.
    drop = """([size, name]) => { const given = new DataTransfer(); given.items.add(new File([new ArrayBuffer(size)], name));
        document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: given, bubbles: true })); }"""
    page.evaluate(drop, [200 * 2**20, "huge.png"])
    page.get_by_text("200 MB").wait_for()
    page.evaluate(drop, [0, "empty.png"])
    page.get_by_text("This file is empty").wait_for()
    page.get_by_role("button", name="Use the camera").click()
    page.locator("video").wait_for()
    page.locator(".stack > div .present").first.wait_for()
    page.get_by_role("button", name="Stop the camera").click()
    assert page.locator("video").count() == 0
    assert "striate.load" in (page.locator("pre").first.text_content() or "")


def test_data_are_looked_at_and_a_label_put_right(visit: Visit, photos: Path) -> None:
    visitor = visit()
    page = visitor.open("/data?data=fruit")
    page.get_by_role("link", name="1 with different labels").click()
    pictures = page.get_by_role("list", name="Pictures").get_by_role("button")
    assert pictures.count() == 2
    pictures.nth(1).click()
    page.get_by_text("banana/copy.png").wait_for()
    page.get_by_label("The right label").fill("apple")
    page.keyboard.press("Enter")
    page.get_by_text("was banana").wait_for()
    page.get_by_text("striate train csv:").wait_for()
    page.get_by_text("Duplicates", exact=True).click()
    page.get_by_text("Equal pixels").wait_for()
    assert page.locator("figcaption").all_text_contents() == ["apple/0.png", "banana/copy.png"]
    page.get_by_text("Map", exact=True).click()
    plane = page.get_by_role("slider", name=re.compile("^Map of 37 pictures"))
    plane.focus()
    page.keyboard.press("ArrowRight")
    before = plane.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert plane.get_attribute("aria-valuetext") != before
    page.locator(".tip img").wait_for()
    assert (photos / "banana" / "copy.png").exists()


def test_a_training_is_begun_watched_and_broken(visit: Visit) -> None:
    visitor = visit()
    page = visitor.open("/train?data=demo-fashion&network=fashion_cnn&epochs=200")
    page.get_by_label("Learning rate × 100").check()
    assert "preset=rate" in page.url
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Pause").wait_for(timeout=120_000)
    page.locator("canvas").wait_for(timeout=120_000)
    page.get_by_role("heading", name="The same 16 pictures").wait_for()
    other = visit(390)
    page_of_other = other.open(page.url.removeprefix(visitor.studio.address))
    page_of_other.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused").wait_for()
    page_of_other.get_by_text("Paused").wait_for()
    page_of_other.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.get_by_role("button", name="Stop and save").click()
    page.get_by_text("It was stopped, and everything is saved").wait_for(timeout=60_000)
    assert visitor.serious() == []


def test_a_shared_link_explains_itself_and_goes_on(browser: Browser, running: Running) -> None:
    visitor = Visitor(browser, running)
    page = visitor.open("/runs?run=stripes")
    page.get_by_text("This browser has no key").wait_for()
    assert page.url.endswith("/runs?run=stripes")
    assert visitor.serious() == []
    # The link is opened in another tab, and this one goes on by itself.
    page.goto(running.address + "/lab")
    page.get_by_text("This browser has no key").wait_for()
    page.goto(f"{running.address}/runs?run=stripes#token=wrong")
    page.get_by_text("was opened before").wait_for()
    assert "token" not in page.url
    visitor.context.close()


def test_the_studio_ends_and_starts_again(browser: Browser, trained: Path, tmp_path: Path) -> None:
    if not (STATIC / "index.html").exists():
        pytest.skip("needs the studio's page (make web)")
    shutil.copytree(trained, tmp_path / "runs" / "stripes")
    first = start(tmp_path)
    port = int(first.address.rpartition(":")[2])
    visitor = Visitor(browser, first).enter()
    page = visitor.open("/runs?run=stripes")
    page.get_by_role("heading", name="stripes").wait_for()
    first.end(signal.SIGKILL)
    page.get_by_text("The studio has stopped").wait_for()
    second = start(tmp_path, port=port)
    try:
        page.get_by_text("This browser has no key").wait_for()
        assert page.url.endswith("/runs?run=stripes")
        other = visitor.context.new_page()
        other.goto(second.link)
        # The first tab comes back to life, where it was.
        until(lambda: page.locator(".gate").count() == 0)
        page.get_by_role("link", name="stripes", exact=True).wait_for()
    finally:
        second.end()
    visitor.context.close()
