"""One server's state, and what it does with a request once its body is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.prediction_rows import prediction_to_json
from striate.serving.admission import Load, Ticket
from striate.serving.batching import Engine
from striate.serving.bodies import Asked
from striate.serving.decoding_pool import DecodingPool
from striate.serving.journal import Journal
from striate.serving.limits import Limits
from striate.serving.metrics_text import Gauge, Metrics
from striate.serving.models import Served, Source, Version
from striate.serving.refusals import Refusal


class Service:
    """Models, their engine and the processes that decode. To be made, started, used and closed in one event loop.

    Args:
        sources: the models; the first is the one that ``/predict`` means.
        num_workers: processes that decode.
    """

    def __init__(self, sources: Iterable[Source], limits: Limits, num_workers: int, journal: Journal) -> None:
        self.limits, self.journal, self.metrics = limits, journal, Metrics()
        self.load = Load(limits)
        self.engine = Engine(limits, self.metrics)
        self.models = Served(sources, self.engine, limits)
        self.pool = DecodingPool(num_workers, limits, self.metrics)
        self.metrics.gauges += [
            Gauge("striate_queued_images", "Images admitted and not yet answered.", lambda: {(): self.load.queued}),
            Gauge("striate_uploads", "Requests whose bodies are being read.", lambda: {(): self.load.uploads}),
            Gauge("striate_decoders", "Decoding processes.", lambda: {(): len(self.pool.pids)}),
            Gauge("striate_model_version", "The version that answers.", self._versions, ("model", "sha256")),
        ]

    async def start(self) -> None:
        """Loads and warms the models, and starts the processes. Raises what :func:`striate.load` does."""
        starting = asyncio.create_task(self.pool.start())
        try:
            await self.models.load()
        finally:
            await starting
        self._note_speed()

    async def close(self) -> None:
        """Ends the processes and the engine."""
        await self.pool.close()
        await asyncio.to_thread(self.engine.close)
        self.journal.flush()

    async def reload(self, name: str) -> Version:
        """See :meth:`Served.reload`."""
        version = await self.models.reload(name)
        self._note_speed()
        self.journal.write("reloaded", model=name, version=version.number, sha256=version.sha256)
        return version

    async def reload_all(self) -> None:
        """Every model, one after the other; those that fail go on as they were."""
        for version in self.models.versions:
            try:
                await self.reload(version.source.name)
            except Refusal as refusal:
                self.journal.write("reload_failed", model=version.source.name, why=refusal.message)

    async def predict(self, name: str, asked: Asked, top: int, ticket: Ticket) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            Refusal: there is no room, nothing of it can be read, or the time is up.
        """
        with self.models.using(name) as version, self.load.admitting(len(asked)):
            ticket.model, ticket.version, ticket.images = name, version.number, len(asked)
            deadline = time.monotonic() + self.limits.timeout_s
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    images, failures = await self._images(version, asked, ticket)
                    with ticket.timing("model"):
                        raw = await self.engine.submit(version.lane, images, deadline)
            except TimeoutError as error:
                raise Refusal("deadline", f"No answer within {self.limits.timeout_s:g} s") from error
            except Refusal:
                raise
            except Exception as error:
                self.journal.error("model_failed", error, id=ticket.id)
                raise Refusal("model_failed", "The network failed on this batch; the journal says where") from error
            self.metrics.images.add(name, amount=len(images))
            answers = _describe(version, raw, [source for source, _ in asked.pictures], failures, top)
        return {"model": name, "version": version.number, "kind": version.model.kind, "predictions": answers}

    async def _images(self, version: Version, asked: Asked, ticket: Ticket) -> tuple[NDArray[np.uint8], dict[int, Refusal]]:
        """uint8 [M, C, h, w] of what could be read, and by position what could not."""
        if asked.tensor is not None:
            preprocess = version.model.preprocess
            wanted = (preprocess.channels, *preprocess.size)
            if asked.tensor.shape[1:] != wanted:
                raise Refusal("wrong_shape", f"uint8 {list(asked.tensor.shape)}; the model reads [N, {str(wanted)[1:-1]}]")
            return asked.tensor, {}
        with ticket.timing("decode"), self.engine.expecting(version.lane, len(asked)):
            decoding = [self.pool.decode(data, version.recipe) for _, data in asked.pictures]
            outcomes = await asyncio.gather(*decoding, return_exceptions=True)
        pixels = [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]
        failures = {position: outcome for position, outcome in enumerate(outcomes) if isinstance(outcome, Refusal)}
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Refusal):
                raise outcome
        if not pixels:
            raise _all_failed(failures)
        # [M, h, w, C] seen as [M, C, h, w]: channels last, as the networks like it, and nothing is copied.
        return np.stack(pixels).transpose(0, 3, 1, 2), failures

    def _versions(self) -> dict[tuple[str, ...], float]:
        return {(version.source.name, version.sha256 or ""): version.number for version in self.models.versions}

    def _note_speed(self) -> None:
        self.load.batch_seconds = max(version.batch_seconds for version in self.models.versions)


def _all_failed(failures: dict[int, Refusal]) -> Refusal:
    first = failures[min(failures)]
    if len(failures) == 1:
        return first
    return Refusal(first.type, first.message, images=[failure.to_json() for failure in failures.values()])


def _describe(
    version: Version, raw: NDArray[np.float32], sources: list[str], failures: dict[int, Refusal], top: int
) -> list[dict[str, Any]]:
    """One entry an image, in the order of the request: a prediction, or an error in its place."""
    if not np.isfinite(raw).all():
        raise Refusal("not_finite", "The network's outputs are not finite numbers")
    decoder = version.model.decoder
    num_images = len(raw) + len(failures)
    names = sources or [str(position) for position in range(num_images)]
    read = [position for position in range(num_images) if position not in failures]
    predictions = decoder.predictions(decoder.scores(raw), [names[position] for position in read], top)
    answers = {position: prediction_to_json(prediction) for position, prediction in zip(read, predictions, strict=True)}
    answers |= {position: {"path": names[position], "error": failure.to_json()} for position, failure in failures.items()}
    return [_renamed(answers[position]) for position in range(num_images)]


def _renamed(answer: dict[str, Any]) -> dict[str, Any]:
    """``source`` instead of ``path``: what a client sent has a name, but is no file here."""
    return {"source": answer.pop("path"), **answer}
