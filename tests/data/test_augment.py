"""Augmentation: randomness, geometry, values and mixing, each against what it must equal."""

from __future__ import annotations

import math
import multiprocessing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from striate.data import affine, color, mixing, windows
from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.data.randomness import beta_quantile, bits, occurrences, permutation, uniform, weighted_draw
from striate.errors import UsageError

WHOLE_28 = np.array([[0.0, 0.0, 28.0, 28.0]])
EVERYTHING = Augment(
    flip_horizontal=0.5, flip_vertical=0.5, crop_scale=(0.3, 1), rotate=30, translate=0.1, shift=2, zoom=0.2, shear=10,
    brightness=0.3, contrast=0.3, saturation=0.3, erase=0.5, fill=90,
)  # fmt: skip


def pictures(num: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (num, channels, height, width), dtype=np.uint8))


def smooth(height: int, width: int) -> npt.NDArray[np.float32]:
    """[1, 1, height, width], low frequencies only, so that any good interpolation gives nearly the same."""
    y, x = np.mgrid[:height, :width]
    waves: npt.NDArray[np.float32] = (128 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7))[None, None].astype(np.float32)
    return waves


# ---- randomness


def test_uniform_numbers_are_even_and_independent() -> None:
    num = 200_000
    draws = uniform(3, 5, np.arange(num), "test", 4)
    assert draws.min() >= 0
    assert draws.max() < 1
    # 5 standard errors of the mean (1/sqrt(12 n)), of the variance (1/sqrt(180 n)) and of a correlation (1/sqrt(n)).
    assert np.abs(draws.mean(0) - 0.5).max() < 5 / math.sqrt(12 * num)
    assert np.abs(draws.var(0) - 1 / 12).max() < 5 / math.sqrt(180 * num)
    others = [np.roll(draws[:, 0], 1), draws[:, 1], *(uniform(*k)[:, 0] for k in ((3, 6, np.arange(num), "test"),
              (4, 5, np.arange(num), "test"), (3, 5, np.arange(num), "tesu"), (3, 5, np.arange(num) + num, "test")))]  # fmt: skip
    for other in others:
        assert abs(np.corrcoef(draws[:, 0], other)[0, 1]) < 5 / math.sqrt(num)
    counts = np.bincount((draws.ravel() * 256).astype(int), minlength=256)
    expected = draws.size / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


def test_every_input_bit_reaches_every_output_bit() -> None:
    base = np.arange(2000)
    for bit in range(0, 40, 3):
        changed = bits(0, 0, base, "s") ^ bits(0, 0, base ^ (1 << bit), "s")
        share = np.array([((changed >> np.uint64(b)) & np.uint64(1)).mean() for b in range(64)])
        assert np.abs(share - 0.5).max() < 6 * 0.5 / math.sqrt(len(base))


def test_more_numbers_leave_the_first_ones_alone() -> None:
    index = np.array([5, 900_000, 5])
    assert (uniform(1, 2, index, "a", 3) == uniform(1, 2, index, "a", 9)[:, :3]).all()
    assert (uniform(1, 2, index, "a", 3)[0] == uniform(1, 2, index, "a", 3)[2]).all()


def test_permutation_is_one_and_changes_with_seed_and_epoch() -> None:
    order = permutation(0, 1, 10_000)
    assert (np.sort(order) == np.arange(10_000)).all()
    assert (order == permutation(0, 1, 10_000)).all()
    for other in (permutation(0, 2, 10_000), permutation(1, 1, 10_000)):
        assert (order == other).mean() < 0.01
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 5 / 100


def test_weighted_draw_follows_the_weights() -> None:
    weights = np.repeat([1.0, 0.0, 9.0], 20_000)
    drawn = weighted_draw(0, 0, weights)
    share = (drawn < 20_000).mean()
    assert not ((drawn >= 20_000) & (drawn < 40_000)).any()
    assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / len(drawn))
    assert (drawn != weighted_draw(0, 1, weights)).any()


def test_occurrences_counts_turns() -> None:
    assert occurrences(np.array([4, 2, 4, 4, 2, 9])).tolist() == [0, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 2.0, 8.0])
