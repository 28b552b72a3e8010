"""The exported file as other people use it: plain ONNX Runtime and Pillow, no striate and no torch, photographs of odd kinds."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_run import photo

from striate.exporting.conversion import Pair
from striate.prediction import Model

CLIENT = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
classes = session.get_modelmeta().custom_metadata_map["classes"].splitlines()
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    logits, probabilities = session.run(None, {"images": np.asarray(picture)[None]})
    best = int(probabilities[0].argmax())
    print(json.dumps([classes[best], logits[0].tolist(), float(probabilities[0].sum())]))
assert not {"striate", "torch"} & sys.modules.keys()
"""
TIE = 1e-2
"""Of the logits: within it two classes may change places."""


def odd_jpeg(rng: np.random.Generator, number: int) -> bytes:
    """A JPEG of a kind that ``number`` chooses: turned by EXIF, CMYK, grey, tiny, huge, progressive, coarse or subsampled."""
    picture = Image.fromarray(photo(rng, number % 3))
    options: dict[str, object] = {"quality": int(rng.integers(30, 96))}
    match number % 9:
        case 0:
            exif = Image.Exif()
            exif[0x0112] = int(rng.integers(2, 9))
            options["exif"] = exif
        case 1:
            picture = picture.convert("CMYK")
        case 2:
            picture = picture.convert("L")
        case 3:
            picture = picture.resize((int(rng.integers(1, 9)), int(rng.integers(1, 9))))
        case 4:
            picture = picture.resize((int(rng.integers(900, 1500)), int(rng.integers(900, 1500))))
        case 5:
            options["progressive"] = True
        case 6:
            options["quality"] = 4
        case 7:
            options["subsampling"] = "4:1:1"
        case 8:
            picture = picture.resize((int(rng.integers(400, 900)), int(rng.integers(2, 5))))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("number", [36, pytest.param(200, marks=pytest.mark.slow)])
def test_the_same_classes_without_striate_or_torch(number: int, model: Model, onnx_pair: Pair, tmp_path: Path) -> None:
    rng = np.random.default_rng(number)
    paths = [tmp_path / f"{i}.jpg" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_bytes(odd_jpeg(rng, i))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, "-c", CLIENT, str(onnx_pair.images), *map(str, paths)]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == number
    for path, (label, logits, total), own in zip(paths, answers, model.predict(paths), strict=True):
        assert own.error is None
        assert total == pytest.approx(1, abs=1e-5)
        ordered = sorted(logits)
        assert label == own.label or ordered[-1] - ordered[-2] <= TIE * max(map(abs, logits)), path.name
