"""Writes what the zoo costs and what it looks like, from the networks themselves.

    python tools/zoo_page.py

``striate/catalogue.json`` (for ``striate zoo``), then from it ``docs/zoo.md`` and its picture ``docs/zoo.svg``. With
``--from-catalogue`` the networks are not counted again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zoo_picture import Bubble, picture

from striate.catalogue import Entry, catalogue
from striate.columns import magnitude, times
from striate.published import Published

ROOT = Path(__file__).resolve().parents[1]

FAMILIES = {
    "Plain and Inception": ("alexnet", "zfnet", "vgg", "squeezenet", "googlenet", "inception_v", "xception"),
    "Residual and dense": ("resnet", "resnext", "wide_resnet", "seresnet", "inception_resnet", "densenet"),
    "For phones": ("mobilenet", "shufflenet"),
    "Searched and modern": ("efficientnet", "regnet", "convnext"),
}

PAGE = """# The zoo

{count} networks, from {first} to {last}. `striate.build(NAME)` builds one, `striate zoo` lists them, `striate zoo NAME` shows one
beside its paper's table, `striate summary NAME` layer by layer. This page is written by `tools/zoo_page.py`.

![Top-1 accuracy on ImageNet against multiply-accumulates, area by parameters](zoo.svg)

Up and to the left is better. The accuracy is that of the first published weights, on ImageNet's 50,000 validation images, as
their publisher states it; it depends on the year's training as much as on the network: ResNet-50's later weights
(`imagenet-v2`) gain {gain:.1f} points over its first.

How each is proven:

- parameters, multiply-accumulates (MACs; FLOPs are twice that) and the shape of every stage: against the paper's own table and
  `tests/papers/architectures.json`, at full size on the meta device (`tests/papers/test_architectures.py`, which lists what
  each network is held against);
- parameter names, outputs and gradients: against torchvision and timm with the same weights in float64, to 1e-10
  (`make parity`);
- one contract for all of them: `tests/contracts/test_models.py`.

Two networks have no exact original to be held against: of LeNet-3 no definition was ever published, and it is not built; the
links of LeNet-4 are lost, and ours, which has them all, has 51,090 parameters where the paper says about 17,000.

| network | year | input | parameters | MACs | top-1 | top-5 | weights | licence |
|---|--:|---|--:|--:|--:|--:|---|---|
{rows}

The licence is that of the project that publishes the file. ImageNet's images, which the weights were trained on, are for
non-commercial research and education only.

## Papers

{papers}
"""


def main(arguments: list[str]) -> None:
    """Writes the three files."""
    if "--from-catalogue" not in arguments:
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in counted())
        (ROOT / "striate" / "catalogue.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    entries = catalogue()
    (ROOT / "docs" / "zoo.md").write_text(page(entries), encoding="utf-8")
    (ROOT / "docs" / "zoo.svg").write_text(picture(bubbles(entries), tuple(FAMILIES)), encoding="utf-8")


def counted() -> list[dict[str, object]]:
    """A row a network, each built and run once on the meta device."""
    from striate.zoo import MODELS, describe

    rows: list[dict[str, object]] = []
    for name, variant in MODELS.items():
        cost = describe(name)
        rows.append(
            {
                "name": name,
                "year": variant.year,
                "input": [variant.in_channels, *variant.input_size],
                "parameters": cost.parameters,
                "macs": cost.macs,
                "paper": variant.paper,
                "accuracy": variant.accuracy,
            }
        )
    return rows


def page(entries: dict[str, Entry]) -> str:
    """The page in Markdown."""
    papers = {entry.paper: entry.year for entry in reversed(entries.values())}
    cited = [f"- {paper}" for paper, _ in sorted(papers.items(), key=lambda item: (item[1], item[0]))]
    rows = [line for entry in entries.values() for line in table_lines(entry)]
    years = [entry.year for entry in entries.values()]
    first, later, *_ = (weights.top1 or 0 for weights in entries["resnet50"].published)
    return PAGE.format(
        count=len(entries),
        first=min(years),
        last=max(years),
        gain=later - first,
        rows="\n".join(rows),
        papers="\n".join(cited),
    )


def table_lines(entry: Entry) -> list[str]:
    """One line, and one more for each further file of weights."""
    costs = f"| `{entry.name}` | {entry.year} | {times(entry.input)} | {entry.parameters:,} | {magnitude(entry.macs)} "
    lines = [f"{costs}|{_scores(weights)}" for weights in entry.published[:1]] or [f"{costs}| | | | |"]
    return lines + [f"| | | | | |{_scores(weights)}" for weights in entry.published[1:]]


def _scores(weights: Published) -> str:
    top1, top5 = ("" if value is None else f"{value:.2f}" for value in (weights.top1, weights.top5))
    return f" {top1} | {top5} | `{weights.tag}` | {weights.license} |"


def bubbles(entries: dict[str, Entry]) -> list[Bubble]:
    """The networks with published ImageNet weights."""
    found = []
    for entry in entries.values():
        weights = next((each for each in entry.published if each.classes == "imagenet" and each.top1 is not None), None)
        if weights is None or weights.top1 is None:
            continue
        family = next(family for family, starts in FAMILIES.items() if entry.name.startswith(starts))
        found.append(Bubble(entry.name, tuple(FAMILIES).index(family), entry.macs, weights.top1, entry.parameters))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
