"""What a request's body holds: encoded pictures, or ready tensors."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from python_multipart.multipart import parse_options_header

from striate.data.decode import sniff
from striate.serving.limits import Limits
from striate.serving.refusals import Refusal

NPY = b"\x93NUMPY"
_USUAL_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '\|u1', 'fortran_order': False, 'shape': \(([0-9, ]{1,99})\), \} *\n", re.DOTALL
)
"""What numpy.save writes for uint8: read without a parser of Python."""

SHAPE_HEADER = "x-shape"
_MAX_BOUNDARY = 70
"""RFC 2046, 5.1.1."""

_MAX_PART_HEAD = 8192
"""Bytes of one part's headers."""


@dataclass(frozen=True)
class Asked:
    """What is to be predicted: one of the two.

    Attributes:
        pictures: (name, encoded file) pairs. Names are the client's own, or positions.
        tensor: uint8 [N, C, h, w] as the network reads it.
    """

    pictures: tuple[tuple[str, memoryview], ...] = ()
    tensor: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.pictures) if self.tensor is None else len(self.tensor)


def parse(body: bytearray, headers: Mapping[str, str], limits: Limits) -> Asked:
    """Reads a whole body.

    Args:
        body: as it came.
        headers: of the request, names in lower case.
        limits: ``max_images``.

    Raises:
        Refusal: it is malformed, holds nothing, or too much.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    if not body:
        raise Refusal("no_image", "The body is empty; send an image")
    if kind == b"multipart/form-data":
        asked = _from_multipart(body, options.get(b"boundary", b""), limits.max_images)
    elif kind == b"application/json":
        asked = _from_json(body, limits.max_images)
    elif body.startswith(NPY):
        asked = _from_npy(body)
    elif SHAPE_HEADER in headers:
        asked = _from_raw_tensor(body, headers[SHAPE_HEADER])
    elif kind.startswith(b"image/") or sniff(bytes(body[:16])):
        asked = Asked((("0", memoryview(body)),))
    else:
        why = "neither an image nor multipart/form-data, application/json, a .npy array, or a tensor with its X-Shape"
        raise Refusal("unsupported_media_type", f"The body is {why}")
    if len(asked) == 0:
        raise Refusal("no_image", "There is no image in the body")
    _check_count(len(asked), limits.max_images)
    return asked


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise Refusal("too_many_images", f"{count} images; at most {most} in one request", max_images=most)


def _from_multipart(body: bytearray, boundary: bytes, max_images: int) -> Asked:
    """RFC 7578. The files are views of the body; the search for boundaries is C's, whatever the bytes between them."""
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise Refusal("bad_multipart", f"multipart/form-data needs a boundary of 1 to {_MAX_BOUNDARY} bytes")
    delimiter, view = b"\r\n--" + boundary, memoryview(body)
    if not body.startswith(delimiter[2:]):
        raise Refusal("bad_multipart", "The body does not begin with the boundary that its content-type names")
    files: list[tuple[str, memoryview]] = []
    position = len(delimiter) - 2
    while (after := body[position : position + 2]) != b"--":
        head = body.find(b"\r\n\r\n", position, position + _MAX_PART_HEAD)
        end = body.find(delimiter, head + 4) if after == b"\r\n" and head >= 0 else -1
        if end < 0:
            raise Refusal("bad_multipart", f"Part {len(files)} has no headers, or no boundary after it")
        _check_count(len(files) + 1, max_images)
        files.append((_file_name(bytes(body[position:head]), len(files)), view[head + 4 : end]))
        position = end + len(delimiter)
    return Asked(tuple(files))


def _file_name(head: bytes, position: int) -> str:
    """From a part's headers; the position where the name is empty."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            options = parse_options_header(value.strip())[1]
            if b"filename" in options:
                return options[b"filename"].decode(errors="replace") or str(position)
            field = options.get(b"name", b"").decode(errors="replace")
            raise Refusal("bad_multipart", f"The part {field!r} is no file; send each image with a file name")
    raise Refusal("bad_multipart", f"Part {position} has no Content-Disposition")


def _from_json(body: bytearray, max_images: int) -> Asked:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal("bad_json", f"The body is not JSON: {error}") from error
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"image", "images"}:
        raise Refusal("bad_json", 'Send {"image": BASE64} or {"images": [BASE64, ...]}')
    images = value["images"] if "images" in value else [value["image"]]
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Refusal("bad_json", "An image is a string: its file in base64")
    _check_count(len(images), max_images)
    return Asked(tuple((str(position), _from_base64(text, position)) for position, text in enumerate(images)))


def _from_base64(text: str, position: int) -> memoryview:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return memoryview(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Refusal("bad_base64", f"Image {position} is not base64: {error}", image=position) from error


def _from_npy(body: bytearray) -> Asked:
    if usual := _USUAL_NPY.match(body):
        return _shaped(memoryview(body)[usual.end() :], tuple(int(number) for number in usual[1].split(b",") if number.strip()))
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        readers: dict[tuple[int, int], Callable[..., Any]] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](stream)
    except Exception as error:  # the header is Python, and its reader answers hostile bytes with almost anything
        raise Refusal("bad_tensor", "The .npy header is malformed") from error
    if fortran or dtype != np.uint8:
        raise Refusal("bad_tensor", f"The array is {dtype}{', Fortran order' * fortran}; send uint8 in C order")
    return _shaped(memoryview(body)[stream.tell() :], shape)


def _from_raw_tensor(body: bytearray, text: str) -> Asked:
    try:
        shape = tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise Refusal("bad_tensor", "X-Shape is four integers: N, C, height, width") from error
    return _shaped(memoryview(body), shape)


def _shaped(data: memoryview, shape: tuple[int, ...]) -> Asked:
    if len(shape) != 4 or min(shape) < 1:
        raise Refusal("bad_tensor", f"A shape of {list(shape)}; send [N, C, height, width], each at least 1")
    if math.prod(shape) != len(data):
        raise Refusal("bad_tensor", f"{len(data)} bytes for uint8 {list(shape)}, which has {math.prod(shape)}")
    return Asked(tensor=np.frombuffer(data, np.uint8).reshape(shape))
