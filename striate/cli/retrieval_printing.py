"""What the commands that find pictures print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from striate.cli.printing import print_json
from striate.columns import align

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from striate.embedding import Embedded, Match
    from striate.index import Index

_SHOWN = 10
"""Members of a cluster that are listed; JSON has them all."""


def print_embedded(made: Embedded, as_json: bool) -> None:
    """An index that has been made; what could not be read goes to stderr."""
    num, width = made.index.vectors.shape
    if as_json:
        record = {"index": str(made.path), "pictures": num, "dimensions": width, "kept": made.num_kept, "seconds": made.seconds}
        print_json({**record, "bad": [{"key": key, "reason": reason} for key, reason in made.bad]})
        return
    for key, reason in made.bad[:_SHOWN]:
        print(f"{key}: error: {reason}", file=sys.stderr)
    if len(made.bad) > _SHOWN:
        print(f"and {len(made.bad) - _SHOWN:,} more", file=sys.stderr)
    fresh = num + len(made.bad) - made.num_kept
    kept = f", {made.num_kept:,} of them from before" if made.num_kept else ""
    print(f"{made.path}: {num:,} pictures{kept}, {width:,} numbers each, by {made.index.origin.name}")
    print(f"{fresh:,} pictures in {made.seconds:.1f} s, {fresh / made.seconds:.0f} a second")


def print_matches(query: str, matches: Sequence[Match], num: int, as_json: bool) -> None:
    """The pictures most like another, a line each."""
    if as_json:
        print_json({"query": query, "pictures": num, "matches": [match._asdict() for match in matches]})
        return
    print(f"{query}: the {len(matches):,} most similar of {num:,} pictures")
    for line in align([(f"{match.similarity:.3f}", match.key, match.label) for match in matches]):
        print(f"  {line}")


def print_clusters(index: Index, clusters: Sequence[NDArray[np.int64]], threshold: float, as_json: bool) -> None:
    """Clusters of near-duplicates, the largest first, each member with its similarity to the first."""
    told = [
        [
            {"key": index.keys[i], "label": index.label(i), "similarity": round(float(s), 6), "path": index.path(i)}
            for i, s in zip(cluster.tolist(), index.vectors[cluster] @ index.vectors[cluster[0]], strict=True)
        ]
        for cluster in clusters
    ]
    if as_json:
        print_json({"threshold": threshold, "pictures": len(index), "clusters": told})
        return
    if not told:
        print(f"No near-duplicates among {len(index):,} pictures: no two are similar by {threshold:g} or more")
        return
    involved = sum(map(len, told))
    print(
        f"{len(told):,} {'cluster' if len(told) == 1 else 'clusters'} of near-duplicates with {involved:,} of {len(index):,} "
        f"pictures: similarity {threshold:g} or more"
    )
    for members in told:
        labels = {str(member["label"]) for member in members}
        print(
            f"\n{len(members):,} pictures" + (f", labelled differently: {', '.join(sorted(labels))}" if len(labels) > 1 else "")
        )
        rows = [(f"{member['similarity']:.3f}", str(member["key"]), str(member["label"])) for member in members[:_SHOWN]]
        print(*(f"  {line}" for line in align(rows)), sep="\n")
        if len(members) > _SHOWN:
            print(f"  and {len(members) - _SHOWN:,} more")
