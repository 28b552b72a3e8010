"""What can be asked about: files, folders, globs, lists of names, encoded bytes, arrays and Pillow images."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from striate.data.channels import pillow_to_array
from striate.data.decode import EXTENSIONS, ImageError, read_file
from striate.data.preprocess import Preprocess
from striate.data.source import natural_key

Input = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image
"""A path (of a file, a folder or a glob), an encoded file, a picture uint8 [H, W] or [H, W, C], or a Pillow image."""


def expand_inputs(paths: Iterable[str | os.PathLike[str]], stdin: IO[str] | None = None) -> Iterator[str]:
    """Names of files, lazily: a folder becomes the pictures below it, a glob its matches, ``-`` the lines of ``stdin``.

    Within a folder or glob the order is natural (``2.jpg`` before ``10.jpg``); hidden files and folders are left out. What
    does not exist, or holds no picture, comes out as it is: it is then one failure among the others.
    """
    for path in paths:
        name = os.fspath(path)
        if name == "-" and stdin is not None:
            yield from (line for line in map(_without_newline, stdin) if line)
        elif os.path.isdir(name):
            yield from _pictures_below(name)
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(glob.iglob(name, recursive=True), key=natural_key)
            yield from expand_inputs(matches) if matches else (name,)
        else:
            yield name


def list_inputs(inputs: Input | Iterable[Input]) -> Iterator[tuple[str, Input]]:
    """One or many inputs -> (name, input) pairs: paths expanded and named by themselves, the others by their position."""
    position = 0
    for item in _one_or_many(inputs):
        if isinstance(item, str | os.PathLike):
            for name in expand_inputs([item]):
                yield name, name
                position += 1
        else:
            yield str(position), item
            position += 1


def _one_or_many(inputs: Input | Iterable[Input]) -> Iterable[Input]:
    if isinstance(inputs, str | os.PathLike | bytes | Image.Image):
        return [inputs]
    if isinstance(inputs, np.ndarray):
        return [inputs] if inputs.ndim < 4 else list(inputs)
    return inputs


def read_input(item: Input, preprocess: Preprocess, name: str = "") -> NDArray[np.uint8]:
    """Any single input -> the pixels that the network reads, uint8 [h, w, C].

    Raises:
        ImageError: it cannot be read.
        TypeError: it is nothing of the kind.
    """
    if isinstance(item, str | os.PathLike):
        return preprocess(_file_bytes(item), os.fspath(item))
    if isinstance(item, Image.Image):
        return preprocess.pixels(_from_pillow(item, preprocess, name), name)
    if isinstance(item, bytes | np.ndarray):
        return preprocess(item, name)
    raise TypeError(
        f"predict: input {name} is a {type(item).__name__}; give a path, the bytes of an image file, "
        "an array uint8 [H, W, C] or a Pillow image"
    )


def _without_newline(line: str) -> str:
    return line.rstrip("\r\n")


def _pictures_below(folder: str) -> Iterator[str]:
    found = False
    for here, folders, files in os.walk(folder):
        folders[:] = sorted((name for name in folders if not _is_junk(name)), key=natural_key)
        for name in sorted(files, key=natural_key):
            if not _is_junk(name) and os.path.splitext(name)[1].lower() in EXTENSIONS:
                found = True
                yield os.path.join(here, name)
    if not found:
        yield folder


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _file_bytes(path: str | os.PathLike[str]) -> bytes:
    if os.path.isdir(path):
        raise ImageError("not a file", "a folder without pictures", name=os.fspath(path), fix="give a folder of image files")
    return read_file(path)


def _from_pillow(image: Image.Image, preprocess: Preprocess, name: str) -> NDArray[np.uint8]:
    """The same pixels as those of the file that the image was opened from, as far as Pillow still knows of it."""
    if image.width * image.height > preprocess.max_pixels:
        why = f"the cap is {preprocess.max_pixels:,} pixels"
        raise ImageError("pixels", f"a picture of {image.width} x {image.height}", name=name, why=why)
    try:
        upright = ImageOps.exif_transpose(image) if preprocess.exif else image
        return pillow_to_array(upright, preprocess.channels, preprocess.alpha_color, shift=8)
    except Exception as error:  # Pillow decodes late, and answers broken bytes with almost anything
        raise ImageError("corrupt", "the image is damaged", name=name, why=str(error)) from error
