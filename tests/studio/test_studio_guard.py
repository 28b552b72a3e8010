"""Who may ask the studio, and for what: keys, hosts, origins, sizes, paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from studio_running import BASE, PORT

from striate.studio.app import STATIC, make_app
from striate.studio.guard import MOST_BYTES, PAGE_POLICY, cookie_name
from striate.studio.keys import MOST_TOKENS, Keys
from striate.studio.opened import Opened
from striate.studio.studio import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """With nothing of its own open: what is tested here comes before anything is looked at."""
    return Studio(Opened.from_paths([], home=tmp_path / "runs"))


def routes(studio: Studio) -> list[tuple[str, str]]:
    """Every (method, path) below /api/."""
    found = [
        (method, route.path) for route in _flat(make_app(studio).routes) for method in route.methods if "/api/" in route.path
    ]
    assert len(found) > 20
    return found


def _flat(routes: object) -> Iterator[APIRoute]:
    for route in routes:  # type: ignore[attr-defined]
        if isinstance(route, APIRoute):
            yield route
        inner = getattr(route, "original_router", None) or getattr(route, "routes", None)
        if inner is not None and not isinstance(route, APIRoute):
            yield from _flat(getattr(inner, "routes", inner))


def test_no_data_without_a_key(studio: Studio, stranger: TestClient) -> None:
    for method, path in routes(studio):
        answer = stranger.request(method, path)
        assert answer.status_code == 403, path
        assert "link" in answer.json()["error"]["fix"]
    assert stranger.get("/api/nothing").status_code == 403
    stranger.cookies.set(cookie_name(PORT), "guessed", domain="127.0.0.1")
    assert stranger.get("/api/zoo").status_code == 403


def test_a_link_lets_one_browser_in_once(studio: Studio, stranger: TestClient) -> None:
    token = studio.keys.new_token()
    assert stranger.get("/session").json() == {"open": False}
    answer = stranger.post("/session", json={"token": token})
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert token not in flags
    assert stranger.get("/session").json() == {"open": True}
    assert stranger.get("/api/zoo").status_code == 200
    other = TestClient(stranger.app, base_url=BASE)
    refused = other.post("/session", json={"token": token})
    assert refused.status_code == 403
    assert "opened before" in refused.json()["error"]["what"]
    invited = stranger.post("/api/link").json()["link"]
    assert invited.startswith(f"{BASE}/#token=")
    assert other.post("/session", json={"token": invited.partition("token=")[2]}).status_code == 200
    assert other.get("/api/zoo").status_code == 200


def test_a_key_is_of_one_start_and_one_port(studio: Studio, client: TestClient) -> None:
    again = TestClient(make_app(Studio(studio.opened)), base_url=BASE, cookies=client.cookies)
    assert again.get("/api/zoo").status_code == 403
    elsewhere = TestClient(client.app, base_url="http://127.0.0.1:9000", cookies=client.cookies)
    assert elsewhere.get("/api/zoo").status_code == 403


def test_tokens_that_nobody_opens_are_forgotten() -> None:
    keys = Keys()
    first = keys.new_token()
    for _ in range(MOST_TOKENS):
        last = keys.new_token()
    assert keys.exchange(first) is None
    assert keys.holds(keys.exchange(last))
    assert not keys.holds(None)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8731", "127.0.0.1.evil.example", "127.0.0.2:8731", "[::1", ""])
@pytest.mark.parametrize("path", ["/", "/session", "/api/zoo"])
def test_a_foreign_host_is_refused(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 403
    assert "127.0.0.1" in answer.json()["error"]["fix"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8731", "http://127.0.0.1:3000", "http://localhost:8731"]
)
@pytest.mark.parametrize("path", ["/", "/session", "/api/zoo"])
def test_a_foreign_origin_is_refused(client: TestClient, origin: str, path: str) -> None:
    assert client.get(path, headers={"origin": origin}).status_code == 403
    assert client.get(path, headers={"origin": BASE}).status_code in (200, 503)


def test_what_a_browser_says_of_itself_counts(client: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        assert client.get("/api/zoo", headers=headers).status_code == 403
        # A link in a mail opens the page: its data it asks for itself.
        assert client.get("/zoo", headers={**headers, "sec-fetch-mode": "navigate"}).status_code in (200, 503)


def test_localhost_is_this_machine_too(studio: Studio) -> None:
    local = TestClient(make_app(studio), base_url=f"http://localhost:{PORT}")
    assert (
        local.post(
            "/session", json={"token": studio.keys.new_token()}, headers={"origin": f"http://localhost:{PORT}"}
        ).status_code
        == 200
    )
    assert local.get("/api/zoo").status_code == 200


def test_too_much_is_refused_before_it_is_kept(client: TestClient) -> None:
    answer = client.post("/api/try/predict?model=stripes", content=b"x" * (MOST_BYTES + 1))
    assert answer.status_code == 413
    assert "64 MB" in answer.json()["error"]["what"]

    def endless() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 2**20 + 2):
            yield b"x" * 2**20

    answer = client.post("/api/try/predict?model=stripes", content=endless())
    assert answer.status_code == 413
    assert "64 MB" in answer.json()["error"]["what"]


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../keys.py",
        "/..%2f..%2fkeys.py",
        "/%2e%2e/keys.py",
        "/assets/none.js",
        "/keys.py",
        "/..%5Ckeys.py",
        "/web/package.json",
    ],
)
def test_only_the_built_page_is_served(stranger: TestClient, path: str) -> None:
    answer = stranger.get(path)
    assert "import" not in answer.text
    assert answer.status_code in (200, 404, 503)
    assert "devDependencies" not in answer.text


def test_every_answer_is_secured(client: TestClient) -> None:
    for path in ("/", "/zoo?network=resnet50", "/api/zoo", "/api/none", "/session", "/assets/none.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == PAGE_POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    script = re.search(r"script-src ([^;]*)", PAGE_POLICY)
    assert script is not None
    assert script[1] == "'self'"
    assert "http" not in PAGE_POLICY


def test_a_shared_address_opens_without_a_key(stranger: TestClient) -> None:
    if not (STATIC / "index.html").exists():
        pytest.skip("needs the studio's page (make web)")
    for path in ("/", "/zoo?network=resnet50", "/runs?run=a&compare=b", "/train?preset=rate"):
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert '<div id="app">' in answer.text
        assert "set-cookie" not in answer.headers
    page = stranger.get("/").text
    # No script within the page, and nothing from elsewhere.
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert all(link.startswith("/") for link in re.findall(r'(?:src|href)="([^"]*)"', page))
    for script in re.findall(r'src="([^"]*)"', page):
        assert stranger.get(script).headers["content-type"].startswith("text/javascript")


def test_what_is_wrong_with_a_request_is_said(client: TestClient) -> None:
    missing = client.get("/api/zoo/network")
    assert missing.status_code == 400
    assert missing.json()["error"]["where"] == "name"
    unknown = client.get("/api/zoo/network?name=resnet5")
    assert unknown.status_code == 400
    assert "resnet50" in unknown.json()["error"]["fix"]
    assert client.get("/api/none").json()["error"]["what"] == "Nothing is at /api/none"
