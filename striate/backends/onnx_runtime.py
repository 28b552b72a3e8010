"""An ONNX file as a network, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.backends.artefact import CARD, check_seal, file_bytes, missing_package, num_threads, parse_card
from striate.errors import Refused

SPIN = "STRIATE_SPIN"
"""Set to 0: threads that wait for work sleep at once. By default they look for it busily for a moment, which answers soonest on
cores of their own, and takes from others what these would have used, such as a server's decoders."""


class OnnxNetwork:
    """Runs the graph on uint8 images.

    Args:
        path: what ``striate export --to onnx`` wrote.
        threads: of its operators; None: see :func:`striate.backends.artefact.num_threads`.

    Attributes:
        card: of the model, with the entry ``export``.

    Raises:
        UsageError: no such file, or ONNX Runtime is not installed.
        Refused: the file is not, to the bit, what was exported, or not readable by this ONNX Runtime.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        path = Path(path)
        data = file_bytes(path)
        check_seal(path, data)
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError as error:
            raise missing_package("onnxruntime", "export", path, error) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads(threads)
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if os.environ.get(SPIN) == "0" else "1")
        options.log_severity_level = 3  # errors alone: it warns of optimisations that it leaves out
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no base of their own
            why = str(error).splitlines()[0]
            raise Refused(f"ONNX Runtime {onnxruntime.__version__} cannot open the file", where=path, why=why) from error
        self._names = [output.name for output in self._session.get_outputs()]
        self.card: dict[str, Any] = parse_card(path, self._session.get_modelmeta().custom_metadata_map.get(CARD))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, C, h, w] ([N, H, W, C] of one any size for the form ``images``) -> raw outputs float32 [N, K]."""
        return self.outputs(images)["logits"]

    def outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """All that the graph returns: ``logits``, and for the form ``images`` also ``probabilities``, float32 [N, K] each."""
        return dict(zip(self._names, self._session.run(self._names, {"images": np.ascontiguousarray(images)}), strict=True))