def test_beta_quantile_has_the_moments_of_beta(alpha: float) -> None:
    values = beta_quantile(alpha, (np.arange(100_000) + 0.5) / 100_000)
    assert (np.diff(values) >= 0).all()
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.mean() == pytest.approx(0.5, abs=1e-6)
    assert values.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=2e-3)


# ---- the record


@pytest.mark.parametrize(
    "wrong",
    [{"flip_horizontal": 1.5}, {"rotate": -3}, {"crop_scale": (0.5, 0.1)}, {"crop_scale": (0, 1)}, {"crop_ratio": (2, 1)},
     {"shift": 0.5}, {"mixup": -1}, {"fill": 300}, {"zoom": 1.0}],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Augment(**wrong)


def test_what_is_on() -> None:
    assert not Augment().any
    assert not Augment(fill=3, crop_ratio=(1, 1)).any
    assert Augment(brightness=0.1).any
    assert not Augment(brightness=0.1).geometric
    assert Augment(shift=1, flip_vertical=0.1).geometric
    assert not Augment(shift=1).resamples
    assert Augment(shift=1, rotate=1).resamples


# ---- geometry


def test_identity_map_returns_the_very_pixels() -> None:
    images = pictures(3, 3, 28, 28)
    maps = affine.compose(np.repeat(WHOLE_28, 3, 0), (28, 28))
    for fill in (None, 7.0):
        # Positions are float32: off by at most 28 * 2**-22 pixels, times 255 levels, in each axis.
        assert (affine.resample(images, maps, (28, 28), fill=fill) - images).abs().max() < 2 * 255 * 28 * 2**-22


@pytest.mark.parametrize("quarter_turns", [-1, 1, 2])
def test_rotation_is_rot90(quarter_turns: int) -> None:
    images = pictures(2, 3, 28, 28)
    maps = affine.compose(np.repeat(WHOLE_28, 2, 0), (28, 28), rotate=np.full(2, quarter_turns * math.pi / 2))
    turned = affine.resample(images, maps, (28, 28))
    assert (turned - torch.rot90(images, quarter_turns, (2, 3))).abs().max() < 0.1


@pytest.mark.parametrize("fill", [None, 31.0])
def test_whole_pixel_shift_and_flip_equal_slices_bit_for_bit(fill: float | None) -> None:
    images = pictures(2, 3, 9, 12)
    flips, none = np.array([True, False]), np.array([False, False])
    moved = affine.move(images, flips, none, np.array([[2, -3], [0, 4]]), fill)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved[0, :, :6, 2:], images[0].flip(-1)[:, 3:, :-2])
    assert torch.equal(moved[1, :, 4:], images[1, :, :5])
    border = moved[1, :, :4]
    assert torch.equal(border, images[1, :, :1].expand(-1, 4, -1)) if fill is None else bool((border == 31).all())
    still = np.zeros((2, 2), dtype=np.int64)
    assert torch.equal(affine.move(affine.move(images, flips, flips, still), flips, flips, still), images)


def test_exact_path_and_resample_agree() -> None:
    images, index = pictures(16, 3, 20, 20), torch.arange(16)
    augment = Augment(flip_horizontal=0.5, flip_vertical=0.5, shift=3, fill=12)
    exact = Augmenter(augment, (20, 20), 0, 10)({"image": images, "index": index}, 1)["image"]
    # A rotation of nothing switches the exact path off and leaves the map what it is.
    general = Augmenter(replace(augment, rotate=1e-9), (20, 20), 0, 10)({"image": images, "index": index}, 1)["image"]
    assert (exact.dtype, general.dtype) == (torch.uint8, torch.float32)
    exact = exact.float()
    assert (exact - general).abs().max() < 0.02
    assert ((exact - images).abs().amax((1, 2, 3)) > 0).sum() >= 12


