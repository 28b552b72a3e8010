"""The zoo as a list, and one network beside its paper's table.

What a network costs stands in ``catalogue.json``, so that the list takes no torch and no time; ``tools/zoo_page.py`` writes that
file, and a test holds it against the networks themselves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from textwrap import wrap
from typing import Any

from striate.columns import align, magnitude, ruled, shortened, times
from striate.errors import UsageError
from striate.published import PUBLISHED, Published


@dataclass(frozen=True)
class Entry:
    """A network of the zoo in one line.

    Attributes:
        name: what ``build`` calls it.
        year: of its paper.
        input: (channels, height, width) of its own image.
        parameters: trainable or not, auxiliary classifiers included.
        macs: multiply-accumulates for one such image.
        paper: citation.
        accuracy: what the paper states; empty where it states none for this network.
    """

    name: str
    year: int
    input: tuple[int, int, int]
    parameters: int
    macs: int
    paper: str
    accuracy: str

    @property
    def published(self) -> tuple[Published, ...]:
        """Files of weights, the first the one that ``weights="imagenet"`` (or the only tag) names."""
        return tuple(weights for (network, _), weights in PUBLISHED.items() if network == self.name)

    def to_json(self) -> dict[str, Any]:
        """Every figure; accuracies of weights in percent."""
        weights = [
            {"tag": each.tag, "file": each.file, "license": each.license, "top1": each.top1, "top5": each.top5}
            for each in self.published
        ]
        return {**vars(self), "input": list(self.input), "weights": weights}


def catalogue() -> dict[str, Entry]:
    """Every network by name, in the order of the zoo."""
    rows = json.loads(files("striate").joinpath("catalogue.json").read_text(encoding="utf-8"))
    return {row["name"]: Entry(**{**row, "input": tuple(row["input"])}) for row in rows}


def catalogue_text(entries: dict[str, Entry], columns: int | None = None) -> str:
    """A line a network; where several files of weights are published, the accuracy of the first.

    On a page of fewer ``columns`` than it takes, the sizes of the images are left out.
    """
    rows = [("network", "year", "input", "parameters", "MACs", "top-1", "top-5", "licence")]
    for entry in entries.values():
        first = next(iter(entry.published), None)
        scores = ("", "", "") if first is None else (_percent(first.top1), _percent(first.top5), first.license)
        rows.append(
            (entry.name, str(entry.year), times(entry.input), f"{entry.parameters:,}", magnitude(entry.macs), *scores)
        )  # fmt: skip
    lines = align(rows, {3, 4, 5, 6})
    if columns is not None and max(map(len, lines)) > columns:
        lines = align([(*row[:2], *row[3:]) for row in rows], {2, 3, 4, 5})
    remarks = (
        f"{len(entries)} networks. MACs: multiply-accumulates for one image of the network's own size; FLOPs are twice that.",
        "top-1, top-5, licence: of the published weights, percent. striate zoo NAME: one network beside its paper.",
    )
    told = [line for remark in remarks for line in wrap(remark, columns or 10_000)]
    return "\n".join([*ruled(lines), "", *told])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


@dataclass(frozen=True)
class Comparison:
    """A row of the paper's table beside the network.

    Attributes:
        layer, printed, note: as in :class:`striate.models.variant.PaperRow`.
        path: module path in the network.
        ours: what comes out there; None where the module has no one output.
    """

    layer: str
    path: str
    printed: tuple[int, ...]
    ours: tuple[int, ...] | None
    note: str

    @property
    def agrees(self) -> bool:
        """Whether the printed size is the network's; (n, 1, 1) is the same as (n)."""
        return self.ours is not None and _flat(self.printed) == _flat(self.ours)


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:1] if shape[1:] == (1, 1) else shape


