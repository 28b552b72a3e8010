"""Ten conversions with a mistake that people make are refused, ten that only look different pass: by what was measured.

Which plant it is, the gate is not told; the tests say which of its quantities must have seen it, so that none is refused by
accident. All are judged as fp32 but the one that only int8 can have: ranges taken from black images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import BAD, GOOD, Parts
from trained_run import fit_tiny, open_run, write_photos, write_run

from striate.exporting.gate import Verdict, judge
from striate.exporting.graphs import make_graphs
from striate.exporting.images import LabelledImages, gate_images
from striate.exporting.onnx_file import make_onnx, pixels_graph
from striate.prediction import Model

pytestmark = pytest.mark.slow

EACH = 200
"""Photographs of a class, every sixth for validation."""
FEW = 48
"""Images that fp32 is judged by here."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plants")
    data = write_photos(folder / "data", EACH)
    return write_run(folder / "run", data, fit_tiny(data))


@pytest.fixture(scope="module")
def subject(trained: Path) -> Model:
    return open_run(trained)


@pytest.fixture(scope="module")
def images(subject: Model) -> LabelledImages:
    return gate_images(subject, None)


@pytest.fixture(scope="module")
def every(images: LabelledImages) -> LabelledImages:
    """The training images too, so that an int8 artefact can be decided upon."""
    return replace(images, index=np.arange(len(images.source)))


@pytest.fixture(scope="module")
def parts(subject: Model) -> Parts:
    """The right ones."""
    graphs = make_graphs(subject)
    return Parts(graphs, pixels_graph(subject.preprocess), make_onnx(graphs)[0], subject.info)


def failed(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.checks if check.passed is False}


def test_what_is_changed_here_passes_unchanged(subject: Model, images: LabelledImages, parts: Parts, tmp_path: Path) -> None:
    verdict = judge(subject, parts.write(tmp_path), images.spread(FEW), "fp32")
    assert verdict.status == "passed"
    assert verdict.before.accuracy is not None
    assert verdict.before.accuracy > 0.8, "the small network has learnt nothing: the gate proves little"


@pytest.mark.parametrize(("plant", "seen"), BAD.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_conversion_is_refused(
    subject: Model, images: LabelledImages, parts: Parts, trained: Path, tmp_path: Path, plant: Callable[..., Parts], seen: str
) -> None:
    verdict = judge(subject, plant(parts, trained).write(tmp_path), images.spread(FEW), "fp32")
    assert verdict.status == "rejected"
    assert seen in failed(verdict)


def test_ranges_taken_from_black_images(subject: Model, every: LabelledImages, parts: Parts, tmp_path: Path) -> None:
    """Black images do not show the quantiser that it went wrong: only the gate's own do."""
    from striate.exporting.onnx_int8 import OnnxQuantiser

    right = [every.spread(200).tensors(subject)]
    for name, shown, status in (("right", right, "passed"), ("black", [np.zeros_like(right[0][:16])], "rejected")):
        folder = tmp_path / name
        folder.mkdir()
        tensor = OnnxQuantiser(parts.tensor, shown).quantised(frozenset())
        verdict = judge(subject, replace(parts, tensor=tensor).write(folder), every, "int8")
        assert verdict.status == status
    assert "accuracy lost on the same images" in failed(verdict)


@pytest.mark.parametrize("plant", GOOD, ids=lambda value: value.__name__)
def test_a_harmless_difference_passes(
    subject: Model, images: LabelledImages, parts: Parts, trained: Path, tmp_path: Path, plant: Callable[..., Parts]
) -> None:
    verdict = judge(subject, plant(parts, trained).write(tmp_path), images.spread(FEW), "fp32")
    assert failed(verdict) == set()
    assert verdict.status == "passed"
