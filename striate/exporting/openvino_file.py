"""A model as an OpenVINO graph (.xml and .bin), made from its ONNX graph."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import unescape

from striate.backends.artefact import CARD, SEAL, UNSEALED, card_text, sealed
from striate.backends.openvino_ir import import_openvino
from striate.files import replacing

if TYPE_CHECKING:
    import onnx

_PRECISE = (
    '<rt_info><attribute name="DisablePrecisionConversion" version="0" value="f32:f16,bf16"/>'
    '<attribute name="precise" version="0"/></rt_info>'
)
"""Keeps a layer in float32 whatever the precision that the graph is run in; earlier versions know the second of the two."""
_LAYER = re.compile(r'<layer id="\d+" name="([^"]*)"[^>]*>(?:\s*<data\b[^>]*/>)?')


def from_onnx(model: onnx.ModelProto) -> Any:
    """The OpenVINO model of an ONNX graph; names of tensors stay what they are."""
    return import_openvino().Core().read_model(io.BytesIO(model.SerializeToString()))


def write_openvino(path: Path, model: Any, card: Mapping[str, Any]) -> None:
    """Writes an ``openvino.Model`` with its card, sealed: the .bin, then the .xml, each whole or not at all.

    The layers before the tensor ``pixels`` are marked to stay in float32: where a machine multiplies bf16, OpenVINO would
    otherwise compute positions and colours with eight bits.
    """
    openvino = import_openvino()
    model.set_rt_info(card_text(card), CARD)
    model.set_rt_info(UNSEALED, SEAL)
    model.set_rt_info("\n".join(card["classes"]), "classes")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ir-") as scratch:
        openvino.save_model(model, Path(scratch) / "graph.xml", compress_to_fp16=False)
        text = (Path(scratch) / "graph.xml").read_text(encoding="utf-8")
        weights = (Path(scratch) / "graph.bin").read_bytes()
    exact = names_before(model, "pixels")

    def marked(layer: re.Match[str]) -> str:
        return layer[0] + _PRECISE if unescape(layer[1], {"&quot;": '"'}) in exact and not layer[0].endswith("/>\n") else layer[0]

    xml = sealed(_LAYER.sub(marked, text).encode(), weights)
    for target, data in ((path.with_suffix(".bin"), weights), (path, xml)):
        with replacing(target, f"the graph ({len(data) / 1e6:.1f} MB)") as file:
            file.write(data)


def names_before(model: Any, tensor: str) -> set[str]:
    """Names of the layers that a tensor is computed by; none where the graph has no such tensor."""
    pending = [node for node in model.get_ordered_ops() if any(tensor in output.get_names() for output in node.outputs())]
    names: set[str] = set()
    while pending:
        node = pending.pop()
        if node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            pending += [port.get_source_output().get_node() for port in node.inputs()]
    return names
