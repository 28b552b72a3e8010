"""Keras's ``.h5``, ``.weights.h5`` and ``.keras``, through h5py, which the extra ``keras`` installs; Keras is not needed."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from striate.errors import Refused, UsageError
from striate.weight_files.layers import Layers


def read_keras(path: Path) -> Layers:
    """Layer -> its weights in Keras's order: kernel, bias; of a batch norm gamma, beta, moving mean, moving variance.

    Raises:
        UsageError: h5py is not installed.
        Refused: it is no such file, a damaged one, or one without the layers' names.
    """
    try:
        import h5py
    except ImportError:
        raise UsageError("Keras files are read with h5py", where=path, fix='pip install "striate[keras]"') from None
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                names = _named_by_class(json.loads(archive.read("config.json")))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                    return _numbered(file, names)
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            return _listed(group) if "layer_names" in group.attrs else _numbered(file, {})
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Refused("not a readable Keras file", where=path, why=str(error), fix="fetch or save it again") from None


def _listed(group: Any) -> Layers:
    """The older layout: attributes name the layers, and the weights of each in order."""
    layers: Layers = {}
    for layer in map(_text, group.attrs["layer_names"]):
        weights = [np.asarray(group[layer][_text(name)]) for name in group[layer].attrs["weight_names"]]
        if weights:
            layers[layer] = weights
    return layers


def _numbered(file: Any, names: dict[str, str]) -> Layers:
    """The layout of Keras 3: ``layers/conv2d_1/vars/0``, the layer's own name an attribute, or else in ``names``."""
    layers: Layers = {}

    def visit(place: str, item: Any) -> None:
        if not place.endswith("/vars") or not len(item):
            return
        group = place.removesuffix("/vars").rpartition("/")[2]
        name = _text(item.attrs["name"]) if "name" in item.attrs else names.get(group)
        if name is None:
            raise ValueError(f"{place} does not say which layer it is: save the model as .keras, whose configuration does")
        layers[name] = [np.asarray(item[str(i)]) for i in range(len(item))]

    file.visititems(visit)
    return layers


def _named_by_class(config: dict[str, Any]) -> dict[str, str]:
    """Group of the weights -> layer: groups are the classes in snake case, counted (``conv2d``, ``conv2d_1``)."""
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for layer in config["config"].get("layers", []):
        group = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer["class_name"]).lower()
        names[f"{group}_{seen[group]}" if seen[group] else group] = layer["config"]["name"]
        seen[group] += 1
    return names


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
