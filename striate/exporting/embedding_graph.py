"""A network up to what its last layer reads, run by the fastest backend that is installed: each is held against the network."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from striate.backends.opening import NETWORKS
from striate.data.preprocess import Preprocess
from striate.errors import Refused, StriateError, UsageError, nearest
from striate.exporting.conversion import SUFFIXES
from striate.exporting.fastest import Answer, Kind, answer_key, keep_answer, kept_answers
from striate.exporting.folding import fold_batch_norm
from striate.exporting.gate import LOGITS, relative_difference
from striate.exporting.graphs import TensorGraph
from striate.exporting.timing import BATCH, Moment
from striate.files import make_folder
from striate.prediction import Network
from striate.progress import Progress

Backend = Literal["auto", "torch", "onnx", "openvino"]
GRAPHS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
"""Backends with a graph of their own -> the packages that it takes."""
_ROUNDS = 3


def check_backend(backend: str) -> None:
    """Refuses a backend that there is not, or not here.

    Raises:
        UsageError: with what to do.
    """
    if backend not in ("auto", "torch", *GRAPHS):
        raise UsageError(f"Unknown backend {backend!r}", fix=nearest(backend, ("auto", "torch", *GRAPHS)))
    if absent := [name for name in GRAPHS.get(backend, ()) if find_spec(name) is None]:
        raise UsageError(f"{backend} needs {', '.join(absent)}", fix='pip install "striate[export,openvino]"')


def fastest_embedding(
    module: nn.Module, itself: Network, preprocess: Preprocess, card: Mapping[str, Any], folder: Path,
    images: NDArray[np.uint8], backend: Backend, progress: Progress,
) -> Network:  # fmt: skip
    """What embeds fastest here, of what agrees with the network on ``images``.

    Args:
        module: normalised images [N, C, h, w] -> embeddings [N, D].
        itself: the same on uint8 images, by torch.
        preprocess: of which the normalisation.
        card: of the model.
        folder: of the cache; graphs that were made before are taken from it.
        images: uint8 [N, C, h, w], real ones.
        backend: ``auto``, or the only one to take.
        progress: told what is made, and which was taken.

    Raises:
        UsageError: see :func:`check_backend`.
        Refused: the one backend that is wanted does not agree with the network.
    """
    check_backend(backend)
    key = answer_key("throughput", backend)
    known = kept_answers(folder).get(key)
    networks: dict[str, Network] = {"torch": itself} if backend in ("auto", "torch") else {}
    left_out: dict[Kind, str] = {}
    for name in [known.kind[0]] if known else GRAPHS if backend == "auto" else [backend]:
        if name not in networks:
            try:
                networks[name] = _agreeing(name, module, itself, preprocess, card, folder, images[:8], progress)
            except StriateError as error:
                left_out[name, "fp32"] = error.what
    if not networks:
        why = "; ".join(f"{name}: {reason}" for (name, _), reason in left_out.items())
        raise Refused(f"{backend} does not embed as the network does", why=why, fix="--backend torch")
    if known is None or known.kind[0] not in networks:
        begun = Moment.now()
        seconds = _times(networks, images[:BATCH])
        known = Answer(min(seconds, key=lambda kind: seconds[kind]), seconds, left_out)
        keep_answer(folder, key, known, begun.disturbed())
    progress.message(f"embedded by {known.text('throughput')}")
    return networks[known.kind[0]]


def _agreeing(
    name: str, module: nn.Module, itself: Network, preprocess: Preprocess, card: Mapping[str, Any], folder: Path,
    images: NDArray[np.uint8], progress: Progress,
) -> Network:  # fmt: skip
    if absent := [each for each in GRAPHS[name] if find_spec(each) is None]:
        raise Refused(f"{', '.join(absent)} is not installed")
    own, kept = itself(images), _opened(name, folder)
    # A kept graph is asked too: the code of a network of one's own may have changed under the same weights.
    if kept is not None and relative_difference(own, kept(images)) <= LOGITS:
        return kept
    progress.message(f"making the graph for {name}: done once for this model")
    network = _made(name, module, preprocess, card, folder)
    apart = relative_difference(own, network(images))
    if apart > LOGITS:
        raise Refused(f"its numbers are {apart:.1e} of the largest apart from the network's")
    return network


def _times(networks: Mapping[str, Network], images: NDArray[np.uint8]) -> dict[Kind, float]:
    """Seconds an image, the best of a few turns."""
    best: dict[Kind, float] = {(name, "fp32"): float("inf") for name in networks}
    for _ in range(_ROUNDS):
        for name, network in networks.items():
            begun = time.perf_counter()
            network(images)
            best[name, "fp32"] = min(best[name, "fp32"], (time.perf_counter() - begun) / len(images))
    return best


def _made(name: str, module: nn.Module, preprocess: Preprocess, card: Mapping[str, Any], folder: Path) -> Network:
    path = _path(name, make_folder(folder))
    try:
        _write(name, path, module, preprocess, card)
    except StriateError:
        raise
    except Exception as error:  # torch's exporter and OpenVINO's reader raise what they like
        raise Refused(f"the network cannot be exported ({str(error).splitlines()[0]})") from error
    return cast("Network", NETWORKS[path.suffix](path))


def _opened(name: str, folder: Path) -> Network | None:
    """The graph that was made before; None where there is none, or a damaged one."""
    path = _path(name, folder)
    try:
        return cast("Network", NETWORKS[path.suffix](path))
    except StriateError:
        return None


def _path(name: str, folder: Path) -> Path:
    return folder / f"embedding{SUFFIXES[name]}"


def _write(name: str, path: Path, module: nn.Module, preprocess: Preprocess, card: Mapping[str, Any]) -> None:
    from striate.exporting.onnx_file import tensor_graph, write_onnx

    network = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    example = torch.zeros(2, preprocess.channels, *preprocess.size, dtype=torch.uint8)
    fold_batch_norm(network, example[:1].float())
    graph = tensor_graph(TensorGraph(network, preprocess).eval(), example)
    card = {**card, "export": {"format": 1, "to": name, "precision": "fp32", "form": "tensor"}}
    if name == "onnx":
        write_onnx(path, graph, card)
        return
    from striate.exporting.openvino_file import from_onnx, write_openvino

    write_openvino(path, from_onnx(graph), card)
