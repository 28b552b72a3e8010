"""The models that are served, by name, and their versions: a new one is warm before it takes the old one's place."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import StriateError, UsageError, nearest
from striate.prediction import Model
from striate.serving.batching import Engine, Lane
from striate.serving.decoding_pool import Recipe
from striate.serving.limits import Limits
from striate.serving.refusals import Refusal

Opener = Callable[[], Model]
"""Opens a model as its file is now."""

WARM_RUNS = 3
"""Batches run before a version answers: the first one allocates, the next ones tell how long a batch takes."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: in addresses: ``/models/NAME/predict``.
        path: of its file, or of its run's folder; the name of a network, where published weights are loaded.
        open: loads it.
    """

    name: str
    path: str
    open: Opener


@dataclass(frozen=True)
class _Loaded:
    """What is made in a thread, while the versions before go on answering."""

    model: Model
    sha256: str | None
    batch_seconds: float


class Version:
    """One loaded state of a model. It lives until its last request is answered.

    Attributes:
        number: 1 for the first since the server started.
        sha256: of the model's file or files; None where there is none (published weights by name).
        batch_seconds: a full batch, as measured when it was warmed.
    """

    def __init__(self, number: int, source: Source, loaded: _Loaded, lane: Lane, recipe: Recipe) -> None:
        self.number, self.source, self.lane, self.recipe = number, source, lane, recipe
        self.model, self.sha256, self.batch_seconds = loaded.model, loaded.sha256, loaded.batch_seconds
        self.loaded = time.time()
        self.users = 0
        self.retired = False

    def to_json(self) -> dict[str, Any]:
        """An entry of ``/models``."""
        preprocess = self.model.preprocess
        return {
            "name": self.source.name,
            "version": self.number,
            "sha256": self.sha256,
            "kind": self.model.kind,
            "num_classes": len(self.model.classes),
            "classes": list(self.model.classes),
            "input": {"dtype": "uint8", "shape": ["N", preprocess.channels, *preprocess.size]},
            "loaded": self.loaded,
        }


class Served:
    """All models of a server. Its methods belong to the event loop."""

    def __init__(self, sources: Iterable[Source], engine: Engine, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._sources = {source.name: source for source in sources}
        self._versions: dict[str, Version] = {}
        self._locks = {name: asyncio.Lock() for name in self._sources}

    async def load(self) -> None:
        """Loads and warms every model. Raises what :func:`striate.load` does."""
        for source in self._sources.values():
            self._versions[source.name] = await self._open(source, 1)

    @property
    def default(self) -> str:
        """The name that ``/predict`` means: the first one given."""
        return next(iter(self._sources))

    @property
    def versions(self) -> list[Version]:
        """The version of each model that answers now."""
        return list(self._versions.values())

    def check(self, name: str) -> None:
        """Raises a :class:`Refusal` where there is no such model."""
        if name not in self._versions:
            raise Refusal("unknown_model", f"No model {name!r}. {nearest(name, self._versions)}", models=list(self._versions))

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Version]:
        """The version that answers now; it stays loaded within the block.

        Raises:
            Refusal: no such model.
        """
        self.check(name)
        version = self._versions[name]
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            self._release(version)

    async def reload(self, name: str) -> Version:
        """Loads the model's file again, warms it, and lets it answer from then on.

        Raises:
            Refusal: no such model, or it cannot be loaded: the old version goes on.
        """
        self.check(name)
        async with self._locks[name]:
            old = self._versions[name]
            try:
                new = await self._open(old.source, old.number + 1)
            except Exception as error:  # a backend may throw anything at a broken file
                why = error.what if isinstance(error, StriateError) else type(error).__name__
                raise Refusal("reload_failed", f"Not loaded: {why}", model=name, version=old.number) from error
            self._versions[name] = new
            old.retired = True
            self._release(old)
            return new

    def _release(self, version: Version) -> None:
        if version.retired and version.users == 0:
            self._engine.close_lane(version.lane)

    async def _open(self, source: Source, number: int) -> Version:
        loaded = await asyncio.to_thread(_load, source, self._limits.max_batch)
        lane = self._engine.open_lane(source.name, loaded.model.raw)
        recipe = Recipe.of(source.name, loaded.model.preprocess, self._limits.max_pixels)
        return Version(number, source, loaded, lane, recipe)


def _load(source: Source, max_batch: int) -> _Loaded:
    model = source.open()
    return _Loaded(model, _digest(model.path), _warm(model, max_batch))


def _warm(model: Model, max_batch: int) -> float:
    """Seconds of a full batch, the shortest of a few."""
    shape = (model.preprocess.channels, *model.preprocess.size)
    seconds = []
    for size in (1, *[max_batch] * WARM_RUNS):
        begun = time.perf_counter()
        model.raw(np.zeros((size, *shape), np.uint8))
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])


def _digest(path: Path | None) -> str | None:
    """Hex SHA-256 of a model's file, and of the weights that OpenVINO keeps beside it."""
    files = [file for file in (path, path.with_suffix(".bin")) if file.is_file()] if path is not None else []
    if not files:
        return None
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def name_models(words: Iterable[str]) -> dict[str, str]:
    """``PATH`` or ``NAME=PATH`` each -> paths by name. Without a name it is that of the file, or of the run it lies in.

    Raises:
        UsageError: none, two of one name, or a name that no address can hold.
    """
    named: dict[str, str] = {}
    for word in words:
        given, equals, path = word.partition("=")
        if not equals or "/" in given:
            given, path = "", word
        name = given or _own_name(Path(path))
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise UsageError(f"{name!r} is no name for a model", fix=f"name it with letters, digits, . _ -: NAME={path}")
        if name in named:
            why, fix = f"{named[name]} and {path}", f"name one of them: other_name={path}"
            raise UsageError(f"Two models are called {name}", why=why, fix=fix)
        named[name] = path
    if not named:
        raise UsageError("No model to serve", fix="striate serve MODEL")
    return named


def _own_name(path: Path) -> str:
    path = path.absolute()
    stem = path.name if path.is_dir() else path.name.partition(".")[0]
    return path.parent.name if stem == "model" else stem
