"""A studio to ask: in this process for its answers, as a program of its own for real browsers."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from striate.studio.app import STATIC, make_app
from striate.studio.opened import Opened
from striate.studio.studio import Studio

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WEB = STATIC.parent / "web"
PORT = 8731
BASE = f"http://127.0.0.1:{PORT}"

BROWSER_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


@pytest.fixture(scope="session")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three kinds of stripes, 28 x 28 grey: 90 to train on, 18 to test; the last picture is the first again."""
    draw = np.random.default_rng(0)
    labels = np.arange(108) % 3
    y, x = np.mgrid[:28, :28]
    waves = np.stack([np.sin(y), np.sin(x), np.sin(x + y)])[labels]
    images = (127 + 90 * waves + draw.normal(0, 12, (108, 28, 28))).clip(0, 255).astype(np.uint8)
    images[-1], labels[-1] = images[0], labels[0]
    path = tmp_path_factory.mktemp("data") / "patterns.npz"
    names = np.array(["across", "down", "diagonal"])
    parts = {"train": slice(90), "test": slice(90, None)}
    arrays = {
        f"{part}_{what}": array[at] for part, at in parts.items() for what, array in (("images", images), ("labels", labels))
    }
    np.savez(path, classes=names, **arrays)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes of twelve small pictures, one of them a copy under another class, and one that is none."""
    root, draw = tmp_path_factory.mktemp("photos") / "fruit", np.random.default_rng(1)
    for kind, name in enumerate(("apple", "banana", "cherry")):
        (root / name).mkdir(parents=True)
        for i in range(12):
            picture = draw.integers(0, 90, (20, 24, 3)).astype(np.uint8)
            picture[..., kind] += 120
            Image.fromarray(picture).save(root / name / f"{i}.png")
    shutil.copyfile(root / "apple" / "0.png", root / "banana" / "copy.png")
    (root / "cherry" / "broken.png").write_bytes(b"MZ\x90\x00 this program cannot be run in DOS mode")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, patterns: Path) -> Path:
    """A run that is done: copied into each test's own folder of runs."""
    from striate.experiment import train

    out = tmp_path_factory.mktemp("trained") / "stripes"
    train(patterns, "mlp", out=out, epochs=2, batch=16, probe=False, device="cpu", workers=0)
    return out


@pytest.fixture
def studio(tmp_path: Path, patterns: Path, photos: Path, trained: Path) -> Studio:
    """A studio with a run ``stripes``, the data ``patterns`` and ``fruit``."""
    shutil.copytree(trained, tmp_path / "runs" / "stripes")
    return Studio(Opened.from_paths([str(patterns), str(photos)], home=tmp_path / "runs"))


@pytest.fixture
def stranger(studio: Studio) -> TestClient:
    """A browser without a key."""
    return TestClient(make_app(studio), base_url=BASE, raise_server_exceptions=False)


@pytest.fixture
def client(studio: Studio, stranger: TestClient) -> TestClient:
    """A browser that opened the link."""
    answer = stranger.post("/session", json={"token": studio.keys.new_token()})
    assert answer.status_code == 200
    return stranger


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind)
    return file.getvalue()


@dataclass
class Running:
    """`striate studio` as a process of its own."""

    process: subprocess.Popen[str]
    link: str

    @property
    def address(self) -> str:
        return self.link.partition("/#")[0]

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)


def start(folder: Path, *words: str | Path, port: int = 0) -> Running:
    """Starts the studio in a folder and waits for its link."""
    command = [sys.executable, "-m", "striate", "studio", *map(str, words), "--no-browser", "--port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STRIATE_CACHE": str(folder / "cache")}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found is not None, line
    return Running(process, found[0])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, patterns: Path, photos: Path, trained: Path) -> Iterator[Running]:
    """The studio on the data ``patterns`` and ``fruit``, with two runs that are done; a test needs the built page."""
    if not (STATIC / "index.html").exists():
        pytest.skip("needs the studio's page (make web)")
    folder = tmp_path_factory.mktemp("studio")
    for name in ("stripes", "stripes-again"):
        shutil.copytree(trained, folder / "runs" / name)
    started = start(folder, patterns, photos)
    yield started
    started.end()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, which asks nobody outside."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(BROWSER_ARGUMENTS))
        yield opened
        opened.close()


class Visitor:
    """A browser context in the studio, that remembers what went wrong and what was asked of whom."""

    def __init__(self, browser: Browser, studio: Running, width: int = 1440, scheme: str = "light") -> None:
        size = {"width": width, "height": 900}
        self.context: BrowserContext = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.studio, self.errors, self.asked = studio, [], []
        self.page.set_default_timeout(20_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda told: self.errors.append(told.text) if told.type == "error" else None)

    def enter(self) -> Visitor:
        """Opens a link from the terminal, as another browser of the same machine does: with a token of its own."""
        self.page.goto(self.studio.link)
        self.page.get_by_role("navigation").wait_for()
        self.page.wait_for_function("document.querySelector('.gate') === null")
        return self

    def open(self, path: str) -> Page:
        """Opens an address of the studio."""
        self.page.goto(self.studio.address + path)
        return self.page

    def serious(self) -> list[str]:
        """What axe-core finds to be serious or worse."""
        code = WEB / "node_modules" / "axe-core" / "axe.min.js"
        if not code.exists():
            pytest.skip("needs axe-core (make web)")
        self.page.evaluate(code.read_text())
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        return [f"{each['id']}: {each['nodes'][0]['target']}" for each in found if each["impact"] in ("serious", "critical")]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.fixture
def visit(browser: Browser, running: Running) -> Iterator[Callable[..., Visitor]]:
    """``visit(width, scheme)``: a browser that is in."""
    opened: list[Visitor] = []

    def make(width: int = 1440, scheme: str = "light") -> Visitor:
        visitor = Visitor(browser, running, width, scheme)
        opened.append(visitor)
        if not _KEYS.get(running.link):
            visitor.enter()
            _KEYS[running.link] = visitor.context.cookies()  # type: ignore[assignment]
        visitor.context.add_cookies(_KEYS[running.link])  # type: ignore[arg-type]
        return visitor

    yield make
    for visitor in opened:
        visitor.context.close()


_KEYS: dict[str, list[object]] = {}
"""Cookies by the link that was traded for them: a link is good once."""


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
