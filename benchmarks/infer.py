"""How fast does `--backend auto` predict, beside each backend used directly, and end to end beside programs written by hand?

    python -m benchmarks.infer --imagenet FOLDER [--weights FILE]         FOLDER: photos named by their wnids, or a folder a wnid
    python -m benchmarks.infer --imagenet FOLDER --quick                  fp32 alone, three rounds, a quarter of the files

Three comparisons a network (MobileNet v2 with published weights, ResNet-50 with weights by chance). ``speed``: ready tensors,
images a second one at a time and in batches of 32. ``first``: seconds from the start of a process until the first answer stands
on its output. ``folder``: JPEGs of 500x375 to a table, by whole programs. What striate chooses between is exported and judged
once, before: MobileNet v2 by the gate on the photos given, ResNet-50 without a gate, which its line says.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.comparison import Figure, Record, best_peer, ratio, spread
from benchmarks.made_data import photo_folder
from benchmarks.side_by_side import Options, Side, add_options, compare, options_of, run_side
from striate.machine import has_bf16

BATCH = 32
NUM_PHOTOS, QUICK_PHOTOS = 2000, 500
SPEED = (Figure("single", "one at a time, images/s"), Figure("batched", "batches of 32, images/s"))
FIRST = (
    Figure("first_line", "first answer, s", lambda value: f"{value:.2f}", less_is_better=True),
    Figure("whole", "process ended, s", lambda value: f"{value:.2f}", less_is_better=True),
)
FOLDER = (
    Figure("images_per_second", "images/s"),
    Figure("busy_cores", "cores busy", lambda value: f"{value:.2f}", less_is_better=None),
)

OF_BEST, FIRST_SECONDS, OF_HAND = 0.95, 0.6, 1.3
OF_SCRIPT = {"resnet50": 6.0, "mobilenet_v2": 8.0}
"""What is demanded: a share of the best backend used directly, seconds, and times the programs of others."""
RAW = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
GRAPHS: tuple[tuple[str, str, str | None], ...] = (
    ("onnx", "fp32", None),
    ("onnx", "int8", None),
    ("openvino", "fp32", "f32"),
    ("openvino", "bf16", "bf16"),
    ("openvino", "int8", "f32"),
)
"""Backend, precision, and the hint under which OpenVINO computes it."""


def no_compiler() -> str | None:
    """Why ``torch.compile`` cannot run here."""
    return None if any(map(shutil.which, ("g++", "c++", "clang++"))) else "there is no C++ compiler"


def raw_module(to: str) -> str:
    """The peer that runs a graph in its backend."""
    return f"{RAW[to].lower().replace(' ', '_')}_inference"


def absence(prepared: dict[str, Any], kind: str) -> str | None:
    """Why a graph is not there; None where it is."""
    return None if kind in prepared["files"] else prepared["left_out"].get(kind, "it was not exported")


def speed_sides(prepared: dict[str, Any], environ: dict[str, str]) -> list[Side]:
    """Striate, each graph that it chose between in its backend, and PyTorch. Peers: backends used directly."""
    sides = [Side("striate", "striate_inference", environ=environ)]
    for to, precision, hint in GRAPHS:
        kind, module = f"{to} {precision}", raw_module(to)
        job, absent = {"file": prepared["files"].get(kind), "precision": hint}, absence(prepared, kind)
        sides.append(Side(f"{RAW[to]} {precision}", module, job=job, peer=True, absent=absent))
        if kind == "openvino fp32":  # bf16 where the processor has it: no gate has seen that
            sides.append(Side("OpenVINO, its own default", module, job={**job, "precision": None}, absent=absent))
    compiled = "PyTorch, torch.compile, " + ("bf16" if has_bf16() else "fp32")
    sides.append(Side("PyTorch eager", "torch_inference", "torch", {"compile": False}, peer=True))
    sides.append(Side(compiled, "torch_inference", "torch", {"compile": True}, absent=no_compiler()))
    return sides


def first_sides(prepared: dict[str, Any], environ: dict[str, str], model: str, picture: Path) -> list[Side]:
    """`striate predict` on an exported file, and scripts of a few lines in each backend."""
    sides: list[Side] = []
    for to, name in RAW.items():
        file, absent = prepared["files"].get(f"{to} fp32"), absence(prepared, f"{to} fp32")
        ours = ["-m", "striate", "predict", str(file), str(picture)]
        sides.append(Side(f"striate predict, {name}", "timed_process", job={"words": ours}, environ=environ, absent=absent))
        asked = {"task": "one", "file": file, "picture": str(picture), "precision": "f32"}
        words = ["-m", f"benchmarks.peers.{raw_module(to)}", json.dumps(asked)]
        sides.append(Side(f"script on {name}", "timed_process", job={"words": words}, absent=absent))
    script = {"task": "one", "model": model, "picture": str(picture)}
    words = ["-m", "benchmarks.peers.torch_inference", json.dumps(script)]
    return [*sides, Side("script on PyTorch", "timed_process", "torch", {"words": words}, peer=True)]


def folder_sides(prepared: dict[str, Any], environ: dict[str, str], job: dict[str, Any], place: Path) -> list[Side]:
    """`striate predict --backend auto`, a plain PyTorch script, and a program written by hand on the best OpenVINO graph."""
    table = str(place / "table.csv")
    ours = [
        "-m",
        "striate",
        "predict",
        job["model_file"],
        job["folder"],
        "--csv",
        table,
        "--backend",
        "auto",
        "--data",
        job["photos"],
    ]
    script = {"task": "folder", "model": job["model"], "folder": job["folder"], "table": table, "batch": BATCH}
    kind, file = best_openvino(prepared)
    by_hand = {**script, "file": file, "precision": "bf16" if kind == "openvino bf16" else "f32"}
    absent = None if file else "nothing of OpenVINO passed the gate"
    peers = ["-m", "benchmarks.peers.torch_inference", json.dumps(script)]
    hand = ["-m", "benchmarks.peers.openvino_inference", json.dumps(by_hand)]
    return [
        Side("striate predict", "timed_process", job={"words": ours}, environ=environ),
        Side("script on PyTorch", "timed_process", "torch", {"words": peers}, peer=True),
        Side("by hand, OpenVINO and OpenCV", "timed_process", "opencv", {"words": hand}, absent=absent),
    ]


def best_openvino(prepared: dict[str, Any]) -> tuple[str | None, str | None]:
    """The graph of OpenVINO that striate found fastest in batches."""
    seconds = prepared["chosen"]["throughput"]["seconds"]
    kinds = [kind for kind in prepared["files"] if kind.startswith("openvino") and kind in seconds]
    best = min(kinds, key=lambda kind: seconds[kind], default=None)
    return best, prepared["files"].get(best)


def against_best(record: Record) -> list[str]:
    """How `--backend auto` stands to the best backend used directly."""
    lines = []
    for figure in SPEED:
        best = best_peer(record, figure)
        found = ratio(record, best, figure) if best is not None else None
        if best is not None and found is not None:
            lines.append(told(f"{figure.title}: of {best}, the best used directly", found.median, OF_BEST))
    return lines


def first_lines(record: Record) -> list[str]:
    """How soon `striate predict` answers."""
    found = {side: spread(record, side, "first_line") for side in record["asked"]["sides"] if side.startswith("striate")}
    return [
        f"{side}: first answer after {value.median:.2f} s (at most {FIRST_SECONDS}): {verdict(value.median <= FIRST_SECONDS)}"
        for side, value in found.items()
        if value is not None
    ]


def folder_lines(record: Record, model: str) -> list[str]:
    """How `striate predict` stands to the programs of others."""
    demands = {"script on PyTorch": OF_SCRIPT[model], "by hand, OpenVINO and OpenCV": OF_HAND}
    found = {side: ratio(record, side, FOLDER[0]) for side in demands}
    return [
        told(f"folder to table: times {side}", value.median, demands[side]) for side, value in found.items() if value is not None
    ]


def told(what: str, value: float, least: float) -> str:
    """A line of what was demanded."""
    return f"{what}: {value:.2f} (at least {least:g}): {verdict(value >= least)}"


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def compare_network(model: str, weights: str | None, given: argparse.Namespace, options: Options) -> None:
    """All three comparisons of one network; their records, tables, and what became of what is demanded."""
    home = (options.out / "infer").absolute()
    environ = {"STRIATE_CACHE": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": ""}  # an installed package has its bytecode
    judged = weights is not None
    job: dict[str, Any] = {"model": model, "model_file": str(home / f"{model}.safetensors")}
    job |= {"photos": f"imagenet:{given.imagenet.absolute()}", "weights": weights, "judged": judged}
    job |= {"int8": not given.quick, "batch": BATCH}
    prepared = run_side(Side("striate", "striate_inference", environ=environ), {**job, "task": "prepare"}, options)
    if "error" in prepared:
        raise SystemExit(f"{model} could not be prepared: {prepared['error']}")
    for goal, chosen in prepared["chosen"].items():
        print(f"{model}, for {goal}: {chosen['why']}")
    if not judged:
        print(f"{model} has weights by chance: its gate was NOT run, and its int8 has no layer left in float")
    asked = {"task": "speed", "measure_seconds": 1.0 if given.quick else 5.0}
    record = compare(f"infer-{model}-speed", speed_sides(prepared, environ), {**job, **asked}, SPEED, options)
    report(against_best(record))
    picture = min(path for path in given.imagenet.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    record = compare(f"infer-{model}-first", first_sides(prepared, environ, model, picture), {"times": 3}, FIRST, options)
    report(first_lines(record))
    num = QUICK_PHOTOS if given.quick else NUM_PHOTOS
    job["folder"] = str(photo_folder([given.imagenet], (500, 375), num))
    with tempfile.TemporaryDirectory() as place:
        sides = folder_sides(prepared, environ, job, Path(place))
        record = compare(f"infer-{model}-folder", sides, {"times": 1, "unmeasured": 0, "images": num}, FOLDER, options)
    report(folder_lines(record, model))


def report(lines: Sequence[str]) -> None:
    print("\n".join(["", *lines, ""]), flush=True)


def main() -> None:
    """Prepares, runs and prints, one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--imagenet", type=Path, required=True, help="labelled photos of ImageNet: they judge, calibrate and fill the folder"
    )
    parser.add_argument("--weights", default="imagenet", help="of MobileNet v2: a file, or the name of published ones")
    parser.add_argument("--models", nargs="+", choices=list(OF_SCRIPT), default=["mobilenet_v2", "resnet50"])
    parser.add_argument("--quick", action="store_true", help="fp32, three rounds, short measurements, a quarter of the files")
    add_options(parser)
    given = parser.parse_args()
    options = options_of(given)
    if given.quick:
        options = replace(options, pairs=min(options.pairs, 3), out=options.out / "quick")
    for model in given.models:
        compare_network(model, given.weights if model == "mobilenet_v2" else None, given, options)


if __name__ == "__main__":
    main()
