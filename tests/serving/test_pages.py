"""The two pages in a real browser."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from colours import png, process
from PIL import Image

from striate.prediction import load
from striate.serving.emitting import emit

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Any:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


@pytest.fixture(scope="module")
def ort_web() -> Path:
    folder = Path(os.environ.get("STRIATE_ORT_WEB", ROOT / "node_modules" / "onnxruntime-web" / "dist"))
    if not folder.is_dir():
        pytest.skip("needs onnxruntime-web (tools/ort_web.sh)")
    return folder


def answers(page: Any, count: int) -> list[str]:
    """What is said of each file, the first one first."""
    page.locator(".answer").nth(count - 1).wait_for()
    return [card.inner_text() for card in reversed(page.locator(".answer").all())]


def test_served_page(page: Any, tmp_path: Path) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    with process(tmp_path, token="secret") as server:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.locator("#token").fill("secret")
        page.keyboard.press("Enter")
        page.locator("#subtitle", has_text="256 classes").wait_for()
        for name, data in (("a.png", png(77)), ("b.png", b"no image")):
            (tmp_path / name).write_bytes(data)
        page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "b.png"])
        first, second = answers(page, 2)
        assert first.split("\n")[:2] == ["a.png", "grey77"]
        assert "not a picture" in second
        page.goto(f"{server.url}/#token=secret")
        page.reload()
        page.locator("#subtitle", has_text="256 classes").wait_for()
        assert {url for url in asked if not url.startswith((server.url, "blob:", "data:"))} == set()
    assert problems == []


def picture(seed: int) -> Image.Image:
    """Smooth, so that decoders differ by little."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((90 + 7 * seed, 70), Image.Resampling.BICUBIC)


def test_page_that_runs_the_model_itself(browser: Any, ort_web: Path, onnx_fruit: Path, tmp_path: Path) -> None:
    (page_path,) = emit("html", [str(onnx_fruit)], tmp_path / "page", ort_web=ort_web)
    (tmp_path / "alone").mkdir()
    alone = page_path.rename(tmp_path / "alone" / "fruit.html")  # nothing beside it
    files = []
    for seed in range(6):
        exif = Image.Exif()
        exif[0x0112] = 1 + seed
        stream = io.BytesIO()
        if seed % 2:
            picture(seed).save(stream, "JPEG", quality=95, subsampling=0, exif=exif)
        else:
            picture(seed).save(stream, "PNG")
        files.append(tmp_path / f"{seed}.{'jpg' if seed % 2 else 'png'}")
        files[-1].write_bytes(stream.getvalue())
    context = browser.new_context(offline=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(alone.as_uri())
    page.set_input_files("#files", files)
    said = answers(page, len(files))
    expected = load(onnx_fruit.with_name("fruit.safetensors")).predict(files)
    for text, prediction in zip(said, expected, strict=True):
        lines = text.split("\n")
        assert lines[1] == prediction.label, (text, prediction)
        # Half of the last digit shown, and a level of difference between two decoders of JPEG.
        assert float(lines[2].removesuffix(" %")) == pytest.approx(100 * (prediction.probability or 0), abs=0.5)
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob", "data"}
    assert len({prediction.label for prediction in expected}) > 1
