"""What the Inside screen asks for: a picture in a network, its maps, the arithmetic of any number, and class maps."""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response, StreamingResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool

from striate.errors import UsageError, nearest
from striate.progress import Progress
from striate.studio.events import Event, stream, work_stream
from striate.studio.guard import key_of, port_of
from striate.studio.inspections import Inspections, Look, draw_sheet, plain, scores_of, steps_of
from striate.studio.shelf import BETWEEN, UNTRAINED
from striate.studio.studio import Here

if TYPE_CHECKING:
    from striate.look.pixel_arithmetic import Arithmetic

router = APIRouter(prefix="/api/inside")

STRIP, STRIP_SIDE = 12, 40
"""Maps a layer in the strip, and their longest side in pixels."""
SHEET_SIDE = 56

SAMPLES = {"demo-fashion": range(10), "demo-letters": range(6)}
"""Of each data set that comes with striate: the classes that one picture each is offered of."""

TOP = 10
"""Classes of an answer."""


def _inspections(studio: Here) -> Inspections:
    return studio.inspections


Kept = Annotated[Inspections, Depends(_inspections)]


def _browser(request: Request) -> str:
    return key_of(request.headers, port_of(request.scope)) or ""


def _find(request: Request, look: str, kept: Kept) -> Look:
    """The look of that id. Raises 410 where it is kept no longer: the page then shows its picture again."""
    found = kept.find(_browser(request), look)
    if found is None:
        raise HTTPException(410)
    return found


Looked = Annotated[Look, Depends(_find)]
"""A handler's parameter: what ``look=ID`` names."""


@router.get("/models")
def models(studio: Here) -> dict[str, Any]:
    """Everything that can be looked into, and the ways to explain a class."""
    from striate.look.explanations import EXPLANATIONS
    from striate.zoo import MODELS

    return {
        "models": [asdict(listed) for listed in studio.shelf.listed()],
        "untrained": [f"{name}{BETWEEN}{UNTRAINED}" for name in MODELS],
        "methods": [
            {"name": name, "title": each.title, "source": each.source, "signed": each.signed}
            for name, each in EXPLANATIONS.items()
        ],
    }


@router.get("/samples")
def samples(studio: Here) -> list[dict[str, str]]:
    """Pictures of the data that come with striate: one a class."""
    return [
        {"name": f"{data}:{k}", "label": studio.opened.source(data).classes[k]}
        for data, classes in SAMPLES.items()
        for k in classes
    ]