def test_maps_compose_in_the_stated_order() -> None:
    window = np.array([[3.0, 5.0, 40.0, 20.0]])
    shift = np.array([[2.0, -1.0]])
    maps = affine.compose(window, (10, 16), flip_x=np.array([True]), shear=0.2, rotate=0.4, zoom=1.3, shift=shift)
    source = np.array([11.0, 9.0])
    x, y = (source[0] - 23) * 16 / 40, (source[1] - 15) * 10 / 20
    x = -x
    x = x + math.tan(0.2) * y
    x, y = x * math.cos(0.4) + y * math.sin(0.4), -x * math.sin(0.4) + y * math.cos(0.4)
    expected = np.array([8 + 1.3 * x + 2, 5 + 1.3 * y - 1])
    back = affine.invert(maps)[0] @ [*source, 1]
    assert np.allclose(back, expected, atol=1e-12)
    assert np.allclose(maps[0] @ [*expected, 1], source, atol=1e-12)


def test_a_map_and_its_inverse_give_the_image_back() -> None:
    image = torch.from_numpy(smooth(64, 64))
    maps = affine.compose(np.array([[0.0, 0, 64, 64]]), (64, 64), rotate=0.5, zoom=1.1, shift=np.array([[3.0, -2.0]]))
    there = affine.resample(image, maps, (64, 64))
    back = affine.resample(there, affine.invert(maps), (64, 64))
    # Linear interpolation errs by at most h^2/8 * curvature an axis: (60/49 + 60/81) / 8 a pass, and there are two.
    assert (back - image)[..., 20:44, 20:44].abs().max() < 2 * (60 / 49 + 60 / 81) / 8


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_shrinking_averages_areas(factor: int) -> None:
    image = pictures(1, 3, 12 * factor, 12 * factor).float()
    maps = affine.compose(np.array([[0.0, 0, 12 * factor, 12 * factor]]), (12, 12))
    shrunk = affine.resample(image, maps, (12, 12))
    area = torch.nn.functional.avg_pool2d(image, factor)
    # White noise has a spread of 74 levels; taps that missed pixels would keep all of it, averages keep 74 / factor.
    assert (shrunk - area).abs().mean() < 0.45 * 74 / factor
    assert shrunk.mean() == pytest.approx(image.mean().item(), abs=1.0)
    assert shrunk.std() < 1.15 * area.std()


def test_resampling_is_close_to_pillow(shared_data: Any) -> None:
    path = next(iter(sorted((shared_data / "imagenet_samples").rglob("*.[jJ]*"))))
    picture = np.asarray(Image.open(path).convert("RGB"))
    for box in ((20, 10, 270, 260), (40, 40, 140, 120)):
        cut = Image.fromarray(picture[box[1] : box[3], box[0] : box[2]])
        pillow = np.asarray(cut.resize((96, 96), Image.Resampling.BILINEAR))
        window = np.array([[box[0], box[1], box[2] - box[0], box[3] - box[1]]], dtype=np.float64)
        image = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None]
        ours = affine.resample(image, affine.compose(window, (96, 96)), (96, 96))
        difference = np.abs(ours[0].permute(1, 2, 0).numpy() - pillow)[2:-2, 2:-2]
        assert difference.mean() < 0.1 * pillow.std()


def test_pictures_end_where_their_extent_ends() -> None:
    picture = pictures(1, 3, 17, 23)
    canvas = torch.full((2, 3, 40, 50), 255, dtype=torch.uint8)
    canvas[:, :, :17, :23] = picture
    extent = np.array([[17, 23], [40, 50]])
    maps = affine.compose(np.array([[0.0, 0, 23, 17]] * 2), (20, 20), rotate=0.3, zoom=0.7, shift=np.array([[2.0, -1.0]]))
    for fill in (None, 10.0):
        alone = affine.resample(picture, maps[:1], (20, 20), fill=fill)
        together = affine.resample(canvas, maps, (20, 20), extent=extent, fill=fill)
        assert (alone[0] - together[0]).abs().max() < 0.02
        assert (alone[0] - together[1]).abs().max() > 50  # its extent is the canvas, which is white there
    assert (affine.resample(canvas[:1], maps[:1], (20, 20), extent=extent[:1], fill=0)[0, :, 0, 0] == 0).all()


