"""Which samples train, which choose (validation) and which score (held out); written to a file, read back by key."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from striate.data.source import SPLITS, Source
from striate.data.stratify import Ints, stratify
from striate.errors import Refused
from striate.files import make_folder, write_text

FORMAT, FORMAT_VERSION = "striate split", 1
PARTS = ("train", "validation", "held_out")


@dataclass(frozen=True)
class Split:
    """Positions in a source, ascending, no position twice.

    Attributes:
        train: int64 positions that move the weights.
        validation: those that choose recipe, checkpoint and threshold.
        held_out: those that are scored once, at the end.
        how: one sentence on where the three come from.
        held_out_name: the split of the data that ``held_out`` is (``test``, ``val``), or empty where it was cut off.
        seed: of the cut.
        notes: classes too small to be in every part, a sentence each.
    """

    train: Ints
    validation: Ints
    held_out: Ints
    how: str
    held_out_name: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()


def make_split(source: Source, *, validation: float = 0.1, seed: int = 0, groups: NDArray[Any] | None = None) -> Split:
    """Divides a source, respecting the splits that the data itself gives.

    ``test`` given: it is held out, and ``val`` validates where it is given too. Only ``train`` and one other: that other is
    held out. One split only: 70 % train, 15 % validation, 15 % held out. What is not given is cut off stratified by class,
    whole groups at a time, by a hash of seed and key: the same whatever the order of the files.

    Args:
        validation: share of the training samples that is cut off for validation, where a held-out split is given but none
            to validate on. Ignored where the data says it all, or has one split only.
        groups: [N] numbers; samples of one number (duplicates) are never separated by a cut.

    Raises:
        Refused: nothing to train on, or too little to cut from.
        ValueError: ``validation`` is not between 0 and 1.
    """
    if not 0 < validation < 1:
        raise ValueError(f"make_split: validation is {validation}; it is a share of the training samples, between 0 and 1")
    present = {SPLITS[code]: np.flatnonzero(source.given == code) for code in np.unique(source.given).tolist()}
    if len(present) == 1:
        ((name, samples),) = present.items()
        return _cut_three(source, name, samples, seed, groups)
    # A sample that the data assigns to no split trains.
    train = np.union1d(present.pop("train", np.empty(0, np.int64)), present.pop("", np.empty(0, np.int64)))
    if not len(train):
        raise Refused(
            f"{source.name} has no training images",
            where=source.location,
            why=f"it has {' and '.join(f'{len(samples)} in {name}/' for name, samples in present.items())} and nothing else",
            fix="add a train/ folder, or name the one folder that should be divided",
        )
    if "test" in present and "val" in present:
        how = "train/, val/ and test/ as the data gives them: val/ validates, test/ is held out and scored once."
        return Split(train, present["val"], present["test"], how, "test", seed)
    if not present:
        return _cut_three(source, "", train, seed, groups)
    ((name, held_out),) = present.items()
    kept, cut, notes = _cut(source, train, (1 - validation, validation), PARTS[:2], seed, groups)
    manner = _manner(source, groups, seed)
    how = f"{name}/ is held out and scored once; {len(cut):,} of the {len(train):,} training images validate ({manner})."
    return Split(kept, cut, held_out, how, name, seed, notes)


def _cut_three(source: Source, name: str, samples: Ints, seed: int, groups: NDArray[Any] | None) -> Split:
    # A class with two groups only is better scored than validated: held out comes before validation.
    names = ("train", "held_out", "validation")
    train, held_out, validation, notes = _cut(source, samples, (0.7, 0.15, 0.15), names, seed, groups)
    where = f"{name}/ is the only split" if name else "the data has no splits"
    how = f"70 % trains, 15 % validates, 15 % is held out and scored once ({where}; {_manner(source, groups, seed)})."
    return Split(train, validation, held_out, how, "", seed, notes)


def _manner(source: Source, groups: NDArray[Any] | None, seed: int) -> str:
    by = "value" if source.kind == "value" else "class"
    return f"stratified by {by}, {'duplicates kept together, ' if groups is not None else ''}seed {seed}"


def _cut(
    source: Source, samples: Ints, shares: Sequence[float], names: Sequence[str], seed: int, groups: NDArray[Any] | None
) -> tuple[Any, ...]:
    """Positions of each part, ascending, and notes on the classes that are not in all of them."""
    if len(samples) < len(shares):
        raise Refused(
            f"{source.name} has {len(samples)} image{'s' * (len(samples) != 1)}, too few to divide into {len(shares)} parts",
            where=source.location,
            fix="add images: each class needs some to train on, some to choose by and some to be scored on",
        )
    targets = source.targets[samples]
    own = np.arange(len(samples)) if groups is None else np.asarray(groups)[samples].astype(np.int64)
    parts = stratify(targets, own, _order(source.key, samples, seed), shares)
    notes: tuple[str, ...] = ()
    if source.kind != "value":
        counts = [class_counts(targets[parts == part], len(source.classes)) for part in range(len(shares))]
        notes = _notes(np.stack(counts), source.classes, names)
    return (*(samples[parts == part] for part in range(len(shares))), notes)


def class_counts(targets: NDArray[Any], num_classes: int) -> Ints:
    """Samples of each class, int64 [num_classes], for targets [N] of one class each or [N, K] of several."""
    counts: Ints = (targets > 0).sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=num_classes)
    return counts


def _order(key: Callable[[int], str], samples: Ints, seed: int) -> NDArray[np.uint64]:
    salt = str(seed).encode()
    digests = b"".join(hashlib.blake2b(os.fsencode(key(i)), digest_size=8, key=salt).digest() for i in samples.tolist())
    return np.frombuffer(digests, dtype="<u8")


def _notes(counts: Ints, classes: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Of the classes that have samples but not in every part; ``counts`` is [parts, classes]."""
    notes = []
    for number in np.flatnonzero((counts.sum(0) > 0) & (counts == 0).any(0)).tolist():
        absent = [name.replace("_", " ") for name, count in zip(names, counts[:, number], strict=True) if not count]
        total = int(counts[:, number].sum())
        notes.append(f"{classes[number]} has too few independent images ({total} in all): none in {' or '.join(absent)}.")
    return tuple(notes)


