"""What the Network screen asks for: the names of what can be drawn, and the graph of one network on an image of a chosen size."""

from __future__ import annotations

import json
import linecache
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import State

from striate.architecture_file import build_architecture, is_architecture_file, load_architecture
from striate.catalogue import catalogue
from striate.errors import UsageError, nearest
from striate.studio.shelf import BETWEEN, UNTRAINED
from striate.studio.studio import Here, Studio

if TYPE_CHECKING:
    from torch import nn

router = APIRouter(prefix="/api/network")

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]

OPENED = "opened:"
"""Before the name of a run or file that is also a network's of the zoo."""

OWN = (3, 224, 224)
"""Shape of the image for a network of one's own, where its first layer says nothing else."""

MOST_SIDE, MOST_NUMBERS = 8192, 2**28
"""Of an input. A network that cannot run on the meta device runs on zeros, which take memory."""

KEPT = 24
"""Traces in memory: a few hundred kilobytes each."""


@dataclass(frozen=True)
class Subject:
    """A network that can be drawn.

    Attributes:
        name: of it.
        kind: ``zoo``, ``opened`` or ``file``.
        shape: of its own image: (channels, height, width).
        make: builds it for given channels and (height, width); None: it is as it was trained.
        module: it, as it is.
    """

    name: str
    kind: str
    shape: Shape
    make: Callable[[int, tuple[int, int]], nn.Module] | None
    module: Callable[[], nn.Module]


class Traces:
    """Graphs as JSON, the latest few kept; one is traced at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """What is kept under the key, else what ``make`` makes."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


_making = threading.Lock()


def _traces(request: Request) -> Traces:
    """Those of this start of the studio: made when first asked for."""
    state: State = request.app.state
    with _making:
        if not hasattr(state, "traces"):
            state.traces = Traces()
    traces: Traces = state.traces
    return traces


Kept = Annotated[Traces, Depends(_traces)]


@router.get("")
def networks(studio: Here) -> list[dict[str, str]]:
    """Everything that can be drawn: the file of the command line, what was opened, the zoo."""
    zoo = catalogue()
    file = _file_name(studio)
    own = [{"name": file, "kind": "file", "note": "--arch"}] if file else []
    opened = [
        {"name": f"{OPENED}{each.name}" if each.name in zoo else each.name, "kind": "opened", "note": each.note}
        for each in studio.shelf.listed()
        if each.kind != "zoo" and not each.note.endswith(_GRAPHS)
    ]
    return [*own, *opened, *({"name": name, "kind": "zoo", "note": str(entry.year)} for name, entry in zoo.items())]


_GRAPHS = (".onnx", ".pt2", ".xml", ".h5", ".keras")
"""Files that hold a graph already, not a module to trace."""


@router.get("/graph")
def graph(network: str, studio: Here, kept: Kept, input: str = "", built: bool = False) -> Response:
    """A network as its layers: what :meth:`striate.look.graph.LayerGraph.to_json` says, and what it was asked about.

    Args:
        network: a name that :func:`networks` lists.
        input: ``3x224x224``; several tensors as ``3x64x64+10``; empty: the network's own.
        built: whether it is built for these channels and this size; else it is as it is, and breaks where it does not take them.
    """
    shapes = read_shapes(input)
    inside = _inside(studio, network)
    key = (network, shapes, built, inside, _version(studio, network))
    return Response(kept.get(key, lambda: _trace(studio, network, shapes, built, inside)), media_type="application/json")


def _inside(studio: Studio, network: str) -> str | None:
    """What the Inside screen calls a network: with published weights where they are here; None: it cannot be opened there."""
    if studio.arch and network == _file_name(studio):
        return None
    if network not in catalogue():
        return network.removeprefix(OPENED)
    published = (each.name for each in studio.shelf.listed() if each.name.startswith(f"{network}{BETWEEN}"))
    return next(published, f"{network}{BETWEEN}{UNTRAINED}")