def test_masks_and_boxes_move_with_the_image() -> None:
    canvas = torch.zeros(1, 1, 40, 60, dtype=torch.uint8)
    canvas[..., 10:20, 15:35] = 200
    mask = (canvas[:, 0] > 0).long() * 4
    boxes, labels = [torch.tensor([[15.0, 10, 35, 20], [0, 0, 3, 3]])], [torch.tensor([7, 8])]
    for seed in range(6):
        augment = Augment(flip_horizontal=0.5, rotate=8, zoom=0.1, translate=0.05)
        batch = {"image": canvas, "index": torch.tensor([seed]), "mask": mask, "boxes": boxes, "box_label": labels}
        moved = Augmenter(augment, (40, 60), 1, 10)(batch, 0)
        seen = moved["image"][0, 0] > 100
        agree = ((moved["mask"][0] == 4) == seen) | (moved["mask"][0] == affine.IGNORE)
        assert agree.float().mean() > 0.98
        rows, columns = torch.nonzero(seen, as_tuple=True)
        box = moved["boxes"][0][moved["box_label"][0] == 7][0]
        tight = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        # The box around turned corners is looser by up to the turn's sine times the sides; it never cuts anything off.
        assert (box[:2] <= tight[:2] + 1).all()
        assert (box[2:] >= tight[2:] - 1).all()
        assert (box - tight).abs().max() < 2 + 20 * math.sin(math.radians(8)) * 1.1
    assert moved["mask"].dtype == torch.int64


def test_boxes_that_leave_the_image_go_with_their_labels() -> None:
    maps = affine.compose(np.array([[0.0, 0, 20, 20]] * 3), (20, 20), shift=np.array([[10.0, -3.0]] * 3))
    boxes = [torch.tensor([[12.0, 2, 18, 8], [0, 0, 15, 5]]), torch.empty(0, 4), torch.tensor([[9.5, 0, 12, 5], [1, 0, 5, 3.5]])]
    labels = [torch.tensor([1, 2]), torch.empty(0, dtype=torch.int64), torch.tensor([3, 4])]
    mapped, kept = affine.map_boxes(boxes, labels, maps, (20, 20))
    assert [each.tolist() for each in mapped] == [[[10.0, 0.0, 20.0, 2.0]], [], []]
    assert [each.tolist() for each in kept] == [[2], [], []]


def test_mask_outside_the_picture_is_ignored() -> None:
    mask = torch.full((1, 10, 10), 3)
    maps = affine.compose(np.array([[0.0, 0, 10, 10]]), (10, 10), shift=np.array([[4.0, 0.0]]))
    moved = affine.resample_mask(mask, maps, (10, 10))
    assert (moved[..., :4] == affine.IGNORE).all()
    assert (moved[..., 4:] == 3).all()
    batch = {"image": pictures(1, 1, 10, 10), "mask": mask, "index": torch.tensor([5])}
    exact = Augmenter(Augment(shift=3), (10, 10), 0, 2)(batch, 0)
    assert set(exact["mask"].unique().tolist()) == {3, affine.IGNORE}


def test_crop_windows_lie_inside_and_have_the_asked_area() -> None:
    num = 20_000
    height, width = np.full(num, 300.0), np.full(num, 400.0)
    drawn = windows.draw(height, width, (0.08, 1.0), (3 / 4, 4 / 3), uniform(0, 0, np.arange(num), "crop", 22))
    left, top, w, h = drawn.T
    assert min(left.min(), top.min()) >= 0
    assert (left + w).max() <= 400 + 1e-9
    assert (top + h).max() <= 300 + 1e-9
    share, ratio = w * h / 120_000, w / h
    assert share.min() >= 0.08 - 1e-12
    assert ratio.min() >= 3 / 4 - 1e-12
    assert ratio.max() <= 4 / 3 + 1e-12
    # Of areas that fit at every ratio (under 3/4 of 300 x 300 = 56 %), the share is drawn evenly.
    small = share[share < 0.5]
    assert abs(small.mean() - 0.29) < 5 * 0.42 / math.sqrt(12 * len(small))
    draws = uniform(0, 0, np.arange(9), "crop", 22)
    panorama = windows.draw(np.full(9, 10.0), np.full(9, 1000.0), (0.9, 1.0), (3 / 4, 4 / 3), draws)
    assert np.allclose(panorama, [1000 / 2 - 10 * 4 / 3 / 2, 0, 10 * 4 / 3, 10])


