"""What the presets that break a training are made of: a network that normalises nowhere, and labels dealt out at random."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from striate.data.preprocess import Preprocess
from striate.data.source import SPLITS, ArraySource, Source
from striate.data.split import make_split
from striate.errors import Refused
from striate.files import replacing, write_text
from striate.zoo import build, find_variant

NETWORK_FILE, NETWORK_FUNCTION = "unnormalised.py", "unnormalised_network"


class Unnormalised(nn.Module):
    """A network that sees pixels 0..255 and normalises nowhere."""

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        self._mean, self._std, self._scale = preprocess.mean, preprocess.std, preprocess.scale

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, C, H, W], normalised as every network's are -> logits [N, K]; the normalisation is undone first."""
        shape = (1, -1, 1, 1)
        pixels = (x * x.new_tensor(self._std).view(shape) + x.new_tensor(self._mean).view(shape)) / self._scale
        logits: Tensor = self.network(pixels)
        return logits


def unnormalised(name: str, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> nn.Module:
    """A network of the zoo that reads raw pixels, its batch norms replaced by nothing.

    Raises what :func:`striate.zoo.build` does.
    """
    network: nn.Module = build(name, num_classes, in_channels, input_size)
    for module in list(network.modules()):
        for child, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                setattr(module, child, nn.Identity())
    # What a network of one's own is given: see Subject.preprocess.
    return Unnormalised(network, Preprocess(input_size, channels=in_channels, mean=(0.5,), std=(0.25,)))


def write_network(folder: Path, name: str) -> str:
    """Writes the file that builds it, for ``--arch``: short, and readable. Returns ``FILE.py:FUNCTION``."""
    find_variant(name)
    code = f'''"""{name} without any normalisation: written by the studio, which runs no other code from this folder."""

from striate.studio.breaking import unnormalised


def {NETWORK_FUNCTION}(num_classes, in_channels, input_size):
    return unnormalised("{name}", num_classes, in_channels, input_size)
'''
    write_text(folder / NETWORK_FILE, code)
    return f"{folder / NETWORK_FILE}:{NETWORK_FUNCTION}"


def write_shuffled(folder: Path, source: Source, seed: int) -> str:
    """Writes the same pictures with the training ones' labels dealt out at random. Returns what opens them.

    Raises:
        Refused: the data have no single labels to deal out.
    """
    if source.kind != "label":
        raise Refused("These data have no single labels to shuffle", where=source.location, fix="take data of one class an image")
    split = make_split(source, seed=seed)
    targets = source.targets.copy()
    targets[split.train] = np.random.default_rng(seed).permutation(targets[split.train])
    parts: dict[str, Any] = {"train": split.train, "val": split.validation, "test": split.held_out}
    if isinstance(source, ArraySource):
        arrays: dict[str, Any] = {"classes": np.array(source.classes)}
        for part, members in parts.items():
            arrays |= {f"{part}_images": source.images[members], f"{part}_labels": targets[members]}
        with replacing(folder / "shuffled.npz") as file:
            np.savez_compressed(file, **arrays)
        return f"npz:{folder / 'shuffled.npz'}"
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(("path", "label", "split"))
    for part, members in parts.items():
        assert part in SPLITS
        rows.writerows((source.path(i), source.classes[targets[i]], part) for i in members.tolist())
    write_text(folder / "shuffled.csv", text.getvalue())
    return f"csv:{folder / 'shuffled.csv'}"
