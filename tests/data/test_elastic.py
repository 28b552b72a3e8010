"""Elastic distortion: smooth, bounded, its own for each image, and the same for a mask as for its image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from striate.data import affine
from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.errors import UsageError

WHOLE = affine.compose(np.array([[0.0, 0.0, 32.0, 32.0]]), (32, 32))


def ramp(size: int = 32) -> torch.Tensor:
    """[1, 2, size, size]: each pixel holds the x and y of its own centre, so that a resample says where it read."""
    centres = torch.arange(size) + 0.5
    return torch.stack((centres.expand(size, size), centres[:, None].expand(size, size)))[None]


def test_an_unmoved_net_changes_nothing() -> None:
    still = affine.resample(ramp(), WHOLE, (32, 32), bend=np.zeros((1, 2, affine.KNOTS, affine.KNOTS)))
    torch.testing.assert_close(still, ramp(), atol=1e-4, rtol=0)


def test_a_net_moved_as_one_shifts_the_picture() -> None:
    """The splines sum to 1 everywhere, so equal knots move every pixel alike: x by 3, y by -2."""
    bend = np.broadcast_to(np.array([3.0, -2.0])[:, None, None], (1, 2, affine.KNOTS, affine.KNOTS))
    moved = affine.resample(ramp(), WHOLE, (32, 32), bend=np.array(bend))
    torch.testing.assert_close(moved[0, 0, 4:-4, 4:-4], ramp()[0, 0, 4:-4, 4:-4] + 3, atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[0, 1, 4:-4, 4:-4], ramp()[0, 1, 4:-4, 4:-4] - 2, atol=1e-4, rtol=0)


def test_moves_stay_within_the_share_and_are_smooth() -> None:
    """A spline lies within its knots' hull; between neighbours its slope is at most the knots' difference a cell (8 pixels)."""
    images = ramp().expand(64, -1, -1, -1)
    result = Augmenter(Augment(elastic=0.1), (32, 32), seed=1, num_classes=0)(
        {"image": images, "index": torch.arange(64)}, epoch=0
    )
    moves = (result["image"] - ramp())[:, :, 4:-4, 4:-4]  # at the border the repeated edge would hide some of it
    limit = 0.1 * 32
    assert moves.abs().max() < limit + 1e-3
    assert moves.abs().max() > limit / 2, "somewhere among 64 images a whole neighbourhood goes one way"
    assert moves.diff(dim=-1).abs().max() < 2 * limit / 8 + 1e-3
    flat = moves.flatten(1)
    assert torch.pdist(flat).min() > 1, "each image is bent its own way"


def test_a_mask_is_bent_with_its_image() -> None:
    disc = ((ramp()[0] - 16) ** 2).sum(0).sqrt() < 9
    batch = {"image": disc[None, None].expand(8, 1, 32, 32).float() * 255, "mask": disc[None].expand(8, 32, 32).long()}
    bent = Augmenter(Augment(elastic=0.15), (32, 32), seed=0, num_classes=0)({**batch, "index": torch.arange(8)}, epoch=3)
    inside = bent["image"][:, 0] > 127.5
    known = bent["mask"] != affine.IGNORE
    disagree = (inside != (bent["mask"] == 1)) & known
    # The nearest label and the bilinear half differ only where a tap falls between the two, along the edge.
    assert disagree.float().mean() < 0.03
    assert not torch.equal(bent["mask"][0], bent["mask"][1])


def test_boxes_are_refused_and_shares_out_of_range_too() -> None:
    batch = {"image": ramp(), "index": torch.arange(1), "boxes": [torch.zeros(0, 4)], "box_label": [torch.zeros(0)]}
    with pytest.raises(UsageError, match="no box to box"):
        Augmenter(Augment(elastic=0.1), (32, 32), seed=0, num_classes=0)(batch, 0)
    with pytest.raises(UsageError, match=r"augment\.elastic"):
        Augment(elastic=-0.1)
