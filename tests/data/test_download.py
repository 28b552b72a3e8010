"""Downloads against a server on this machine that behaves as badly as real ones do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from striate.data import idx
from striate.data.download import fetch, fetch_first
from striate.data.formats import open_source
from striate.errors import Failed, Refused

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content`` in the way its attributes say, and keeps what was asked."""

    daemon_threads = True
    content = CONTENT
    cut_after: int | None = None  # bytes of each answer after which the connection ends
    ranges = True
    shifted = False  # answers with another range than asked for
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if server.status:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start >= len(server.content) and start:
            self.send_error(416)
            return
        start = max(0, start - 7) if server.shifted else start
        body = server.content[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_comes_whole_with_progress(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = fetch(
        server.url, tmp_path / "deep" / "file.gz", sha256=SHA256, progress=lambda have, total: told.append((have, total))
    )
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [have for have, _ in told] == sorted(have for have, _ in told)
    assert [file.name for file in path.parent.iterdir()] == ["file.gz"]


def test_a_file_already_there_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert server.asked == []


def test_a_cut_connection_is_continued(server: Server, tmp_path: Path) -> None:
    server.cut_after = 300_000
    path = fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_later_run_continues_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_a_whole_part_needs_no_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("habit", ["ranges", "shifted"])
def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path, habit: str) -> None:
    server.ranges, server.shifted = habit != "ranges", habit == "shifted"
    (tmp_path / "file.gz.part").write_bytes(CONTENT[:1000])
    fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_another_content_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(Refused, match="SHA-256"):
        fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_is_never_half_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(b"what was there")
    server.content = b"something else"
    with pytest.raises(Refused):
        fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert (tmp_path / "file.gz").read_bytes() == b"what was there"


def test_a_server_that_brings_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = 0
    with pytest.raises(Failed, match="after 0 of"):
        fetch(server.url, tmp_path / "file.gz", sha256=SHA256, attempts=2)
    assert len(server.asked) == 2


def test_a_missing_file_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(Failed, match="404"):
        fetch(server.url, tmp_path / "file.gz", sha256=SHA256)
    assert len(server.asked) == 1


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    missing = Server()
    missing.server_close()
    path = tmp_path / "file.gz"
    assert fetch_first([missing.url, server.url], path, sha256=SHA256).read_bytes() == CONTENT


def test_without_a_network_the_user_learns_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Server()
    closed.server_close()
    monkeypatch.setattr(idx, "MNIST", idx.Published("MNIST", idx.MNIST.classes, (closed.url + "/",), idx.MNIST.sha256))
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    for data, folder in (("mnist:", tmp_path / "cache" / "mnist"), (f"mnist:{tmp_path}/mine", tmp_path / "mine")):
        with pytest.raises(Failed) as caught:
            open_source(data)
        for words in ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", str(folder), closed.url):
            assert words in str(caught.value)
        assert not folder.exists()


def test_mnist_comes_from_the_network_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_data: Path
) -> None:
    name = "t10k-labels-idx1-ubyte.gz"
    server.content = (shared_data / "mnist" / name).read_bytes()
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    for other in idx.MNIST.sha256.keys() - {name}:
        (folder / other).write_bytes((shared_data / "mnist" / other).read_bytes())
    monkeypatch.setattr(idx, "MNIST", idx.Published("MNIST", idx.MNIST.classes, (server.url + "?",), idx.MNIST.sha256))
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    assert len(open_source("mnist:")) == 70_000
    assert len(open_source("mnist:")) == 70_000
    assert len(server.asked) == 1


def test_every_published_file_has_an_address_and_a_checksum() -> None:
    for data in (idx.MNIST, idx.FASHION):
        assert data.urls
        assert all(url.startswith("http") and url.endswith("/") for url in data.urls)
        assert len(data.sha256) == 4
        assert all(len(digest) == 64 for digest in data.sha256.values())
