"""From a model to a pair of files for other programs: written beside, judged, and only then given their names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.backends.opening import NETWORKS, open_artefact
from striate.data.source import Source
from striate.errors import Refused, Undecided, UsageError
from striate.exporting.blame import LayerError, compare_layers
from striate.exporting.conversion import CONVERTERS, SUFFIXES, Calibration, Pair, check_kind, order_for
from striate.exporting.description import describe, describe_json
from striate.exporting.digest import file_digest
from striate.exporting.gate import Verdict, judge
from striate.exporting.images import LabelledImages, calibration_images, gate_images
from striate.exporting.timing import Speed, median_seconds, speed
from striate.files import make_folder
from striate.picture_stream import stream_pictures
from striate.prediction import Model, load
from striate.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import nn

CALIBRATION = 300
"""Training images that a quantiser looks at."""


@dataclass(frozen=True)
class Exported:
    """An artefact, and what was measured of it.

    Attributes:
        pair: its files, under the names that they now have.
        to, precision: what it is.
        verdict: of the gate; None: the gate was not run.
        layers: where it was rejected: the error of each layer, in the order in which they run.
        model_bytes: size of the model's file, where it has one.
        sizes: bytes of the tensor artefact and of the image artefact.
        speeds: of the model, the tensor artefact and the image artefact (on ``picture``).
        picture: (height, width) of the picture that the image artefact was timed on.
        busy: whether other work ran on the machine, which makes the speeds too low.
        float_layers: of an int8 artefact: the layers that were left in float, for they cost too many answers.
    """

    pair: Pair
    to: str
    precision: str
    verdict: Verdict | None
    layers: tuple[LayerError, ...]
    model_bytes: int | None
    sizes: tuple[int, int]
    speeds: tuple[Speed, Speed, Speed]
    picture: tuple[int, int]
    busy: bool
    float_layers: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``passed``, ``rejected``, ``undecided``, or ``not judged``."""
        return "not judged" if self.verdict is None else self.verdict.status

    def text(self) -> str:
        """The tables that are printed."""
        return describe(self)

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return describe_json(self)


