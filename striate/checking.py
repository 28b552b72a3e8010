"""`striate check`: a data set looked at before it is trained on, with a page, a split and an audit to keep."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from striate.data.audit import Audit, audit
from striate.data.findings import counted
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import Split, make_split, write_split
from striate.errors import Refused
from striate.files import make_folder, write_text
from striate.progress import Progress, Silent
from striate.report.check import write_check_page
from striate.runs import refuse_inside

if TYPE_CHECKING:
    from torch import nn

    from striate.recipe import Recipe

PAGE, AUDIT, SPLIT, SHEET = "check.html", "audit.json", "split.json", "augmented.png"
MOST_CLASSES = 24
"""Bars in the terminal; of more classes the largest and the smallest are shown."""


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `striate check` found and wrote.

    Attributes:
        audit: what was found.
        split: a stratified split that keeps duplicates together; None where the data cannot be divided.
        unsplit: why there is no split; empty where there is one.
        files: what was written.
    """

    audit: Audit
    split: Split | None
    unsplit: str
    files: tuple[Path, ...]

    @property
    def num_bad(self) -> int:
        """Files that cannot be read."""
        return self.audit.num_bad

    def to_json(self) -> dict[str, Any]:
        """The audit, how the data was divided, and what was written."""
        split = self.split
        parts = {} if split is None else {name: len(getattr(split, name)) for name in ("train", "validation", "held_out")}
        how = self.unsplit if split is None else split.how
        divided = {"how": how, "notes": [] if split is None else list(split.notes), **parts}
        return {**self.audit.to_json(), "split": divided, "files": [str(path) for path in self.files]}

    def text(self, width: int | None = None) -> str:
        """Everything for a terminal: a bar a class, the findings, the split, the files; None: as wide as it is."""
        width = width or min(120, shutil.get_terminal_size((100, 24)).columns)
        blocks = [self._head(), *self._bars(width), self._findings(width), self._divided(width)]
        return "\n\n".join([*(block for block in blocks if block), "\n".join(f"wrote {path}" for path in self.files)])

    def _head(self) -> str:
        found = self.audit
        (least_height, height, most_height), (least_width, width, most_width) = found.size_range(0), found.size_range(1)
        same = (least_height, least_width) == (most_height, most_width)
        classes = f", {counted(len(found.source.classes), 'class', 'classes')}" if found.source.classes else ""
        size = f"height x width {height} x {width}{' each' if same else ' (median)'}"
        formats = ", ".join(f"{number:,} {name}" for name, number in found.formats.items() if name != "array")
        lines = [f"{found.source.name}: {counted(len(found.indices), 'image')}{classes}, {size}", formats]
        return "\n".join(_plain(line) for line in lines if line)

    def _bars(self, width: int) -> list[str]:
        found = self.audit
        counts = found.counts()
        if not counts.any():
            return []
        order = np.arange(len(counts))
        skipped = ""
        if len(counts) > MOST_CLASSES:
            by_size, half = np.argsort(-counts, kind="stable"), MOST_CLASSES // 2
            order = np.concatenate([by_size[:half], by_size[-half:]])
            skipped = f"{len(counts) - MOST_CLASSES:,} classes between"
        names = [_plain(found.source.classes[k]) for k in order]
        left = min(max(map(len, names)), max(12, width // 3))
        room = max(8, width - left - 24)
        lines = []
        for name, count, bad in zip(names, counts[order].tolist(), found.bad_counts[order].tolist(), strict=True):
            shown = name if len(name) <= left else name[: left - 1] + "…"
            bar = "█" * max(int(count > 0), round(room * count / counts.max()))
            lines.append(f"{shown:<{left}}  {bar:<{room}} {count:>9,}" + (f"  {bad:,} bad" if bad else ""))
        if skipped:
            lines.insert(MOST_CLASSES // 2, f"{'...':<{left}}  {skipped}")
        return ["\n".join(line.rstrip() for line in lines)]

    def _findings(self, width: int) -> str:
        if not self.audit.findings:
            return "Nothing stands in the way: every file can be read, no duplicates, no leaks, even classes."
        return "\n".join(_hanging(found.level, f"{found.text} {found.fix}".strip(), width) for found in self.audit.findings)

    def _divided(self, width: int) -> str:
        split = self.split
        if split is None:
            return _hanging("split", f"None was made. {self.unsplit}", width)
        sizes = f"{len(split.train):,} train, {len(split.validation):,} validation, {len(split.held_out):,} held out."
        first = _hanging("split", f"{sizes} {split.how}", width)
        return "\n".join([first, *(_hanging("", note, width) for note in split.notes[:MOST_CLASSES])])


def _hanging(word: str, text: str, width: int) -> str:
    return textwrap.fill(_plain(text), width, initial_indent=f"{word:<9}", subsequent_indent=" " * 9, break_on_hyphens=False)


def check(
    data: str | Path | Source,
    out: str | Path | None = None,
    *,
    augmented: bool = False,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    recipe: str | Recipe | None = None,
    seed: int = 0,
    validation: float = 0.1,
    progress: Progress | None = None,
    **fields: Any,
) -> CheckResult:
    """Looks at every image of a data set and writes what it found; the data itself is only read.

    Args:
        data: a source, or what :func:`striate.data.formats.open_source` opens.
        out: folder for ``check.html``, ``audit.json`` and ``split.json``; None: ``runs/check-NAME``.
        augmented: also write ``augmented.png``, a contact sheet of what :func:`striate.train` would show the network when it is
            given the same ``model``, ``recipe``, ``seed`` and ``fields``; where one of these is given, it is written anyway.
        model, recipe, fields: as for training; nothing but the contact sheet follows from them.
        seed: of the split and of the augmentation shown.
        validation: share of the training samples to cut off, see :func:`striate.data.split.make_split`.
        progress: told how many images are done.

    Raises:
        UsageError: no such data, network, recipe or field, or ``out`` lies within the data.
        Failed: a file could not be written.
    """
    source = open_source(data)
    folder = Path(out) if out is not None else Path("runs") / f"check-{source.name}"
    refuse_inside(folder, source)
    listener = progress or Silent()
    found = audit(source, progress=lambda done, total: listener.stage("reading the data", done, total))
    split, unsplit = None, ""
    try:
        split = make_split(source, validation=validation, seed=seed, groups=found.groups)
    except Refused as refusal:
        unsplit = " ".join(f"{part[0].upper()}{part[1:]}." for part in (refusal.what, refusal.why, refusal.fix) if part)
    make_folder(folder)
    files = [write_check_page(folder / PAGE, found, split, unsplit)]
    files += [write_split(folder / SPLIT, split, source)] if split is not None else []
    if augmented or model is not None or recipe is not None or fields:
        files.append(_contact_sheet(folder / SHEET, found, split, model, recipe, {**fields, "seed": seed}))
    result = CheckResult(found, split, unsplit, (*files, folder / AUDIT))
    # In ASCII: a file name that is no valid UTF-8 becomes an escape.
    write_text(folder / AUDIT, json.dumps(result.to_json(), indent=1) + "\n")
    return result


def _contact_sheet(
    path: Path,
    found: Audit,
    split: Split | None,
    model: str | nn.Module | Callable[..., nn.Module] | None,
    recipe: str | Recipe | None,
    fields: dict[str, Any],
) -> Path:
    # Here, for they load torch, which nothing else of a check needs.
    from striate.data.contact_sheet import write_contact_sheet
    from striate.recipe_fields import apply_fields
    from striate.recipes import get_recipe
    from striate.subject import choose_network, make_subject, recipe_name

    network = choose_network(found.source) if model is None else model
    chosen = apply_fields(get_recipe(recipe_name(network) if recipe is None else recipe), fields)
    preprocess = make_subject(network, found.source, chosen).preprocess()
    training = found.readable if split is None else np.setdiff1d(split.train, found.bad_indices)
    return write_contact_sheet(path, found.source, training, chosen.augment, preprocess, seed=chosen.seed)


def _plain(text: str) -> str:
    """File and class names may hold control characters, which a terminal would obey, and bytes that are no text."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)
