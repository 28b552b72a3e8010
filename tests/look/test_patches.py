"""The patches that excite a channel most, on pictures where it is known what does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import model_of, pictures_of
from torch import nn

from striate.data.folder import open_folder
from striate.errors import Refused, UsageError
from striate.look.patches import exciting_patches, patches_sheet


def network() -> nn.Sequential:
    """Channel 0 adds up red, channel 1 blue, in windows of 3x3 every 2 pixels."""
    net = nn.Sequential(
        nn.Conv2d(3, 2, 3, stride=2, padding=1, bias=False), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(128, 3)
    )
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[0, 0], net[0].weight[1, 2] = 1.0, 1.0
        for parameter in net[3].parameters():
            parameter.zero_()
        net[3].weight[2, 0] = 1.0
    return net


def pictures() -> np.ndarray:
    """Picture i has a red pixel of 20 (i + 1) at (2 i, 4), and a blue one of 200 - 20 i at (10, 12)."""
    images = np.zeros((6, 16, 16, 3), np.uint8)
    for i in range(6):
        images[i, 2 * i, 4, 0] = 20 * (i + 1)
        images[i, 10, 12, 2] = 200 - 20 * i
    return images


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_what_excites_is_found_and_cut_out(batch: int) -> None:
    model, images = model_of(network(), (16, 16)), pictures()
    source = pictures_of(images, [0] * 6)
    found = exciting_patches(model, source, "0", [1, 0], top=3, batch=batch)
    assert list(found) == [1, 0]
    assert [each.index for each in found[0]] == [5, 4, 3]
    assert [each.index for each in found[1]] == [0, 1, 2]
    for each in found[0]:
        assert each.value == pytest.approx(20 * (each.index + 1) / 255, rel=1e-6)
        assert each.position == (each.index, 2)
        assert (each.rows, each.columns) == ((2 * each.index - 1, 2 * each.index + 2), (3, 6))
        assert each.key == source.key(each.index)
        assert each.picture[1, 1].tolist() == [20 * (each.index + 1), 0, 0]
    assert {each.position for each in found[1]} == {(5, 6)}
    assert patches_sheet(found, "channels").size[0] > 3 * 90


def test_at_the_border_the_patch_is_clipped() -> None:
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 0, 0, 0] = 255
    (patch,) = exciting_patches(model_of(network(), (16, 16)), pictures_of(images, [0]), "1", [0])[0]
    assert (patch.position, patch.rows, patch.columns) == ((0, 0), (0, 2), (0, 2))
    assert patch.picture.shape == (2, 2, 3)


def test_a_neuron_sees_the_whole_picture() -> None:
    found = exciting_patches(model_of(network(), (16, 16)), pictures_of(pictures(), [0] * 6), "3", [2], top=2)[2]
    assert found[0].position is None
    assert found[0].picture.shape == (16, 16, 3)


def test_a_broken_file_is_left_out(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b", "c")):
        (tmp_path / name).mkdir()
        Image.fromarray(pictures()[i]).save(tmp_path / name / "1.png")
    (tmp_path / "b" / "1.png").write_bytes(b"no picture")
    (tmp_path / "b" / "2.png").write_bytes((tmp_path / "a" / "1.png").read_bytes())
    source = open_folder(str(tmp_path))
    found = exciting_patches(model_of(network(), (16, 16)), source, "0", [0], top=9)[0]
    assert sorted(each.key for each in found) == ["a/1.png", "b/2.png", "c/1.png"]
    broken = np.array([i for i in range(len(source)) if source.key(i) == "b/1.png"])
    with pytest.raises(Refused, match="can be read"):
        exciting_patches(model_of(network(), (16, 16)), source, "0", [0], indices=broken)


def test_mistakes_are_named() -> None:
    model, source = model_of(network(), (16, 16)), pictures_of(pictures(), [0] * 6)
    with pytest.raises(UsageError, match="channels are 0 to 1"):
        exciting_patches(model, source, "0", [2])
    with pytest.raises(UsageError, match="no layer"):
        exciting_patches(model, source, "conv", [0])