def coloured(height: int, width: int) -> npt.NDArray[np.uint8]:
    """[height, width, 3], smooth in every channel, each another."""
    wave = smooth(height, width)[0, 0]
    return np.stack((wave, wave[::-1], wave[:, ::-1]), axis=2).astype(np.uint8)


def test_a_window_is_cut_as_pillow_would() -> None:
    """Shrunk, enlarged and turned about: its fixed-point weights may round to the next level, no more."""
    image = torch.from_numpy(np.stack([coloured(150, 200), coloured(150, 200)[::-1]]))
    window = np.array([[11.3, 20.8, 160.4, 119.0], [60.2, 31.0, 40.0, 45.5]])
    flips = np.array([False, True])
    ours = windows.cut(image.permute(0, 3, 1, 2), window, (64, 72), flips, ~flips)
    for picture, (left, top, right, bottom), turn, result in zip(
        image, [(11, 21, 172, 140), (60, 31, 100, 76)], (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT), ours,
        strict=True,
    ):  # fmt: skip
        theirs = Image.fromarray(picture.numpy()).crop((left, top, right, bottom)).resize((72, 64), Image.Resampling.BILINEAR)
        apart = result.permute(1, 2, 0).numpy().astype(int) - np.asarray(theirs.transpose(turn))
        assert np.abs(apart).max() <= 1
    assert windows.cut(image.permute(0, 3, 1, 2), np.array([[199.9, 149.9, 0.05, 0.05]] * 2), (8, 8), flips, flips).any()


def test_windows_of_bytes_are_cut_where_the_map_would_take_them() -> None:
    """Of smooth pictures, whose values differ little within the half pixel that a window is rounded by."""
    images = torch.from_numpy(np.stack([coloured(160, 200)] * 8)).permute(0, 3, 1, 2)
    extent = torch.tensor([[160, 200], [120, 150]] * 4)
    batch = {"image": images, "index": torch.arange(8), "extent": extent}
    augmenter = Augmenter(Augment(crop_scale=(0.3, 1.0), flip_horizontal=0.5, flip_vertical=0.5), (96, 96), 3, 0)
    cut, mapped = augmenter(batch, 2)["image"], augmenter({**batch, "image": images.float()}, 2)["image"]
    assert (cut.dtype, mapped.dtype) == (torch.uint8, torch.float32)
    steps = [images[0].float().diff(dim=axis).abs() for axis in (1, 2)]  # each edge of a window moves by half a pixel at most
    assert (cut - mapped).abs().max() <= 1 + sum(float(each.max()) for each in steps)
    assert (cut - mapped).abs().mean() <= 0.5 + 0.5 * sum(float(each.mean()) for each in steps)
    for small, (height, width) in ((5, (120, 150)), (6, (40, 50))):  # whatever shares the batch, also with one of few pixels
        extent[small] = torch.tensor((height, width))
        among = augmenter({**batch, "extent": extent}, 2)["image"][small]
        alone = augmenter({"image": images[small : small + 1, :, :height, :width], "index": torch.tensor([small])}, 2)["image"]
        assert torch.equal(alone[0], among)


def test_without_a_crop_whole_pictures_are_framed_as_for_validation() -> None:
    picture = torch.from_numpy(smooth(120, 200))
    whole = {"image": picture, "extent": torch.tensor([[120, 200]]), "index": torch.tensor([0])}
    framed = Augmenter(Augment(), (56, 56), 0, 10, resize=64)(whole, 0)["image"]
    pillow = Image.fromarray(smooth(120, 200)[0, 0], mode="F").resize((int(64 * 200 / 120), 64), Image.Resampling.BILINEAR)
    expected = np.asarray(pillow)[4:60, 25:81]
    assert np.abs(framed[0, 0].numpy() - expected).max() < 4  # Pillow cuts at whole pixels: up to half of one beside