def export(
    model: Model | str | Path,
    to: str = "onnx",
    precision: str = "fp32",
    *,
    data: str | Path | Source | None = None,
    calibrate: str | Path | Source | None = None,
    out: str | Path | None = None,
    gate: bool = True,
    arch: str | Callable[..., nn.Module] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Writes a model as a pair of files for other programs, proven against it.

    Args:
        model: a loaded one, a run folder or a model file.
        to: ``onnx``, ``openvino`` or ``torch``.
        precision: ``fp32``, ``bf16`` or ``int8``.
        data: labelled images of the gate; None: the run's validation split.
        calibrate: images that ``int8`` is calibrated on; None: the run's training split.
        out: NAME or NAME.EXT, or a folder; None: beside the model. The second file is NAME.tensor.EXT.
        gate: False leaves the gate out, for benchmarks of networks without trained weights: nothing is then proven, and no
            layer of an int8 artefact is put back to float.
        arch: builds the network of a model file that striate does not know, see :func:`striate.load`.
        progress: told how far it is.

    Raises:
        UsageError: there is no such kind of artefact, or what makes it is not installed.
        Refused: the gate said no; the files are kept as ``.rejected``.
        Undecided: there are too few images, or none, to say; the files are kept as ``.undecided``.
    """
    exported = make_artefact(
        model, to, precision, data=data, calibrate=calibrate, out=out, gate=gate, arch=arch, progress=progress
    )
    if exported.verdict is not None and exported.status != "passed":
        failed = [f"{row.name}: {row.measured} ({row.bound})" for row in exported.verdict.checks if row.passed is not True]
        error = Refused if exported.status == "rejected" else Undecided
        raise error(f"The artefact is {exported.status} by the gate", where=exported.pair.images, why="; ".join(failed))
    return exported


def make_artefact(
    model: Model | str | Path,
    to: str = "onnx",
    precision: str = "fp32",
    *,
    data: str | Path | Source | None = None,
    calibrate: str | Path | Source | None = None,
    out: str | Path | None = None,
    gate: bool = True,
    arch: str | Callable[..., nn.Module] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """As :func:`export`, but what the gate says is returned, not raised."""
    check_kind(to, precision)
    progress = progress or Silent()
    model = model if isinstance(model, Model) else load(model, arch=arch)
    if not model.is_torch:
        fix = "export the model that it was made from"
        raise UsageError("An exported graph is not exported again", where=model.path, fix=fix)
    stem = _stem(model, to, precision, out)
    images = gate_images(model, data) if gate else None
    file = model.path if model.path is not None and model.path.is_file() else None
    order = order_for(model, to, precision, file_digest(file) if file is not None else None)
    if precision == "int8":
        order = order.calibrated(_calibration(model, calibration_images(model, calibrate)), progress, fallback=gate)
    make_folder(stem.absolute().parent)
    with tempfile.TemporaryDirectory(dir=stem.parent, prefix=f".{stem.name}.", suffix=".partial") as scratch:
        pair = Pair.at(Path(scratch) / stem.name, to)
        progress.stage(f"writing {to} {precision}", 0, 1)
        CONVERTERS[to, precision](order, pair)
        progress.stage(f"writing {to} {precision}", 1, 1)
        verdict = judge(model, pair, images, precision, progress) if images is not None else None
        layers = _layers(model, pair, images, precision) if verdict is not None and verdict.status == "rejected" else ()
        picture = _picture(model, images)
        speeds = _speeds(model, pair, picture)
        sizes = (_size(pair.tensor), _size(pair.images))
        in_float = tuple(open_artefact(pair.tensor)[1]["export"].get("float_layers", ()))
        named = _keep(pair, stem, to, "passed" if verdict is None else verdict.status)
    model_bytes = file.stat().st_size if file is not None else None
    shape = (picture.shape[1], picture.shape[2])
    return Exported(named, to, precision, verdict, layers, model_bytes, sizes, speeds, shape, machine.is_busy(), in_float)


def _stem(model: Model, to: str, precision: str, out: str | Path | None) -> Path:
    """Where the artefact goes, without .EXT."""
    suffix = "" if precision == "fp32" else f".{precision}"
    if out is None or Path(out).is_dir():
        foreign = model.path is None or "weights" in model.info or model.path.is_relative_to(machine.cache_folder())
        own = Path(model.info["architecture"]["name"]) if foreign or model.path is None else model.path.with_suffix("")
        return Path(out or own.parent) / f"{own.name}{suffix}"
    path = Path(out)
    known = {*SUFFIXES.values(), ".bin"}
    if path.suffix in known and path.suffix != SUFFIXES[to]:
        raise UsageError(f"A file of {to} does not end with {path.suffix}", where=path, fix=f"name it {path.stem}{SUFFIXES[to]}")
    name = path.name.removesuffix(SUFFIXES[to]).removesuffix(".tensor")
    if not name:
        raise UsageError("The artefact needs a name", where=path, fix=f"-o NAME{SUFFIXES[to]}")
    return path.with_name(name)


def _calibration(model: Model, images: LabelledImages) -> Calibration:
    chosen = images.spread(CALIBRATION)

    def read(i: int) -> NDArray[np.uint8]:
        return model.preprocess(chosen.source.read(i), chosen.source.key(i))

    def batches() -> Iterator[NDArray[np.uint8]]:
        for group in stream_pictures(chosen.index.tolist(), read, 32):
            if group.images is not None:
                yield group.images

    return batches


def _layers(model: Model, pair: Pair, images: LabelledImages | None, precision: str) -> tuple[LayerError, ...]:
    assert images is not None
    return tuple(compare_layers(model, pair.tensor, images.spread(4).tensors(model), precision))


def _picture(model: Model, images: LabelledImages | None) -> NDArray[np.uint8]:
    """What the image artefact is timed on, uint8 [1, H, W, C]: the first picture of the gate, or noise of a usual size."""
    first = next(images.pictures(model), None) if images is not None else None
    if first is not None:
        return first[None]
    return np.random.default_rng(0).integers(0, 256, (1, 375, 500, max(3, model.preprocess.channels)), dtype=np.uint8)


def _speeds(model: Model, pair: Pair, picture: NDArray[np.uint8]) -> tuple[Speed, Speed, Speed]:
    tensor, _ = open_artefact(pair.tensor)
    whole = NETWORKS[pair.images.suffix](pair.images)
    return (
        speed(model.raw, model.preprocess),
        speed(tensor, model.preprocess),
        Speed(median_seconds(lambda: whole.outputs(picture))),
    )


def _size(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


def _keep(pair: Pair, stem: Path, to: str, status: str) -> Pair:
    """Moves the files to their names; past the gate these end with what it said, and what passed before stays as it is."""
    ending = "" if status == "passed" else f".{status}"
    final = Pair.at(stem, to)
    for source, target in zip(pair.files, final.files, strict=True):
        for old in (".rejected", ".undecided"):
            target.with_name(target.name + old).unlink(missing_ok=True)
        os.replace(source, target.with_name(target.name + ending))
    return Pair(*(path.with_name(path.name + ending) for path in (final.tensor, final.images)))
