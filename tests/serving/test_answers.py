"""Every way to ask, and every answer that is no prediction, by its status and its word."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from colours import PREPROCESS, Running, colours, encoded, labels, npy, png, running, tensor, within

from striate.serving.limits import Limits
from striate.serving.models import Source
from striate.serving.refusals import STATUSES

SMALL = Limits(max_images=3, max_body_bytes=5000, max_upload_bytes=5000, max_pixels=1000, max_queue=64)


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[..., httpx.Response]]:
    """One service for the module; a request in, its response out."""
    with asyncio.Runner() as runner:
        context = running(SMALL, num_workers=1)
        server = runner.run(context.__aenter__())

        def request(method: str = "POST", path: str = "/predict", **options: Any) -> httpx.Response:
            return runner.run(server.client.request(method, path, **options))

        yield request
        runner.run(context.__aexit__(None, None, None))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def shaped(array: np.ndarray[Any, Any], shape: str) -> dict[str, Any]:
    return {"content": array.tobytes(), "headers": {"content-type": "application/octet-stream", "x-shape": shape}}


def multipart(body: bytes, boundary: str = "B") -> dict[str, Any]:
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


FILES = [("images", (f"{grey}.png", png(grey), "image/png")) for grey in (3, 200)]

GOOD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "bytes of an image": ({"content": png(7), "headers": {"content-type": "image/png"}}, ["grey7"]),
    "bytes as curl sends them": (
        {"content": png(8), "headers": {"content-type": "application/x-www-form-urlencoded"}},
        ["grey8"],
    ),
    "bytes without a type": ({"content": png(9)}, ["grey9"]),
    "files": ({"files": FILES}, ["grey3", "grey200"]),
    "base64": ({"json": {"image": b64(png(5))}}, ["grey5"]),
    "base64, many": ({"json": {"images": [b64(png(5)), "data:image/png;base64," + b64(png(6))]}}, ["grey5", "grey6"]),
    ".npy": ({"content": npy(tensor(1, 2))}, ["grey1", "grey2"]),
    "X-Shape": (shaped(tensor(1, 2), "2,3,8,8"), ["grey1", "grey2"]),
    "JPEG": ({"content": encoded("JPEG", 128)}, ["grey128"]),
    "WebP": ({"content": encoded("WEBP", 128)}, ["grey128"]),
    "a chosen model": ({"path": "/models/colours/predict", "content": png(4)}, ["grey4"]),
}


@pytest.mark.parametrize("name", GOOD)
def test_ways_to_ask(name: str, ask: Callable[..., httpx.Response]) -> None:
    options, said = GOOD[name]
    assert labels(ask(**options)) == said


PART = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n'

BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("no_image", {"content": b""}),
    "no files": ("no_image", multipart(b"--B--\r\n")),
    "no images in a list": ("no_image", {"json": {"images": []}}),
    "words": ("unsupported_media_type", {"content": b"hello, what is on this?"}),
    "words as an image": ("not_an_image", {"content": b"hello", "headers": {"content-type": "image/png"}}),
    "a kind that is not read": ("not_an_image", {"content": b"%PDF-1.7 and so on"}),
    "compressed": ("unsupported_media_type", {"content": b"x", "headers": {"content-encoding": "gzip"}}),
    "cut off": ("bad_image", {"content": encoded("JPEG", 90, (30, 30))[:-200]}),
    "all cut off": ("bad_image", {"files": [("a", ("a.png", png(1)[:-20])), ("b", ("b.png", png(2)[:-20]))]}),
    "too many pixels": ("too_many_pixels", {"content": png(1, (100, 11))}),
    "too many images": ("too_many_images", {"files": FILES * 2}),
    "too many in a list": ("too_many_images", {"json": {"images": ["AA"] * 4}}),
    "too many in a tensor": ("too_many_images", {"content": npy(tensor(1, 2, 3, 4))}),
    "too many bytes": ("too_large", {"content": b"\0" * 5001}),
    "no JSON": ("bad_json", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "deep JSON": ("bad_json", {"content": b"[" * 4999, "headers": {"content-type": "application/json"}}),
    "other JSON": ("bad_json", {"json": {"picture": "AA"}}),
    "an unknown field": ("bad_json", {"json": {"image": b64(png(1)), "top": 3}}),
    "numbers": ("bad_json", {"json": {"images": [1, 2]}}),
    "no base64": ("bad_base64", {"json": {"image": "ä" * 8}}),
    "no boundary": ("bad_multipart", {"content": PART, "headers": {"content-type": "multipart/form-data"}}),
    "a long boundary": ("bad_multipart", multipart(PART, "B" * 71)),
    "another boundary": ("bad_multipart", multipart(PART + b"x\r\n--B--\r\n", "C")),
    "no end": ("bad_multipart", multipart(PART + b"abc")),
    "no disposition": ("bad_multipart", multipart(b"--B\r\nContent-Type: image/png\r\n\r\nx\r\n--B--\r\n")),
    "a form's text": ("bad_multipart", {"data": {"top": "3"}, "files": FILES[:1]}),
    "half a header": ("bad_tensor", {"content": b"\x93NUMPY\x01\x00\xff\xff{'descr'"}),
    "another version": ("bad_tensor", {"content": b"\x93NUMPY\x09\x09" + b"\0" * 99}),
    "floats": ("bad_tensor", {"content": npy(tensor(1).astype(np.float32))}),
    "Fortran's order": ("bad_tensor", {"content": npy(np.asfortranarray(tensor(1)))}),
    "pickles": ("bad_tensor", {"content": npy(np.array([{}], dtype=object))}),
    "a short array": ("bad_tensor", {"content": npy(tensor(1))[:-1]}),
    "a negative shape": ("bad_tensor", shaped(tensor(1), "-1,-3,8,8")),
    "a shape of words": ("bad_tensor", shaped(tensor(1), "one")),
    "a shape of three": ("bad_tensor", shaped(tensor(1), "3,8,8")),
    "another size": ("wrong_shape", {"content": npy(np.zeros((1, 3, 9, 8), np.uint8))}),
    "top of nothing": ("bad_parameter", {"path": "/predict?top=0", "content": png(1)}),
    "top of words": ("bad_parameter", {"path": "/predict?top=all", "content": png(1)}),
    "an unknown model": ("unknown_model", {"path": "/models/colour/predict", "content": png(1)}),
    "an unknown path": ("not_found", {"path": "/predictions"}),
    "another method": ("method_not_allowed", {"method": "GET"}),
    "another host": ("wrong_host", {"headers": {"host": "evil.example"}, "content": png(1)}),
    "another site": ("cross_origin", {"headers": {"origin": "http://evil.example"}, "content": png(1)}),
    "reload without a token": ("no_token_set", {"path": "/models/colours/reload"}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(name: str, ask: Callable[..., httpx.Response]) -> None:
    type, options = BAD[name]
    response = ask(**options)
    error = response.json()["error"]
    assert (error["type"], response.status_code) == (type, STATUSES[type]), error
    assert 400 <= response.status_code < 500
    assert error["message"]
    assert response.headers["content-type"] == "application/json"


def test_each_word_is_answered_somewhere() -> None:
    """The ones that are not in the table have a test of their own, here or beside."""
    elsewhere = {"unauthorized", "reload_failed", "busy", "stopping", "deadline", "model_failed", "not_finite"}
    elsewhere |= {"decode_timeout", "decoder_died", "too_slow", "bad_request", "internal"}
    assert {type for type, _ in BAD.values()} | elsewhere == set(STATUSES)
    assert not {type for type, _ in BAD.values()} & elsewhere


def test_one_bad_image_does_not_cost_the_others(ask: Callable[..., httpx.Response]) -> None:
    files = [("a", ("a.png", png(1))), ("b", ("b.png", b"no image")), ("c", ("c.png", png(3)))]
    first, second, third = ask(files=files).json()["predictions"]
    assert (first["source"], first["label"], third["source"], third["label"]) == ("a.png", "grey1", "c.png", "grey3")
    assert (second["source"], second["error"]["type"]) == ("b.png", "not_an_image")


def test_what_an_answer_says(ask: Callable[..., httpx.Response]) -> None:
    response = ask(path="/predict?top=2", content=png(7), headers={"x-request-id": "mine-1"})
    answer = response.json()
    assert (answer["model"], answer["version"], answer["kind"]) == ("colours", 1, "label")
    (prediction,) = answer["predictions"]
    assert [row["label"] for row in prediction["top"]] == ["grey7", "grey0"]
    assert prediction["probability"] == pytest.approx(np.exp(20) / (np.exp(20) + 255), rel=1e-6)
    assert response.headers["x-request-id"] == "mine-1"
    assert {part.partition(";")[0] for part in response.headers["server-timing"].split(", ")} == {"read", "decode", "model"}


def test_what_models_say(ask: Callable[..., httpx.Response]) -> None:
    answer = ask("GET", "/models").json()
    (model,) = answer["models"]
    assert (answer["default"], model["name"], model["version"], model["num_classes"]) == ("colours", "colours", 1, 256)
    assert model["input"] == {"dtype": "uint8", "shape": ["N", 3, *PREPROCESS.size]}
    assert [ask("GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_metrics_count_what_was_asked(ask: Callable[..., httpx.Response]) -> None:
    def read() -> dict[str, float]:
        lines = ask("GET", "/metrics").text.splitlines()
        families = {line.split()[2] for line in lines if line.startswith("# TYPE")}
        samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        assert all(any(name.startswith(family) for family in families) for name, _, _ in samples)
        return {name: float(value) for name, _, value in samples}

    ask(content=npy(tensor(1, 2)))
    before = read()
    ask(content=npy(tensor(1, 2)))
    ask(content=b"")
    after = read()
    grown = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    assert grown['striate_images_total{model="colours"}'] == 2
    assert grown['striate_requests_total{path="/predict",status="200"}'] == 1
    assert grown['striate_errors_total{type="no_image"}'] == 1
    assert grown['striate_batch_images_sum{model="colours"}'] == 2
    assert grown['striate_batch_images_bucket{model="colours",le="2"}'] == 1
    assert 'striate_batch_images_bucket{model="colours",le="1"}' not in grown
    assert (
        after['striate_batch_seconds_bucket{model="colours",le="+Inf"}'] == after['striate_batch_seconds_count{model="colours"}']
    )


def test_openapi_examples_work(ask: Callable[..., httpx.Response]) -> None:
    schema = ask("GET", "/openapi.json").json()
    assert set(schema["paths"]) == {
        "/predict",
        "/models/{name}/predict",
        "/models",
        "/models/{name}/reload",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    operation = schema["paths"]["/predict"]["post"]
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        assert len(labels(ask(json=example["value"]))) >= 1
    for status, response in operation["responses"].items():
        example = response["content"]["application/json"]["example"]
        assert status == "200" or STATUSES[example["error"]["type"]] == int(status)


def test_token() -> None:
    async def ask(server: Running) -> None:
        async def status(path: str, token: str | None, method: str = "POST") -> tuple[int, str]:
            headers = {} if token is None else {"authorization": token}
            response = await server.client.request(method, path, content=npy(tensor(1)), headers=headers)
            return response.status_code, response.json().get("error", {}).get("type", "")

        for path in ("/predict", "/models", "/metrics", "/models/colours/reload", "/openapi.json", "/nowhere"):
            for token in (
                None,
                "",
                "Bearer",
                "Bearer wrong",
                "Bearer secre",
                "Bearer secret2",
                "Basic secret",
                "secret",
                "Bearer é",
            ):
                sent = token.encode() if token else token
                assert await status(path, sent) == (401, "unauthorized"), (path, token)  # type: ignore[arg-type]
        assert await status("/predict", "Bearer secret") == (200, "")
        assert await status("/healthz", None, "GET") == (200, "")
        assert (await server.client.get("/")).status_code == 200
        assert "secret" not in server.written()
        # With a token a name is no protection and no hindrance.
        named = await server.client.get("/models", headers={"authorization": "bearer secret", "host": "cats.example"})
        assert named.status_code == 200

    within(None, ask, token="secret")


def test_full_queue_is_told_before_the_body_is_read() -> None:
    async def ask(server: Running) -> None:
        read = 0

        async def body() -> Any:
            nonlocal read
            read += 1
            yield npy(tensor(1))

        load = server.service.load
        load.batch_seconds = 3.0
        with load.admitting(load.limits.max_queue):
            refused = await server.client.post("/predict", content=body())
            assert (refused.status_code, refused.json()["error"]["type"], read) == (503, "busy", 0)
            assert refused.headers["retry-after"] == "12"  # 128 images, 32 a batch, 3 s each
            assert (await server.client.get("/models")).status_code == 200
        with load.admitting(load.limits.max_queue - 1):
            refused = await server.predict(1, 2)  # room for one: known when the body has been read
            assert refused.json()["error"]["type"] == "busy"
            assert labels(await server.predict(3)) == ["grey3"]
        load.uploads = load.limits.max_uploads
        assert (await server.predict(1)).status_code == 503
        load.uploads, load.bytes = 0, load.limits.max_upload_bytes - 10
        assert (await server.predict(1)).status_code == 503
        load.bytes = 0
        assert (await server.predict(1)).status_code == 200
        assert (load.queued, load.uploads, load.bytes) == (0, 0, 0)

    within(None, ask)


def test_body_that_grows_beyond_the_limit_without_saying_so() -> None:
    async def ask(server: Running) -> None:
        sent = 0

        async def body() -> Any:
            nonlocal sent
            for _ in range(100):
                sent += 1000
                yield b"\0" * 1000

        refused = await server.client.post("/predict", content=body())
        assert (refused.status_code, refused.json()["error"]["type"]) == (413, "too_large")
        assert sent <= 7000
        assert server.service.load.bytes == 0

    within(SMALL, ask)


def test_journal_says_what_happened_and_nothing_of_what_was_sent() -> None:
    async def ask(server: Running) -> None:
        await server.client.post(
            "/predict?top=1&me=alice", files=[("alice", ("alice.png", png(7)))], headers={"x-request-id": "r1"}
        )
        await server.client.post("/models/alice/predict", content=b"alice")
        record, refused = [json.loads(line) for line in server.written().splitlines()]
        assert record["event"] == "request"
        assert (record["id"], record["path"], record["status"], record["images"]) == ("r1", "/predict", 200, 1)
        assert {"time", "ms", "read_ms", "decode_ms", "model_ms", "bytes", "model", "version"} <= record.keys()
        assert (refused["status"], refused["error"]) == (404, "unknown_model")
        assert "alice" not in server.written()

    within(None, ask, num_workers=1)


def test_what_nobody_expected_is_a_typed_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LookupError("alice")

    async def ask(server: Running) -> None:
        monkeypatch.setattr(server.service, "predict", fail)
        monkeypatch.setattr(server.service.metrics, "text", fail)
        for failed in (await server.predict(1), await server.client.get("/metrics")):
            assert (failed.status_code, failed.json()["error"]["type"]) == (500, "internal")
            assert "alice" not in failed.text
        failures = [json.loads(line) for line in server.written().splitlines() if '"failed"' in line]
        assert [failure["error"] for failure in failures] == ["LookupError", "LookupError"]
        assert "alice" not in server.written()

    within(None, ask)


def test_a_new_version_takes_over_and_a_broken_one_does_not() -> None:
    prefixes = iter(["old", "broken", "new"])

    def open_next() -> Any:
        prefix = next(prefixes)
        if prefix == "broken":
            raise OSError("the path of the file")
        return colours(prefix)

    async def ask(server: Running) -> None:
        server.client.headers["authorization"] = "Bearer secret"
        assert labels(await server.predict(1)) == ["old1"]
        failed = await server.client.post("/models/colours/reload")
        assert (failed.status_code, failed.json()["error"]["type"]) == (422, "reload_failed")
        assert "path" not in failed.text
        assert labels(await server.predict(1)) == ["old1"]
        assert (await server.client.post("/models/colours/reload")).json()["version"] == 2
        after = await server.predict(1)
        assert (labels(after), after.json()["version"]) == (["new1"], 2)
        assert (await server.client.post("/models/other/reload")).status_code == 404

    within(None, ask, token="secret", sources=[Source("colours", "colours", open_next)])
