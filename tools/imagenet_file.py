"""Writes ``striate/data/wordnet/imagenet1k.tsv`` from ImageNet's list of classes and the WordNet hierarchy above them.

    python tools/imagenet_file.py FOLDER

FOLDER holds ``imagenet1k_classes.json`` (the 1,000 classes in the order of a network's outputs, each with its ``wnid``) and
``imagenet1k_wordnet_hierarchy.json`` (wnid -> ``name``, the first lemma, and ``parents``, its hypernyms in WordNet's order).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from striate.files import write_text

TARGET = Path(__file__).resolve().parents[1] / "striate" / "data" / "wordnet" / "imagenet1k.tsv"


def table(wnids: list[str], hierarchy: dict[str, Any]) -> str:
    """A line a synset: wnid, position among the network's outputs (empty above the classes), name, hypernyms.

    The few classes that share their first lemma (two cranes, two maillots) carry that of their hypernym in parentheses.
    """
    output = {wnid: str(i) for i, wnid in enumerate(wnids)}
    shared = Counter(hierarchy[wnid]["name"] for wnid in wnids)
    lines = []
    for wnid in sorted(hierarchy):
        name, parents = hierarchy[wnid]["name"], hierarchy[wnid]["parents"]
        if wnid in output and shared[name] > 1:
            name = f"{name} ({hierarchy[parents[0]]['name']})"
        lines.append("\t".join([wnid, output.get(wnid, ""), name.replace("_", " "), " ".join(parents)]).rstrip("\t"))
    return "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    classes = json.loads((folder / "imagenet1k_classes.json").read_text())
    hierarchy = json.loads((folder / "imagenet1k_wordnet_hierarchy.json").read_text())
    write_text(TARGET, table([row["wnid"] for row in sorted(classes, key=lambda row: row["index"])], hierarchy))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
