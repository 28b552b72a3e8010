"""A server in a process of its own: hostile clients, overload, new versions, and the end."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import malformed
import pytest
from colours import START_S, Process, npy, png, process, tensor

BODY = npy(tensor(7))
AUTHORIZED = {"authorization": "Bearer secret"}


class Clients:
    """Threads that ask again and again over connections that stay open, and note how it went."""

    def __init__(self, server: Process, count: int, body: bytes = BODY) -> None:
        self.server, self.body = server, body
        self.outcomes: list[tuple[int, str]] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def wait(self, count: int) -> None:
        """Until so many more requests have been answered."""
        wanted, begun = len(self.outcomes) + count, time.monotonic()
        while len(self.outcomes) < wanted:
            assert time.monotonic() - begun < START_S
            time.sleep(0.01)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=START_S)
        while not self.stopped.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except OSError:
                    return  # nobody listens any more: nothing was taken on
            try:
                connection.request("POST", "/predict", self.body)
                response = connection.getresponse()
                self.outcomes.append((response.status, response.read().decode()))
            except (OSError, http.client.HTTPException) as error:
                self.outcomes.append((0, repr(error)))
                return
        connection.close()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(status for status, _ in self.outcomes)


def send(server: Process, data: bytes) -> bytes:
    """The first bytes of the answer to raw bytes."""
    with server.connect() as peer:
        with contextlib.suppress(OSError):  # refused before all of it was sent: the answer is there
            peer.sendall(data)
        answer = b""
        while len(answer) < 12 and (more := peer.recv(4096)):
            answer += more
        return answer


@pytest.mark.parametrize("count", [96, pytest.param(1000, marks=pytest.mark.slow)])
def test_malformed_requests_get_4xx(count: int, tmp_path: Path) -> None:
    with process(tmp_path, workers=2, header_timeout_s=5, body_grace_s=5) as server:
        for kind, data in malformed.requests(count):
            status = send(server, data)[9:12].decode()
            assert status.startswith("4"), f"{kind}: {status} for {data[:300]!r}"
        assert httpx.post(f"{server.url}/predict", content=png(5)).json()["predictions"][0]["label"] == "grey5"
        assert not [event for event in server.events() if event["event"] == "failed"]
        assert server.metrics()["striate_decoders_replaced_total"] == 0


def test_slow_clients_are_cut_off_and_keep_nobody_waiting(tmp_path: Path) -> None:
    limits = {"header_timeout_s": 1.0, "body_grace_s": 1.0, "body_bytes_a_second": 1000, "linger_s": 1.0}
    slow: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "half a line": lambda: b"POST /pre",
        "headers without end": lambda: b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "half a body": lambda: b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc",
        "rest of a refused body": lambda: b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nabc",
    }
    with process(tmp_path, **limits) as server:
        peers = [(kind, server.connect()) for kind in slow for _ in range(10)]
        for kind, peer in peers:
            peer.sendall(slow[kind]())
        assert httpx.post(f"{server.url}/predict", content=BODY).status_code == 200
        said: dict[str, set[bytes]] = {kind: set() for kind in slow}
        for kind, peer in peers:
            said[kind].add(trickle(peer))
        for kind in ("half a line", "headers without end", "half a body"):
            assert {answer[9:12] for answer in said[kind]} == {b"408"}, kind
        assert all(answer.startswith(b"HTTP/1.1 404") for answer in said["rest of a refused body"])
        assert httpx.post(f"{server.url}/predict", content=BODY).status_code == 200
        assert server.metrics()["striate_uploads"] == 0


def trickle(peer: socket.socket) -> bytes:
    """A byte now and then, until the server has closed the connection; what it said."""
    peer.settimeout(0.2)
    answer, begun = b"", time.monotonic()
    while time.monotonic() - begun < START_S:
        try:
            peer.sendall(b"a")
            received = peer.recv(4096)
            if not received:
                return answer
            answer += received
        except TimeoutError:
            continue
        except OSError:
            return answer
    raise AssertionError("never cut off")


@pytest.mark.slow
def test_overload_is_refused_before_decoding_and_takes_no_memory(tmp_path: Path) -> None:
    with process(tmp_path, seconds=0.05, max_batch=4, max_queue=8, max_images=4) as server:
        with Clients(server, 40, png(3, (300, 200))) as clients:
            clients.wait(500)
            before = server.metrics()["process_resident_memory_bytes"]
            clients.wait(2500)
            after = server.metrics()["process_resident_memory_bytes"]
        assert set(clients.statuses) == {200, 503}
        assert all("grey3" in text for status, text in clients.outcomes if status == 200)
        metrics = server.metrics()
        # Both are counted when an answer is there: refused requests were never decoded.
        assert metrics['striate_decode_seconds_count{model="colours"}'] == clients.statuses[200]
        assert metrics['striate_errors_total{type="busy"}'] == clients.statuses[503] > clients.statuses[200]
        assert after - before < 16 * 2**20  # 2,500 bodies and pictures are 500 MB
        assert metrics["striate_queued_images"] == 0


def test_too_many_connections(tmp_path: Path) -> None:
    with process(tmp_path, max_connections=3) as server:
        peers = [server.connect() for _ in range(3)]
        assert send(server, malformed.http(BODY)).startswith(b"HTTP/1.1 503")
        for peer in peers:
            peer.close()
        assert send(server, malformed.http(BODY)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("how", ["SIGHUP", pytest.param("reload", marks=pytest.mark.slow)])
def test_no_request_is_lost_on_a_switch(how: str, tmp_path: Path) -> None:
    with process(tmp_path, token="secret" if how == "reload" else "", seconds=0.002) as server:
        with AuthorizedClients(server, 8) as clients:
            clients.wait(100)
            for prefix in ("second", "third"):
                (tmp_path / "colours.txt").write_text(f"{prefix} 0.002")
                if how == "SIGHUP":
                    server.process.send_signal(signal.SIGHUP)
                else:
                    httpx.post(f"{server.url}/models/colours/reload", headers=AUTHORIZED).raise_for_status()
                clients.wait(50)
                while f"{prefix}7" not in clients.outcomes[-1][1]:
                    clients.wait(1)
        assert set(clients.statuses) == {200}
        seen = [next(prefix for prefix in ("grey", "second", "third") if f'"{prefix}7"' in text) for _, text in clients.outcomes]
        assert set(seen) == {"grey", "second", "third"}
        # The journal is written after the first answers of a new version.
        until = time.monotonic() + 10
        while len(versions := [event["version"] for event in server.events() if event["event"] == "reloaded"]) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert versions == [2, 3]


class AuthorizedClients(Clients):
    """They bring the token, which a server without one does not look at."""

    def _run(self) -> None:
        with httpx.Client(headers=AUTHORIZED, timeout=START_S) as client:
            while not self.stopped.is_set():
                response = client.post(f"{self.server.url}/predict", content=self.body)
                self.outcomes.append((response.status_code, response.text))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_what_was_taken_on_is_answered_before_the_end(number: signal.Signals, tmp_path: Path) -> None:
    # Longer than a busy machine may keep a client from asking again.
    with process(tmp_path, seconds=0.1, max_batch=2, drain_s=3.0) as server:
        with Clients(server, 12) as clients:
            clients.wait(20)
            server.process.send_signal(number)
            assert server.process.wait(START_S) == 0
        assert set(clients.statuses) == {200}, [outcome for outcome in clients.outcomes if outcome[0] != 200]
        assert [event["event"] for event in server.events()][-1] == "stopped"
        with pytest.raises(OSError, match="refused"):
            server.connect()


@pytest.mark.slow
def test_readiness_ends_before_the_server(tmp_path: Path) -> None:
    with process(tmp_path, drain_s=2.0) as server:
        with httpx.Client(base_url=server.url, timeout=START_S) as client:
            assert client.get("/readyz").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            while (ready := client.get("/readyz")).status_code == 200:
                time.sleep(0.01)
            assert ready.json()["error"]["type"] == "stopping"
            assert ready.headers["connection"] == "close"
            assert client.post("/predict", content=BODY).status_code == 200
        assert server.process.wait(START_S) == 0
