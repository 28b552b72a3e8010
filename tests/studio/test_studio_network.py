"""The Network screen: graphs of the zoo, of runs and of one's own file, where they break, and a user's path through it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from studio_running import BASE, Running, Visitor, start

from striate.errors import UsageError
from striate.studio.app import STATIC, make_app
from striate.studio.network_api import read_shapes
from striate.studio.opened import Opened
from striate.studio.studio import Studio
from striate.summary_subject import summarize_subject
from striate.zoo import MODELS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OWN = """
import torch
from torch import nn

class Joined(nn.Module):
    def __init__(self, in_channels=2):
        super().__init__()
        self.first = nn.Conv2d(in_channels, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(8 * 10 * 10, 5)

    def forward(self, x):
        x = self.first(x)
        x = torch.cat([x, self.second(x)], 1)
        return self.last(x.flatten(1))

def make(in_channels=2):
    return Joined(in_channels)

class Two(nn.Module):
    def forward(self, a, b):
        return a.mean((2, 3)) + b

def both():
    return Two()
"""


def graph(client: TestClient, network: str, **query: str) -> dict[str, Any]:
    answer = client.get("/api/network/graph", params={"network": network, **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(client: TestClient, network: str, **query: str) -> dict[str, Any]:
    answer = client.get("/api/network/graph", params={"network": network, **query})
    assert answer.status_code == 400
    found: dict[str, Any] = answer.json()["error"]
    return found


def with_file(folder: Path, function: str) -> TestClient:
    (folder / "my_net.py").write_text(OWN)
    studio = Studio(Opened.from_paths([], home=folder / "runs"), arch=f"{folder / 'my_net.py'}:{function}")
    client = TestClient(make_app(studio), base_url=BASE, raise_server_exceptions=False)
    assert client.post("/session", json={"token": studio.keys.new_token()}).status_code == 200
    return client


def test_what_can_be_drawn_is_listed(client: TestClient) -> None:
    listed = client.get("/api/network").json()
    assert [each["name"] for each in listed if each["kind"] == "zoo"] == list(MODELS)
    assert [each["name"] for each in listed if each["kind"] == "opened"] == ["stripes"]


@pytest.mark.parametrize("network", ["lenet5", "resnet18", "googlenet", "squeezenet1_1", "mobilenet_v2"])
def test_a_graph_costs_what_the_summary_says(client: TestClient, network: str) -> None:
    told, summary = graph(client, network), summarize_subject(network)
    assert (told["parameters"], told["macs"]) == (summary.parameters, summary.macs)
    assert told["shapes"] == [list(summary.input)] == [told["own"]]
    assert told["failure"] is None
    assert sum(node["macs"] for node in told["nodes"]) == told["macs"]
    folded = [each for each in told["blocks"] if not isinstance(each, str)]
    ids = {node["id"] for node in told["nodes"]}
    assert all({*block["repetitions"][0]} <= ids for block in folded)
    assert all(not (node["source"] or {"file": ""})["file"].startswith("/") for node in told["nodes"])


def test_shapes_reflow_or_the_break_is_told(client: TestClient) -> None:
    wide = graph(client, "resnet18", input="3x160x320")
    assert wide["inside"] == "resnet18@untrained"
    assert [node["output_shapes"] for node in wide["nodes"] if node["id"] == "layer4.1.conv2"] == [[[512, 5, 10]]]
    # 32 divides all sides: convolutions cost in proportion to the image, the head what it did.
    head = 512 * 1000
    assert (wide["macs"] - head) * 224**2 == (summarize_subject("resnet18").macs - head) * 160 * 320
    broken = graph(client, "alexnet", input="3x20x20")
    assert broken["failure"]["path"] == "features.5"
    assert "too small" in broken["failure"]["why"]
    assert broken["nodes"][-1]["id"] == "features.4"
    channels = graph(client, "resnet18", input="1x224x224")
    assert channels["failure"]["path"] == "conv1"
    assert channels["failure"]["fix"] == "--channels 3"
    assert graph(client, "resnet18", input="1x224x224", built="true")["failure"] is None
    assert graph(client, "lenet5", input="1x40x40")["failure"] is not None
    assert graph(client, "lenet5", input="1x40x40", built="true")["failure"] is None


@pytest.mark.parametrize("text", ["3x", "a", "3x0x4", "3x9000x2", "999999x999", "../etc", "-3x4x4"])
def test_a_shape_that_is_none_is_refused(client: TestClient, text: str) -> None:
    assert "channels x height x width" in refused(client, "resnet18", input=text)["fix"]
    with pytest.raises(UsageError):
        read_shapes(text)


def test_shapes_are_read() -> None:
    assert read_shapes("3x8x9+10") == ((3, 8, 9), (10,))
    assert read_shapes("") == ()


def test_nothing_else_is_opened(client: TestClient, stranger: TestClient, tmp_path: Path) -> None:
    assert refused(client, "resnet5")["fix"] == "Did you mean 'resnet50'?"
    (tmp_path / "my_net.py").write_text("raise SystemExit")
    for name in (f"{tmp_path}/my_net.py:make", "../my_net.py:make", "opened:stripes@x", "resnet50@nothing"):
        refused(client, name)
    client.cookies.clear()
    assert stranger.get("/api/network/graph?network=lenet5").status_code == 403


def test_a_run_is_drawn_as_it_was_trained(client: TestClient) -> None:
    told = graph(client, "stripes")
    assert (told["kind"], told["inside"]) == ("opened", "stripes")
    assert not told["buildable"]
    assert told["shapes"] == [[1, 28, 28]]
    assert told["nodes"][-1]["output_shapes"] == [[3]]
    assert graph(client, "stripes", input="1x20x20")["failure"] is not None


def test_the_file_of_the_command_line_is_drawn_and_drawn_anew(tmp_path: Path) -> None:
    client = with_file(tmp_path, "make")
    assert client.get("/api/network").json()[0] == {"name": "my_net.py:make", "kind": "file", "note": "--arch"}
    broken = graph(client, "my_net.py:make")
    assert broken["own"] == [2, 224, 224]
    assert broken["failure"]["path"] == "last"
    told = graph(client, "my_net.py:make", input="2x10x10")
    assert told["failure"] is None
    assert [node["id"] for node in told["nodes"]] == ["input", "first", "second", ":cat", ":flatten", "last"]
    source = next(node["source"] for node in told["nodes"] if node["id"] == "second")
    assert (source["file"], source["text"]) == ("my_net.py", "x = torch.cat([x, self.second(x)], 1)")
    assert graph(client, "my_net.py:make", input="5x10x10", built="true")["nodes"][1]["parameters"] == 5 * 4 * 9 + 4
    path = tmp_path / "my_net.py"
    path.write_text(
        OWN.replace("Conv2d(4, 4, 3", "Conv2d(4, 4, 1").replace("padding=1)\n        self.last", ")\n        self.last")
    )
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert graph(client, "my_net.py:make", input="2x10x10")["nodes"][2]["parameters"] == 4 * 4 + 4


def test_several_inputs_are_taken(tmp_path: Path) -> None:
    told = graph(with_file(tmp_path, "both"), "my_net.py:both", input="3x8x8+3")
    assert told["failure"] is None
    assert [node["id"] for node in told["nodes"] if node["operation"] == "input"] == ["input", "input#2"]


@pytest.fixture(scope="module")
def own_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio with a file of one's own."""
    if not (STATIC / "index.html").exists():
        pytest.skip("needs the studio's page (make web)")
    folder = tmp_path_factory.mktemp("network")
    (folder / "my_net.py").write_text(OWN)
    started = start(folder, "--arch", "my_net.py:make")
    yield started
    started.end()


def facts(page: Page) -> dict[str, str]:
    """What the panel says of the chosen layer."""
    panel = page.locator("section[aria-live]")
    names, values = panel.locator("dt").all_inner_texts(), panel.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def box(page: Page, key: str) -> Any:
    return page.locator(f'svg [data-key="{key}"]').first


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.dataset.key"))


@pytest.mark.slow
def test_a_network_is_walked_unfolded_broken_and_compared(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    page = visitor.open("/zoo?network=resnet50")
    page.get_by_role("link", name="Its graph").click()
    box(page, "conv1").wait_for(timeout=120_000)  # the first trace of this studio loads torch
    told = page.evaluate("fetch('/api/network/graph?network=resnet50').then((answer) => answer.json())")
    node = {each["id"]: each for each in told["nodes"]}
    summary = summarize_subject("resnet50")
    page.get_by_text(f"{summary.parameters:,}").first.wait_for()
    page.get_by_text(f"{summary.macs:,}").first.wait_for()
    # By keyboard: down the trunk to a module, into it, and out again.
    box(page, "input").focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    assert focused(page) == "layer1.0"
    page.keyboard.press("ArrowDown")
    repeat = focused(page)
    assert box(page, repeat).get_attribute("aria-expanded") == "false"
    page.keyboard.press("Enter")
    box(page, "layer1.2").wait_for()
    assert focused(page) == "layer1.1"
    page.keyboard.press("Enter")
    box(page, "layer1.1.conv2").wait_for()
    assert focused(page) == "layer1.1.conv1"
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert focused(page) == "layer1.1.conv2"
    assert "layer=layer1.1.conv2" in page.url
    shown, conv = facts(page), node["layer1.1.conv2"]
    part = next(part for part in summary.whole if part.path == "layer1.1.conv2")
    assert shown["Parameters"].startswith(f"{part.parameters:,}")
    assert shown["MACs"].startswith(f"{part.macs:,}")
    assert part.receptive_field is not None
    assert shown["Receptive field"].startswith(" × ".join(map(str, part.receptive_field.size)))
    assert shown["Puts out"] == " × ".join(map(str, part.output or ()))
    page.get_by_text(f"{conv['source']['file']}:{conv['source']['line']}").wait_for()
    # The address is the state.
    page.reload()
    box(page, "layer1.1.conv2").wait_for()
    assert facts(page) == shown
    box(page, "layer1.1.conv2").focus()
    page.keyboard.press("Escape")
    assert focused(page) == "layer1.1"
    page.keyboard.press("Escape")
    assert focused(page) == repeat
    box(page, "layer1.2").wait_for(state="detached")
    # The last layer by its name.
    page.keyboard.press("/")
    page.keyboard.type("layer4.2.conv3")
    page.keyboard.press("Enter")
    assert focused(page) == "layer4.2.conv3"
    # Another size: the shapes reflow; then channels that it does not take.
    image = page.get_by_label(re.compile("^Image"))
    image.fill("3 x 256 x 128")
    image.press("Enter")
    page.locator("section[aria-live] dd", has_text="2048 × 8 × 4").wait_for()
    assert "input=3x256x128" in page.url
    image.fill("1 x 224 x 224")
    image.press("Enter")
    page.get_by_role("alert").get_by_text("breaks at conv1").wait_for()
    page.get_by_role("button", name="Show the place").click()
    assert focused(page) == "!"
    page.get_by_role("button", name="Take 3 × 224 × 224").click()
    page.get_by_role("alert").wait_for(state="detached")
    # Beside another one.
    page.get_by_label("Beside it").select_option("mobilenet_v2")
    other = summarize_subject("mobilenet_v2")
    totals = page.get_by_role("region", name="Totals and sizes")
    totals.wait_for()
    for each in (summary, other):
        totals.get_by_text(f"{each.macs:,}").wait_for()
    assert page.locator("svg[role=group]").count() == 2
    assert visitor.serious() == []
    assert visitor.errors == []


@pytest.mark.slow
def test_a_network_that_breaks_in_the_middle_and_its_table(visit: Callable[..., Visitor]) -> None:
    page = visit(390).open("/network?network=alexnet&input=3x20x20")
    page.get_by_role("alert").get_by_text("breaks at features.5").wait_for()
    rows = page.locator("tbody tr")
    assert "features.5" in rows.last.inner_text()
    page.get_by_role("button", name="Fold features", exact=True).click()
    assert page.get_by_role("button", name="Unfold features", exact=True).get_attribute("aria-expanded") == "false"
    assert rows.count() == 2
    assert "broken" in (rows.last.get_attribute("class") or "")
    page.get_by_text("Drawing", exact=True).click()
    page.locator("svg .broken.box").wait_for()
    assert "view=drawing" in page.url


@pytest.mark.slow
def test_ones_own_file_is_the_first_and_is_built_anew(browser: Browser, own_running: Running) -> None:
    visitor = Visitor(browser, own_running).enter()
    page = visitor.open("/network")
    page.get_by_role("alert").get_by_text("breaks at last").wait_for()
    image = page.get_by_label(re.compile("^Image"))
    image.fill("6 x 10 x 10")
    image.press("Enter")
    page.get_by_role("alert").get_by_text("breaks at first").wait_for()
    page.get_by_role("button", name="Build it for 6 × 10 × 10").click()
    page.get_by_role("alert").wait_for(state="detached")
    box(page, ":cat").wait_for()
    assert "my_net.py" not in page.url
    assert str(own_running.process.args) not in page.url
    visitor.context.close()
