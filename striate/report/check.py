"""The page of `striate check`: one offline file with thumbnails by class, duplicates side by side, bad files and sizes."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from striate import __version__
from striate.data.audit import Audit
from striate.data.examine import TRAITS
from striate.data.findings import counted, percent
from striate.data.split import Split
from striate.data.stratify import Ints
from striate.files import write_text
from striate.report.histogram import histogram
from striate.report.thumbnails import Pictures, Thumbnail

NUM_THUMBNAILS, NUM_A_CLASS, NUM_PAIRS, NUM_ROWS = 360, 9, 24, 200
"""Most thumbnails of classes in all and of one class, pairs of a section, and rows of a table: they keep the page light."""

SECTIONS = {
    "classes": "Classes",
    "bad": "Unreadable",
    "leaks": "Leaks",
    "conflicts": "Conflicts",
    "duplicates": "Duplicates",
    "sizes": "Sizes",
    "files": "Files",
    "split": "Split",
}
PARTS = {"train": "training", "validation": "validation", "held_out": "held out"}
TRAIT_WORDS = {
    "exif_rotated": "turned upright by EXIF",
    "sixteen_bit": "over 8 bits a colour, scaled",
    "alpha": "transparent, laid on white",
    "palette": "colour table, expanded",
    "cmyk": "CMYK, converted to RGB",
    "animated": "several frames, first one read",
    "misnamed": "named as another format",
}
assert set(TRAIT_WORDS) == set(TRAITS)


@dataclass(frozen=True)
class Shown:
    """One picture on the page, with its key and its target in words; ``thumbnail`` is None where it cannot be drawn."""

    thumbnail: Thumbnail | None
    key: str
    label: str


@dataclass(frozen=True)
class Together:
    """Pictures that belong side by side, and a word on how alike they are."""

    pictures: tuple[Shown, ...]
    note: str


def write_check_page(path: Path, audit: Audit, split: Split | None, unsplit: str = "") -> Path:
    """Writes ``check.html``: one file that asks for nothing over a network.

    Args:
        audit: what was found.
        split: how the data is divided, or None, and then ``unsplit`` says why not.

    Raises:
        Failed: the file could not be written.
    """
    loader = PackageLoader("striate.report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(percent=percent, counted=counted)
    script = environment.from_string("{% include 'base.js.j2' %}").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    frame = {"script": script, "script_hash": f"sha256-{digest}", "version": __version__}
    html = environment.get_template("check.html.j2").render(_context(audit, split, unsplit) | frame)
    # A file name that is not UTF-8 holds lone surrogates, which no page can.
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


def _context(audit: Audit, split: Split | None, unsplit: str) -> dict[str, Any]:
    page, source = _Page(audit), audit.source
    context = {
        "name": source.name,
        "eyebrow": f"Check of {source.location}",
        "verdict": _verdict(audit),
        "figures": page.figures(),
        "findings": audit.findings,
        "classes": page.classes(),
        "num_classes": len(source.classes),
        "kind": source.kind,
        "values": page.values(),
        "bad": [(bad.key, audit.label(bad.index), bad.reason, bad.why) for bad in audit.bad[:NUM_ROWS]],
        "num_bad": audit.num_bad,
        "leaks": [
            (leak.splits, len(leak.pairs), [page.together(pair) for pair in leak.pairs[:NUM_PAIRS]]) for leak in audit.leaks
        ],
        "conflicts": [page.together((c.i, c.j), _likeness(c.exact)) for c in audit.conflicts[:NUM_PAIRS]],
        "num_conflicts": len(audit.conflicts),
        "exact": [page.together(group, counted(len(group), "image")) for group in audit.exact[:NUM_PAIRS]],
        "num_exact": len(audit.exact),
        "near": page.nearest(),
        "num_near": len(audit.near),
        "rule": audit.likeness.words,
        "formats": audit.formats,
        "modes": audit.modes,
        "traits": [(TRAIT_WORDS[name], len(at), source.key(int(at[0]))) for name, at in audit.traits.items() if len(at)],
        "sizes": page.sizes(),
        "ignored": source.ignored[:NUM_ROWS],
        "num_ignored": len(source.ignored),
        "split": split,
        "unsplit": unsplit,
        "parts": [] if split is None else [(words, len(getattr(split, name))) for name, words in PARTS.items()],
        "command": f"striate train {shlex.quote(source.location)} --split split.json",
    }
    empty = {name for name in ("bad", "leaks", "conflicts", "sizes") if not context[name]}
    empty |= set() if audit.exact or audit.near else {"duplicates"}
    return context | {"sections": [(name, words) for name, words in SECTIONS.items() if name not in empty]}


def _likeness(exact: bool) -> str:
    return "same pixels" if exact else "nearly the same"


def _verdict(audit: Audit) -> str:
    about = counted(len(audit.indices), "image")
    if audit.source.classes:
        about += f" in {counted(len(audit.source.classes), 'class', 'classes')}"
    errors, warnings = (sum(finding.level == level for finding in audit.findings) for level in ("error", "warning"))
    if errors:
        more = f", and {warnings} more looked at" if warnings else ""
        return f"{about}. {counted(errors, 'thing')} must be put right before training{more}."
    if warnings:
        return f"{about}. Ready to train, but {counted(warnings, 'thing')} would make a score mislead."
    return f"{about}. Nothing stands in the way of training."


class _Page:
    """Draws pieces of the page from one audit."""

    def __init__(self, audit: Audit) -> None:
        self.audit, self.source = audit, audit.source
        self.pictures = Pictures(audit.source, "")

    def shown(self, index: int) -> Shown:
        key = self.source.key(index)
        return Shown(self.pictures.take(index, key), key, self.audit.label(index))

    def together(self, indices: Sequence[int], note: str = "") -> Together:
        return Together(tuple(self.shown(i) for i in indices[:8]), note)

    def nearest(self) -> list[Together]:
        """Near pairs, the least alike first: those are the ones to judge."""
        doubtful = sorted(self.audit.near, key=lambda pair: -pair.difference)[:NUM_PAIRS]
        return [self.together((p.i, p.j), f"{p.bits} of 64 bits apart, correlation {1 - p.difference:.4f}") for p in doubtful]

    def values(self) -> Markup | None:
        """A histogram of the numbers to be learnt, where it is numbers."""
        readable = self.audit.readable
        if self.source.kind != "value" or not len(readable):
            return None
        return histogram(self.source.targets[readable], "images by number")

    def figures(self) -> list[tuple[str, str, str]]:
        """Label, value, note."""
        audit = self.audit
        given = ", ".join(f"{len(part):,} {name or 'unassigned'}" for name, part in audit.splits.items())
        copies = sum(len(group) - 1 for group in audit.exact)
        return [
            ("Images", f"{len(audit.indices):,}", "no splits given" if set(audit.splits) <= {""} else given),
            *self._target_figures(),
            ("Unreadable", f"{audit.num_bad:,}", percent(audit.num_bad / max(1, len(audit.indices))) + " of all"),
            ("Duplicates", f"{copies + len(audit.near):,}", f"{copies:,} exact, {len(audit.near):,} near"),
        ]

    def _target_figures(self) -> list[tuple[str, str, str]]:
        source, readable = self.source, self.audit.readable
        if not len(readable):
            return []
        if source.kind == "value":
            values = source.targets[readable]
            return [("Numbers", f"{values.mean():.4g}", f"on average, from {values.min():.4g} to {values.max():.4g}")]
        counts = self.audit.counts(readable)
        if source.kind == "labels":
            return [("Classes", f"{len(counts):,}", f"{counts.sum() / len(readable):.2f} on an image on average")]
        top = int(counts.argmax())
        return [
            ("Classes", f"{len(counts):,}", f"largest is {self.audit.imbalance:.3g} times the smallest"),
            ("Baseline", percent(float(counts[top] / counts.sum())), f"right by always saying {source.classes[top]}"),
        ]

    def classes(self) -> list[dict[str, Any]]:
        """A row a class: counts by split as shares of the largest class, unreadable ones, and thumbnails."""
        audit, names = self.audit, self.source.classes
        if not names:
            return []
        counts, bad = audit.counts(), audit.bad_counts
        given = [(name or "all", audit.counts(part)) for name, part in audit.splits.items()]
        room = max(1, min(NUM_A_CLASS, NUM_THUMBNAILS // len(names)))
        return [
            {
                "name": name,
                "count": int(counts[k]),
                "bad": int(bad[k]),
                "parts": [(where, int(part[k]), part[k] / max(1, counts.max())) for where, part in given],
                "pictures": self._of_class(k, room),
            }
            for k, name in enumerate(names[:NUM_THUMBNAILS])
        ]

    def _of_class(self, k: int, room: int) -> list[Shown]:
        """Evenly spaced images of a class."""
        targets = self.source.targets[self.audit.readable]
        members = self.audit.readable[targets == k if self.source.kind == "label" else targets[:, k] > 0]
        return [self.shown(i) for i in _spaced(members, room)]

    def sizes(self) -> dict[str, Any] | None:
        """Histograms of the shorter side and of the shape; only words where all are of one size."""
        audit = self.audit
        if not len(audit.readable):
            return None
        sizes = audit.sizes[audit.readable].astype(np.float64)
        rows = [("Height", audit.size_range(0)), ("Width", audit.size_range(1))]
        same = bool((sizes == sizes[0]).all())
        drawings = [] if same else [
            ("Shorter side, pixels", histogram(sizes.min(1), "images by shorter side in pixels")),
            ("Width / height", histogram(sizes[:, 1] / sizes[:, 0], "images by width over height")),
        ]  # fmt: skip
        return {"rows": rows, "same": same, "drawings": drawings}


def _spaced(members: Ints, wanted: int) -> list[int]:
    places = np.unique(np.linspace(0, len(members) - 1, min(len(members), wanted)).round().astype(np.int64))
    return [int(i) for i in members[places]]
