"""The report in a browser: clicks, keys, themes and widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from run_folders import epoch_rows, guesses, make_run, write_run

from striate.data.formats import open_source
from striate.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run on the small Fashion-MNIST."""
    rows = epoch_rows(30, overfits=True)
    return write_report(make_run(tmp_path_factory.mktemp("runs") / "run", open_source("demo:fashion"), rows))


class Visit:
    """A page in a browser that remembers what it asked for and what went wrong."""

    def __init__(self, browser: Browser, path: Path, width: int = 1440, scheme: Literal["light", "dark"] = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.goto(path.resolve().as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def matrix(self) -> dict[str, Any]:
        """What the matrix is drawn from."""
        data: dict[str, Any] = self.page.evaluate("JSON.parse(document.getElementById('confusion-data').textContent)")
        return data

    def shown(self) -> tuple[str, int]:
        """The heading beside the matrix, and how many of its pictures have really loaded."""
        heading = self.page.text_content("#shown h3") or ""
        loaded = self.page.evaluate(
            "[...document.querySelectorAll('#shown img')].filter(i => i.complete && i.naturalWidth).length"
        )
        return heading, int(loaded)


def test_a_click_on_a_cell_shows_its_images(browser: Browser, report: Path) -> None:
    with Visit(browser, report) as visit:
        data = visit.matrix()
        assert visit.shown()[1] == len(data["cells"][0][3])
        true, said, count, members = next(cell for cell in data["cells"][1:] if cell[0] != cell[1])
        cell = visit.page.locator(f"#matrix td[data-true='{true}'][data-said='{said}']")
        assert cell.text_content() == str(count)
        cell.click()
        visit.page.wait_for_timeout(50)
        assert visit.shown() == (f"{data['classes'][true]}, taken for {data['classes'][said]}", len(members))
        assert cell.get_attribute("aria-selected") == "true"
        visit.page.locator("#matrix td.none").first.click()
        assert visit.page.text_content("#shown p") == "No image."
        assert not visit.errors
        assert all(url.startswith(("file:", "data:")) for url in visit.requests)


def test_the_matrix_is_walked_by_keyboard(browser: Browser, report: Path) -> None:
    with Visit(browser, report) as visit:
        names = visit.matrix()["classes"]
        keyboard = visit.page.keyboard
        visit.page.locator("[data-pair]").last.focus()
        keyboard.press("Tab")
        focused = "document.activeElement.dataset.true + ',' + document.activeElement.dataset.said"
        assert visit.page.evaluate(focused) == "0,0"
        for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowRight", "ArrowUp"):
            keyboard.press(key)
        assert visit.page.evaluate(focused) == "1,1"
        keyboard.press("Enter")
        visit.page.wait_for_timeout(50)
        heading, loaded = visit.shown()
        assert heading == f"{names[1]}, found"
        assert loaded == 12
        assert visit.page.evaluate(focused) == "1,1"
        assert visit.page.locator("#matrix td[tabindex='0']").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 820, 390])
def test_nothing_sticks_out_and_words_stand_out(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    with Visit(browser, report, width, scheme) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width
        assert not visit.errors
        for selector in (
            "body",
            ".muted",
            ".comment",
            "#matrix td.right",
            "#matrix td[aria-selected]",
            ".wrong-word",
            "a[href='#classes']",
        ):
            assert contrast(visit, selector) >= 4.5, selector


def contrast(visit: Visit, selector: str) -> float:
    """Contrast ratio of the first such element's text to what lies behind it (WCAG 2.2)."""
    colours = visit.page.evaluate(
        """selector => {
            const shown = document.querySelector(selector), context = document.createElement("canvas").getContext("2d");
            let behind = shown;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            return [getComputedStyle(shown).color, getComputedStyle(behind).backgroundColor].map(colour => {
                context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
            });
        }""",
        selector,
    )
    channels = np.array(colours) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((high + 0.05) / (low + 0.05))


def test_theme_sorting_copying_and_charts(browser: Browser, report: Path) -> None:
    with Visit(browser, report, scheme="dark") as visit:
        page = visit.page
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("button.theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"

        page.click(".classes th >> text=Class")
        first = "document.querySelector('.classes tbody th').textContent"
        assert page.evaluate(first) == "Ankle boot"
        page.click(".classes th >> text=Class")
        assert page.evaluate(first) == "Trouser"

        visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.click("[data-copy='command']")
        assert page.evaluate("navigator.clipboard.readText()").startswith("striate train demo:fashion --model")

        page.locator("figure.chart").first.focus()
        page.keyboard.press("ArrowLeft")
        assert page.text_content("figure.chart .at") == "epoch 29"
        assert not visit.errors


def test_a_class_among_many_is_found(browser: Browser, tmp_path: Path) -> None:
    target = np.arange(400) % 100
    names = [f"class number {k}" for k in range(100)]
    path = write_report(write_run(tmp_path / "run", guesses(target, 100, 5.0), target, names, epoch_rows(5)))
    with Visit(browser, path, width=390) as visit:
        visit.page.fill("#zoom", "class number 42")
        assert visit.page.text_content("#matrix tbody th") == "class number 42"
        visit.page.click("#zoom-all")
        assert visit.page.locator("#matrix tbody tr").count() == 20
        visit.page.click("#unfold")
        assert visit.page.locator(".classes tbody tr:visible").count() == 100
        assert not visit.errors


def test_hostile_names_run_nothing(browser: Browser, tmp_path: Path) -> None:
    target = np.arange(60) % 3
    keys = [f'{i}"><img src=x onerror="document.title=1">' for i in range(60)]
    names = ["<img src=x onerror='document.title=1'>", "</script><script>document.title=1</script>", "plain"]
    path = write_report(write_run(tmp_path / "run", guesses(target, 3), target, names, epoch_rows(3), keys=keys))
    with Visit(browser, path) as visit:
        visit.page.locator("#matrix td.right").last.click()
        assert visit.page.title() == "run · striate report"
        assert visit.page.locator("img").count() == 0
        assert not visit.errors