# ---- values


def test_factors_of_one_change_nothing() -> None:
    images, ones = pictures(4, 3, 8, 8).float(), np.ones(4)
    assert torch.equal(color.adjust(images, ones, ones, ones), images)


def test_brightness_contrast_and_saturation() -> None:
    images = pictures(3, 3, 16, 16).float() / 4 + 60  # far from both clamps
    one, factor = np.ones(3), np.array([0.8, 1.0, 1.2])
    scale = torch.tensor(factor, dtype=torch.float32).view(-1, 1, 1, 1)
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(color.adjust(images, factor, one, one), images * scale, atol=1e-3)
    mean = luma.mean((2, 3), keepdim=True)
    assert torch.allclose(color.adjust(images, one, factor, one), (images - mean) * scale + mean, atol=1e-3)
    assert torch.allclose(color.adjust(images, one, one, factor), (images - luma) * scale + luma, atol=1e-3)
    together = color.adjust(images, factor, factor[::-1].copy(), factor)
    one_by_one = color.adjust(
        color.adjust(color.adjust(images, one, one, factor), one, factor[::-1].copy(), one), factor, one, one
    )
    assert torch.allclose(together, one_by_one, atol=1e-3)
    grey = color.adjust(images, one, one, np.zeros(3))
    assert torch.allclose(grey, luma.expand(-1, 3, -1, -1), atol=1e-3)
    assert torch.allclose(color.adjust(images[:, :1], one, one, factor), images[:, :1], atol=1e-4)  # one channel has no colour
    assert color.adjust(images, np.full(3, 9.0), one, one).max() == 255
    assert color.adjust(images, one, np.full(3, 99.0), one).min() == 0


def test_erasing_is_one_rectangle_of_one_color_within_the_stated_area() -> None:
    images = torch.full((400, 3, 40, 40), -1.0)
    draws = uniform(0, 0, np.arange(400), "erase", 7)
    erased = color.erase(images, np.arange(400) % 2 == 0, draws)
    gone = (erased != -1).all(1)
    assert not gone[1::2].any()
    shares = gone[::2].float().mean((1, 2))
    assert shares.min() > 0.01
    assert shares.max() < 0.35
    assert shares.mean() == pytest.approx(0.175, abs=0.02)
    for image, where in zip(erased[::2][:50], gone[::2][:50], strict=True):
        rows, columns = torch.nonzero(where, as_tuple=True)
        assert where.sum() == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert len(image[:, where].unique(dim=1).T) == 1


# ---- mixing


def test_partners_go_around_the_whole_batch_and_ignore_its_order() -> None:
    words = bits(0, 0, np.arange(9), "partner")
    partner = mixing.partners(words)
    at, seen = 0, []
    for _ in range(9):
        at = int(partner[at])
        seen.append(at)
    assert sorted(seen) == list(range(9))
    shuffle = np.array([3, 1, 8, 0, 2, 7, 5, 6, 4])
    assert (shuffle[mixing.partners(words[shuffle])] == partner[shuffle]).all()


def test_mixup_blends_image_and_label_alike() -> None:
    values = torch.arange(8).float()
    images = values.view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    batch = {"image": images, "index": torch.arange(8), "label": torch.arange(8)}
    mixed = Augmenter(Augment(mixup=1.0), (4, 4), 0, 8)(batch, 0)
    assert mixed["label"].shape == (8, 8)
    assert torch.allclose(mixed["label"].sum(1), torch.ones(8))
    assert torch.allclose(mixed["label"] @ values, mixed["image"][:, 0, 0, 0], atol=1e-5)
    assert ((mixed["label"] > 0).sum(1) == 2).all()