@dataclass(frozen=True)
class Page:
    """One network, counted and compared anew.

    Attributes:
        entry: its line.
        field: side of the receptive field of its last map: ``427``, ``all`` or ``-``.
        rows: the paper's table beside it; empty where the paper prints none with sizes.
        recipe: of its training.
    """

    entry: Entry
    field: str
    rows: tuple[Comparison, ...]
    recipe: str

    def text(self, columns: int | None = None) -> str:
        """The page; long sentences are broken at ``columns`` characters."""
        entry = self.entry
        facts = [
            ("paper", entry.paper),
            ("states", entry.accuracy),
            ("image", f"{times(entry.input)} (channels x height x width)"),
            ("costs", f"{entry.parameters:,} parameters, {entry.macs:,} MACs (FLOPs are twice that)"),
            ("field", {"all": "the whole image", "-": "not known"}.get(self.field, f"{self.field} pixels, of its last map")),
            ("recipe", self.recipe),
            *((f"{weights.tag}", _weights(weights)) for weights in entry.published),
        ]
        width = max(len(name) for name, _ in facts)
        lines = [f"{entry.name}, {entry.year}", ""]
        for name, text in facts:
            if text:
                lines += wrap(f"{name:<{width}}  {text}", columns or 10_000, subsequent_indent=" " * (width + 2))
        return "\n".join([*lines, "", *self._table(columns)])

    def _table(self, columns: int | None) -> list[str]:
        if not self.rows:
            return [
                "The paper prints no table of sizes for this network.",
                f"striate summary {self.entry.name} shows its layers.",
            ]
        marked = [("paper's row", "paper", "", "here", "module")]
        notes: list[str] = []
        for row in self.rows:
            ours = "-" if row.ours is None else times(_flat(row.ours))
            if row.note and row.note not in notes:
                notes.append(row.note)
            note = f" ({notes.index(row.note) + 1})" if row.note else ""
            marked.append((row.layer + note, times(_flat(row.printed)), "=" if row.agrees else "≠", ours, row.path))
        agree = sum(row.agrees for row in self.rows)
        width = max(map(len, align(marked)))
        if columns is not None and width > columns:
            widest = max(len(row[4]) for row in marked) - (width - columns)
            marked = [(*row[:4], shortened(row[4], max(widest, 8))) for row in marked]
        lines = [*ruled(align(marked)), "", f"{agree} of {len(self.rows)} rows agree with the paper's table."]
        for number, note in enumerate(notes, 1):
            lines += wrap(f"({number}) {note}", columns or 10_000, subsequent_indent="    ")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The line, and the table."""
        table = [{**vars(row), "agrees": row.agrees} for row in self.rows]
        return {**self.entry.to_json(), "receptive_field": self.field, "recipe": self.recipe, "paper_table": table}


def _weights(weights: Published) -> str:
    scores = ", ".join(
        f"{name} {value:.2f} %" for name, value in (("top-1", weights.top1), ("top-5", weights.top5)) if value is not None
    )
    return f"{weights.file}: {scores}{', ' if scores else ''}licence {weights.license}"


def no_network(name: str) -> UsageError:
    """That there is none of that name, with the nearest, or where they are listed."""
    close = get_close_matches(name, catalogue(), n=1, cutoff=0.5)
    fix = f"did you mean {close[0]!r}?" if close else "striate zoo lists them all"
    return UsageError(f"There is no network {name!r}", fix=fix)


def page(name: str) -> Page:
    """A network beside its paper, run once on the meta device.

    Raises:
        UsageError: there is no such network.
    """
    entries = catalogue()
    if name not in entries:
        raise no_network(name)
    from striate.summary import summarize
    from striate.summary_text import field_text
    from striate.zoo import MODELS, build

    variant = MODELS[name]
    summary = summarize(lambda: build(name), name, (variant.in_channels, *variant.input_size))
    outputs = {part.path: part.output for part in summary.whole}
    rows = (Comparison(row.layer, row.path, row.output, outputs.get(row.path), row.note) for row in variant.paper_table)
    return Page(entries[name], field_text(summary.receptive_field), tuple(rows), variant.recipe)
