"""Weights into a network: any file's tensors, strictly, each with its counterpart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from striate.errors import Refused, UsageError
from striate.models import alexnet, densenet, googlenet, mobilenet_v1, resnet, vgg
from striate.models.foreign import ForeignNames
from striate.models.variant import Network
from striate.weight_files.caffe import read_caffe
from striate.weight_files.keras import read_keras
from striate.weight_files.layers import Framework, lay_out
from striate.weight_files.state_dicts import read_state_dict

FOREIGN: dict[Framework, dict[str, ForeignNames]] = {
    "caffe": {
        **alexnet.CAFFE_NAMES,
        **googlenet.CAFFE_NAMES,
        **vgg.CAFFE_NAMES,
        **resnet.CAFFE_NAMES,
        **mobilenet_v1.CAFFE_NAMES,
    },
    "keras": {**vgg.KERAS_NAMES, **resnet.KERAS_NAMES, **mobilenet_v1.KERAS_NAMES},
}
"""Framework -> variant -> its names there; each lies in the file of its network."""

SUFFIXES: dict[str, Framework] = {".caffemodel": "caffe", ".h5": "keras", ".hdf5": "keras", ".keras": "keras"}

RENAMERS: dict[type[Network], Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {densenet.DenseNet: densenet.renamed}
"""Network -> what brings the names of its older published files up to date."""


def read_weights(path: str | Path, network: Network, name: str | None = None) -> dict[str, Tensor]:
    """A file's tensors under the names of ``network``, which may lie on the meta device; whether they fit is not looked at.

    Args:
        path: safetensors, PyTorch, Caffe (``.caffemodel``) or Keras (``.h5``, ``.keras``).
        network: whose weights they are.
        name: of its variant; Caffe and Keras files need it.

    Raises:
        UsageError: there is no such file, or it is of a framework that this network has no names in.
        Refused: the file is not readable, or no state dict.
    """
    path = Path(path)
    if not path.is_file():
        fix = f"give the path of a .safetensors, .pt or .pth file, or of {', '.join(SUFFIXES)}"
        raise UsageError("there is no such weight file", where=path, fix=fix)
    if (framework := SUFFIXES.get(path.suffix.lower())) is not None:
        names = foreign_names(path, name or type(network).__name__)
        if names.differs:
            warnings.warn(f"{path}: {names.differs}", stacklevel=2)
        return lay_out(network, (read_caffe if framework == "caffe" else read_keras)(path), names, framework)
    state = read_state_dict(path)
    rename = RENAMERS.get(type(network))
    return state if rename is None else rename(state)


def foreign_names(path: Path, name: str) -> ForeignNames:
    """The names of a variant in the framework that a file's suffix tells.

    Raises:
        UsageError: it has none there.
    """
    framework = SUFFIXES[path.suffix.lower()]
    if name not in FOREIGN[framework]:
        known = ", ".join(FOREIGN[framework])
        what = f"there are no {framework.capitalize()} names for {name}"
        raise UsageError(what, where=path, fix=f"networks whose {framework.capitalize()} files can be read: {known}")
    return FOREIGN[framework][name]


def load_weights(network: Network, path: str | Path, name: str | None = None) -> None:
    """Loads a file into ``network``, strictly; see :func:`read_weights` and :func:`load_state`."""
    load_state(network, read_weights(path, network, name), path)


def load_state(network: Network, state: Mapping[str, Tensor], where: object = None) -> None:
    """Loads tensors into ``network``: every one of both must have its counterpart.

    Heads for another number of classes, the auxiliary ones among them, are left out, which a warning says.
    ``num_batches_tracked``, which files from before PyTorch 0.4.1 lack, starts at 0.

    Args:
        network: changed only where everything fits.
        state: names as ``network.state_dict()`` has them.
        where: the file they are from.

    Raises:
        Refused: they do not fit: each such tensor is named with both shapes.
    """
    own = network.state_dict()
    state = dict(state)
    heads = [path for path in (network.head_path, *network.aux_head_paths) if _is_another_head(state, own, path)]
    if heads:
        theirs, ours = (len(tensors[f"{heads[0]}.weight"]) for tensors in (state, own))
        left_out = f"head ({heads[0]}) was" if len(heads) == 1 else f"heads ({', '.join(heads)}) were"
        warnings.warn(
            f"{where} has {theirs} classes and the network {ours}: its {left_out} left out, the network's is "
            f"untrained. To keep it, build the network with num_classes={theirs}",
            stacklevel=4,
        )
        state |= {name: own[name] for path in heads for name in own if name.startswith(path + ".")}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    mismatches = [
        f"{name}: file {shapes.get(name, 'has none')}, network {wanted.get(name, 'has none')}"
        for name in sorted(shapes.keys() | wanted.keys())
        if shapes.get(name) != wanted.get(name) and not (name.endswith(".num_batches_tracked") and name not in shapes)
    ]
    if mismatches:
        raise Refused(
            f"the weights do not fit {type(network).__name__}: {len(mismatches)} tensors differ",
            where=where,
            why="\n         ".join(mismatches),
            fix="build the network that the file was made from, with its input channels and size",
        )
    network.load_state_dict(state)


def _is_another_head(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> bool:
    """Whether two heads differ in their number of outputs, and in nothing else."""
    head = [name for name in own if name.startswith(path + ".")]
    if not head or not all(name in state for name in head):
        return False
    return all(state[name].shape[1:] == own[name].shape[1:] and state[name].shape[:1] != own[name].shape[:1] for name in head)