@router.get("/sample")
def sample(name: str, studio: Here) -> Response:
    """One of them, as PNG."""
    data, _, number = name.partition(":")
    known = [f"{data}:{k}" for data, classes in SAMPLES.items() for k in classes]
    if name not in known:
        raise UsageError(f"There is no sample {name!r}", fix=nearest(name, known))
    source = studio.opened.source(data)
    first = next(i for i, target in enumerate(source.targets) if target == int(number))
    pixels = source.read(first)
    assert not isinstance(pixels, bytes), "the samples are arrays"
    return Response(_png(pixels), media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@router.post("/look")
async def look(model: str, request: Request, kept: Kept) -> StreamingResponse:
    """Runs the picture in the body: the ``answer`` with the layers, then the ``maps`` of one layer after the other."""
    data = await request.body()
    looked = await run_in_threadpool(kept.look, _browser(request), model, data)

    async def events() -> AsyncIterator[Event | None]:
        yield "answer", await run_in_threadpool(_answer, looked, model)
        for node in looked.inside.graph.nodes:
            sheet = await run_in_threadpool(draw_sheet, looked.inside.values(node.id), STRIP, STRIP_SIDE)
            if sheet is not None:
                yield "maps", {"layer": node.id, **sheet.to_json()}

    return stream(events())


@router.get("/sheet")
def sheet(layer: str, looked: Looked, count: int = Query(64, ge=1, le=4096), output: int = 0) -> dict[str, Any] | None:
    """The strongest maps of one layer; null: its output is no picture."""
    found = draw_sheet(looked.inside.values(layer, output), count, SHEET_SIDE)
    return None if found is None else found.to_json()


@router.get("/map")
def values(layer: str, looked: Looked, channel: int = 0, output: int = 0) -> Response:
    """One channel's numbers, or those of a vector: float32, little-endian, row by row."""
    numbers = looked.inside.values(layer, output)
    if numbers.ndim == 3:
        if not 0 <= channel < len(numbers):
            raise UsageError(f"{layer} has no channel {channel}", fix=f"it has 0 to {len(numbers) - 1}")
        numbers = numbers[channel]
    return _floats(numbers)


@router.get("/pixel")
def pixel(layer: str, unit: str, looked: Looked, output: int = 0, limit: int = Query(6, ge=1, le=4096)) -> dict[str, Any]:
    """The arithmetic of one number: the sum, and what batch norm and ReLU make of it; which pixels it depends on."""
    place = _unit(unit)
    steps, asked = steps_of(looked.inside, layer, place, output)
    return {
        "steps": [_step_json(step, limit) for step in steps],
        "asked": asked,
        "pixel": _pixel(looked, layer, place),
        "field": _box(looked, layer, place, output),
    }


@router.get("/field")
def field(layer: str, unit: str, looked: Looked, output: int = 0) -> list[list[int]] | None:
    """Rows and columns of the image that a number depends on, half-open; null: it depends on none."""
    return _box(looked, layer, _unit(unit), output)


@router.get("/explain")
def explain(looked: Looked, kept: Kept, target: int, method: str = "grad_cam") -> StreamingResponse:
    """``progress``, then the ``map``: what in the picture speaks for a class, [H, W] in base64, else as ``/map`` gives it."""
    way, place = _explanation(method), _class(looked, target)

    def work(progress: Progress) -> str:
        with kept.explaining(looked) as network:
            return base64.b64encode(_bytes(way.explain(network, looked.image, place, progress))).decode()

    return work_stream("map", work)


@router.get("/sanity")
def sanity(looked: Looked, kept: Kept, target: int, method: str = "grad_cam") -> StreamingResponse:
    """``progress``, then the ``sanity`` check of an explanation."""
    way, place = _explanation(method), _class(looked, target)

    def work(progress: Progress) -> dict[str, Any]:
        from striate.look.sanity import sanity_check

        with kept.explaining(looked) as network:
            alone = copy.deepcopy(network)
        found = sanity_check(alone, looked.image, way.explain, place, progress=progress)
        told: dict[str, Any] = plain(found.to_json())
        return told

    return work_stream("sanity", work)


def _explanation(method: str) -> Any:
    from striate.look.explanations import EXPLANATIONS

    if method not in EXPLANATIONS:
        raise UsageError(f"No map is called {method!r}", fix=nearest(method, EXPLANATIONS))
    return EXPLANATIONS[method]


def _class(looked: Look, target: int) -> int:
    count = len(looked.model.classes) or 1
    if not 0 <= target < count:
        raise UsageError(f"The model has no class number {target}", fix=f"its classes are 0 to {count - 1}")
    return target


def _unit(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"{text!r} is no position in an output", fix="give numbers with commas: 17,20,31") from None


def _box(looked: Look, layer: str, unit: tuple[int, ...], output: int) -> list[list[int]] | None:
    box = looked.inside.receptive_field(layer, unit, output)
    return None if box is None else [list(side) for side in box]


def _pixel(looked: Look, layer: str, unit: tuple[int, ...]) -> dict[str, Any] | None:
    """Of a number of the image itself: the pixel, and what normalisation did to it."""
    if looked.inside.graph.find(layer).operation != "input":
        return None
    channel, row, column = unit
    preprocess = looked.model.preprocess
    value = int(looked.pixels[row, column, channel])
    return {"value": value, "scale": preprocess.scale, "mean": preprocess.mean[channel], "std": preprocess.std[channel]}


def _answer(looked: Look, name: str) -> dict[str, Any]:
    from striate.look.looking import default_layer

    model, graph, scores = looked.model, looked.inside.graph, scores_of(looked)
    # By number: two classes of ImageNet have one name.
    best = np.argsort(-scores, kind="stable")[:TOP].tolist() if model.classes else []
    answer: dict[str, Any] = plain(
        {
            "look": looked.id,
            "network": graph.name,
            "trained": not name.endswith(f"{BETWEEN}{UNTRAINED}"),
            "kind": model.kind,
            "value": None if model.classes else float(scores[0]),
            "top": [{"label": model.classes[k], "index": k, "probability": float(scores[k])} for k in best],
            "size": list(looked.pixels.shape),
            "picture": "data:image/png;base64," + base64.b64encode(_png(looked.pixels)).decode(),
            "layer": default_layer(looked.inside),
            "nodes": [_node_json(node.to_json()) for node in graph.nodes],
        }
    )
    return answer


def _step_json(step: Arithmetic, limit: int) -> dict[str, Any]:
    """With what the page needs to name the position of a number in a window: the dimensions that the window does not cover."""
    described: dict[str, Any] = plain(step.to_json(limit))
    if step.window is not None:
        described["window"]["fixed"] = list(step.window.fixed)
    return described


def _node_json(node: dict[str, Any]) -> dict[str, Any]:
    kept = ("id", "module", "operation", "kind", "label", "output_shapes", "parameters", "receptive_field", "source")
    return {name: node[name] for name in kept}


def _floats(numbers: Any) -> Response:
    return Response(_bytes(numbers), media_type="application/octet-stream")


def _bytes(numbers: Any) -> bytes:
    encoded: bytes = numbers.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()
    return encoded


def _png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
