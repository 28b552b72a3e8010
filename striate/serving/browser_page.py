"""One self-contained page that runs an exported model in the browser: no server, no network, nothing leaves the machine."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate.errors import UsageError
from striate.serving.page_frame import framed

RUNTIME, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
"""The two files of onnxruntime-web that run a graph on the CPU (MIT licence, Microsoft)."""

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; "
    "img-src blob: data:; connect-src data: blob:"
)
"""The page may read itself and the picture, and reach nothing else."""


def find_ort_web() -> Path:
    """The folder ``dist`` of onnxruntime-web in ``node_modules`` here or in a folder above.

    Raises:
        UsageError: it is nowhere.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = folder / "node_modules" / "onnxruntime-web" / "dist"
        if found.is_dir():
            return found
    fix = "npm install onnxruntime-web, or name its folder: --ort-web node_modules/onnxruntime-web/dist"
    raise UsageError(
        "onnxruntime-web, which runs the model in a browser, is not here", why=f"looked in and above {here}", fix=fix
    )


def browser_page(model: Path, card: Mapping[str, Any], ort_web: Path) -> str:
    """HTML.

    Args:
        model: an ONNX file that takes whole pictures.
        card: its own.
        ort_web: the folder that holds ``RUNTIME`` and ``BINARY``.

    Raises:
        UsageError: they are not there.
    """
    missing = [name for name in (RUNTIME, BINARY) if not (ort_web / name).is_file()]
    if missing:
        raise UsageError(f"No {missing[0]}", where=ort_web, fix="name the folder `dist` of the npm package onnxruntime-web")
    preprocess = card["preprocess"]
    about = {
        "name": model.name.partition(".")[0],
        "kind": card["task"]["kind"],
        "threshold": card["task"].get("threshold", 0.5),
        "classes": card["classes"],
        **{name: preprocess[name] for name in ("channels", "exif", "alpha_color", "max_pixels")},
    }
    parts = {
        "about": json.dumps(about).replace("<", "\\u003c"),
        "runtime": _packed((ort_web / RUNTIME).read_bytes()),
        "binary": _packed((ort_web / BINARY).read_bytes()),
        "model": _packed(model.read_bytes()),
    }
    data = "".join(f'<script type="text/plain" id="{name}">{text}</script>\n' for name, text in parts.items())
    meta = f'<meta http-equiv="content-security-policy" content="{html.escape(_POLICY)}">'
    return framed("browser.js", data=data).replace("<head>", f"<head>\n{meta}", 1)


def _packed(data: bytes) -> str:
    # mtime: the same model gives the same page.
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