def write_split(path: str | Path, split: Split, source: Source) -> Path:
    """Writes the split by key, as JSON: seed, how it was made, the data's fingerprint, and the keys of each part."""
    path = Path(path)
    make_folder(path.parent)
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "seed": split.seed,
        "how": split.how,
        "held_out_name": split.held_out_name,
        "notes": list(split.notes),
        "source": {"name": source.name, "location": source.location, "fingerprint": source.fingerprint(), "num": len(source)},
        "keys": {part: [source.key(i) for i in getattr(split, part).tolist()] for part in PARTS},
    }
    # In ASCII: a file name that is no valid UTF-8 becomes an escape, and comes back as it was.
    write_text(path, json.dumps(record, indent=1) + "\n")
    return path


def read_split(path: str | Path, source: Source) -> Split:
    """Reads what :func:`write_split` wrote, for the same samples in any order and place.

    Raises:
        Refused: not such a file, a key in two parts, or its keys are not exactly those of ``source``; some are named.
    """
    record = _read_record(Path(path))
    listed = [key for part in PARTS for key in record["keys"][part]]
    position = {source.key(i): i for i in range(len(source))}
    again = "make a new one with `striate check`, or give the data it was made for"
    twice = [key for key, count in Counter(listed).items() if count > 1]
    if twice:
        raise Refused("The split file names a sample twice", where=path, why=_some(twice), fix=again)
    gone, new = [key for key in listed if key not in position], sorted(position.keys() - set(listed))
    if gone or new:
        why = [f"{len(gone)} of its samples are not there ({_some(gone)})"] if gone else []
        why += [f"{len(new)} of the data's samples are in none of its parts ({_some(new)})"] if new else []
        raise Refused(f"The split file was made for other data than {source.name}", where=path, why="; ".join(why), fix=again)
    parts = (sorted(position[key] for key in record["keys"][part]) for part in PARTS)
    train, validation, held_out = (np.array(part, dtype=np.int64) for part in parts)
    notes = tuple(str(note) for note in record["notes"])
    return Split(train, validation, held_out, record["how"], record["held_out_name"], record["seed"], notes)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused("Could not read the split file", where=path, why=str(error), fix="make one with `striate check`") from error
    fits = isinstance(record, dict) and record.get("format") == FORMAT and record.get("format_version") == FORMAT_VERSION
    expected = {"seed": int, "how": str, "held_out_name": str, "notes": list, "keys": dict}
    fits = fits and all(isinstance(record.get(name), kind) for name, kind in expected.items())
    if not fits or not all(
        isinstance(record["keys"].get(part), list) and all(isinstance(key, str) for key in record["keys"][part]) for part in PARTS
    ):
        raise Refused("This is not a split file of this version", where=path, fix="make one with `striate check`")
    found: dict[str, Any] = record
    return found


def _some(keys: Sequence[str], limit: int = 3) -> str:
    return ", ".join(keys[:limit]) + (", ..." if len(keys) > limit else "")
