"""What a network makes of pictures before its last layer: embeddings of a whole data set, and the pictures most like another.

Embedding goes on where it stopped: until the index is whole, ``INDEX.partial`` beside it holds what is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data import unsorted
from striate.data.decode import ImageError
from striate.data.formats import open_source
from striate.data.source import FileSource, Source
from striate.embedder import Embedder
from striate.errors import Failed, Interrupted, Refused, UsageError
from striate.exporting.embedding_graph import Backend, check_backend
from striate.features import weights_digest
from striate.index import Index, Origin, Vectors, check_target, write_index
from striate.partial_index import PartialIndex
from striate.picture_stream import stream_pictures
from striate.prediction import BATCH, Model, load
from striate.prediction_inputs import Input, read_input
from striate.progress import Progress, Silent
from striate.search import nearest
from striate.signals import StopRequest
from striate.weight_files.state_dicts import is_sealed


class Match(NamedTuple):
    """A picture of an index that is like another.

    Attributes:
        key: its name within the data.
        label: its target in words.
        similarity: cosine, from -1 to 1.
        path: of its file, where it has its own.
    """

    key: str
    label: str
    similarity: float
    path: str | None


@dataclass(frozen=True, eq=False)
class Embedded:
    """An index that has been made.

    Attributes:
        path: its file.
        index: what it holds.
        bad: (key, reason) of each picture that could not be read; it is not in the index.
        num_kept: vectors that an earlier start had left.
        seconds: that this start took.
    """

    path: Path
    index: Index
    bad: list[tuple[str, str]]
    num_kept: int
    seconds: float


def embed(
    model: Model,
    data: str | Path | Source,
    out: str | Path,
    *,
    batch: int = BATCH,
    backend: Backend = "auto",
    workers: int | None = None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Embedded:
    """Embeds every picture of a data set, and writes the index.

    Args:
        model: a torch module: any network of the zoo, or one's own, see :class:`Embedder`.
        data: as for training; classes are kept with the vectors and need not be the model's.
        out: ``.npz`` or ``.parquet``. Where an earlier start was stopped this one goes on.
        batch: pictures that the network takes at once.
        backend: ``torch``, ``onnx`` or ``openvino``; ``auto``: what is fastest here, where there are many pictures to embed.
        workers: decoding threads; None: one a core.
        progress: told how many pictures are done.
        stop: asked between batches; None: SIGINT and SIGTERM.

    Raises:
        UsageError: no such data or format, the backend is not installed, or the model is no torch module.
        Refused: no embedding, no readable picture, or what was begun there is of another model or data.
        Failed: the disk refused, or the network's numbers are not finite.
        Interrupted: a stop was asked for; the same call goes on.
    """
    begun, out, stop = time.monotonic(), Path(out), StopRequest() if stop is None else stop
    check_target(out)
    check_backend(backend)
    source, embedder, progress = _open(data), Embedder(model), progress or Silent()
    origin = origin_of(model)
    partial = out.with_name(f"{out.name}.partial")
    content = {"model": origin.digest, "preprocess": origin.preprocess, "data": source.fingerprint()}
    with stop, PartialIndex(partial, content, len(source), embedder.width) as rows:
        pending = rows.pending()
        bad = dict(_fill(rows, pending, embedder, source, batch, backend, workers, progress, stop))
        good = np.setdiff1d(np.arange(len(source)), list(bad))
        if not len(good):
            why = f"{len(bad):,} files could not be read, the first: {source.key(next(iter(bad)))}" if bad else "there is none"
            raise Refused("No picture to embed", where=source.location, why=why, fix="`striate check` lists what is wrong")
        index = _index(source, good, rows.vectors()[good], origin)
    write_index(out, index)
    partial.unlink(missing_ok=True)
    named = [(source.key(i), reason) for i, reason in bad.items()]
    return Embedded(out, index, named, len(source) - len(pending), time.monotonic() - begun)


def find_similar(index: Index, picture: Input, k: int = 5, model: Model | None = None) -> list[Match]:
    """The pictures of an index most like another, the most similar first.

    Args:
        picture: a path, an encoded file, uint8 [H, W] or [H, W, C], or a Pillow image.
        k: how many.
        model: the one that the index is of; None: it is opened where it was, see :func:`reopen`.

    Raises:
        Refused: the model is another.
        ImageError: the picture cannot be read.
    """
    model = reopen(index) if model is None else model
    index.origin.check(origin_of(model))
    pixels = read_input(picture, model.preprocess, str(picture) if isinstance(picture, str | Path) else "")
    query = Embedder(model)(pixels.transpose(2, 0, 1)[None])
    positions, similarities = nearest(index.vectors, query, k)
    return [
        Match(index.keys[i], index.label(i), round(s, 6), index.path(i))
        for i, s in zip(positions[0].tolist(), similarities[0].tolist(), strict=True)
    ]


def reopen(index: Index, arch: str | None = None, device: str = "cpu", progress: Progress | None = None) -> Model:
    """The model of an index, from where it was.

    Args:
        arch: ``FILE.py:FUNCTION``, where the network is one's own: what an index names is never run.
        device: ``cpu`` or ``cuda``.
        progress: told how far it is.

    Raises:
        UsageError: it is not there any more.
        Refused: its network is one's own, and ``arch`` is not given.
    """
    origin = index.origin
    if origin.given is None or not Path(origin.weights or origin.given).exists():
        where = origin.weights or origin.given
        raise UsageError("The model of the index is not there", where=where, fix=f"name {origin.name} again with --model")
    return load(origin.given, arch=arch, device=device, weights=origin.weights, progress=progress)


def origin_of(model: Model) -> Origin:
    """Who a model is, for vectors that are to be compared. Its last layer does not count: no embedding follows from it."""
    name, path = str(model.info["architecture"]["name"]), None if model.path is None else model.path.absolute()
    foreign = path is not None and not is_sealed(path)
    given = None if path is None else name if foreign else str(path)
    return Origin(name, weights_digest(model.module), model.preprocess.fingerprint(), given, str(path) if foreign else None)


def _open(data: str | Path | Source) -> Source:
    """Data as for training, or a folder of pictures that nothing sorts into classes."""
    folder = None if isinstance(data, Source) else Path(data).expanduser()
    if folder is not None and unsorted.find(folder):
        return unsorted.open_unsorted(folder)
    return open_source(data, to_learn=False)


def _fill(
    rows: PartialIndex,
    pending: NDArray[np.int64],
    embedder: Embedder,
    source: Source,
    batch: int,
    backend: Backend,
    workers: int | None,
    progress: Progress,
    stop: StopRequest,
) -> Iterator[tuple[int, str]]:
    """Embeds the pending samples; yields (position, reason) of each that cannot be read."""
    preprocess, done = embedder.model.preprocess, len(source) - len(pending)
    settled = backend == "torch" or not embedder.is_worth_hastening(backend, len(pending))

    def read(i: int) -> NDArray[np.uint8]:
        return preprocess(source.read(i), source.key(i))

    for group in stream_pictures(pending.tolist(), read, batch, workers):
        outcomes = list(zip(group.items, group.outcomes, strict=True))
        yield from ((i, outcome.what) for i, outcome in outcomes if isinstance(outcome, ImageError))
        if group.images is not None:
            members = [i for i, outcome in outcomes if not isinstance(outcome, ImageError)]
            if not settled:
                embedder.hasten(group.images, backend, progress)
                settled = True
            rows.write(members, _finite(embedder(group.images), members, source))
        done += len(group.items)
        progress.stage("embedding", done, len(source))
        if stop and done < len(source):
            what = f"Stopped at {done:,} of {len(source):,} pictures; those are saved"
            raise Interrupted(what, stop.signal_number, where=rows.path, fix="the same command goes on from there")


def _finite(vectors: Vectors, members: list[int], source: Source) -> Vectors:
    if not (finite := np.isfinite(vectors).all(axis=1)).all():
        where = source.key(members[int(np.argmin(finite))])
        raise Failed(
            "The network's embedding is not finite", where=where, fix="look at the weights: `striate predict` on this picture"
        )
    return vectors


def _index(source: Source, members: NDArray[np.int64], vectors: Vectors, origin: Origin) -> Index:
    return Index(
        vectors=vectors,
        keys=tuple(source.key(i) for i in members.tolist()),
        targets=source.targets[members],
        classes=source.classes,
        kind=source.kind,
        origin=origin,
        location=source.location,
        root=str(source.root) if isinstance(source, FileSource) else None,
    )
