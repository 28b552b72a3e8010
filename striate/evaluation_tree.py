"""How wrong a wrong class is: accuracy at each level of WordNet above the classes of ImageNet ("wrong, but still a dog")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from striate.data.imagenet import find_wnids, lineage, synsets

_NARROW = 1 / 8
"""Share of the classes that a category may hold and still say something."""

_SHOWN = 6


class TreeScore(NamedTuple):
    """A classification seen from above, in the tree of first hypernyms.

    Attributes:
        levels: at position d the share of images whose class is right, or has the predicted one's ancestor d steps below
            ``entity``; it falls from 1 at the root to the accuracy at the classes.
        still: (category, number) of the wrong answers that stay within it, most first: "dog" for a beagle taken for a
            bloodhound. Each counts once, for the widest category of at most an eighth of the classes (of 1,000 dogs are 118).
        num_wrong: wrong answers in all.
    """

    levels: tuple[float, ...]
    still: tuple[tuple[str, int], ...]
    num_wrong: int


def score_tree(classes: Sequence[str], targets: NDArray[np.int64], predicted: NDArray[np.int64]) -> TreeScore | None:
    """Scores classes [N] against classes [N]; None where the model's classes are not all of ImageNet, or are fewer than two."""
    wnids = find_wnids(classes) if len(classes) > 1 else None
    if wnids is None:
        return None
    lines = [lineage(wnid) for wnid in wnids]
    size = Counter(above for line in lines for above in line)
    wrong = targets != predicted
    shared_depths, still = np.zeros(max(map(len, lines)), np.int64), Counter[str]()
    for (a, b), num in Counter(zip(targets[wrong].tolist(), predicted[wrong].tolist(), strict=True)).items():
        shared = [above for above, other in zip(lines[a], lines[b], strict=False) if above == other]
        shared_depths[: len(shared)] += num
        narrow = (above for above in shared if size[above] <= max(2, len(lines) * _NARROW))
        if widest := next(narrow, None):
            still[synsets()[widest].name] += num
    num_wrong = int(wrong.sum())
    levels = (len(targets) - num_wrong + shared_depths) / len(targets)
    return TreeScore(tuple(levels.tolist()), tuple(still.most_common()), num_wrong)


def describe_tree(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What ``TreeScore._asdict`` returned, as (name, text) lines for a terminal."""
    levels = record["levels"]
    rows = [("up the tree", ", ".join(f"{100 * levels[d]:.1f} % at depth {d}" for d in range(2, len(levels), 3)) + " of WordNet")]
    if record["still"]:
        named = ", ".join(f"{name} {num:,}" for name, num in record["still"][:_SHOWN])
        rows.append(("wrong, but still", f"{named} (of {record['num_wrong']:,} mistakes)"))
    return rows
