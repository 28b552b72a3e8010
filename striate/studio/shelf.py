"""Models that are open: loaded when first asked for, the latest few kept."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from striate.bundle import read_info
from striate.errors import StriateError, UsageError
from striate.machine import cache_folder
from striate.published import PUBLISHED
from striate.studio.opened import Opened

if TYPE_CHECKING:
    from striate.prediction import Model

KEPT = 3
"""Models in memory; another one takes the place of the one that was asked for longest ago."""

BETWEEN = "@"
"""Between a network of the zoo and the weights that others published for it: ``mobilenet_v2@imagenet``."""

UNTRAINED = "untrained"
"""Behind a network of the zoo, where others have the name of their weights: ``resnet18@untrained``."""


@dataclass(frozen=True)
class Listed:
    """A model that can be opened.

    Attributes:
        name: what addresses and requests call it.
        kind: ``run``, ``file``, or ``zoo``.
        note: of what it is, in a few words.
    """

    name: str
    kind: str
    note: str


class Shelf:
    """Trained models by name: runs that are done, files that were opened, published weights that lie on this machine.

    Args:
        opened: what may be looked at.
        arch: ``FILE.py:FUNCTION`` (or, for other tools' files, a network of the zoo) that the command line named.
    """

    def __init__(self, opened: Opened, arch: str | None = None) -> None:
        self.opened, self.arch = opened, arch
        self._models: OrderedDict[tuple[str, int], Model] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def listed(self) -> list[Listed]:
        """Everything there is, in the order of its use: own runs (the newest first), files, the zoo's."""
        runs = [
            Listed(name, "run", f"{run.record['model']['name']} on {run.record['data']['name']}")
            for name, run in reversed(self.opened.runs().items())
            if run.model_path.exists() and run.to_json()["status"] == "done"
        ]
        files = [Listed(name, "file", path.name) for name, path in self.opened.models.items()]
        here = weights_here()
        zoo = [
            Listed(f"{weights.network}{BETWEEN}{tag}", "zoo", f"trained on {_DATA_OF[weights.classes]} ({weights.license})")
            for (_, tag), weights in PUBLISHED.items()
            if weights.file in here
        ]
        return [*runs, *files, *zoo]

    def open(self, name: str) -> Model:
        """The model of that name.

        Raises:
            UsageError: none is open under it.
            Refused: its file is damaged, or its network is one's own and no ``--arch`` was given.
        """
        path = self._path(name)
        # A run of the same name may have been deleted and trained again.
        version = path.stat().st_mtime_ns if path is not None and path.exists() else 0
        if (model := self._kept(name, version)) is not None:
            return model
        # One at a time: two browsers that ask for the same model wait for one load, and the others are answered meanwhile.
        with self._loading:
            model = self._kept(name, version) or self._load(name, path)
            with self._lock:
                self._models[name, version] = model
                while len(self._models) > KEPT:
                    self._models.popitem(last=False)
        return model

    def _kept(self, name: str, version: int) -> Model | None:
        with self._lock:
            if (name, version) in self._models:
                self._models.move_to_end((name, version))
            return self._models.get((name, version))

    def _path(self, name: str) -> Path | None:
        """The file; None for weights of the zoo."""
        network, between, tag = name.partition(BETWEEN)
        if between and (network, tag) in PUBLISHED:
            weights = PUBLISHED[network, tag]
            if weights.file not in weights_here():
                fix = f"fetch them once: `striate predict {network} --weights {tag} IMAGE`, and open the page again"
                raise UsageError(f"The weights {tag!r} of {network} are not on this machine", fix=fix)
            return None
        return self.opened.model(name)

    def _load(self, name: str, path: Path | None) -> Model:
        from striate.prediction import load

        if path is None:
            network, _, tag = name.partition(BETWEEN)
            return load(network, weights=tag)
        return load(path, arch=None if _says_its_network(path) else self.arch)


def _says_its_network(path: Path) -> bool:
    """Whether the file is a model of ours whose network is of the zoo: ``--arch`` is for all others."""
    from striate.prediction import model_file

    try:
        return bool(read_info(model_file(path))["architecture"].get("in_zoo"))
    except StriateError:
        return False


_DATA_OF = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}


def weights_here() -> set[str]:
    """Names of files of published weights in the cache and below ``STRIATE_WEIGHTS``; nothing is downloaded."""
    folders = [cache_folder() / "weights", *(Path(place).expanduser() for place in [os.environ.get("STRIATE_WEIGHTS")] if place)]
    wanted = {weights.file for weights in PUBLISHED.values()}
    return {path.name for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.name in wanted}