def test_cutmix_labels_weigh_the_pixels_really_pasted() -> None:
    images = torch.arange(16).float().view(-1, 1, 1, 1).expand(-1, 3, 9, 14)
    many = torch.eye(16)[:, :7] + torch.eye(16).flip(1)[:, :7]
    for label, num_classes in ((torch.arange(16), 16), (many, 7)):
        batch = {"image": images, "index": torch.arange(16), "label": label}
        mixed = Augmenter(Augment(cutmix=1.0), (9, 14), 0, num_classes)(batch, 3)
        shares = torch.stack([(mixed["image"][:, 0] == value).float().mean((1, 2)) for value in range(16)], dim=1)
        soft = torch.eye(16) if label.ndim == 1 else many
        assert torch.allclose(mixed["label"], shares @ soft, atol=1e-6)
    assert ((shares > 0).sum(1) == 2).any()


def test_both_on_take_turns_by_batch() -> None:
    augmenter = Augmenter(Augment(mixup=1.0, cutmix=1.0), (6, 6), 0, 64)
    blended = []
    for epoch in range(40):
        images = torch.arange(64).float().view(-1, 1, 1, 1).expand(-1, 1, 6, 6)
        mixed = augmenter({"image": images, "index": torch.arange(64), "label": torch.arange(64)}, epoch)["image"]
        blended.append(bool((mixed != mixed.round()).any()))
    assert 8 < sum(blended) < 32


def test_mixing_refuses_what_has_no_classes() -> None:
    with pytest.raises(UsageError, match="has none"):
        Augmenter(Augment(mixup=0.2), (8, 8), 0, 0)
    augmenter = Augmenter(Augment(cutmix=0.2), (8, 8), 0, 3)
    batch = {"image": pictures(2, 1, 8, 8), "index": torch.arange(2)}
    with pytest.raises(UsageError, match="regression"):
        augmenter({**batch, "label": torch.tensor([0.5, 1.5])}, 0)
    with pytest.raises(UsageError, match="mask"):
        augmenter({**batch, "label": torch.tensor([0, 1]), "mask": torch.zeros(2, 8, 8).long()}, 0)


# ---- the whole


def test_nothing_on_is_the_identity() -> None:
    batch = {"image": pictures(2, 1, 8, 8), "index": torch.arange(2), "label": torch.arange(2)}
    assert Augmenter(Augment(), (8, 8), 0, 3)(batch, 0) is batch


def _canvas(index: torch.Tensor) -> dict[str, torch.Tensor]:
    """Pictures of different sizes, each a function of its index alone."""
    sizes = [(20 + int(i) % 5 * 9, 50 - int(i) % 7 * 4) for i in index]
    canvas = torch.zeros(len(index), 3, max(h for h, _ in sizes), max(w for _, w in sizes), dtype=torch.uint8)
    for place, i, (height, width) in zip(canvas, index, sizes, strict=True):
        place[:, :height, :width] = pictures(1, 3, height, width, int(i))[0]
    return {"image": canvas, "index": index, "extent": torch.tensor(sizes)}


def test_an_image_comes_out_the_same_in_any_batch() -> None:
    augmenter, index = Augmenter(EVERYTHING, (24, 24), 5, 10), torch.tensor([3, 8, 1, 12, 40, 41, 42])
    together = augmenter(_canvas(index), 2)["image"]
    for place, i in enumerate(index):
        alone = augmenter(_canvas(i[None]), 2)["image"][0]
        # Another canvas rounds positions otherwise: some 2**-22 of its 50 pixels, times the steepest step.
        assert (alone - together[place]).abs().max() < 0.1
    same_canvas = _canvas(index)
    backwards = {key: value.flip(0) for key, value in same_canvas.items()}
    assert torch.equal(augmenter(backwards, 2)["image"].flip(0), together)
    assert torch.equal(augmenter(same_canvas, 2)["image"], together)
    assert not torch.equal(augmenter(same_canvas, 3)["image"], together)
    assert not torch.equal(Augmenter(EVERYTHING, (24, 24), 6, 10)(same_canvas, 2)["image"], together)


