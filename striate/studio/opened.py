"""What the studio may look at: the runs, models and data it was started with, each by a short name, and nothing else."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from striate.data.demo import SAMPLES
from striate.data.formats import FORMATS, open_source
from striate.data.source import Source
from striate.errors import Refused, UsageError, nearest
from striate.runs import MODEL_FILE, RECIPE_FILE, Run, list_runs

HOME = Path("runs")
"""Where new runs go, and where `striate train` puts its own."""

_MODEL_SUFFIXES = {".safetensors", ".pt", ".pth", ".th", ".pt2", ".onnx", ".xml", ".h5", ".keras", ".caffemodel"}

What = Literal["run", "runs", "model", "data"]


def classify(path: str) -> What:
    """What a word of the command line is: a run's folder, a folder of runs, a model's file, or data.

    Raises:
        UsageError: nothing is there.
    """
    place = Path(path).expanduser()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9]+):", path)
    if scheme and scheme[1] in FORMATS and not place.exists():
        return "data"
    if not place.exists():
        fix = "give folders of runs or of images, model files, or data such as demo:fashion"
        raise UsageError("There is nothing to open", where=path, fix=fix)
    if place.is_file():
        return "model" if place.suffix.lower() in _MODEL_SUFFIXES else "data"
    if (place / RECIPE_FILE).exists():
        return "run"
    if (place / MODEL_FILE).exists():
        return "model"
    return "runs" if next(place.glob(f"*/{RECIPE_FILE}"), None) is not None else "data"


@dataclass
class Opened:
    """What was opened. Names are what addresses and requests carry; a path never does.

    Attributes:
        home: where new runs go.
        roots: folders of runs, ``home`` first.
        single_runs: runs that were named one by one.
        models: short name -> file or folder.
        data: short name -> what :func:`striate.data.formats.open_source` takes.
    """

    home: Path = HOME
    roots: tuple[Path, ...] = ()
    single_runs: tuple[Path, ...] = ()
    models: dict[str, Path] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    _sources: dict[str, Source] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def from_paths(cls, paths: Iterable[str], home: Path = HOME) -> Opened:
        """Opens what a command line names, beside ``home`` and the data that come with striate.

        Raises:
            UsageError: one of them is not there.
        """
        opened = cls(home=home, roots=(home,), data={f"demo-{name}": f"demo:{name}" for name in SAMPLES})
        for path in paths:
            opened.add(path)
        return opened

    def add(self, path: str) -> None:
        """Opens one more."""
        what, place = classify(path), Path(path).expanduser()
        if what == "runs" and not any(_same(place, root) for root in self.roots):
            self.roots += (place,)
        elif what == "run":
            self.single_runs += (place,)
        elif what == "model":
            self.models[_free(place.stem if place.is_file() else place.resolve().name, self.models)] = place
        elif what == "data" and path not in self.data.values():
            name = re.sub(r"[^\w.-]+", "-", place.stem if place.is_file() else place.resolve().name if place.exists() else path)
            self.data[_free(name.strip("-.") or "data", self.data)] = path

    def runs(self) -> dict[str, Run]:
        """Every run by its name, oldest first; of two folders of one name the later root's carries its root's too."""
        found: dict[str, Run] = {}
        for run in self._list_runs():
            folder = run.path.resolve()
            if any(folder == other.path.resolve() for other in found.values()):
                continue
            name = folder.name if folder.name not in found else f"{folder.parent.name}~{folder.name}"
            found[_free(name, found)] = run
        return found

    def _list_runs(self) -> Iterator[Run]:
        for root in self.roots:
            if root.is_dir():
                yield from list_runs(root)
        for path in self.single_runs:
            if path.is_dir():
                yield from list_runs(path)

    def run(self, name: str) -> Run:
        """The run of that name. Raises ``UsageError`` where none is open."""
        runs = self.runs()
        if name not in runs:
            raise not_open("run", name, runs, "striate studio FOLDER")
        return runs[name]

    def moved(self, old: Path, new: Path) -> None:
        """A run that was named by itself has another folder now."""
        self.single_runs = tuple(new if _same(path, old) or path == old else path for path in self.single_runs)

    def model(self, name: str) -> Path:
        """The model of that name: a file that was opened, or a run that is done. Raises ``UsageError`` where none is."""
        if name in self.models:
            return self.models[name]
        runs = self.runs()
        if name not in runs:
            raise not_open("model", name, [*self.models, *runs], "striate studio MODEL")
        if not runs[name].model_path.exists():
            raise Refused(f"The run {name!r} has no model yet", why=f"it is {runs[name].status}", fix="wait for it, or resume it")
        return runs[name].model_path

    def source(self, name: str) -> Source:
        """The data of that name, opened once. Raises what :func:`striate.data.formats.open_source` does."""
        if name not in self.data:
            raise not_open("data", name, self.data, "striate studio FOLDER")
        with self._lock:
            if name not in self._sources:
                self._sources[name] = open_source(self.data[name], to_learn=False)
            return self._sources[name]


def not_open(what: str, name: str, known: Iterable[str], command: str) -> UsageError:
    """That nothing of that name was opened. A path is no name: what was not opened stays closed."""
    known = list(known)
    fix = f"open it when the studio starts: {command}" + (f". {nearest(name, known)}" if known else "")
    return UsageError(f"No {what} is open under the name {name!r}", why="only what was opened is looked at", fix=fix)


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where it is taken."""
    taken, number, free = set(taken), 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
