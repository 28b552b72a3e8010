"""IDX, the format of MNIST and its likes: a magic number, big-endian sizes, then the bytes; plain or gzipped.

The format is described with MNIST (LeCun, Cortes and Burges): two zero bytes, the type (8: uint8), the number of dimensions,
each dimension as a 32-bit number, the data. ``t10k`` is the test split.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from striate.data.download import fetch_first
from striate.data.source import SPLITS, ArraySource
from striate.errors import Refused, StriateError, UsageError
from striate.machine import cache_folder

_NAME = re.compile(r"(train|t10k|test)-(images|labels)[.-]idx[13]-ubyte(\.gz)?")


@dataclass(frozen=True)
class Published:
    """A data set that can be downloaded.

    Attributes:
        title: its name.
        classes: in the order of the labels.
        urls: folders on the network, each with the same files.
        sha256: hex, by file name.
    """

    title: str
    classes: tuple[str, ...]
    urls: tuple[str, ...]
    sha256: dict[str, str]


MNIST = Published(
    "MNIST",
    tuple("0123456789"),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)

FASHION = Published(
    "Fashion-MNIST",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def open_idx(path: str) -> ArraySource:
    """Opens ``idx:FOLDER``; the classes are the numbers that occur."""
    folder = Path(path).expanduser().absolute()
    return _read(folder, folder.name, f"idx:{folder}", None)


def open_mnist(path: str, download: bool = True) -> ArraySource:
    """Opens ``mnist:FOLDER``; a folder that is not there is downloaded first, without one into the user's cache.

    Raises:
        UsageError: with ``download`` off, where the files are not there.
    """
    return _open_published("mnist", MNIST, path, download)


def open_fashion(path: str, download: bool = True) -> ArraySource:
    """Opens ``fashion:FOLDER``, Fashion-MNIST, in the same way as MNIST."""
    return _open_published("fashion", FASHION, path, download)


def find(folder: Path) -> dict[tuple[str, str], Path]:
    """(``train`` or ``test``, ``images`` or ``labels``) -> file, the plain one before the gzipped one."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (match := _NAME.fullmatch(file.name)) and file.is_file():
            found.setdefault(("train" if match[1] == "train" else "test", match[2]), file)
    return found


def _open_published(scheme: str, data: Published, path: str, download: bool) -> ArraySource:
    folder = Path(path).expanduser().absolute() if path else cache_folder() / scheme
    if download and (not folder.exists() or (not path and not all((folder / name).exists() for name in data.sha256))):
        _download(data, folder)
    return _read(folder, scheme, f"{scheme}:{folder}" if path else f"{scheme}:", data.classes)


def _download(data: Published, folder: Path) -> None:
    for name, sha256 in data.sha256.items():
        if not (folder / name).exists():
            print(f"downloading {name} of {data.title} to {folder}", file=sys.stderr)
            try:
                fetch_first([url + name for url in data.urls], folder / name, sha256=sha256)
            except StriateError as error:
                if not any(folder.iterdir()):
                    folder.rmdir()
                fix = f"put {', '.join(data.sha256)} into {folder}: from {data.urls[0]}, on a machine with a network"
                raise type(error)(
                    f"{data.title} could not be downloaded", where=error.where, why=error.why or error.what, fix=fix
                ) from error


def _read(folder: Path, name: str, location: str, classes: Sequence[str] | None) -> ArraySource:
    files = find(folder)
    splits = [split for split in ("train", "test") if (split, "images") in files or (split, "labels") in files]
    if not splits:
        raise UsageError(
            "no IDX files in the folder",
            where=folder,
            fix="it should hold train-images-idx3-ubyte, train-labels-idx1-ubyte and the same for t10k, plain or .gz",
        )
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.uint8]] = []
    for split in splits:
        for part in ("images", "labels"):
            if (split, part) not in files:
                raise UsageError(
                    f"the {split} {part} are missing",
                    where=folder,
                    fix=f"put {'train' if split == 'train' else 't10k'}-{part}-idx{3 if part == 'images' else 1}-ubyte there",
                )
        images.append(read_idx(files[split, "images"], 3))
        labels.append(read_idx(files[split, "labels"], 1))
        if len(images[-1]) != len(labels[-1]):
            raise Refused(
                f"{len(images[-1])} pictures but {len(labels[-1])} labels",
                where=files[split, "labels"],
                fix="download both again",
            )
    if images[0].shape[1:] != images[-1].shape[1:]:
        raise Refused(
            "train and test pictures differ in size", where=folder, why=f"{images[0].shape[1:]} and {images[-1].shape[1:]}"
        )
    every = np.concatenate(labels)
    if not len(every):
        raise UsageError("no pictures in the IDX files", where=folder)
    values = np.unique(every) if classes is None else np.arange(len(classes))
    if every.max() > values[-1]:
        raise Refused(f"a label {every.max()} where there are {len(values)} classes", where=folder, fix="open it as idx:FOLDER")
    return ArraySource(
        np.concatenate(images)[..., None],
        name=name,
        location=location,
        kind="label",
        classes=classes or [str(value) for value in values],
        targets=np.searchsorted(values, every).astype(np.int64),
        given=np.concatenate(
            [np.full(len(part), SPLITS.index(split), np.uint8) for split, part in zip(splits, labels, strict=True)]
        ),
    )


def read_idx(path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    """One IDX file of uint8, plain or gzipped -> an array of the sizes it states.

    Raises:
        Refused: not IDX, another number of dimensions, fewer or more bytes than stated, a damaged gzip.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _read_idx(file, path, num_dimensions)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refused("the gzip file is damaged or cut short", where=path, why=str(error), fix="download it again") from error
    except OSError as error:
        raise UsageError("the file cannot be read", where=path, why=error.strerror or str(error)) from error


def _read_idx(file: BinaryIO, path: Path, num_dimensions: int) -> NDArray[np.uint8]:
    head = file.read(4 + 4 * num_dimensions)
    magic = bytes((0, 0, 8, num_dimensions))
    if head[:4] != magic:
        why = f"it begins with {head[:4].hex(' ')}, not {magic.hex(' ')} (uint8, {num_dimensions} dimensions)"
        raise Refused("this is not the IDX file its name promises", where=path, why=why, fix="download it again")
    if len(head) < 4 + 4 * num_dimensions:
        raise Refused("the file ends within its header", where=path, fix="download it again")
    sizes = struct.unpack(f">{num_dimensions}I", head[4:])
    expected, data = math.prod(sizes), bytearray()
    while len(data) <= expected and (block := file.read(2**24)):  # in blocks, for a header may promise exabytes
        data += block
    if len(data) != expected:
        have = f"{len(data):,}" if len(data) < expected else "more"
        why = f"its header says {' x '.join(map(str, sizes))} = {expected:,} bytes; it holds {have}"
        raise Refused("the file's size does not fit its header", where=path, why=why, fix="download it again")
    return np.frombuffer(data, dtype=np.uint8).reshape(sizes)
