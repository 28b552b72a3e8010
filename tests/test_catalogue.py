"""``striate zoo``: the list, one network beside its paper, and the page in the docs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, Ended

from striate import zoo
from striate.catalogue import Comparison, Page, catalogue, catalogue_text, page
from striate.published import PUBLISHED

Command = Callable[..., Ended]


def test_the_list_names_every_network_and_the_accuracy_and_licence_of_its_weights(striate_command: Command) -> None:
    lines = striate_command("zoo").out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(zoo.MODELS)]] == list(zoo.MODELS)
    [line] = [line for line in lines if line.startswith("resnet50 ")]
    weights = PUBLISHED["resnet50", "imagenet"]
    assert line.split()[-3:] == [f"{weights.top1:.2f}", f"{weights.top5:.2f}", weights.license]
    narrow = catalogue_text(catalogue(), 80).splitlines()
    assert len(narrow[2].split()) == len(lines[2].split()) - 1
    assert max(map(len, narrow)) <= 80


def test_the_list_as_json(striate_command: Command) -> None:
    rows = {row["name"]: row for row in json.loads(striate_command("zoo", "--json").out)}
    assert rows.keys() == zoo.MODELS.keys()
    assert [weights["tag"] for weights in rows["resnet50"]["weights"]] == ["imagenet", "imagenet-v2"]


def test_the_list_takes_no_torch() -> None:
    code = "import sys; from striate.cli import main; main(['zoo']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_every_published_file_is_of_a_network_of_the_zoo() -> None:
    assert {network for network, _ in PUBLISHED} <= zoo.MODELS.keys()


def test_one_network_beside_its_paper(striate_command: Command) -> None:
    ended = striate_command("zoo", "resnet50")
    assert ended.status == 0
    assert "arXiv:1512.03385" in ended.out
    assert "field        427 pixels" in ended.out
    assert "conv4_x       1024x14x14  =  1024x14x14  layer3" in ended.out
    figures = json.loads(striate_command("zoo", "resnet50", "--json").out)
    assert all(row["agrees"] for row in figures["paper_table"])
    assert figures["receptive_field"] == "427"


def test_rows_that_differ_are_marked_and_explained() -> None:
    rows = (
        Comparison("conv1", "conv1", (96, 55, 55), (96, 55, 55), ""),
        Comparison("pool", "pool", (96,), (96, 1, 1), ""),
        Comparison("conv2", "conv2", (256, 27, 27), (256, 26, 26), "printed a pixel too large"),
    )
    text = Page(catalogue()["alexnet"], "163", rows, "alexnet").text(80)
    assert "conv2 (1)    256x27x27  ≠  256x26x26  conv2" in text
    assert "2 of 3 rows agree with the paper's table." in text
    assert "(1) printed a pixel too large" in text


@pytest.mark.parametrize("name", ["mlp", "lenet1", "squeezenet1_0", "efficientnet_b0"])
def test_a_page_says_what_the_paper_says(name: str) -> None:
    shown, variant = page(name), zoo.MODELS[name]
    assert [(row.layer, row.printed, row.path) for row in shown.rows] == [
        (row.layer, row.output, row.path) for row in variant.paper_table
    ]
    text = shown.text(80)
    assert max(map(len, text.splitlines())) <= 80
    assert variant.paper.split(",")[0] in text


def test_an_unknown_network_is_told_the_nearest(striate_command: Command) -> None:
    ended = striate_command("zoo", "resnet5O")
    assert (ended.status, ended.out) == (2, "")
    assert "did you mean 'resnet50'?" in ended.err


def test_the_page_in_the_docs_is_the_one_that_would_be_written(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import zoo_page
        import zoo_picture
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8") == zoo_page.page(catalogue()), "run tools/zoo_page.py"
    bubbles = zoo_page.bubbles(catalogue())
    drawn = (ROOT / "docs" / "zoo.svg").read_text(encoding="utf-8")
    assert all(f"<title>{bubble.name}:" in drawn and f">{bubble.name}</text>" in drawn for bubble in bubbles)
    for bubble in bubbles:
        assert zoo_picture.LEFT <= bubble.x <= zoo_picture.WIDTH
        assert zoo_picture.TOP <= bubble.y <= zoo_picture.HEIGHT


def test_no_two_labels_of_the_picture_collide() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import zoo_page
        import zoo_picture
    finally:
        sys.path.pop(0)
    some = zoo_page.bubbles(catalogue())[::3]
    boxes = [box for _, box in zoo_picture.place_labels(some)]
    assert len(boxes) == len(some)
    assert not any(zoo_picture.overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
