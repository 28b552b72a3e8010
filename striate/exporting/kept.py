"""Where the cache keeps what was exported of a model: a folder of its own for every network, by all that decides its answers.

A file of weights does not say what a network of one's own computes with them. A folder is therefore named by the weights, the
card, the layers and the source files of the code; and what stands beside the file's digest, to find the folder without loading
the model, names those source files, so that a change of one is noticed.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import striate
from striate import machine
from striate.architecture_file import is_architecture_file, name_architecture
from striate.errors import Failed
from striate.exporting.digest import file_digest
from striate.files import make_folder, write_json
from striate.prediction import Model

if TYPE_CHECKING:
    from torch import nn

Arch = str | Callable[..., "nn.Module"]


def folder_of(model: Model) -> Path | None:
    """Where a loaded model's artefacts are or will be; None where some of its code has no file, and so may be anything."""
    card = {name: value for name, value in model.info.items() if name != "chosen"}
    if model.is_torch:
        from striate.features import tensors_digest

        code = _code_of(model.module)
        if code is None:
            return None
        what: list[Any] = [tensors_digest(model.module.state_dict().items()), repr(model.module), sorted(code.values())]
    elif model.path is not None:
        what = [file_digest(model.path)]
    else:
        return None
    what += [json.dumps(card, sort_keys=True, default=str), model.preprocess.fingerprint(), striate.__version__]
    return _root() / sha256(json.dumps(what).encode()).hexdigest()[:32]


def find_folder(path: Path, arch: Arch | None = None) -> Path | None:
    """The folder of the model in a file, without loading it; None where none was noted, or its code has changed since."""
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        unchanged = all(file_digest(Path(file)) == digest for file, digest in note["code"].items())
        asked = arch is None or _name(arch) == note["arch"]
        return _root() / str(note["folder"]) if unchanged and asked else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def note_folder(path: Path, arch: Arch | None, model: Model, folder: Path) -> None:
    """Notes for :func:`find_folder` that the file holds this model."""
    code, name = (_code_of(model.module) or {}) if model.is_torch else {}, _name(arch)
    if name is None and arch is not None:
        return
    if name is not None and is_architecture_file(name):
        builder = name.rpartition(":")[0]
        code |= {builder: file_digest(Path(builder))}
    note = _note(path)
    with contextlib.suppress(Failed):  # without the note the model is loaded again, nothing else
        make_folder(note.parent)
        write_json(note, {"folder": folder.name, "arch": name, "code": code})


def _root() -> Path:
    return machine.cache_folder() / "exported"


def _note(path: Path) -> Path:
    return _root() / "files" / f"{file_digest(path)[:32]}.json"


def _name(arch: Arch | None) -> str | None:
    """``/FOLDER/FILE.py:FUNCTION``, or the name of a network; None where there is neither."""
    name = arch if isinstance(arch, str) or arch is None else name_architecture(arch)
    if name is None or not is_architecture_file(name):
        return name
    file, _, function = name.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{function}"


def _code_of(module: nn.Module) -> dict[str, str] | None:
    """The source files of the network's own modules -> their digests; None where one has no file."""
    files: dict[str, str] = {}
    for kind in {type(part) for part in module.modules()}:
        if kind.__module__.partition(".")[0] in ("torch", "striate"):
            continue
        try:
            file = inspect.getsourcefile(kind)
            assert file is not None
            files[file] = file_digest(Path(file))
        except (TypeError, AssertionError, OSError):
            return None
    return files
