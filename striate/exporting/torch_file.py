"""A model as a ``torch.export`` archive (.pt2), for other programs that run PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from striate.backends.artefact import CARD, SEAL, UNSEALED, card_text, sealed
from striate.backends.torch_program import contents
from striate.files import replacing


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter's remarks on itself, of no use to who exports: optional packages that are absent, its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def make_program(module: nn.Module, example: Tensor, dynamic: tuple[int, ...]) -> ExportedProgram:
    """The program of a module that takes one tensor like ``example``, whose dimensions ``dynamic`` may have any length."""
    free = dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC)
    with quiet_exporter(), torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=(free,), strict=False)


def program_layers(program: ExportedProgram, folded: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of each module with no modules in it: its path in the model, and the last node of the program that it made."""
    made: dict[str, str] = {}
    for node in program.graph.nodes:
        paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
        if node.op == "call_function" and paths and "network." in paths[-1]:
            made[paths[-1].partition("network.")[2]] = node.name
    parents = {path.rpartition(".")[0] for path in made}
    return [(folded.get(path, path), name) for path, name in made.items() if path not in parents]


def write_program(path: Path, program: ExportedProgram, card: Mapping[str, Any]) -> None:
    """Writes a program with its card, sealed; whole or not at all. Nothing in the archive is pickled."""
    program.example_inputs = None  # the one entry that would be
    buffer = io.BytesIO()
    with quiet_exporter():
        torch.export.save(program, buffer, extra_files={CARD: card_text(card), SEAL: UNSEALED})
    data = _sealed_archive(buffer)
    with replacing(path, f"the program ({len(data) / 1e6:.1f} MB)") as file:
        file.write(data)


def _sealed_archive(buffer: io.BytesIO) -> bytes:
    with zipfile.ZipFile(buffer) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    inner = {name.partition("/")[2]: data for name, data in entries.items()}
    seal = sealed(*contents(inner))
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w") as archive:
        for name, data in entries.items():
            # A date of its own would make two exports of one model differ.
            archive.writestr(zipfile.ZipInfo(name), seal if name.partition("/")[2] == f"extra/{SEAL}" else data)
    return result.getvalue()
