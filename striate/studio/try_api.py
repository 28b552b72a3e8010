"""What the Try screen asks for: a trained model's answer to a picture."""

from __future__ import annotations

import io
import json
import shlex
import time
from typing import Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from PIL import Image
from starlette.concurrency import run_in_threadpool

from striate.errors import UsageError, nearest
from striate.studio.studio import Here, Studio
from striate.tasks.decoding import Decoder

router = APIRouter(prefix="/api/try")


@router.get("/models")
def models(studio: Here) -> list[dict[str, str]]:
    """Everything that can be tried."""
    return [{"name": listed.name, "kind": listed.kind, "note": listed.note} for listed in studio.shelf.listed()]


@router.get("/model")
def model(model: str, studio: Here) -> dict[str, Any]:
    """What a model is; it is loaded, so that the first picture is answered at once."""
    opened = studio.shelf.open(model)
    metrics = opened.info.get("metrics") or {}
    return {
        "name": model,
        "architecture": opened.info["architecture"]["name"],
        "kind": opened.kind,
        "num_classes": len(opened.classes),
        "classes": list(opened.classes[:12]),
        "threshold": opened.threshold,
        "maps": opened.is_torch and opened.kind != "value",
        "size": list(opened.preprocess.size),
        "channels": opened.preprocess.channels,
        "accuracy": metrics.get("accuracy"),
        "license": opened.info.get("license"),
        **_calls(model, studio),
    }


@router.post("/predict")
async def predict(model: str, request: Request, studio: Here, top: int = Query(5, ge=1, le=50)) -> dict[str, Any]:
    """The model's answer to the picture in the body: any file that it can read."""
    data = await request.body()
    return await run_in_threadpool(_predict, studio, model, data, top)


@router.post("/map")
async def map_of(model: str, label: str, request: Request, studio: Here, method: str = "grad_cam") -> Response:
    """What in the picture of the body speaks for a class: the pixels that the network reads, the map laid over them, as PNG."""
    data = await request.body()
    return await run_in_threadpool(_map, studio, model, label, data, method)


def _map(studio: Studio, model: str, label: str, data: bytes, method: str) -> Response:
    import torch

    from striate.look.explanations import EXPLANATIONS
    from striate.look.pictures import bound_of, lay_heat, lay_signed

    opened = studio.shelf.open(model)
    if label not in opened.classes:
        raise UsageError(f"The model has no class {label!r}", fix=nearest(label, opened.classes))
    if method not in EXPLANATIONS:
        raise UsageError(f"No map is called {method!r}", fix=nearest(method, EXPLANATIONS))
    pixels = opened.preprocess(data, "the picture")
    image = opened.preprocess.normalize(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))
    found = EXPLANATIONS[method].explain(opened.module, image, opened.classes.index(label)).numpy()
    laid = (lay_signed if EXPLANATIONS[method].signed else lay_heat)(pixels, found, bound_of(found))
    file = io.BytesIO()
    Image.fromarray(laid).save(file, "PNG")
    return Response(file.getvalue(), media_type="image/png")


def _predict(studio: Studio, model: str, data: bytes, top: int) -> dict[str, Any]:
    opened = studio.shelf.open(model)
    began = time.perf_counter()
    pixels = opened.preprocess(data, "the picture")
    decoded = time.perf_counter()
    scores = opened.probabilities(pixels.transpose(2, 0, 1)[None])
    ended = time.perf_counter()
    prediction = Decoder.from_json(opened.info["task"], opened.classes).predictions(scores, ["the picture"], top)[0]
    return {
        "kind": opened.kind,
        "top": [{"label": label, "probability": probability} for label, probability in prediction.top],
        "labels": list(prediction.labels),
        "value": prediction.value,
        "decode_ms": round(1000 * (decoded - began), 1),
        "network_ms": round(1000 * (ended - decoded), 1),
    }


def _calls(model: str, studio: Studio) -> dict[str, str]:
    """The same answer from a shell and from Python."""
    network, _, tag = model.partition("@")
    if tag:
        opened, served = f'striate.load("{network}", weights="{tag}")', f"{network} --weights {tag}"
    else:
        path = studio.opened.model(model)
        opened, served = f"striate.load({json.dumps(str(path), ensure_ascii=False)})", shlex.quote(str(path))
    python = f'import striate\n\nmodel = {opened}\nprint(model.predict("photo.jpg")[0].top)'
    curl = f"striate serve {served} --port 8000 &\ncurl --data-binary @photo.jpg http://127.0.0.1:8000/predict"
    return {"python": python, "curl": curl}
