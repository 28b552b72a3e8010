"""ImageNet's classes, the tree above them, folders named by WordNet identifiers, and accuracy seen from above."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import MeanColour, colour_card

from striate.data import imagenet
from striate.data.formats import open_source
from striate.data.imagenet import class_names, class_synsets, find_wnids, lineage, synsets
from striate.errors import Refused, StriateError
from striate.evaluation import evaluate
from striate.evaluation_tree import score_tree
from striate.prediction import Model
from striate.scoring import Evaluation
from tools import imagenet_file

FOLDER = Path(imagenet.__file__).parent / "wordnet"

# The table


def test_the_table_is_compact_and_lies_beside_its_licence() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000
    licence = (FOLDER / "LICENSE.wordnet.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert 'PROVIDED "AS IS"' in licence


def test_the_table_is_what_its_tool_writes(shared_data: Path) -> None:
    meta = shared_data / "imagenet_meta"
    classes = json.loads((meta / "imagenet1k_classes.json").read_text())
    hierarchy = json.loads((meta / "imagenet1k_wordnet_hierarchy.json").read_text())
    wnids = [row["wnid"] for row in classes]
    assert imagenet_file.TARGET.read_text() == imagenet_file.table(wnids, hierarchy)
    assert [synset.wnid for synset in class_synsets()] == wnids
    assert {wnid: list(synset.parents) for wnid, synset in synsets().items()} == {k: v["parents"] for k, v in hierarchy.items()}
    for row, synset in zip(classes, class_synsets(), strict=True):
        assert synset.name.partition(" (")[0] == row["lemmas"][0].replace("_", " ")


def test_a_thousand_classes_under_one_root() -> None:
    assert len(class_names()) == len(set(class_names())) == 1000
    assert [synset.output for synset in class_synsets()] == list(range(1000))
    assert [synset.name for synset in synsets().values() if not synset.parents] == ["entity"]
    assert find_wnids(class_names()) == [synset.wnid for synset in class_synsets()]
    assert find_wnids(["tench", "no such thing"]) is None


def wnid(name: str) -> str:
    (found,) = find_wnids([name]) or [""]
    return found


def test_a_dog_is_an_animal() -> None:
    names = [synsets()[above].name for above in lineage(wnid("beagle"))]
    assert names[0] == "entity"
    assert names[-1] == "beagle"
    places = [names.index(name) for name in ("animal", "mammal", "carnivore", "dog", "hound")]
    assert places == sorted(places)
    dogs = [synset for synset in class_synsets() if "dog" in [synsets()[above].name for above in lineage(synset.wnid)]]
    assert len(dogs) == 118


# Folders


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (len(path.name), 0, 0)).save(path)


BEAGLE, TENCH, DOG = "n02088364", "n01440764", "n02084071"


@pytest.mark.parametrize(
    ("files", "classes"),
    [
        ([f"{BEAGLE}/1.jpg", f"{TENCH}/2.jpg"], ("tench", "beagle")),
        ([f"train/{BEAGLE}/1.jpg", f"train/{TENCH}/2.jpg", f"val/{TENCH}/3.jpg"], ("tench", "beagle")),
        ([f"{BEAGLE}_beagle.jpg", f"{TENCH}_1.JPEG", f"ILSVRC2012_val_00000001_{TENCH}.jpg"], ("tench", "beagle")),
        ([f"{DOG}/1.jpg", f"{TENCH}/2.jpg"], ("tench", DOG)),  # no class of the thousand
    ],
)
def test_folders_of_wnids_are_found_and_named(files: list[str], classes: tuple[str, ...], tmp_path: Path) -> None:
    for file in files:
        picture(tmp_path / "data" / file)
    (tmp_path / "data" / "README.txt").write_text("not a picture")
    (tmp_path / "data" / ".hidden").mkdir()
    source = open_source(tmp_path / "data")
    assert source.classes == classes
    assert sorted(source.key(i) for i in range(len(source))) == sorted(files)
    for i in range(len(source)):
        name = source.classes[source.targets[i]]
        assert (name if name == DOG else wnid(name)) in source.key(i)
    again = open_source(source.location)
    assert (again.classes, again.fingerprint()) == (source.classes, source.fingerprint())


@pytest.mark.parametrize(
    "files", [["cats/1.jpg", "dogs/2.jpg"], [f"{TENCH}/1.jpg", "dogs/2.jpg"], [f"train/{TENCH}/1.jpg", "train/b/1.jpg"]]
)
def test_other_folders_are_left_alone(files: list[str], tmp_path: Path) -> None:
    for file in files:
        picture(tmp_path / file)
    assert open_source(tmp_path).location == f"folder:{tmp_path}"


def test_a_picture_without_a_wnid_is_refused(tmp_path: Path) -> None:
    for file in (f"{TENCH}_1.jpg", "2.jpg", "an02088364.jpg", "n020883641.jpg"):
        picture(tmp_path / file)
    with pytest.raises(Refused, match=r"3 pictures have no WordNet identifier in their name, the first: 2\.jpg"):
        open_source(f"imagenet:{tmp_path}")
    with pytest.raises(StriateError, match="without class folders"):
        open_source(tmp_path)
    with pytest.raises(StriateError, match="no such folder"):
        open_source("imagenet:nowhere")


# Accuracy


def classes_of(*names: str) -> np.ndarray:
    return np.array([class_names().index(name) for name in names])


def test_accuracy_falls_from_the_root_to_the_class() -> None:
    targets = classes_of("beagle", "beagle", "beagle", "tench")
    predicted = classes_of("beagle", "bloodhound", "tabby", "laptop")
    score = score_tree(class_names(), targets, predicted)
    assert score is not None

    def shared(a: str, b: str) -> int:
        """Depth of the deepest common ancestor."""
        return sum(x == y for x, y in zip(lineage(wnid(a)), lineage(wnid(b)), strict=False)) - 1

    expected = {
        "bloodhound": shared("beagle", "bloodhound"),
        "tabby": shared("beagle", "tabby"),
        "laptop": shared("tench", "laptop"),
    }
    for depth, share in enumerate(score.levels):
        assert share == (1 + sum(reached >= depth for reached in expected.values())) / 4
    assert score.levels[0] == 1
    assert score.levels[-1] == 1 / 4
    assert score.num_wrong == 3
    assert score.still == (("dog", 1),)  # a cat is no dog, and carnivores are too many to say much; nor is a laptop a fish


def test_only_classes_of_imagenet_have_a_tree() -> None:
    targets = np.array([0, 1])
    assert score_tree(("apple", "banana"), targets, targets) is None
    assert score_tree(("beagle",), np.array([0]), np.array([0])) is None
    perfect = score_tree(("beagle", "tench"), targets, targets)
    assert perfect is not None
    assert set(perfect.levels) == {1.0}
    assert perfect.still == ()


def test_an_evaluation_tells_it() -> None:
    targets, predicted = classes_of("beagle", "beagle", "tench"), classes_of("bloodhound", "beagle", "tench")
    scored = Evaluation.from_probabilities(0.9 * np.eye(1000)[predicted], targets, class_names())
    record = json.loads(json.dumps(scored.to_json()))
    assert record["tree"]["still"] == [["dog", 1]]
    lines = dict(line.split("  ", 1) for line in scored.text().splitlines() if "  " in line)
    assert lines["top-1 accuracy"].strip().startswith("66.67 %")
    assert "top-5 accuracy" in lines
    assert lines["wrong, but still"].strip() == "dog 1 (of 1 mistakes)"
    assert "at depth 2" in lines["up the tree"]


def test_a_folder_of_wnids_is_scored_by_name(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "lime", "red")):
        path = tmp_path / (f"{BEAGLE}_{number}.png" if number < 2 else f"{TENCH}_{number}.png")
        Image.new("RGB", (30, 30), colour).save(path)
    model = Model.from_module(MeanColour(), colour_card(classes=("beagle", "bloodhound", "tench")))
    scored = evaluate(model, tmp_path)
    assert scored.n == 3
    assert scored.accuracy == 1 / 3
    assert scored.tree is not None
    assert scored.tree.num_wrong == 2
