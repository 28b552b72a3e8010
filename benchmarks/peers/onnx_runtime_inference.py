"""ONNX Runtime used directly on a graph that striate exported: its own default options, one thread a core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from benchmarks.peers import inference
from benchmarks.peers import job as asked


def open_session(path: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = asked.cores(), 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def speed(job: dict[str, Any]) -> None:
    session = open_session(job["file"])

    def run(batch: int) -> Callable[[], object]:
        images = inference.noise(batch)
        return lambda: session.run(["logits"], {"images": images})

    asked.answer(
        **inference.speeds(run, job), versions={"onnxruntime": onnxruntime.__version__}, threads=asked.cores()
    )  # fmt: skip


def one(job: dict[str, Any]) -> None:
    """One picture, opened as a script of five lines does."""
    from PIL import Image

    session = open_session(job["file"])
    with Image.open(job["picture"]) as picture:
        scaled = picture.convert("RGB").resize((inference.CENTRE, inference.CENTRE), Image.Resampling.BILINEAR)
    pixels = np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1)[None])
    inference.say(session.run(["logits"], {"images": pixels})[0])


def main() -> None:
    job = asked.read_job()
    {"speed": speed, "one": one}[job["task"]](job)


if __name__ == "__main__":
    main()