def test_images_drawn_twice_are_varied_twice() -> None:
    augmenter = Augmenter(Augment(rotate=20), (16, 16), 0, 10)
    images = pictures(1, 1, 16, 16).expand(2, -1, -1, -1)
    batch = {"image": images, "index": torch.tensor([4, 4])}
    first, second = augmenter(batch, 0)["image"]
    assert torch.equal(first, second)
    varied = augmenter({**batch, "occurrence": torch.tensor([0, 1])}, 0)
    assert torch.equal(varied["image"][0], first)
    neighbour = augmenter({"image": images[:1], "index": torch.tensor([5])}, 0)["image"][0]
    assert not torch.equal(varied["image"][1], first)
    assert not torch.equal(varied["image"][1], neighbour)
    assert "occurrence" not in varied


def _augmented(_: int) -> npt.NDArray[np.float32]:
    torch.set_num_threads(1)
    result: npt.NDArray[np.float32] = Augmenter(EVERYTHING, (24, 24), 5, 10)(_canvas(torch.arange(6)), 2)["image"].numpy()
    return result


@pytest.mark.slow
def test_another_process_gives_the_same_images() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.map(_augmented, [0])[0]
    assert np.array_equal(other, _augmented(0))


def test_each_kind_of_geometry_draws_on_its_own() -> None:
    """Where a small box 10 pixels right of the centre, and another above it, lie afterwards says what was drawn."""
    num, side, far = 4000, 41, 10.0
    centre = side / 2
    places = torch.tensor([[centre + far, centre], [centre, centre - far]])
    batch = {
        "image": torch.zeros(num, 1, side, side, dtype=torch.uint8),
        "index": torch.arange(num),
        "boxes": [torch.cat((places - 1, places + 1), dim=1).double()] * num,
        "box_label": [torch.tensor([0, 1])] * num,
    }

    def displaced(**kind: Any) -> npt.NDArray[np.float64]:
        """[N, 2 boxes, 2] x and y from the centre."""
        moved = torch.stack(Augmenter(Augment(**kind), (side, side), 7, 0)(batch, 2)["boxes"]).numpy()
        boxes: npt.NDArray[np.float64] = (moved[..., :2] + moved[..., 2:]) / 2 - centre
        return boxes

    turned, slanted, scaled, shifted = displaced(rotate=40), displaced(shear=40), displaced(zoom=0.3), displaced(translate=0.1)
    drawn = [
        np.degrees(np.arctan2(-turned[:, 0, 1], turned[:, 0, 0])) / 40,
        np.degrees(np.arctan2(slanted[:, 1, 0], far)) / 40,
        (scaled[:, 0, 0] / far - 1) / 0.3,
        (shifted[:, 0, 0] - far) / (0.1 * side),
        shifted[:, 0, 1] / (0.1 * side),
    ]
    # 5 standard errors of a variance of 1/3 and of a correlation.
    assert np.abs(np.var(drawn, axis=1) - 1 / 3).max() < 5 * math.sqrt(4 / 45 / num)
    assert np.abs(np.corrcoef(drawn) - np.eye(len(drawn))).max() < 5 / math.sqrt(num)


def test_flips_come_as_often_as_asked() -> None:
    num = 4000
    images = torch.tensor([[0, 255]], dtype=torch.uint8).expand(num, 1, 1, 2)
    flipped = Augmenter(Augment(flip_horizontal=0.3), (1, 2), 0, 2)({"image": images, "index": torch.arange(num)}, 0)["image"]
    share = (flipped[:, 0, 0, 0] == 255).float().mean().item()
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / num)


def test_threads_cut_the_same_windows_and_leave_the_thread_count() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (11, 40, 50, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    window = windows.draw(np.full(11, 40.0), np.full(11, 50.0), (0.3, 1.0), (0.75, 1.33), rng.random((11, 22)))
    flips = rng.random((2, 11)) < 0.5
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3, 2):
            torch.set_num_threads(threads)
            found.append(windows.cut(images, window, (16, 16), *flips))
            assert torch.get_num_threads() == threads
        inside = windows._pool(3).submit(torch.get_num_threads).result()
    finally:
        torch.set_num_threads(before)
    assert inside == 1
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert found[0].float().std() > 10
