"""What runs a model fastest on this machine: every installed backend and precision that passes the gate is timed, once.

The artefacts and the answers are kept in the cache folder (:mod:`striate.exporting.kept`): a later call opens the one that won
and imports no torch for it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import striate
from striate import machine
from striate.backends.artefact import num_threads
from striate.backends.opening import open_artefact
from striate.data.source import Source
from striate.errors import Failed, Refused, StriateError, Undecided, UsageError
from striate.exporting.conversion import CONVERTERS, Pair
from striate.exporting.images import gate_images
from striate.exporting.kept import Arch, find_folder, folder_of, note_folder
from striate.exporting.timing import BATCH, Moment, median_seconds
from striate.files import make_folder, write_json
from striate.prediction import Model, Network, load, model_file
from striate.progress import Progress, Silent

Goal = Literal["latency", "throughput"]
Kind = tuple[str, str]
"""(torch, onnx or openvino; fp32, bf16 or int8)."""

ITSELF: Kind = ("torch", "fp32")
_NEEDS = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
_VERSIONS = ("torch", "onnxruntime", "openvino")
_ROUNDS = 3
ANSWERS = "fastest.json"


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        kind: the winner.
        seconds: for one image, of every kind that was timed.
        left_out: the kinds that were not, each with the reason.
    """

    kind: Kind
    seconds: dict[Kind, float]
    left_out: dict[Kind, str]

    def text(self, goal: Goal) -> str:
        """Which and why, on one line."""
        how = "one image at a time" if goal == "latency" else f"batches of {BATCH}"
        ordered = sorted(self.seconds.items(), key=lambda item: item[1])
        timed = ", ".join(f"{' '.join(kind)} {1000 * seconds:.3g} ms" for kind, seconds in ordered)
        without = "; ".join(f"{' '.join(kind)}: {why}" for kind, why in self.left_out.items())
        return f"{' '.join(self.kind)}: fastest here an image, {how} ({timed})" + (f"; not timed: {without}" if without else "")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_json` reads them back."""
        return {
            "kind": list(self.kind),
            "seconds": [[*kind, value] for kind, value in self.seconds.items()],
            "left_out": [[*kind, why] for kind, why in self.left_out.items()],
        }

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> Answer:
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
        backend, precision = record["kind"]
        seconds = {(to, kind): float(value) for to, kind, value in record["seconds"]}
        return Answer((backend, precision), seconds, {(to, kind): str(why) for to, kind, why in record["left_out"]})


def fastest(
    model: Model | str | Path,
    goal: Goal = "throughput",
    backend: str = "auto",
    *,
    data: str | Path | Source | None = None,
    calibrate: str | Path | Source | None = None,
    arch: Arch | None = None,
    progress: Progress | None = None,
) -> Model:
    """The same model, run by whatever is fastest here among what agrees with it.

    Args:
        model: a loaded one, a run folder or a model file.
        goal: ``throughput``: images a second in batches; ``latency``: the time for one image.
        backend: ``auto``, or only ``torch``, ``onnx`` or ``openvino``.
        data: labelled images that the artefacts are judged by; None: the run's validation images.
        calibrate: images for int8; None: the run's training images.
        arch: builds the network of a model file that striate does not know.
        progress: told how far it is, and which it chose and why.

    Returns:
        A model whose ``info["chosen"]`` says which and why.

    Raises:
        UsageError: the backend is not installed.
        Undecided: there are no labelled images to judge by.
        Refused: nothing of the backend passed the gate.
    """
    progress = progress or Silent()
    if backend not in ("auto", *_NEEDS):
        raise UsageError(f"Unknown backend {backend!r}", fix=f"use auto, {', '.join(_NEEDS)}")
    _refuse_absent(backend)
    folder = folder_of(model) if isinstance(model, Model) else find_folder(model_file(model), arch)
    key = answer_key(goal, backend)
    answer = kept_answers(folder).get(key) if folder is not None else None
    if folder is None or answer is None:
        model, folder = _loaded(model, arch)
        networks, left_out = _candidates(model, folder, backend, data, calibrate, progress)
        begun = Moment.now()
        seconds = _time(networks, model, goal, progress)
        answer = Answer(min(seconds, key=lambda kind: seconds[kind]), seconds, left_out)
        keep_answer(folder, key, answer, begun.disturbed())
    progress.message(answer.text(goal))
    return _opened(model, folder, answer, goal, arch)


def is_remembered(model: str | Path, goal: Goal, backend: str = "auto", arch: Arch | None = None) -> bool:
    """Whether :func:`fastest` would answer at once, from the cache."""
    folder = find_folder(model_file(model), arch)
    return folder is not None and answer_key(goal, backend) in kept_answers(folder)


def kept_pair(model: Model, kind: Kind) -> Pair | None:
    """Where the cache has, or would have, an artefact of a model; None where the model's code has no file."""
    folder = folder_of(model)
    return None if folder is None else _pair(folder, kind)


def _loaded(model: Model | str | Path, arch: Arch | None) -> tuple[Model, Path]:
    """The model, and the folder of its artefacts: one that lasts as long as the process where it cannot be known again."""
    loaded = model if isinstance(model, Model) else load(model, arch=arch)
    folder = folder_of(loaded)
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="striate-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    elif not isinstance(model, Model):
        note_folder(model_file(model), arch, loaded, folder)
    return loaded, folder


def answer_key(goal: Goal, backend: str) -> str:
    """What an answer holds for: this processor, these threads and versions, and the question."""
    versions = [(name, metadata.version(name)) for name in _VERSIONS if find_spec(name) is not None]
    where = (machine.cpu_name(), sorted(machine.cpu_flags()), num_threads(), versions, striate.__version__, goal, backend)
    return sha256(repr(where).encode()).hexdigest()[:32]


def kept_answers(folder: Path) -> dict[str, Answer]:
    """The answers in a folder of the cache, by :func:`answer_key`; none where they cannot be read."""
    try:
        record = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
        return {key: Answer.from_json(value) for key, value in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def keep_answer(folder: Path, key: str, answer: Answer, disturbed: bool) -> None:
    """Adds an answer, unless other work took the cores: what is fastest beside that need not be so on a quiet machine."""
    if disturbed:
        return
    with contextlib.suppress(Failed):  # a cache that cannot be written costs time, nothing else
        answers = {**kept_answers(make_folder(folder)), key: answer}
        write_json(folder / ANSWERS, {name: value.to_json() for name, value in answers.items()})


def _refuse_absent(backend: str) -> None:
    absent = [name for name in _NEEDS.get(backend, ()) if find_spec(name) is None]
    if absent:
        extras = "openvino,export" if backend == "openvino" else "export"
        raise UsageError(f"{backend} needs {', '.join(absent)}", fix=f'pip install "striate[{extras}]"')


def _candidates(
    model: Model,
    folder: Path,
    backend: str,
    data: str | Path | Source | None,
    calibrate: str | Path | Source | None,
    progress: Progress,
) -> tuple[dict[Kind, Network], dict[Kind, str]]:
    """What there is to choose from, and why the rest is left out."""
    networks: dict[Kind, Network] = {ITSELF: model.raw} if backend in ("auto", "torch") else {}
    kinds = [kind for kind in CONVERTERS if kind != ITSELF and backend in ("auto", kind[0])]
    left_out: dict[Kind, str] = {}
    if kinds:
        gate_images(model, data)  # before anything is exported: without images nothing can pass
    for kind in kinds:
        try:
            networks[kind] = _network(model, folder, kind, data, calibrate, progress)
        except (Refused, Undecided, UsageError) as error:
            left_out[kind] = f"{error.what}: {error.why}" if error.why else error.what
    if not networks:
        why = "; ".join(f"{' '.join(kind)}: {reason}" for kind, reason in left_out.items())
        raise Refused(f"Nothing of {backend} passed the gate", where=model.path, why=why)
    return networks, left_out


def _network(
    model: Model,
    folder: Path,
    kind: Kind,
    data: str | Path | Source | None,
    calibrate: str | Path | Source | None,
    progress: Progress,
) -> Network:
    """An artefact of the cache, made and judged where it is not there."""
    from striate.exporting.export import export

    to, precision = kind
    for package in _NEEDS[to]:
        if find_spec(package) is None:
            raise UsageError(f"{package} is not installed")
    if precision == "bf16" and not machine.has_bf16():
        raise UsageError("this processor has no bf16 instructions")
    pair = _pair(folder, kind)
    with contextlib.suppress(StriateError):
        return open_artefact(pair.tensor)[0]
    make_folder(folder)
    progress.message(f"exporting for {to}, {precision}: done once for this model")
    export(model, to, precision, data=data, calibrate=calibrate, out=pair.images, progress=progress)
    return open_artefact(pair.tensor)[0]


def _pair(folder: Path, kind: Kind) -> Pair:
    to, precision = kind
    return Pair.at(folder / f"{to}-{precision}", to)


def _time(networks: Mapping[Kind, Network], model: Model, goal: Goal, progress: Progress) -> dict[Kind, float]:
    """Seconds an image; in turns, so that a slow moment of the machine is not one network's alone."""
    size = 1 if goal == "latency" else BATCH
    shape = (size, *model.preprocess.size, model.preprocess.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8).transpose(0, 3, 1, 2)
    times: dict[Kind, list[float]] = {kind: [] for kind in networks}
    for turn in range(_ROUNDS):
        for done, (kind, network) in enumerate(networks.items(), turn * len(networks) + 1):
            times[kind].append(_seconds(network, images))
            progress.stage("timing", done, _ROUNDS * len(networks))
    return {kind: statistics.median(values) / size for kind, values in times.items()}


def _seconds(network: Network, images: NDArray[np.uint8]) -> float:
    return median_seconds(lambda: network(images), 0.3)


def _opened(model: Model | str | Path, folder: Path, answer: Answer, goal: Goal, arch: Arch | None) -> Model:
    chosen = {
        "backend": answer.kind[0],
        "precision": answer.kind[1],
        "why": answer.text(goal),
        "seconds": {" ".join(kind): seconds for kind, seconds in answer.seconds.items()},
        "left_out": {" ".join(kind): why for kind, why in answer.left_out.items()},
    }
    if answer.kind == ITSELF:
        opened = model if isinstance(model, Model) else load(model, arch=arch)
        opened.info["chosen"] = chosen
        return opened
    pair = _pair(folder, answer.kind)
    network, card = open_artefact(pair.tensor)
    return Model(network, {**card, "chosen": chosen}, pair.tensor)
