"""Caffe's ``.caffemodel``: a NetParameter message of protocol buffers, of which only layers, names and blobs are read.

The wire format is small enough to read here: a message is a run of (field number and wire type, value). Field numbers are
those of ``caffe.proto``, of ``LayerParameter`` and of ``V1LayerParameter``, which files from before 2015 have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.errors import Refused
from striate.weight_files.layers import Layers

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Layer(NamedTuple):
    """Field numbers of a layer message."""

    name: int
    blobs: int


_LAYERS = {2: _Layer(name=4, blobs=6), 100: _Layer(name=1, blobs=7)}
"""Field of NetParameter -> what its messages look like: V1LayerParameter ``layers``, LayerParameter ``layer``."""

_BLOB_OLD_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE = 5, 7, 8
_SHAPE_DIM = 1


def read_caffe(path: Path) -> Layers:
    """Layer -> its blobs, float32, in Caffe's order: weights, bias; of a batch norm mean, variance, scale factor.

    Raises:
        Refused: it is no such file, or a damaged one.
    """
    layers: Layers = {}
    try:
        for field, value in _fields(memoryview(path.read_bytes())):
            if field in _LAYERS and isinstance(value, memoryview):
                name, blobs = _layer(value, _LAYERS[field])
                if blobs:
                    layers[name] = blobs
    except (ValueError, IndexError) as error:
        fix = "fetch it again; a .caffemodel is wanted, not a .prototxt"
        raise Refused("not a readable Caffe model", where=path, why=str(error), fix=fix) from None
    if not layers:
        raise Refused("the Caffe file holds no weights", where=path, fix="give the .caffemodel, not the .prototxt")
    return layers


def _layer(message: memoryview, fields: _Layer) -> tuple[str, list[NDArray[np.float32]]]:
    name, blobs = "", []
    for field, value in _fields(message):
        if field == fields.name and isinstance(value, memoryview):
            name = bytes(value).decode()
        elif field == fields.blobs and isinstance(value, memoryview):
            blobs.append(_blob(value))
    return name, blobs


def _blob(message: memoryview) -> NDArray[np.float32]:
    old_shape, shape, parts = dict.fromkeys(_BLOB_OLD_SHAPE, 1), None, []
    for field, value in _fields(message):
        if field in old_shape and isinstance(value, int):
            old_shape[field] = value
        elif field == _BLOB_SHAPE and isinstance(value, memoryview):
            shape = _dimensions(value)
        elif field in (_BLOB_DATA, _BLOB_DOUBLE) and isinstance(value, memoryview):  # packed, or one number at a time
            parts.append(np.frombuffer(value, "<f4" if field == _BLOB_DATA else "<f8").astype(np.float32))
    shape = tuple(old_shape.values()) if shape is None else shape
    data = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if data.size != math.prod(shape):
        raise ValueError(f"a blob of shape {shape} has {data.size:,} numbers")
    return data.reshape(shape)


def _dimensions(message: memoryview) -> tuple[int, ...]:
    dimensions: list[int] = []
    for field, value in _fields(message):
        if field != _SHAPE_DIM:
            continue
        if isinstance(value, int):
            dimensions.append(value)
            continue
        place = 0
        while place < len(value):
            number, place = _varint(value, place)
            dimensions.append(number)
    return tuple(dimensions)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers with their values: an integer for a varint, else the bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {place:,} of a message: not protocol buffers")
        if place + size > len(message):
            raise ValueError(f"a field of {size:,} bytes in a message that ends after {len(message) - place:,}")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A base-128 number, least significant group first, and the place after it."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits: not protocol buffers")
