"""Striate as its users run it: ``Model.fastest()``, through the model's own methods."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import inference
from benchmarks.peers import job as asked
from striate.exporting.conversion import CONVERTERS
from striate.exporting.fastest import ITSELF, Goal, fastest, kept_pair
from striate.prediction import Model, load
from striate.progress import Silent


class Told(Silent):
    """What long work says, on the standard error."""

    def message(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def opened(job: dict[str, Any], goal: Goal) -> Model:
    """What was chosen for this goal; found out at the first time."""
    return fastest(job["model_file"], goal, data=job["photos"], calibrate=job["photos"], progress=Told())


def prepare(job: dict[str, Any]) -> None:
    """Writes the model's file and all that can be exported of it; answers with the files, and with why others are missing."""
    file = Path(job["model_file"])
    if not file.exists():
        write_model(job["model"], job["weights"], file)
    kinds = [kind for kind in CONVERTERS if kind != ITSELF]
    reasons = {} if job["judged"] else {kind: export_unjudged(job, file, kind) for kind in kinds}
    chosen = {goal: opened(job, goal).info["chosen"] for goal in ("latency", "throughput")}
    model = load(file)
    files = {kind: pair.tensor for kind in kinds if (pair := kept_pair(model, kind)) is not None and pair.tensor.exists()}
    asked.answer(
        chosen=chosen,
        files={" ".join(kind): str(path) for kind, path in files.items()},
        left_out={" ".join(kind): why for kind, why in reasons.items() if why} | chosen["throughput"]["left_out"],
    )


def write_model(name: str, weights: str | None, file: Path) -> None:
    """One of striate's files: of published weights, or where there are none, of weights by chance."""
    import torch

    from striate.files import make_folder
    from striate.pretrained import convert
    from striate.zoo import build

    make_folder(file.parent)
    if weights is not None:
        convert(weights, name, file)
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        drawn = Path(place) / "drawn.pth"
        torch.save(build(name).state_dict(), drawn)
        convert(drawn, name, file)


def export_unjudged(job: dict[str, Any], file: Path, kind: tuple[str, str]) -> str | None:
    """Exports without the gate, which has nothing to say of a network of chance. Into the benchmark's own cache, no user's."""
    from striate import machine
    from striate.errors import StriateError
    from striate.exporting.export import export
    from striate.files import make_folder

    pair = kept_pair(load(file), kind)
    assert pair is not None
    if kind[1] == "bf16" and not machine.has_bf16():
        return "this processor has no bf16 instructions"
    if not pair.tensor.exists():
        make_folder(pair.images.parent)
        try:
            export(file, *kind, calibrate=job["photos"], out=pair.images, gate=False)
        except StriateError as error:
            return error.what
    return None


def speed(job: dict[str, Any]) -> None:
    """One image at a time by what is fastest for that, batches by what is fastest for those."""
    models = {1: opened(job, "latency"), job["batch"]: opened(job, "throughput")}

    def run(batch: int) -> Callable[[], object]:
        images, model = inference.noise(batch), models[batch]
        return lambda: model.raw(images)

    figures = inference.speeds(run, job)
    chosen = {name: model.info["chosen"] for name, model in zip(("single", "batched"), models.values(), strict=True)}
    asked.answer(**figures, chosen=chosen, threads=asked.cores())


def main() -> None:
    job = asked.read_job()
    for kind in [kind for kind in CONVERTERS if kind[1] == "int8" and not job["int8"]]:
        del CONVERTERS[kind]
    {"prepare": prepare, "speed": speed}[job["task"]](job)


if __name__ == "__main__":
    main()
