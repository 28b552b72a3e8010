"""Requests that no server should answer with anything but 4xx: raw HTTP, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from colours import encoded, npy, png, tensor

JPEG, PNG, NPY = encoded("JPEG", 90, (60, 40)), png(90, (60, 40)), npy(tensor(1, 2))

Choose = random.Random


def requests(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(kind, the bytes to send) pairs, every kind as often."""
    kinds = list(KINDS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield kind, KINDS[kind](Choose(seed * 1_000_003 + number))


def http(body: bytes, content_type: str = "", *more: str, path: str = "/predict", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", "Connection: close", *more]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def _noise(choose: Choose, most: int = 3000) -> bytes:
    # Never by chance the beginning of a picture.
    return b"\x00" + choose.randbytes(choose.randrange(most))


def _cut(choose: Choose, data: bytes, least: int = 1) -> bytes:
    return data[: choose.randrange(least, len(data) - 12)]


def _multipart(choose: Choose) -> bytes:
    good = b'--B\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + PNG + b"\r\n--B--\r\n"
    cuts = [
        good[: choose.randrange(5, 60)],
        good[: choose.randrange(70, len(good) - 8)],
        good.replace(b"filename", b"file"),
        good[3:],
    ]
    body = choose.choice([*cuts, b"--B" * choose.randrange(1, 900), b"\r\n--B" * choose.randrange(1, 900), _noise(choose)])
    return http(body, f"multipart/form-data; boundary={choose.choice(['B', 'B', 'B', '', 'C', 'B' * 80])}")


def _json(choose: Choose) -> bytes:
    bodies = [b'{"image": 1}', b'{"images": "AA"}', b"[" * choose.randrange(1, 9999), b'{"image": "%s"}' % (b"?" * 9), b"null"]
    bodies += [b'{"image": "AAAA"}', b'{"images": {}}', b'{"a": 1e999}', b'{"image": "' + choose.randbytes(50).hex().encode()]
    return http(choose.choice([*bodies, _noise(choose)]), "application/json")


def _npy(choose: Choose) -> bytes:
    damaged = bytearray(NPY)
    damaged[choose.randrange(6, 60)] ^= 1 << choose.randrange(8)
    bodies = [_cut(choose, NPY), NPY[:10] + choose.randbytes(120), NPY + b"\0", b"\x93NUMPY" + choose.randbytes(200)]
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }" % (b"9" * choose.randrange(1, 4000))
    bodies.append(b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header)
    return http(choose.choice(bodies))


def _shape(choose: Choose) -> bytes:
    shapes = ["1,3,8", "0,3,8,8", "-1,3,8,8", "1e3,3,8,8", "9" * 400, "a,b,c,d", "", "2,3,8,8", "1,1,8,24", "4294967297,3,8,8"]
    return http(b"\0" * 192, "application/octet-stream", f"X-Shape: {choose.choice(shapes)}")


def _address(choose: Choose) -> bytes:
    paths = [
        "/predict?top=-1",
        "/predict?top=%00",
        "/models/x/predict",
        "/models/..%2f..%2fetc/predict",
        "/../etc/passwd",
        "/x" * 900,
    ]
    paths += ["/predict?top=" + "9" * 500, "/models//predict", "/predict/", "/models/colours/reload", "//", "/%ff%fe"]
    return http(PNG, path=choose.choice(paths))


def _method(choose: Choose) -> bytes:
    return http(b"", method=choose.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "HEAD"]))


def _headers(choose: Choose) -> bytes:
    odd = [
        "Content-Encoding: gzip",
        "Content-Length: 99999999999",
        "Host: evil.example",
        "Host: [::1",
        "Host: ]",
        "Origin: null",
        "Origin: http://evil.example",
    ]
    odd += ["Transfer-Encoding: deflate", "Content-Length: -1", "Content-Length: 1e3"]
    text = choose.choice(odd)
    request = http(PNG)
    name = text.partition(":")[0].encode()
    lines = [line for line in request.partition(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith(name)]
    return b"\r\n".join([*lines, text.encode(), b"", b""]) + (
        PNG if name not in (b"Content-Length", b"Transfer-Encoding") else b""
    )


def _no_http(choose: Choose) -> bytes:
    # A line of bytes that no token of HTTP holds; an unending one of those that it does.
    return choose.choice(
        [b"\x16\x03\x01" + choose.randbytes(40) + b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000]
    )


KINDS: dict[str, Callable[[Choose], bytes]] = {
    "noise": lambda choose: http(_noise(choose), choose.choice(["", "image/png", "image/jpeg", "text/plain", "*/*", ";;;"])),
    "cut JPEG": lambda choose: http(_cut(choose, JPEG)),
    "cut PNG": lambda choose: http(_cut(choose, PNG), "image/png"),
    "damaged head": lambda choose: http(PNG[:12] + choose.randbytes(30) + PNG[42:]),
    "multipart": _multipart,
    "JSON": _json,
    ".npy": _npy,
    "X-Shape": _shape,
    "address": _address,
    "method": _method,
    "headers": _headers,
    "no HTTP": _no_http,
}
