"""What a frozen network makes of a data set's pictures, computed once and kept: the input of any head."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import Failed, StriateError, UsageError
from striate.files import make_folder
from striate.models.variant import Network
from striate.sealed import read_sealed, write_sealed
from striate.tasks.base import Batch
from striate.torch_network import evaluating

SAVE_SECONDS = 10.0
"""Between two times that finished features are synced to the disk."""

LIMIT = 4 << 30
"""Bytes that the features of all networks and data may take beside one another; those longest unchanged go first."""

Features = NDArray[np.float32]


class Reading(NamedTuple):
    """Features, and the seconds that it took to compute them, whenever that was: what is decided by the one must not depend on
    whether they were kept."""

    features: Features
    seconds: float


Normalize = Callable[[Tensor], Tensor]


def embed(module: nn.Module, head: nn.Module, images: Tensor) -> Tensor:
    """What ``head``, the last layer of ``module``, reads: [N, D]."""
    if isinstance(module, Network):
        return module.embed(images)
    read: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _layer, inputs: read.append(inputs[0]))
    try:
        module(images)
    finally:
        hook.remove()
    return read[0]


def find_head(module: nn.Module, image: tuple[int, int, int]) -> nn.Linear | None:
    """The dense layer, with a bias, whose output is the network's; None: there is none.

    Args:
        module: of the zoo, which says so itself; or any other, which is run on two blank images to see.
        image: (channels, height, width) that it reads.
    """
    if isinstance(module, Network):
        head = module.get_submodule(module.head_path)
        plain = type(module).forward is Network.forward
        return head if plain and isinstance(head, nn.Linear) and head.bias is not None else None
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear) and layer.bias is not None]
    seen: dict[nn.Linear, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear)
        seen[layer].append((inputs[0], output))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with torch.inference_mode(), evaluating(module):
            answer = module(torch.zeros(2, *image, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    # Once a forward pass, on one vector an image, and nothing after it.
    return next(
        (layer for layer, calls in seen.items() if len(calls) == 1 and calls[0][0].ndim == 2 and calls[0][1] is answer), None
    )


def replace_head(module: nn.Module, image: tuple[int, int, int], num_outputs: int, seed: int) -> nn.Linear:
    """Puts a new dense layer in the head's place, on the same device, and returns it.

    Args:
        image: (channels, height, width) that the network reads.

    Raises:
        UsageError: the last layer is not dense.
    """
    head = find_head(module, image)
    path = next((path for path, each in module.named_modules() if each is head), "")
    if head is None or not path:
        raise UsageError(
            f"{type(module).__name__} does not end in one dense layer",
            why="metric learning puts a projection in its place",
            fix="end the network in a torch.nn.Linear, or take another --model",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = nn.Linear(head.in_features, num_outputs)
        if isinstance(module, Network):
            module.initialize(new)
    new = new.to(head.weight.device, head.weight.dtype)
    module.set_submodule(path, new)
    return new


def read_features(
    module: nn.Module,
    head: nn.Module,
    batches: Iterable[Batch],
    num_images: int,
    normalize: Normalize,
    *,
    mirrored: bool,
    kept: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Reading:
    """Features of pictures in the order of ``batches``: float32 [V, num_images, D], V views each; and what they took.

    Args:
        module: in whatever mode; it is left in it.
        head: its last layer, see :func:`find_head`.
        batches: with ``image`` uint8 [N, C, H, W]; read only as far as ``kept`` does not hold them already.
        num_images: in all batches.
        normalize: uint8 to what the module reads.
        mirrored: a second view, left and right exchanged.
        kept: folder that the features are kept in, piece by piece, so that a later call goes on from there; see
            :func:`features_folder`. None: they are not.
        progress: called with (pictures done, pictures in all); may raise to stop.
    """
    pieces, seconds = ([], 0.0) if kept is None else _read_pieces(kept)
    begun = sum(piece.shape[1] for piece in pieces)
    if begun == num_images:
        return Reading(np.concatenate(pieces, axis=1), seconds)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    fresh: list[Features] = []
    seen, saved_at = 0, time.monotonic()
    started_at = saved_at
    with torch.inference_mode(), evaluating(module):
        for batch in batches:
            images = batch["image"]
            seen += len(images)
            if seen <= begun:
                continue
            images = images[max(0, len(images) - (seen - begun)) :] if not fresh else images
            pixels = normalize(images.to(like.device)).to(like.dtype).contiguous(memory_format=torch.channels_last)
            views = (pixels, pixels.flip(3)) if mirrored else (pixels,)
            fresh.append(np.stack([embed(module, head, view).float().cpu().numpy() for view in views]))
            if kept is not None and (seen == num_images or time.monotonic() - saved_at > SAVE_SECONDS):
                pieces.append(_write_piece(kept, begun, fresh, time.monotonic() - saved_at))
                begun, fresh, saved_at = seen, [], time.monotonic()
            progress(seen, num_images)
    return Reading(np.concatenate([*pieces, *fresh], axis=1), seconds + time.monotonic() - started_at)


def _write_piece(kept: Path, start: int, fresh: list[Features], seconds: float) -> Features:
    piece = np.concatenate(fresh, axis=1)
    with contextlib.suppress(Failed, OSError):  # a cache that cannot be written costs time, nothing else
        make_folder(kept)
        _make_room(kept, piece.nbytes)
        write_sealed(
            kept / f"{start:09d}.safetensors", {"features": torch.from_numpy(piece)}, {"start": start, "seconds": seconds}
        )
    return piece


def _make_room(kept: Path, wanted: int) -> None:
    sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in kept.parent.iterdir() if folder.is_dir()}
    total = wanted + sum(sizes.values())
    for folder in sorted(sizes, key=lambda each: each.stat().st_mtime):
        if total <= LIMIT:
            return
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _read_pieces(kept: Path) -> tuple[list[Features], float]:
    """The pieces from the first picture on, as far as they are whole and without a gap, and the seconds they took."""
    pieces: list[Features] = []
    seconds = 0.0
    for path in sorted(kept.glob("*.safetensors")):
        try:
            info, tensors = read_sealed(path)
        except StriateError:  # damaged, or taken away to make room
            break
        if info["start"] != sum(piece.shape[1] for piece in pieces):
            break
        pieces.append(tensors["features"].numpy())
        seconds += info.get("seconds", 0.0)  # pieces of an older version have none
    return pieces, seconds


def features_folder(root: Path, module: nn.Module, what: dict[str, Any]) -> Path:
    """Where the features of ``module`` are kept: its name follows from the weights (but the head's) and ``what`` else decides
    them: pictures, preprocessing, views."""
    identity = json.dumps([what, type(module).__name__, torch.__version__, weights_digest(module)], sort_keys=True)
    return root / sha256(identity.encode()).hexdigest()[:32]


def weights_digest(module: nn.Module) -> str:
    """Hex SHA-256 of all tensors but those of the heads, from which no feature follows."""
    heads = (module.head_path, *module.aux_head_paths) if isinstance(module, Network) else ()
    heads = tuple(f"{head}." for head in heads)
    return tensors_digest((name, tensor) for name, tensor in module.state_dict().items() if not name.startswith(heads))


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hex SHA-256 of names, types, shapes and values."""
    digest = sha256()
    for name, tensor in tensors:
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
