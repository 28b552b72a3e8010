"""Damaged model files: no flipped bit, cut or crafted header gets past the reader, and each is a typed refusal."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from striate.bundle import read_arrays, read_bundle, read_info, write_bundle
from striate.errors import Refused


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    state = {"conv.weight": torch.randn(8, 3, 3, 3), "bias": torch.zeros(8), "n": torch.tensor(7), "half": torch.ones(5).half()}
    write_bundle(path, state, {"classes": ["ant", "bee", "été"], "metrics": {"accuracy": 0.9375, "loss": 1e-07}})
    return path


def header_length(data: bytes) -> int:
    return 8 + int(struct.unpack("<Q", data[:8])[0])


def flip_and_read(path: Path, data: bytes, bit: int) -> None:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    with pytest.raises(Refused):
        read_info(path)


def test_flipped_bits_in_the_header_are_refused(bundle: Path) -> None:
    data = bundle.read_bytes()
    for bit in random.Random(0).sample(range(header_length(data) * 8), 1000):
        flip_and_read(bundle, data, bit)


def test_flipped_bits_in_the_tensors_are_refused(bundle: Path) -> None:
    data = bundle.read_bytes()
    for bit in random.Random(1).sample(range(header_length(data) * 8, len(data) * 8), 500):
        flip_and_read(bundle, data, bit)


@pytest.mark.slow
def test_every_single_bit_of_a_file_is_guarded(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_bundle(path, {"weight": torch.randn(3, 4), "bias": torch.zeros(3).half()}, {"classes": ["a", "b"], "loss": 1e-07})
    data = path.read_bytes()
    for bit in range(len(data) * 8):
        flip_and_read(path, data, bit)


def test_truncated_and_lengthened_files_are_refused(bundle: Path) -> None:
    data = bundle.read_bytes()
    for length in [*range(64), *random.Random(2).sample(range(64, len(data)), 200), len(data) - 1]:
        bundle.write_bytes(data[:length])
        with pytest.raises(Refused, match=r"where: .*model\.safetensors"):
            read_bundle(bundle)
    bundle.write_bytes(data + b"\0")
    with pytest.raises(Refused, match="appended"):
        read_arrays(bundle)


def test_swapped_tensors_of_one_shape_are_refused(tmp_path: Path) -> None:
    """Bytes that are each intact but stand under the other's name: what a checksum of the data alone lets through."""
    path = tmp_path / "model.safetensors"
    write_bundle(path, {"aa": torch.ones(4), "bb": torch.zeros(4)}, {})
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"aa"', b'"xx"').replace(b'"bb"', b'"aa"').replace(b'"xx"', b'"bb"'))
    with pytest.raises(Refused, match="SHA-256"):
        read_bundle(path)


def entry(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"null",
        b"{" * 50_000,
        b"[" * 50_000 + b"]" * 50_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"__metadata__":{"x":1}}',
        b'{"__metadata__":[]}',
        b'{"\xff":1}',
        {"a": entry((1 << 62, 4), (0, 1 << 66))},
        {"a": entry((-1,), (0, -4))},
        {"a": entry((True,))},
        {"a": entry((1.0,))},
        {"a": entry(offsets=(0, 4, 8))},
        {"a": entry(offsets=(4, 8))},
        {"a": entry(), "b": entry()},
        {"a": entry((2,), (0, 8)), "b": entry((1,), (4, 8))},
        {"a": entry(dtype="F33")},
        {"a": entry(dtype=None)},
        {"a": entry() | {"more": 1}},
        {"a": []},
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"__metadata__":{"striate":"{","sha256":""}}',
    ],
)
def test_crafted_headers_are_refused(tmp_path: Path, header: bytes | dict[str, Any]) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    for body in (b"", bytes(4), bytes(8)):
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)
        with pytest.raises(Refused):
            read_bundle(path)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_longer_than_the_file_is_never_allocated(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" * 100)
    with pytest.raises(Refused, match="not a safetensors file, or a truncated one"):
        read_info(path)
