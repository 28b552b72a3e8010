"""Weight files of Caffe and Keras, written by the formats' own libraries: protocol buffers and HDF5."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

Layers = Mapping[str, Sequence[NDArray[Any]]]

_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGES = {
    "BlobShape": [("dim", 1, _Field.TYPE_INT64, True)],
    "BlobProto": [
        ("num", 1, _Field.TYPE_INT32, False),
        ("channels", 2, _Field.TYPE_INT32, False),
        ("height", 3, _Field.TYPE_INT32, False),
        ("width", 4, _Field.TYPE_INT32, False),
        ("data", 5, _Field.TYPE_FLOAT, True),
        ("diff", 6, _Field.TYPE_FLOAT, True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, _Field.TYPE_DOUBLE, True),
    ],
    "LayerParameter": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("type", 2, _Field.TYPE_STRING, False),
        ("bottom", 3, _Field.TYPE_STRING, True),
        ("loss_weight", 5, _Field.TYPE_FLOAT, True),
        ("blobs", 7, "BlobProto", True),
        ("phase", 10, _Field.TYPE_INT32, False),
    ],
    "V1LayerParameter": [
        ("bottom", 2, _Field.TYPE_STRING, True),
        ("name", 4, _Field.TYPE_STRING, False),
        ("type", 5, _Field.TYPE_INT32, False),
        ("blobs", 6, "BlobProto", True),
    ],
    "NetParameter": [
        ("name", 1, _Field.TYPE_STRING, False),
        ("layers", 2, "V1LayerParameter", True),
        ("force_backward", 5, _Field.TYPE_BOOL, False),
        ("layer", 100, "LayerParameter", True),
    ],
}
"""The part of caffe.proto that weights are in: field, number, type, whether it repeats."""


def _caffe_messages(packed: bool) -> dict[str, type[Any]]:
    """The messages of caffe.proto as classes; ``packed``: arrays of numbers are, as caffe.proto says."""
    package = f"caffe_{packed}".lower()
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                added.type = kind
                added.options.packed = packed and repeated and kind != _Field.TYPE_STRING
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in _MESSAGES}


def write_caffe(path: Path, layers: Layers, *, old: bool = False, packed: bool = True, double: bool = False) -> Path:
    """``old``: V1 layers, and blobs of four sizes with leading ones; ``double``: numbers of 64 bits."""
    messages = _caffe_messages(packed)
    net = messages["NetParameter"](name="net", force_backward=True)
    for name, arrays in layers.items():
        layer = net.layers.add(type=4) if old else net.layer.add(type="Convolution", phase=1, loss_weight=[1.0])
        layer.name = name
        layer.bottom.append("data")
        for array in arrays:
            blob = layer.blobs.add()
            if old:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
            for start in range(0, array.size, 2**16):  # as Python numbers, in pieces: fast, and small in memory
                (blob.double_data if double else blob.data).extend(array.ravel()[start : start + 2**16].tolist())
            blob.diff.extend([0.0, 0.0])
    path.write_bytes(net.SerializeToString())
    return path


def write_keras(path: Path, layers: Layers, *, names: bool = True) -> Path:
    """By the suffix: the layout of ``.keras``, of ``.weights.h5`` (both Keras 3), or of the older ``.h5``.

    ``names``: the layers' names lie beside the weights, as newer versions of Keras 3 write them.
    """
    if path.suffix == ".keras":
        block = io.BytesIO()
        with h5py.File(block, "w") as file:
            classes = _write_numbered(file, layers, names)
        config = {"config": {"layers": [{"class_name": kind, "config": {"name": name}} for name, kind in classes.items()]}}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", block.getvalue())
        return path
    with h5py.File(path, "w") as file:
        if path.name.endswith(".weights.h5"):
            _write_numbered(file, layers, names)
        else:
            _write_listed(file.create_group("model_weights"), layers)
    return path


def _write_listed(group: Any, layers: Layers) -> None:
    group.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
    group.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
    for name, arrays in layers.items():
        layer = group.create_group(name)
        names = [f"{name}/weight_{i}:0" for i in range(len(arrays))]
        layer.attrs["weight_names"] = [text.encode() for text in names]
        for text, array in zip(names, arrays, strict=True):
            layer.create_dataset(text, data=array)


def _write_numbered(file: Any, layers: Layers, names: bool) -> dict[str, str]:
    """Layer -> class, in order."""
    classes, seen = {"input_1": "InputLayer"}, dict[str, int]()
    for name, arrays in layers.items():
        kind, group = _kind(arrays)
        classes[name] = kind
        place = f"layers/{group}" + (f"_{seen[group]}" if group in seen else "") + "/vars"
        seen[group] = seen.get(group, 0) + 1
        variables = file.create_group(place)
        if names:
            variables.attrs["name"] = name
        for i, array in enumerate(arrays):
            variables.create_dataset(str(i), data=array)
    return classes


def _kind(arrays: Sequence[NDArray[Any]]) -> tuple[str, str]:
    """Class of a layer and the name of its group."""
    if len(arrays) == 4:
        return "BatchNormalization", "batch_normalization"
    if arrays[0].ndim == 2:
        return "Dense", "dense"
    depthwise = arrays[0].shape[3] == 1
    return ("DepthwiseConv2D", "depthwise_conv2d") if depthwise else ("Conv2D", "conv2d")
