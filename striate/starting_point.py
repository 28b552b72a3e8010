"""Weights that a network begins with: of a published network, of another tool, or of a model of ours, fitted to new data.

What fits is taken as it is. A first convolution for other channels is summed (to grey) or extended, a head for other classes is
begun anew but for the rows of classes that it knows, and each of these is said. Anything else that differs is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from striate.bundle import read_bundle
from striate.data.preprocess import Preprocess
from striate.errors import Refused
from striate.models.variant import Network
from striate.pretrained import read_pretrained
from striate.progress import Progress
from striate.subject import Subject
from striate.weight_files.state_dicts import is_sealed, read_state_dict


@dataclass(frozen=True)
class StartingPoint:
    """Where a network's weights came from.

    Attributes:
        source: a name or path, as given.
        classes: that the source told apart; empty where that is not known.
        preprocess: how the source saw its pictures, at this network's size and channels.
        notes: one sentence for each thing that was not taken as it is.
    """

    source: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    notes: tuple[str, ...]


def begin_from(
    subject: Subject, weights: str | Path, classes: Sequence[str] = (), progress: Progress | None = None
) -> StartingPoint:
    """Loads ``weights`` into the network of ``subject``, as far as they are for it.

    Args:
        subject: its module is changed, only where everything fits.
        weights: a published name (``imagenet``), a weight file, or a model of ours.
        classes: names of the network's outputs; an output whose class the source knows keeps its row.
        progress: told how far a download is.

    Raises:
        UsageError: there are no such weights.
        Refused: tensors differ in more than input channels and classes: each is named with both shapes.
        Failed: published weights are not here, and cannot be downloaded.
    """
    card, state = _read(subject, weights, progress)
    module, notes = subject.module, []
    own = module.state_dict()
    known = tuple(card.get("classes", ()))
    notes += _fit_channels(state, own, subject.in_channels)
    for head in _heads(module, own):
        notes += _fit_head(state, own, head, known, tuple(classes))
    state |= {name: own[name] for name in own if name.endswith(".num_batches_tracked") and name not in state}
    _refuse_differences(state, own, subject.name, weights)
    module.load_state_dict(state)
    preprocess = subject.preprocess()
    if "preprocess" in card:
        preprocess = _at_size(Preprocess.from_json(card["preprocess"]), subject)
    return StartingPoint(str(weights), known, preprocess, tuple(notes))


def _read(subject: Subject, weights: str | Path, progress: Progress | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if subject.variant is not None:
        card, state, _ = read_pretrained(subject.name, weights, progress)
        return card, dict(state)
    path = Path(weights)
    if is_sealed(path):
        card, state = read_bundle(path)
        return card, dict(state)
    return {}, read_state_dict(path)


def _fit_channels(state: dict[str, Tensor], own: dict[str, Tensor], in_channels: int) -> list[str]:
    """Sums or extends the convolutions that read the picture: those that differ in nothing but how many channels they read."""
    notes = []
    for name, tensor in state.items():
        wanted = own.get(name)
        if wanted is None or tensor.ndim != 4 or wanted.ndim != 4 or tensor.shape == wanted.shape:
            continue
        if tensor.shape[0] != wanted.shape[0] or tensor.shape[2:] != wanted.shape[2:] or wanted.shape[1] != in_channels:
            continue
        had = tensor.shape[1]
        if in_channels < had:
            # Grey is the same number in every colour, so the sum over the colours answers as the network did to grey pictures.
            state[name] = tensor.sum(1, keepdim=True).expand(-1, in_channels, -1, -1) / in_channels
            notes.append(f"{name}: its kernels for {had} channels were summed to {in_channels}")
        elif had == 1:
            state[name] = tensor.expand(-1, in_channels, -1, -1) / in_channels
            notes.append(f"{name}: its kernels for 1 channel were shared among {in_channels}")
        else:
            state[name] = torch.cat((tensor, torch.zeros_like(wanted[:, had:])), dim=1)
            notes.append(f"{name}: {in_channels - had} more channels than the {had} it knew begin at zero")
    return notes


def _heads(module: nn.Module, own: dict[str, Tensor]) -> list[str]:
    """Paths of the last layers; of a module that does not say, the last one with a weight."""
    if isinstance(module, Network):
        return [module.head_path, *module.aux_head_paths]
    weights = [name for name, tensor in own.items() if name.endswith(".weight") and tensor.ndim > 1]
    return [weights[-1].removesuffix(".weight")] if weights else []


def _fit_head(
    state: dict[str, Tensor], own: dict[str, Tensor], head: str, known: tuple[str, ...], classes: tuple[str, ...]
) -> list[str]:
    names = [name for name in own if name.startswith(f"{head}.")]
    theirs = state.get(f"{head}.weight")
    if theirs is None or not all(name in state and state[name].shape[1:] == own[name].shape[1:] for name in names):
        return []
    if known == classes and all(state[name].shape == own[name].shape for name in names):
        return []
    place = {name: row for row, name in enumerate(known)} if len(known) == len(theirs) else {}
    kept = [(row, place[name]) for row, name in enumerate(classes) if name in place]
    for name in names:
        fresh = own[name].clone()
        for row, source in kept:
            fresh[row] = state[name][source]
        state[name] = fresh
    if not kept:
        return [f"{head}: begun anew for {len(own[f'{head}.weight'])} outputs, the source had {len(theirs)}"]
    others = len(own[f"{head}.weight"]) - len(kept)
    return [f"{head}: the rows of {len(kept)} classes that the source knows were kept, {others} begun anew"]


def _refuse_differences(state: dict[str, Tensor], own: dict[str, Tensor], name: str, weights: str | Path) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    wanted = {key: tuple(tensor.shape) for key, tensor in own.items()}
    differing = [
        f"{key}: file {shapes.get(key, 'has none')}, network {wanted.get(key, 'has none')}"
        for key in sorted(shapes.keys() | wanted.keys())
        if shapes.get(key) != wanted.get(key)
    ]
    if differing:
        raise Refused(
            f"the weights do not fit {name}: {len(differing)} tensors differ",
            where=weights,
            why="\n         ".join(differing),
            fix="take weights of this network, at the input size they were trained with",
        )


def _at_size(preprocess: Preprocess, subject: Subject) -> Preprocess:
    """The source's own way with pictures, at another size and for other channels."""
    resize, size = preprocess.resize, subject.input_size
    if resize is not None and size != preprocess.size:
        resize = max(1, round(resize * min(size) / min(preprocess.size)))
    changed = replace(preprocess, size=size, resize=resize)
    if preprocess.channels == subject.in_channels:
        return changed
    mean, std = (sum(values) / len(values) for values in (preprocess.mean, preprocess.std))
    return replace(changed, channels=subject.in_channels, mean=(mean,), std=(std,))