def read_shapes(text: str) -> Shapes:
    """``3x224x224`` -> ((3, 224, 224),); ``3x8x8+10``: of two tensors; empty: none.

    Raises:
        UsageError: it is no shape, or a very large one.
    """
    if not text:
        return ()
    fix = "write channels x height x width, such as 3x224x224; several tensors with + between them"
    if not re.fullmatch(r"\d{1,6}(x\d{1,6})*(\+\d{1,6}(x\d{1,6})*)*", text):
        raise UsageError(f"{text!r} is not the shape of an image", fix=fix)
    shapes = tuple(tuple(int(side) for side in each.split("x")) for each in text.split("+"))
    for shape in shapes:
        numbers = 1
        for side in shape:
            numbers *= side
        if not 0 < numbers <= MOST_NUMBERS or max(shape[1:], default=1) > MOST_SIDE:
            why = f"each side is 1 to {MOST_SIDE}, and it holds at most {MOST_NUMBERS:,} numbers"
            raise UsageError(f"An image of {'x'.join(map(str, shape))} cannot be traced", why=why, fix=fix)
    return shapes


def _trace(studio: Studio, network: str, shapes: Shapes, built: bool, inside: str | None) -> bytes:
    from striate import look

    subject = _find(studio, network)
    shapes = shapes or (subject.shape,)
    image = shapes[0]
    fitting = subject.make if built and len(image) == 3 else None
    module = fitting(image[0], (image[1], image[2])) if fitting else subject.module()
    linecache.checkcache()  # the lines of a file that was edited since
    traced = look.trace(module, image if len(shapes) == 1 else shapes, subject.name)
    asked = {
        "kind": subject.kind,
        "inside": inside,
        "own": list(subject.shape),
        "shapes": [list(shape) for shape in shapes],
        "buildable": subject.make is not None,
    }
    return json.dumps({**traced.to_json(), **asked}, separators=(",", ":"), ensure_ascii=False).encode()


def _find(studio: Studio, network: str) -> Subject:
    """Raises ``UsageError`` with the nearest name where there is none."""
    if studio.arch and network == _file_name(studio):
        return _of_file(studio.arch, network)
    if network in catalogue():
        return _of_zoo(network)
    known = [each["name"] for each in networks(studio)]
    if network not in known and BETWEEN not in network:
        raise UsageError(f"There is no network {network!r}", fix=nearest(network, known))
    model = studio.shelf.open(network.removeprefix(OPENED))
    shape = (model.preprocess.channels, *model.preprocess.size)
    return Subject(str(model.info["architecture"]["name"]), "opened", shape, None, lambda: model.module)


def _of_zoo(name: str) -> Subject:
    import torch

    from striate.zoo import MODELS, build

    variant = MODELS[name]

    def make(channels: int | None = None, size: tuple[int, int] | None = None) -> nn.Module:
        with torch.device("meta"):
            return build(name, None, channels, size)

    return Subject(name, "zoo", (variant.in_channels, *variant.input_size), make, make)


def _of_file(arch: str, name: str) -> Subject:
    from torch import nn

    function = load_architecture(arch)
    module = build_architecture(function)
    first = next((each for each in module.modules() if isinstance(each, nn.Conv2d)), None)
    shape = OWN if first is None else (first.in_channels, *OWN[1:])
    return Subject(name, "file", shape, lambda channels, size: build_architecture(function, None, channels, size), lambda: module)


def _file_name(studio: Studio) -> str | None:
    """``my_net.py:make``: what the page calls the file of the command line; None: it named none."""
    if studio.arch is None or not is_architecture_file(studio.arch):
        return None
    file, _, function = studio.arch.rpartition(":")
    return f"{Path(file).name}:{function}"


def _version(studio: Studio, network: str) -> Any:
    """Another one for each state of the file behind a name: a file that was edited, and a run trained again, are drawn anew."""
    if studio.arch and network == _file_name(studio):
        path = Path(studio.arch.rpartition(":")[0]).expanduser()
    else:
        name = network.removeprefix(OPENED)
        runs = studio.opened.runs()
        path = studio.opened.models.get(name) or (runs[name].model_path if name in runs else Path())
    return path.stat().st_mtime_ns if path.is_file() else None
