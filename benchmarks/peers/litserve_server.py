"""LitServe serving a model of striate: the same network, preprocessing and answers. Bodies are JSON: {"image": BASE64}.

python -m benchmarks.peers.litserve_server MODEL PORT MAX_BATCH DELAY_S
"""

from __future__ import annotations

import base64
import io
import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from striate import machine
from striate.prediction import load
from striate.prediction_rows import prediction_to_json


class Api(litserve.LitAPI):  # type: ignore[misc]
    """One worker process, as LitServe advises for one device; decoding runs in it."""

    def __init__(self, model: str, **options: Any) -> None:
        super().__init__(**options)
        self.path = model

    def setup(self, device: str) -> None:
        self.model = load(self.path)
        if self.model.is_torch:
            machine.tune()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe acts on its annotation: none is JSON
        data = base64.b64decode(request["image"])
        if data.startswith(b"\x93NUMPY"):
            tensor: NDArray[np.uint8] = np.load(io.BytesIO(data))[0]
            return tensor
        return self.model.preprocess(data).transpose(2, 0, 1)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return np.stack(inputs)

    def predict(self, images: NDArray[np.uint8]) -> Any:
        single = images.ndim == 3
        scores = self.model.probabilities(images[None] if single else images)
        return scores[0] if single else scores

    def unbatch(self, scores: Any) -> list[Any]:
        return list(scores)

    def encode_response(self, scores: Any) -> dict[str, Any]:
        return prediction_to_json(self.model.decoder.predictions(scores[None], ["0"])[0])


if __name__ == "__main__":
    path, port, max_batch, delay = sys.argv[1:]
    api = Api(path, max_batch_size=int(max_batch), batch_timeout=float(delay))
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="error")
