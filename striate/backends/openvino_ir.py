"""An OpenVINO graph (.xml and .bin) as a network, run by OpenVINO on the CPU."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.artefact import CARD, check_seal, file_bytes, missing_package, num_threads, parse_card
from striate.errors import Refused

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What is set at load for each precision: machines with bf16 instructions would compute fp32 graphs in bf16 otherwise."""


def import_openvino(name: str = "openvino") -> ModuleType:
    """OpenVINO, or ``nncf``, with its reports to Intel's server switched off first.

    Both report through the package ``openvino_telemetry`` and do without where it cannot be imported.

    Raises:
        UsageError: it is not installed.
    """
    if "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return import_module(name)
    except ImportError as error:
        raise missing_package(name, "openvino", None, error) from error


FIXED, OFTEN = 4, 8
"""Batch sizes that the graph is compiled for at most, and calls after which a size that was not the first is among them."""


class OpenVinoNetwork:
    """Runs the graph on uint8 images; several threads may call it at once.

    A graph for one batch size is a tenth faster than one for any (MobileNet v2, 1 and 8 images). So it is compiled for the size
    of the first call, and for others once they have come often; what comes seldom runs on one for any size.

    Args:
        path: the .xml that ``striate export --to openvino`` wrote; its .bin lies beside it.
        threads: of its operators; None: see :func:`striate.backends.artefact.num_threads`.

    Attributes:
        card: of the model, with the entry ``export``.

    Raises:
        UsageError: no such file, or OpenVINO is not installed.
        Refused: the files are not, to the bit, what was exported, or not readable by this OpenVINO.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self._path = Path(path)
        xml, weights = file_bytes(self._path), file_bytes(self._path.with_suffix(".bin"))
        check_seal(self._path, xml, weights)
        openvino = import_openvino()
        try:
            self._core = openvino.Core()
            self._model = self._core.read_model(xml, weights)
            text = self._model.get_rt_info(CARD).astype(str) if self._model.has_rt_info(CARD) else None
        except RuntimeError as error:
            raise self._unreadable(error) from error
        self.card: dict[str, Any] = parse_card(self._path, text)
        self._settings = {
            "INFERENCE_NUM_THREADS": num_threads(threads),
            "INFERENCE_PRECISION_HINT": HINTS[self.card["export"]["precision"]],
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._names = [output.any_name for output in self._model.outputs]
        self._calls: Counter[int] = Counter()
        self._compiled: dict[int | None, Any] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()

    @property
    def arithmetic(self) -> str:
        """What it is computed in here: ``f32``, or ``bf16`` where that was asked for and the processor has it."""
        return str(self._compile(None).get_property("INFERENCE_PRECISION_HINT").to_string())

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, h, w] ([N, H, W, C] of one any size for the form ``images``) -> raw outputs float32 [N, K]."""
        return self.outputs(images)["logits"]

    def outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """All that the graph returns: ``logits``, and for the form ``images`` also ``probabilities``, float32 [N, K] each."""
        size = self._size_for(len(images))
        if not hasattr(self._requests, "own"):
            self._requests.own = {}
        if size not in self._requests.own:
            self._requests.own[size] = self._compile(size).create_infer_request()
        request = self._requests.own[size]
        request.infer({"images": np.ascontiguousarray(images)}, share_inputs=True)
        return {name: request.get_tensor(name).data.copy() for name in self._names}

    def _size_for(self, size: int) -> int | None:
        """The batch size of the graph to run; None: the one for any."""
        if self.card["export"]["form"] == "images":
            return None
        with self._lock:
            self._calls[size] += 1
            fixed = len(self._compiled.keys() - {None})
            wanted = fixed == 0 or (fixed < FIXED and self._calls[size] >= OFTEN)
            return size if size in self._compiled or wanted else None

    def _compile(self, size: int | None) -> Any:
        with self._lock:
            if size not in self._compiled:
                model = self._model
                if size is not None:
                    model = model.clone()
                    model.reshape({"images": [size, *list(model.input("images").partial_shape)[1:]]})
                try:
                    self._compiled[size] = self._core.compile_model(model, "CPU", self._settings)
                except RuntimeError as error:
                    raise self._unreadable(error) from error
            return self._compiled[size]

    def _unreadable(self, error: RuntimeError) -> Refused:
        why = str(error).strip().splitlines()[-1]
        return Refused(f"OpenVINO {import_openvino().__version__} cannot run the file", where=self._path, why=why)
