"""The process that decodes: a hostile picture can take this one's time and memory, and its life, and nothing else.

Started as ``python -m striate.serving.decode_worker DESCRIPTOR BYTES`` by :mod:`striate.serving.decoding_pool`. Over the socket
DESCRIPTOR come a header (``REQUEST``), the preprocessing as JSON and the encoded picture; back go a header (``ANSWER``) and
either pixels, or ``[reason, what, why]`` as JSON.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import struct
import sys
import time
from functools import lru_cache

from striate.data.decode import ImageError
from striate.data.preprocess import Preprocess

REQUEST = struct.Struct(">II")
"""Bytes of the preprocessing, bytes of the picture."""

ANSWER = struct.Struct(">BId")
"""PIXELS or ERROR, bytes that follow, seconds that it took."""

READY, PIXELS, ERROR = 0, 1, 2


def main(descriptor: int, memory: int) -> None:
    """Answers until the other end closes the socket.

    Args:
        descriptor: of the connected socket.
        memory: bytes that decoding may take beyond what the process has when it begins.
    """
    # The server drains before it closes the socket: a signal to the whole group must not end the work before.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _cap_memory(memory)
    with socket.socket(fileno=descriptor) as peer, contextlib.suppress(EOFError, ConnectionError):
        peer.sendall(ANSWER.pack(READY, 0, 0.0))
        while True:
            num_json, num_bytes = REQUEST.unpack(_receive(peer, REQUEST.size))
            preprocess, data = bytes(_receive(peer, num_json)), bytes(_receive(peer, num_bytes))
            begun = time.perf_counter()
            kind, payload = _decode(preprocess, data)
            head = ANSWER.pack(kind, len(payload), time.perf_counter() - begun)
            peer.sendall(b"".join((head, payload)))


def _decode(preprocess: bytes, data: bytes) -> tuple[int, bytes | memoryview]:
    try:
        return PIXELS, _preprocess(preprocess)(data).data.cast("B")
    except ImageError as error:
        return ERROR, json.dumps([error.reason, error.what, error.why]).encode()
    except MemoryError:
        return ERROR, json.dumps(["pixels", "the picture takes too much memory", None]).encode()


@lru_cache(maxsize=32)
def _preprocess(text: bytes) -> Preprocess:
    return Preprocess.from_json(json.loads(text))


def _receive(peer: socket.socket, size: int) -> bytearray:
    """Exactly ``size`` bytes. Raises ``EOFError`` at the end."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = peer.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return data


def _cap_memory(memory: int) -> None:
    """Beyond it allocations fail, which is a picture's error; without it the system might kill the server instead."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
