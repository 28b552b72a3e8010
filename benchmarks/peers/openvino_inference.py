"""OpenVINO used directly on a graph that striate exported, and with OpenCV a folder's program written by hand."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # else it reports to Intel's server

import openvino  # type: ignore[import-untyped]  # noqa: E402

from benchmarks.peers import inference  # noqa: E402
from benchmarks.peers import job as asked  # noqa: E402

AHEAD = 3
"""Batches decoded before they are needed."""


def compile_model(job: dict[str, Any], batch: int, hint: str) -> Any:
    """The graph for one batch size. ``precision`` None: what OpenVINO takes by default on this processor."""
    model = openvino.Core().read_model(job["file"])
    model.reshape({"images": [batch, *list(model.input("images").partial_shape)[1:]]})
    settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": asked.cores()}
    if job["precision"] is not None:
        settings["INFERENCE_PRECISION_HINT"] = job["precision"]
    return openvino.Core().compile_model(model, "CPU", settings)


def speed(job: dict[str, Any]) -> None:
    arithmetic = []

    def run(batch: int) -> Callable[[], object]:
        compiled = compile_model(job, batch, "LATENCY")
        arithmetic.append(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        request, images = compiled.create_infer_request(), inference.noise(batch)
        return lambda: request.infer({"images": images}, share_inputs=True)

    figures = inference.speeds(run, job)
    version = openvino.__version__.partition("-")[0]
    asked.answer(**figures, arithmetic=arithmetic[0], versions={"openvino": version}, threads=asked.cores())


def one(job: dict[str, Any]) -> None:
    """One picture, opened as a script of five lines does."""
    from PIL import Image

    request = compile_model(job, 1, "LATENCY").create_infer_request()
    with Image.open(job["picture"]) as picture:
        scaled = picture.convert("RGB").resize((inference.CENTRE, inference.CENTRE), Image.Resampling.BILINEAR)
    pixels = np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1)[None])
    inference.say(request.infer({"images": pixels})[0])


def read_pixels(file: str) -> asked.Array:
    """uint8 [3, 224, 224], decoded and scaled by OpenCV."""
    import cv2  # type: ignore[import-not-found]

    picture = cv2.imread(file)
    height, width = picture.shape[:2]
    factor = inference.SHORTER / min(height, width)
    size = (round(width * factor), round(height * factor))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    top, left = (scaled.shape[0] - inference.CENTRE) // 2, (scaled.shape[1] - inference.CENTRE) // 2
    crop = scaled[top : top + inference.CENTRE, left : left + inference.CENTRE]
    pixels: asked.Array = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
    return pixels


def folder(job: dict[str, Any]) -> None:
    """JPEGs to a table: threads decode ahead, the network works on whole batches, the table is written meanwhile."""
    import cv2

    cv2.setNumThreads(1)
    files, batch = inference.jpegs(job["folder"]), job["batch"]
    request = compile_model(job, batch, "LATENCY").create_infer_request()
    ready: queue.Queue[asked.Array | None] = queue.Queue(AHEAD)

    def decode() -> None:
        with ThreadPoolExecutor(asked.cores()) as pool:
            for start in range(0, len(files), batch):
                ready.put(np.stack(list(pool.map(read_pixels, files[start : start + batch]))))
        ready.put(None)

    def logits() -> Iterator[asked.Array]:
        while (pixels := ready.get()) is not None:
            filled = np.resize(pixels, (batch, *pixels.shape[1:])) if len(pixels) < batch else pixels
            request.infer({"images": filled}, share_inputs=True)
            yield request.get_output_tensor(0).data[: len(pixels)]

    threading.Thread(target=decode, daemon=True).start()
    inference.write_table(job["table"], files, logits())


def main() -> None:
    job = asked.read_job()
    {"speed": speed, "one": one, "folder": folder}[job["task"]](job)


if __name__ == "__main__":
    main()
