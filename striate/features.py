"""What a frozen network makes of a data set's pictures, computed once and kept: the input of any head."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.errors import Failed, Refused, UsageError
from striate.files import make_folder
from striate.models.variant import Network
from striate.sealed import read_sealed, write_sealed
from striate.tasks.base import Batch
from striate.torch_network import evaluating

SAVE_SECONDS = 10.0
"""Between two times that finished features are synced to the disk."""

Features = NDArray[np.float32]
Normalize = Callable[[Tensor], Tensor]


def embed(module: nn.Module, images: Tensor) -> Tensor:
    """What the last layer reads, [N, D]: ``embed`` of a network of the zoo; else the input of the last dense layer.

    Raises:
        Refused: the module has no dense layer, or does not use it in the forward pass.
    """
    if isinstance(module, Network):
        return module.embed(images)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    read: list[Tensor] = []
    if layers:
        hook = layers[-1].register_forward_pre_hook(lambda _layer, inputs: read.append(inputs[0]))
        try:
            module(images)
        finally:
            hook.remove()
    if not read:
        why = "no dense layer took part in the forward pass"
        raise Refused(f"{type(module).__name__} has no features to read", why=why, fix="end the network in a torch.nn.Linear")
    return read[-1].flatten(1)


def find_head(module: nn.Module) -> nn.Linear | None:
    """The dense layer whose input :func:`embed` returns and whose output is the network's; None: it has no such head."""
    if isinstance(module, Network):
        head = module.get_submodule(module.head_path)
        plain = type(module).forward is Network.forward
        return head if plain and isinstance(head, nn.Linear) else None
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return layers[-1] if layers else None


def replace_head(module: nn.Module, num_outputs: int, seed: int) -> None:
    """Puts a new dense layer in the head's place, on the same device.

    Raises:
        UsageError: the last layer is not dense.
    """
    head = find_head(module)
    path = next((path for path, each in module.named_modules() if each is head), "")
    if head is None or not path:
        raise UsageError(
            f"{type(module).__name__} does not end in one dense layer",
            why="metric learning puts a projection in its place",
            fix="end the network in a torch.nn.Linear, or take another --model",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = nn.Linear(head.in_features, num_outputs, bias=head.bias is not None)
        if isinstance(module, Network):
            module.initialize(new)
    module.set_submodule(path, new.to(head.weight.device, head.weight.dtype))


def read_features(
    module: nn.Module,
    batches: Iterable[Batch],
    num_images: int,
    normalize: Normalize,
    *,
    mirrored: bool,
    kept: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Features of pictures in the order of ``batches``: float32 [V, num_images, D], V views each.

    Args:
        module: in whatever mode; it is left in it.
        batches: with ``image`` uint8 [N, C, H, W]; read only as far as ``kept`` does not hold them already.
        num_images: in all batches.
        normalize: uint8 to what the module reads.
        mirrored: a second view, left and right exchanged.
        kept: folder that the features are kept in, piece by piece, so that a later call goes on from there; see
            :func:`features_folder`. None: they are not.
        progress: called with (pictures done, pictures in all); may raise to stop.
    """
    pieces = [] if kept is None else _read_pieces(kept)
    begun = sum(piece.shape[1] for piece in pieces)
    if begun == num_images:
        return np.concatenate(pieces, axis=1)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    fresh: list[Features] = []
    seen, saved_at = 0, time.monotonic()
    with torch.inference_mode(), evaluating(module):
        for batch in batches:
            images = batch["image"]
            seen += len(images)
            if seen <= begun:
                continue
            images = images[max(0, len(images) - (seen - begun)) :] if not fresh else images
            pixels = normalize(images.to(like.device)).to(like.dtype).contiguous(memory_format=torch.channels_last)
            views = (pixels, pixels.flip(3)) if mirrored else (pixels,)
            fresh.append(np.stack([embed(module, view).float().cpu().numpy() for view in views]))
            if kept is not None and (seen == num_images or time.monotonic() - saved_at > SAVE_SECONDS):
                pieces.append(_write_piece(kept, begun, fresh))
                begun, fresh, saved_at = seen, [], time.monotonic()
            progress(seen, num_images)
    return np.concatenate([*pieces, *fresh], axis=1)


def _write_piece(kept: Path, start: int, fresh: list[Features]) -> Features:
    piece = np.concatenate(fresh, axis=1)
    with contextlib.suppress(Failed):  # a cache that cannot be written costs time, nothing else
        make_folder(kept)
        write_sealed(kept / f"{start:09d}.safetensors", {"features": torch.from_numpy(piece)}, {"start": start})
    return piece


def _read_pieces(kept: Path) -> list[Features]:
    """The pieces from the first picture on, as far as they are whole and without a gap."""
    pieces: list[Features] = []
    for path in sorted(kept.glob("*.safetensors")):
        try:
            info, tensors = read_sealed(path)
        except Refused:
            break
        if info["start"] != sum(piece.shape[1] for piece in pieces):
            break
        pieces.append(tensors["features"].numpy())
    return pieces


def features_folder(root: Path, module: nn.Module, what: dict[str, Any]) -> Path:
    """Where the features of ``module`` are kept: its name follows from the weights (but the head's) and ``what`` else decides
    them: pictures, preprocessing, views."""
    head = f"{module.head_path}." if isinstance(module, Network) else None
    digest = sha256(json.dumps([what, type(module).__name__, torch.__version__], sort_keys=True).encode())
    for name, tensor in module.state_dict().items():
        if head is None or not name.startswith(head):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return root / digest.hexdigest()[:32]
