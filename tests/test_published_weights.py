"""Weights that others published: the table, how a file is found or fetched, and what the real ones score."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import striate
from striate import published, zoo
from striate.data.preprocess import Preprocess
from striate.errors import Failed, Refused, UsageError
from striate.evaluation import evaluate
from striate.prediction import load
from striate.pretrained import read_pretrained
from striate.progress import Silent
from striate.published import PUBLISHED, Published

TRUTH = {
    (row["name"].removesuffix("_torchvision"), tag): weights
    for row in json.loads((Path(__file__).parent / "papers" / "architectures.json").read_text())
    for tag, weights in row.get("torchvision_weights", {}).items()
}
"""(network, torchvision's tag) -> file and accuracy."""

TAGS = {"imagenet": "IMAGENET1K_V1", "imagenet-v2": "IMAGENET1K_V2"}

# The table


def test_files_and_accuracies_are_the_published_ones() -> None:
    compared = 0
    for (network, tag), weights in PUBLISHED.items():
        if (truth := TRUTH.get((network, TAGS.get(tag, "")))) is not None:
            accuracy = truth["acc"]["ImageNet-1K"]
            assert (weights.file, weights.top1, weights.top5) == (truth["file"], accuracy["acc@1"], accuracy["acc@5"])
            compared += 1
    assert compared > 40


def test_every_file_that_is_known_for_a_network_here_is_in_the_table() -> None:
    by_tag = {torchvision: tag for tag, torchvision in TAGS.items()}
    known = {(network, by_tag[tag]) for network, tag in TRUTH if network in zoo.MODELS and tag in by_tag}
    assert len(known) > 40
    assert known - PUBLISHED.keys() == set()


@pytest.mark.parametrize("weights", PUBLISHED.values(), ids=lambda weights: f"{weights.network}-{weights.tag}")
def test_every_row_is_whole(weights: Published) -> None:
    variant = zoo.MODELS[weights.network]
    assert re.fullmatch(r"[0-9a-f]{8,}", weights.sha256)
    assert weights.url.startswith("https://")
    assert weights.num_classes == variant.num_classes
    assert weights.license in ("BSD-3-Clause", "BSD-2-Clause", "Apache-2.0")
    assert published.is_tag(weights.tag)
    assert (weights.network, "imagenet" if weights.tag.startswith("imagenet") else weights.tag) in PUBLISHED
    assert all(50 < figure < 100 for figure in (weights.top1, weights.top5) if figure is not None)
    Preprocess.for_variant(variant)  # refuses what cannot be cropped


# Finding a file, against a server on this machine


class Server(ThreadingHTTPServer):
    """Serves one file, cut after some bytes of each answer where told, and keeps what was asked."""

    daemon_threads = True
    content = b""
    cut_after: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked.append(self.headers["Range"])
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.server.content) - 1}/{len(self.server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def weights(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Weights of resnet20_cifar that the server publishes, with an empty cache and no other folder."""
    torch.manual_seed(0)
    torch.save(zoo.build("resnet20_cifar").state_dict(), tmp_path / "made.th")
    server.content = (tmp_path / "made.th").read_bytes()
    file = f"small-{hashlib.sha256(server.content).hexdigest()[:8]}.th"
    url = f"http://127.0.0.1:{server.server_address[1]}/{file}"
    made = Published("resnet20_cifar", url, 91.0, None, "cifar10", "BSD-2-Clause", "cifar10")
    monkeypatch.setitem(PUBLISHED, ("resnet20_cifar", "cifar10"), made)
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STRIATE_WEIGHTS", raising=False)
    return made


class Told(Silent):
    """Keeps what progress it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []

    def stage(self, name: str, done: int, total: int) -> None:
        self.stages.append((name, done, total))


def same(network: torch.nn.Module, path: Path) -> bool:
    state = torch.load(path)
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_weights_are_downloaded_once_resumed_and_told(server: Server, weights: Published, tmp_path: Path) -> None:
    server.cut_after = len(server.content) // 3
    told = Told()
    network = striate.build("resnet20_cifar", weights="cifar10", progress=told)
    assert same(network, tmp_path / "made.th")
    assert [bool(asked) for asked in server.asked] == [False, True, True, True]
    assert told.stages[-1] == (f"downloading {weights.file}", len(server.content), len(server.content))
    assert [path.name for path in (tmp_path / "cache" / "weights").iterdir()] == [weights.file]
    assert same(striate.build("resnet20_cifar", weights="cifar10"), tmp_path / "made.th")
    assert len(server.asked) == 4


def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, weights: Published, tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "weights" / weights.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(server.content[:-1] + b"!")
    assert same(striate.build("resnet20_cifar", weights="cifar10"), tmp_path / "made.th")
    assert cached.read_bytes() == server.content


def test_another_content_from_the_network_is_refused(server: Server, weights: Published, tmp_path: Path) -> None:
    server.content = server.content[:-1] + b"!"
    with pytest.raises(Refused, match="not the one expected"):
        striate.build("resnet20_cifar", weights="cifar10")
    assert list((tmp_path / "cache" / "weights").iterdir()) == []


def test_a_folder_of_weights_comes_before_the_network(
    server: Server, weights: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine" / "deeper" / weights.file
    path.parent.mkdir(parents=True)
    path.write_bytes(server.content)
    monkeypatch.setenv("STRIATE_WEIGHTS", str(tmp_path / "mine"))
    assert same(striate.build("resnet20_cifar", weights="cifar10"), tmp_path / "made.th")
    assert server.asked == []
    path.write_bytes(server.content + b"!")
    with pytest.raises(Refused, match=r"another file under the name of published weights[\s\S]*its SHA-256 begins"):
        striate.build("resnet20_cifar", weights="cifar10")


def test_offline_the_user_learns_which_file_to_put_where(
    server: Server, weights: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Server()
    closed.server_close()
    url = f"http://127.0.0.1:{closed.server_address[1]}/{weights.file}"
    monkeypatch.setitem(
        PUBLISHED, ("resnet20_cifar", "cifar10"), Published("resnet20_cifar", url, 91.0, None, "cifar10", classes="cifar10")
    )
    with pytest.raises(Failed) as error:
        striate.build("resnet20_cifar", weights="cifar10")
    for words in (url, weights.file, str(tmp_path / "cache" / "weights" / weights.file), "STRIATE_WEIGHTS"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("network", "tag", "said"),
    [
        ("resnet18", "imagenet-v2", "no published weights 'imagenet-v2' are known for resnet18"),
        ("resnet20_cifar", "imagenet", "its weights are called 'cifar10'"),
        ("fashion_cnn", "imagenet", "no published weights are known for fashion_cnn"),
    ],
)
def test_weights_that_are_not_published_are_said_to_be_none(network: str, tag: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        striate.build(network, weights=tag)


def test_the_card_says_where_weights_are_from(weights: Published) -> None:
    card, _, _ = read_pretrained("resnet20_cifar", "cifar10")
    assert card["license"] == weights.license
    assert card["weights"] == {"file": weights.file, "url": weights.url, "published": {"top1": 91.0, "top5": None}}


def test_preprocessing_that_differs_from_the_variants_travels_with_the_weights(
    weights: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Published(**{**vars(weights), "resize": 40, "interpolation": "bicubic"})
    monkeypatch.setitem(PUBLISHED, ("resnet20_cifar", "cifar10"), other)
    preprocess = load("resnet20_cifar", weights="cifar10").preprocess
    assert (preprocess.resize, preprocess.interpolation) == (40, "bicubic")


# What the real weights score


@pytest.fixture
def real(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder; its weights are found, and no network is asked."""
    monkeypatch.setenv("STRIATE_WEIGHTS", str(shared_data / "weights"))
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "fetch", None)
    return shared_data


@pytest.mark.slow
def test_mobilenet_v2_on_600_photos(real: Path, striate_command: Callable[..., Any]) -> None:
    """INDEX.md records 500 and 576 of 600; four photos for another decoder or rounding."""
    ended = striate_command("evaluate", "mobilenet_v2", real / "imagenet_samples", "--weights", "imagenet", "--json")
    assert ended.status == 0, ended.err
    record = json.loads(ended.out)
    top1, top5 = measured(real, "imagenet_mobilenet_v2", r"\((\d+) and (\d+)\)")
    assert record["n"] == 600
    assert abs(600 * record["accuracy"] - top1) <= 4
    assert abs(600 * record["top5"] - top5) <= 4
    levels = record["tree"]["levels"]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(record["accuracy"])
    assert record["tree"]["still"][0][0] == "dog"  # one class in eight is one


def test_a_real_photo_is_named(real: Path, striate_command: Callable[..., Any]) -> None:
    photo = real / "imagenet_samples" / "n01440764_tench.jpg"
    ended = striate_command("predict", "mobilenet_v2", photo, "--weights", "imagenet", "--top", 1)
    assert ended.status == 0, ended.err
    assert re.fullmatch(rf"{re.escape(str(photo))}: tench \d\d\.\d %\n", ended.out)


def measured(shared_data: Path, folder: str, pattern: str) -> tuple[float, ...]:
    """The figures that INDEX.md records."""
    (line,) = (line for line in (shared_data / "INDEX.md").read_text().splitlines() if line.startswith(f"| {folder} "))
    found = re.search(pattern, line)
    assert found is not None
    return tuple(map(float, found.groups()))


def every_nth_test_image(shared_data: Path, folder: Path, step: int) -> Path:
    """Of CIFAR-10's 10,000, a folder a class."""
    with tarfile.open(shared_data / "cifar10_jpg" / "cifar10_jpg.tar.xz") as archive:
        members = (member for member in archive if member.isfile() and member.name.startswith("test/"))
        for number, member in enumerate(members):
            if number % step == 0 and (content := archive.extractfile(member)) is not None:
                path = folder / member.name.removeprefix("test/")
                path.parent.mkdir(exist_ok=True, parents=True)
                path.write_bytes(content.read())
    return folder


ALL = 10_000


@pytest.mark.parametrize(
    ("network", "num"),
    [
        ("resnet20_cifar", 500),
        pytest.param("resnet20_cifar", ALL, marks=pytest.mark.slow),
        pytest.param("resnet56_cifar", ALL, marks=pytest.mark.slow),
    ],
)
def test_cifar_resnets(network: str, num: int, real: Path, tmp_path: Path) -> None:
    """A sample of the images strays from all of them by its standard error; four of those, and what INDEX.md rounds."""
    of_all = dict(
        zip(("resnet20_cifar", "resnet56_cifar"), measured(real, "cifar10_resnets", r"([\d.]+) and ([\d.]+) %"), strict=True)
    )
    expected = of_all[network] / 100
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*took off the dictionary")
        model = load(network, weights="cifar10")
    scored = evaluate(model, every_nth_test_image(real, tmp_path / "cifar", ALL // num))
    assert scored.n == num
    error = np.sqrt(expected * (1 - expected) / num * (1 - num / ALL))
    assert scored.accuracy == pytest.approx(expected, abs=4 * error + 0.001)
    assert os.environ["STRIATE_WEIGHTS"] in str(model.path)
