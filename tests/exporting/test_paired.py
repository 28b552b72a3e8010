"""The bound of a paired loss covers what it says, by enumeration, and how many images are asked for is enough."""

from __future__ import annotations

import math

import pytest

from striate.exporting.paired import images_needed, loss_upper_bound


@pytest.mark.parametrize(("up", "down"), [(0.03, 0.0), (0.04, 0.02), (0.021, 0.02), (0.07, 0.01)])
def test_the_bound_is_missed_at_most_once_in_twenty(up: float, down: float) -> None:
    n, missed, seen = 60, 0.0, 0.0
    for lost in range(13):
        for gained in range(13 - lost):
            same = n - lost - gained
            ways = math.comb(n, lost) * math.comb(n - lost, gained)
            chance = ways * up**lost * down**gained * (1 - up - down) ** same
            seen += chance
            if chance > 1e-7 and loss_upper_bound(lost, gained, n) < up - down:
                missed += chance
    assert seen > 0.99
    assert missed + (1 - seen) <= 0.05


def test_more_losses_and_fewer_images_mean_more() -> None:
    assert loss_upper_bound(0, 0, 0) == 1.0
    assert loss_upper_bound(0, 0, 100) < loss_upper_bound(1, 0, 100) < loss_upper_bound(3, 0, 100)
    assert loss_upper_bound(4, 2, 400) < loss_upper_bound(2, 1, 200)
    assert loss_upper_bound(2, 5, 300) < loss_upper_bound(5, 2, 300)
    # No image changed sides: all that could be lost is what n images can all miss with probability 0.05, and a bit.
    assert 1 - 0.05 ** (1 / 500) <= loss_upper_bound(0, 0, 500) <= 0.012


def test_impossible_counts() -> None:
    with pytest.raises(ValueError, match="3 lost and 2 gained of 4"):
        loss_upper_bound(3, 2, 4)


def test_how_many_images_would_tell() -> None:
    needed = images_needed(1, 1, 100, 0.02)
    assert needed is not None
    assert loss_upper_bound(round(needed / 100), round(needed / 100), needed) <= 0.02
    assert loss_upper_bound(1, 1, 100) > 0.02
    assert images_needed(5, 0, 100, 0.02) is None
