"""What the Data screen asks for: the audit, pictures, duplicates, the map, and a label put right."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from PIL import Image
from pydantic import BaseModel

from striate.data.audit import Audit
from striate.data.channels import to_channels
from striate.data.decode import decode
from striate.data.source import SPLITS
from striate.errors import UsageError, nearest
from striate.report.thumbnails import PIXEL_ART, Pictures
from striate.studio.data_sets import DataSet, duplicate_groups
from striate.studio.events import Event, stream
from striate.studio.studio import Here

router = APIRouter(prefix="/api/data")

LARGE = 800
"""Longer side in pixels of a picture that is looked at by itself."""

AWHILE = "private, max-age=300"
"""A thumbnail may be kept by the browser: data that change meanwhile are another audit."""


@router.get("")
def names(studio: Here) -> list[str]:
    """Data that were opened."""
    return list(studio.opened.data)


@router.get("/audit")
def audit(data: str, studio: Here) -> StreamingResponse:
    """``progress`` while every picture is read, then the ``audit``."""
    found = studio.data_sets.get(data)

    async def events() -> AsyncIterator[Event | None]:
        async for event in found.audit.follow():
            yield event
        yield "audit", _summary(found, found.audited())

    return stream(events())


@router.get("/samples")
def samples(
    data: str,
    studio: Here,
    kind: str = "all",
    label: str | None = None,
    split: str | None = None,
    search: str = "",
    offset: int = Query(0, ge=0),
    count: int = Query(60, ge=1, le=240),
) -> dict[str, Any]:
    """A page of pictures."""
    found = studio.data_sets.get(data)
    if split is not None and split not in SPLITS:
        raise UsageError(f"No split is called {split!r}", fix=nearest(split, SPLITS))
    chosen = found.select(kind, label, split, search)
    return {"total": len(chosen), "samples": [found.describe(i) for i in chosen[offset : offset + count].tolist()]}


@router.get("/thumbnail")
def thumbnail(data: str, index: int, studio: Here) -> Response:
    """One picture, small."""
    source = studio.data_sets.get(data).source
    taken = Pictures(source, "").take(index, source.key(index)) if 0 <= index < len(source) else None
    if taken is None:
        raise UsageError(f"The picture {index} cannot be read", where=data)
    head, _, text = taken.uri.partition(";base64,")
    return Response(base64.b64decode(text), media_type=head.removeprefix("data:"), headers={"Cache-Control": AWHILE})


@router.get("/picture")
def picture(data: str, index: int, studio: Here) -> Response:
    """One picture, upright and as large as a page can use, without what else its file holds."""
    source = studio.data_sets.get(data).source
    if not 0 <= index < len(source):
        raise UsageError(f"There is no picture {index}", where=data, fix=f"use 0 to {len(source) - 1}")
    encoded = source.read(index)
    pixels = decode(encoded, name=source.key(index), min_side=LARGE) if isinstance(encoded, bytes) else to_channels(encoded, 3)
    shown, file = Image.fromarray(pixels), io.BytesIO()
    shown.thumbnail((LARGE, LARGE))
    shown.save(file, "PNG" if max(shown.size) <= PIXEL_ART else "JPEG", quality=90)
    kind = "png" if max(shown.size) <= PIXEL_ART else "jpeg"
    return Response(file.getvalue(), media_type=f"image/{kind}", headers={"Cache-Control": AWHILE})


@router.get("/duplicates")
def duplicates(data: str, studio: Here, offset: int = Query(0, ge=0), count: int = Query(20, ge=1, le=100)) -> dict[str, Any]:
    """Groups of pictures that are the same, or nearly."""
    found = studio.data_sets.get(data)
    groups = duplicate_groups(found.audited())
    shown = [{**each, "members": [found.describe(i) for i in each["members"][:12]]} for each in groups[offset : offset + count]]
    return {"total": len(groups), "groups": shown}


@router.get("/map")
def map_of(data: str, studio: Here, model: str = "") -> StreamingResponse:
    """``progress``, then the ``map``: where each picture lies by its two principal components."""
    found = studio.data_sets.get(data)
    work = found.map(model, (lambda: studio.shelf.open(model)) if model else None)

    async def events() -> AsyncIterator[Event | None]:
        async for event in work.follow():
            yield event
        assert work.result is not None
        yield "map", {**work.result, "labels": [found.label(i) for i in work.result["index"]]}

    return stream(events())


class Correction(BaseModel):
    """A picture and its right label; None takes a correction back."""

    data: str
    index: int
    label: str | None


@router.post("/label")
def label(asked: Correction, studio: Here) -> dict[str, Any]:
    """Writes a label to the table beside the runs."""
    found = studio.data_sets.get(asked.data)
    found.corrections.set(asked.index, asked.label)
    return {"sample": found.describe(asked.index), **_corrected(found)}


def _corrected(found: DataSet) -> dict[str, Any]:
    corrections = found.corrections
    return {"num_corrected": len(corrections.labels), "table": str(corrections.path), "trainable": corrections.trainable}


def _summary(found: DataSet, audit: Audit) -> dict[str, Any]:
    """The audit without its long lists, which are asked for a page at a time."""
    whole = audit.to_json()
    kept = ("kind", "classes", "num", "num_bad", "splits", "counts", "bad_counts", "formats", "sizes", "traits", "findings")
    return {
        "name": found.name,
        **{name: whole[name] for name in kept},
        "bad": whole["bad"][:100],
        "num_duplicates": len(audit.exact) + len(audit.near),
        "num_conflicts": len(audit.conflicts),
        "duplicate_rule": audit.likeness.words,
        **_corrected(found),
    }
