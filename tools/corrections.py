"""Writes the page of corrections to the lectures from the table of their printed numbers.

    python tools/corrections.py docs/corrections.md

Printed and right values come from ``tests/papers/golden.json``; how they come about, and the sources, are said here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "papers" / "golden.json"

LECTURES = (
    "Convolutional Neural Networks",
    "Deep Learning (Convolutional Networks)",
    "CNNs / ConvNets",
    "Deep Learning for beginners, session 2",
    "Neural Networks & Deep Learning",
)

GOOGLENET = (
    "the sum over the module's six convolutions, in 1024s; the paper's table 1 (arXiv:1409.4842) prints the same wrong value"
)

NUMBERS = {
    "s0.conv5x5.xfilter.same": "three cells at the border; the other 22 are right",
    "s0.mlp16x16.params": "25,600 + 100 + 2,600 + 26; two digits changed places",
    "s1.fc_vs_conv.units": "28·28·6 (4,368 is 28·26·6); the 14,450,688 weights printed below are 4,704 · 3,072",
    "s1.googlenet.fc_claim": "it ends in one linear layer, 1024 to 1000 (arXiv:1409.4842, table 1)",
    "s2.alexnet.connections": "multiply-accumulates of the two towers at 227 x 227; no count we know gives 630 million",
    "s3.stride2.7x7": "two cells; the window drawn on the slide, 74, is right",
    "s4.loopy.mean": "three cells; the others are right, cut off after two decimals",
    "s4.gif.pad1.s2": "three of nine cells agree, and no turn or mirroring of image, kernel or output makes it more",
    "s4.pool.avg.31": "(31 + 15 + 0 + 100) / 4; the same picture has 29 in that corner on the maximum's side, which gives 36",
    "s4.26class.params": "104 + 8 + 512 + 24 + 26·193; LeNet-1 with 10 outputs has 2,578 (LeCun 1989)",
    "s4.vgg16.rows": "three convolutions in the third block (arXiv:1409.1556, table 1, D); pooling is 2 x 2, not 3 x 3; "
    "the row of 25,088 is no layer but the flattened 7·7·512",
    "s4.googlenet.conv1": "7·7·3·64 weights at 112 x 112; 2.7K and 34M are those of a depthwise-separable one, 7·7·3·8 + 24·64",
    **{f"s4.googlenet.{module}": GOOGLENET for module in ("4a", "4c", "4d", "4e", "5a", "5b")},
}
"""Numbers that the tests compute, or could, and the lectures print otherwise -> how the right one comes about."""

CLAIMS = {
    "s0.def": ("wrong", "the integral, or sum, of one function times the other, flipped and shifted",
        'I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, section 9.1'),
    "s0.squeezenet.year": ("wrong", "2016", "arXiv:1602.07360, February 2016"),
    "s1.mnist.source": ("wrong",
        "forms filled in by Census employees (NIST SD-3) and students (SD-1); zip codes are the set of 1989",
        "C. Yadav, L. Bottou, arXiv:1905.10498; Y. LeCun et al., Neural Computation 1(4), 1989"),
    "s1.lenet.acc": ("wrong", "99.05 %, and 99.2 % with distorted training images; 98.9 % is LeNet-4",
        "Y. LeCun et al., Proc. IEEE 86(11), 1998, section III"),
    "s4.scale_equivariance": ("wrong",
        "convolution is equivariant to translation, pooling nearly invariant to small ones; scale is another matter",
        'Goodfellow et al., "Deep Learning", sections 9.2 and 9.3'),
    "s1.top5.alexnet": ("open", "five networks reach 16.4 %; seven, trained on more data, won with 15.3 %",
        "A. Krizhevsky et al., NIPS 2012, table 2"),
    "s1.top5.zf": ("open", "11.7 % is Clarifai's entry; the paper's best ensemble has 14.8 %",
        "M. Zeiler, R. Fergus, arXiv:1311.2901; ILSVRC 2013 results"),
    "s1.ilsvrc.sizes": ("right", "", "O. Russakovsky et al., arXiv:1409.0575"),
    "s1.wordnet": ("right", "117,659 synsets, 82,115 of nouns", "WordNet 3.0, wnstats(7WN)"),
    "s1.imagenet.1000_per_synset": ("right", "as an aim; 14,197,122 images in 21,841 synsets are 650 each",
        "J. Deng et al., CVPR 2009; image-net.org"),
    "s1.mnist.size": ("right", "", "Y. LeCun et al., Proc. IEEE 86(11), 1998"),
    "s1.top5.vgg": ("right", "as submitted; 6.8 % later", "K. Simonyan, A. Zisserman, arXiv:1409.1556"),
    "s1.top5.googlenet": ("right", "6.67 %, seven networks", "C. Szegedy et al., arXiv:1409.4842"),
    "s1.top5.resnet": ("right", "3.57 %, an ensemble", "K. He et al., arXiv:1512.03385"),
    "s1.top5.inceptionv4": ("right", "3.08 %, four networks; the winner of 2016 had 2.99 %",
        "C. Szegedy et al., arXiv:1602.07261; ILSVRC 2016 results"),
    "s1.human": ("right", "one annotator", "O. Russakovsky et al., arXiv:1409.0575, section 6.4"),
    "s2.pad_pool": ("right", "ResNet and GoogLeNet are the exceptions", "Stanford CS231n, notes on convolutional networks"),
    "s2.alexnet.7hidden": ("right", "the eighth layer is the output", "A. Krizhevsky et al., NIPS 2012"),
    "s4.densenet.year": ("right", "published in 2017", "G. Huang et al., arXiv:1608.06993"),
}  # fmt: skip
"""What no call of ours can decide -> the verdict, what is known, and where it is written. Recalled, not checked by a test."""


def main(page: Path) -> None:
    """Writes the page.

    Raises:
        SystemExit: an item of the table has no explanation here, or one here is not in the table.
    """
    items = {item["id"]: item for item in json.loads(GOLDEN.read_text(encoding="utf-8"))}
    wanted = {key for key, item in items.items() if item["slide_matches"] is False or not item["verified"]}
    if unexplained := wanted ^ (NUMBERS.keys() | CLAIMS.keys()):
        raise SystemExit(f"explained in one place only: {', '.join(sorted(unexplained))}")
    page.write_text("\n".join(written(items)) + "\n", encoding="utf-8")


def written(items: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The lines of the page."""
    wrong = len(NUMBERS) + sum(verdict == "wrong" for verdict, _, _ in CLAIMS.values())
    yield from ["# Corrections to the lectures", ""]
    yield f"Of {len(items)} numbers and claims of the five lectures, {wrong} are wrong as printed. `tests/papers/test_golden.py`"
    yield "computes the right numbers with this package's public functions. This page is made by `tools/corrections.py`."
    yield from ["", "| lecture | title |", "|---|---|"]
    yield from (f"| {number} | {title} |" for number, title in enumerate(LECTURES))
    yield from ["", "## Numbers", "", "Cells are [row, column] from 0.", ""]
    yield from ["| item | lecture | printed | right | how |", "|---|---|---|---|---|"]
    for key, how in NUMBERS.items():
        item = items[key]
        printed, right = (shown(item, side) for side in ("slide", "correct"))
        yield f"| `{key}` | {int(item['lecture'][:3])} | {printed} | {right} | {how} |"
    yield from [
        "",
        "## Claims",
        "",
        "What is said in words. Neither the verdicts nor their sources are tested: look them up before you quote them.",
        "",
    ]
    yield from ["| item | lecture | printed | verdict | what is known | source |", "|---|---|---|---|---|---|"]
    for key, (verdict, known, source) in CLAIMS.items():
        item = items[key]
        printed = item["slide_printed"].strip('"')
        yield f"| `{key}` | {int(item['lecture'][:3])} | {printed} | {verdict} | {known} | {source} |"


def shown(item: dict[str, Any], side: str) -> str:
    """What is printed (``slide``) or right (``correct``): only the cells that differ, where they are known."""
    if cells := item.get("wrong_cells"):
        return ", ".join(f"{cell['index']}: {cell[side]:g}" for cell in cells)
    value = item["slide_printed" if side == "slide" else "expected"]
    if value in (True, False):
        return "no fully connected layers" if value else "there is one"
    if isinstance(value, dict):
        if side == "slide":
            return f"{value['params_K']:g}K, {value['ops_M']}M"
        return f"{value['kibi']:g}K ({value['weights']:,}), {value['macs']:,}"
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
