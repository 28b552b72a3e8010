"""What is printed of an artefact, and the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from striate.columns import align, ruled
from striate.exporting.blame import LayerError, culprit
from striate.exporting.timing import BATCH, Speed

if TYPE_CHECKING:
    from striate.exporting.export import Exported
    from striate.exporting.gate import Verdict
    from striate.scoring import Evaluation

MARKS = {True: "passed", False: "FAILED", None: "undecided"}
ROUND = 2
"""Layers that are shown before and after the one that did it."""


def describe(exported: Exported) -> str:
    """Files, speeds, accuracy, every quantity of the gate, and where it said no the layers."""
    lines = _files(exported)
    if exported.busy:
        lines += ["Other work runs on this machine: the speeds are too low."]
    if exported.precision == "int8":
        kept = ", ".join(exported.float_layers) or "none"
        lines += [f"Layers left in float, for in int8 they cost too many answers: {kept}."]
    if exported.verdict is None:
        return "\n".join([*lines, "", "The gate was not run: nothing is proven of these files."])
    lines += ["", *_accuracy(exported.verdict), "", *_checks(exported.verdict)]
    if exported.layers:
        lines += ["", *_layers(exported.layers)]
    return "\n".join([*lines, "", _outcome(exported)])


def _files(exported: Exported) -> list[str]:
    height, width = exported.picture
    rows = [("", "size", "1 image", f"batches of {BATCH}")]
    sizes = (exported.model_bytes, *exported.sizes)
    names = ("the model, PyTorch", str(exported.pair.tensor), str(exported.pair.images))
    for name, size, speed in zip(names, sizes, exported.speeds, strict=True):
        rate = "" if speed.throughput is None else f"{speed.throughput:,.0f} images/s"
        rows.append((name, "" if size is None else _bytes(size), f"{1000 * speed.latency:.3g} ms", rate))
    table = ruled(align(rows, right=(1, 2, 3)))
    return [*table, f"The last is timed on a whole picture of {width} x {height} pixels, preprocessing and all."]


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _accuracy(verdict: Verdict) -> list[str]:
    images = f"On {verdict.before.n:,} images ({verdict.how})"
    if verdict.before.mae is not None and verdict.after.mae is not None:
        return [f"{images}: mean absolute error {verdict.before.mae:.6g} before, {verdict.after.mae:.6g} after."]
    return [f"{images}: accuracy {_share(verdict.before)} before, {_share(verdict.after)} after."]


def _share(evaluation: Evaluation) -> str:
    assert evaluation.accuracy is not None
    assert evaluation.interval is not None
    low, high = evaluation.interval
    return f"{100 * evaluation.accuracy:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def _checks(verdict: Verdict) -> list[str]:
    rows = [("the gate", "measured", "demanded", "")]
    rows += [(check.name, check.measured, check.bound, MARKS[check.passed]) for check in verdict.checks]
    return ruled(align(rows))


def _layers(layers: tuple[LayerError, ...]) -> list[str]:
    found = culprit(list(layers))
    if found is None:
        worst = max(layers, key=lambda row: row.error)
        return [f"No single layer did it: the error grows evenly, to {worst.error:.1e} of the largest value at {worst.path}."]
    place = layers.index(found)
    rows = [("layer", "error, of the largest value", "")]
    for position in range(max(0, place - ROUND), min(len(layers), place + ROUND + 1)):
        row = layers[position]
        rows.append((row.path, f"{row.error:.1e}", "this layer did it" if position == place else ""))
    return ruled(align(rows, right=(1,)))


def _outcome(exported: Exported) -> str:
    assert exported.verdict is not None
    if exported.status == "passed":
        tensor = exported.pair.tensor.name
        return f"Passed. {exported.pair.images} takes whole pictures, {tensor} what the model's preprocessing makes."
    names = f"{exported.pair.tensor.name} and {exported.pair.images.name}"
    if exported.status == "undecided":
        needed = exported.verdict.needed
        open_questions = ", ".join(check.name for check in exported.verdict.checks if check.passed is None)
        more = f"{needed:,} images would tell" if needed is not None else f"not to be told here is {open_questions}"
        return f"Undecided: {more}. Kept as {names}."
    return f"Rejected. Kept as {names}, to be looked at, not used."


def describe_json(exported: Exported) -> dict[str, Any]:
    """Every figure; nothing is rounded."""
    verdict = exported.verdict
    files = {"tensor": exported.pair.tensor, "images": exported.pair.images}
    sizes = dict(zip(files, exported.sizes, strict=True))
    speeds = dict(zip(("model", *files), map(_speed_json, exported.speeds), strict=True))
    gate = None
    if verdict is not None:
        gate = {
            "images": verdict.how,
            "needed": verdict.needed,
            "before": _scores_json(verdict.before),
            "after": _scores_json(verdict.after),
            "checks": [vars(check) for check in verdict.checks],
        }
    return {
        "to": exported.to,
        "precision": exported.precision,
        "float_layers": list(exported.float_layers),
        "status": exported.status,
        "files": {form: {"path": str(path), "bytes": sizes[form]} for form, path in files.items()},
        "model_bytes": exported.model_bytes,
        "speeds": speeds,
        "picture": list(exported.picture),
        "busy": exported.busy,
        "gate": gate,
        "layers": [{"path": row.path, "error": row.error if row.error < float("inf") else None} for row in exported.layers],
    }


def _speed_json(speed: Speed) -> dict[str, float | None]:
    return {"latency": speed.latency, "throughput": speed.throughput}


def _scores_json(evaluation: Evaluation) -> dict[str, Any]:
    scores = evaluation.to_json()
    return {name: scores[name] for name in ("n", "accuracy", "interval", "mae")}
