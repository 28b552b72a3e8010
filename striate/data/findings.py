"""What an audit found that matters to a model, as sentences with what to do about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from striate.data.audit import Audit
    from striate.data.stratify import Ints

UNEVEN = 3.0
"""Largest class over smallest, from which it is worth words; ``balance="auto"`` of a recipe acts from there too."""
FEW = 10
"""Images of a class under which neither training nor a score of it means much."""
TINY = 16
"""Pixels of the shorter side under which a picture among larger ones is likely a mistake."""


@dataclass(frozen=True)
class Finding:
    """One or two sentences and what to do.

    Attributes:
        level: ``error`` (a model trained on this would be wrong or is refused), ``warning`` (a score would mislead, or
            something is likely a mistake) or ``note`` (handled, and worth knowing).
        text: what was found.
        fix: what to do about it; empty where nothing need be done.
        section: part of the check page that shows more; empty where none does.
    """

    level: Literal["error", "warning", "note"]
    text: str
    fix: str = ""
    section: str = ""


def findings(audit: Audit) -> tuple[Finding, ...]:
    """Everything worth saying of an audit, the gravest first."""
    parts = (_bad, _classes, _leaks, _conflicts, _imbalance, _duplicates, _sizes, _traits, _ignored)
    found = [finding for part in parts for finding in part(audit)]
    return tuple(sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.level)))


def counted(number: int, word: str, plural: str = "") -> str:
    """``1 image``, ``12,000 images``."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}"


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def percent(share: float) -> str:
    """A share as ``1.6 %``, to two significant digits below 10 %."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _bad(audit: Audit) -> Iterator[Finding]:
    if not audit.num_bad:
        return
    reasons = ", ".join(f"{number} {reason}" for reason, number in Counter(bad.reason for bad in audit.bad).most_common())
    text = f"{audit.num_bad:,} of {counted(len(audit.indices), 'file')} cannot be read ({reasons})"
    counts, bad = audit.counts(), audit.bad_counts
    if counts.any():
        shares = bad / np.maximum(counts, 1)
        worst = int(shares.argmax())
        text += f"; most in {audit.source.classes[worst]}: {bad[worst]:,} of {counts[worst]:,}, {percent(float(shares[worst]))}"
    fix = "Replace or remove them. They are never trained on, and training refuses when they are over 1 % of any class."
    yield Finding("error", text + ".", fix, "bad")


def _classes(audit: Audit) -> Iterator[Finding]:
    source, names = audit.source, audit.source.classes
    if not len(audit.readable):
        yield Finding("error", "There is no image that can be read.", "Give a folder with one folder of images a class.")
        return
    if source.kind == "value":
        if np.ptp(source.targets[audit.readable]) == 0:
            yield Finding("error", "All images have the same number: there is nothing to learn.", "Check the label column.")
        return
    counts = audit.counts(audit.readable)
    if source.kind == "label" and len(names) == 1:
        text = f"There is one class only, {names[0]}: nothing to tell apart."
        yield Finding("error", text, "Give one folder a class, two or more.", "classes")
    if empty := [names[k] for k in np.flatnonzero(counts == 0)]:
        text = f"{counted(len(empty), 'class has', 'classes have')} no image that can be read: {some(empty)}."
        fix = "Add images, or remove the empty folders: a network would still reserve an output for each."
        yield Finding("error", text, fix, "classes")
    if few := [f"{names[k]} ({counts[k]})" for k in np.flatnonzero((counts > 0) & (counts < FEW))]:
        text = f"{counted(len(few), 'class has', 'classes have')} fewer than {FEW} images: {some(few)}."
        yield Finding("warning", text, "Add images: a handful neither trains a class nor measures it.", "classes")
    yield from _missing_in_a_split(audit, counts)


def _missing_in_a_split(audit: Audit, counts: Ints) -> Iterator[Finding]:
    parts = {name: audit.counts(part) for name, part in audit.splits.items()}
    if len(parts) < 2:
        return
    for name, inside in parts.items():
        if missing := [audit.source.classes[k] for k in np.flatnonzero((counts > 0) & (inside == 0))]:
            learns, place = name == "train", f"{name}/" if name else "the part without a split"
            text = f"{counted(len(missing), 'class has', 'classes have')} no image in {place}: {some(missing)}."
            fix = "Nothing can be learnt from no image: add some." if learns else "They are not measured there: add some."
            yield Finding("error" if learns else "warning", text, fix, "classes")


def _leaks(audit: Audit) -> Iterator[Finding]:
    for leak in audit.leaks:
        early, late = leak.splits
        total = len(audit.splits[late])
        first, second = (audit.source.key(i) for i in leak.pairs[0])
        verb = "is" if len(leak.pairs) == 1 else "are"
        text = f"{len(leak.pairs):,} of the {counted(total, 'image')} in {late}/ {verb} also in {early}/, exactly or nearly"
        fix = (
            f"Remove the twins from {early}/: striate drops nothing by itself, and a score on trained images flatters."
            if early == "train"
            else f"Remove them from one of the two: a model chosen on {early}/ should be scored on other images."
        )
        yield Finding("warning", f"{text} (such as {second} and {first}).", fix, "leaks")


def _conflicts(audit: Audit) -> Iterator[Finding]:
    if audit.conflicts:
        first = audit.conflicts[0]
        pair = f"{audit.source.key(first.i)} is {audit.label(first.i)}, {audit.source.key(first.j)} is {audit.label(first.j)}"
        count = len(audit.conflicts)
        text = f"{counted(count, 'duplicate carries', 'duplicates carry')} different labels ({'such as: ' * (count > 1)}{pair})."
        yield Finding("warning", text, "Look at them side by side and correct the labels.", "conflicts")


def _imbalance(audit: Audit) -> Iterator[Finding]:
    ratio, counts, names = audit.imbalance, audit.counts(audit.readable), audit.source.classes
    if ratio is None or ratio < UNEVEN:
        return
    most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max()).argmin())
    numbers = f"{counts[most]:,} and {counts[least]:,}"
    text = f"The classes are uneven: {names[most]} has {ratio:.3g} times the images of {names[least]} ({numbers})."
    fix = "Training weighs the loss by class on its own (recipe field balance). Read macro-F1 beside accuracy."
    yield Finding("note", text, fix, "classes")


def _duplicates(audit: Audit) -> Iterator[Finding]:
    kept = "A split made by striate keeps them on one side."
    if audit.exact:
        spare = sum(len(group) - 1 for group in audit.exact)
        text = f"{counted(spare, 'image is an exact copy of another', 'images are exact copies of others')}."
        yield Finding("note", text, kept, "duplicates")
    if audit.near:
        text = f"{counted(len(audit.near), 'pair')} of images {'is' if len(audit.near) == 1 else 'are'} nearly the same."
        yield Finding("note", text, kept, "duplicates")


def _sizes(audit: Audit) -> Iterator[Finding]:
    shorter = audit.sizes[audit.readable].min(1) if len(audit.readable) else np.zeros(0, np.int32)
    if not len(shorter) or np.median(shorter) < 4 * TINY or shorter.min() >= TINY:
        return
    tiny = audit.readable[shorter < TINY]
    smallest = int(audit.readable[shorter.argmin()])
    height, width = audit.sizes[smallest].tolist()
    example = f"the smallest is {audit.source.key(smallest)}: {width} x {height}"
    text = f"{counted(len(tiny), 'image has', 'images have')} a side under {TINY} pixels ({example})."
    yield Finding("warning", text, "Look for icons and failed downloads.", "sizes")


_HANDLED = {
    "exif_rotated": "turned upright as EXIF says",
    "sixteen_bit": "with more than 8 bits a colour, scaled",
    "cmyk": "in printing colours (CMYK), converted to RGB",
    "alpha": "partly transparent, laid on white",
    "palette": "with a colour table, expanded",
    "animated": "of several frames or pages, of which the first is read",
    "misnamed": "of another format than the name says, read by content",
}


def _traits(audit: Audit) -> Iterator[Finding]:
    if handled := [f"{len(audit.traits[trait]):,} {words}" for trait, words in _HANDLED.items() if len(audit.traits[trait])]:
        yield Finding("note", f"Handled while reading: {'; '.join(handled)}.", section="files")


def _ignored(audit: Audit) -> Iterator[Finding]:
    if ignored := audit.source.ignored:
        text = f"{counted(len(ignored), 'entry of the data is', 'entries of the data are')} ignored: {some(ignored)}."
        yield Finding("note", text, section="files")
