"""The named image filters: the lectures' numbers, and what they do to pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import Ended
from numpy.typing import NDArray
from PIL import Image

from striate.errors import UsageError
from striate.kernels import KERNELS, Kernel, apply_kernel, find_kernel, parse_kernel, response

Command = Callable[..., Ended]
GOLDEN: dict[str, dict[str, Any]] = {
    item["id"]: item for item in json.loads((Path(__file__).parent / "papers" / "golden.json").read_text())
}
PRINTED = {
    "identity": "s4.filterbank.identity",
    "edge_1": "s4.filterbank.edge1",
    "edge_2": "s4.filterbank.edge2",
    "edge_3": "s4.filterbank.edge3",
    "sharpen": "s4.filterbank.sharpen",
    "box": "s4.filterbank.box",
    "sobel_top": "s3.top_sobel",
    "sobel_left": "s0.filter.sobel_x",
    "prewitt_vertical": "s0.vertical_edge",
    "prewitt_horizontal": "s0.filter.horizontal",
    "line_1": "s3.line.f1.valid",
    "line_2": "s3.line.f2.valid",
    "line_3": "s3.line.f3.valid",
    "line_4": "s3.line.f4.valid",
    "diagonal": "s4.filter1.s1",
    "vertical": "s4.filter2.s1",
    "loopy": "s4.loopy.mean",
    "curve": "s0.curve_filter_self",
    "blur": "s1.lincoln24x16.blur141",
    "sharpen_mild": "s1.lincoln24x16.sharpen8",
    "laplacian": "s1.lincoln24x16.laplacian4",
}
"""Filter -> the item of the lectures' table that prints it."""


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("name", PRINTED)
def test_matrix_is_the_printed_one(name: str) -> None:
    """As whole numbers, or, where the table has fractions, over the divisor."""
    kernel, printed = KERNELS[name], np.array(GOLDEN[PRINTED[name]]["kernel"])
    divisor = kernel.divisor if printed.dtype.kind == "f" else 1
    np.testing.assert_allclose(np.array(kernel.matrix) / divisor, printed, rtol=1e-15)


@pytest.mark.parametrize("family", ["sobel", "scharr"])
def test_four_directions_are_one_matrix_turned(family: str) -> None:
    top, left, bottom, right = (np.array(KERNELS[f"{family}_{way}"].matrix) for way in ("top", "left", "bottom", "right"))
    assert np.array_equal(top, -bottom)
    assert np.array_equal(left, -right)
    assert np.array_equal(left, top.T)
    step = np.zeros((5, 5), np.uint8)
    step[:2] = 255
    assert response(step, KERNELS[f"{family}_top"])[2, 2] > 0 > response(step, KERNELS[f"{family}_bottom"])[2, 2]
    assert response(step.T, KERNELS[f"{family}_left"])[2, 2] > 0 > response(step.T, KERNELS[f"{family}_right"])[2, 2]


def test_scharr_and_gaussian_as_printed() -> None:
    """The two that the table has no item for: lectures 0 and 4."""
    assert KERNELS["scharr_left"].matrix == ((3, 0, -3), (10, 0, -10), (3, 0, -3))
    assert (KERNELS["gaussian"].matrix, KERNELS["gaussian"].divisor) == (((1, 2, 1), (2, 4, 2), (1, 2, 1)), 16)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("border", ["edge", "zero"])
def test_response_is_pytorchs(name: str, border: Any) -> None:
    image, kernel = picture(11, 8), KERNELS[name]
    weights = torch.tensor(kernel.matrix, dtype=torch.float64)[None, None]
    planes = torch.from_numpy(image).double().movedim(-1, 0)[:, None]
    sides = [side for n in reversed(weights.shape[2:]) for side in ((n - 1) // 2, n // 2)]
    padded = F.pad(planes, sides, mode="replicate") if border == "edge" else F.pad(planes, sides)
    expected = F.conv2d(padded, weights)[:, 0].movedim(0, -1) / kernel.divisor
    # Whole numbers, so that only the division rounds.
    np.testing.assert_allclose(response(image, kernel, border), expected.numpy(), rtol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 3), (300, 4300, 3), (7, 5)])
def test_any_size_in_bands_or_at_once(shape: tuple[int, ...]) -> None:
    """The third is larger than one band."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(apply_kernel(image, KERNELS["identity"]), image)
    blurred = apply_kernel(image, KERNELS["gaussian"])
    assert blurred.dtype == np.uint8
    assert np.array_equal(blurred, np.floor(response(image, KERNELS["gaussian"]) + 0.5))


def test_how_responses_are_shown() -> None:
    image = np.array([[0, 255, 255, 0]], np.uint8)
    kernel = Kernel("difference", ((-1, 1),))
    assert response(image, kernel).tolist() == [[255, 0, -255, 0]]
    assert apply_kernel(image, kernel, show="clip").tolist() == [[255, 0, 0, 0]]
    assert apply_kernel(image, kernel, show="magnitude").tolist() == [[255, 0, 255, 0]]
    assert apply_kernel(image, kernel, show="range").tolist() == [[255, 128, 0, 128]]
    assert kernel.show == "magnitude"
    assert {KERNELS[name].show for name in ("identity", "sharpen", "box", "gaussian", "blur", "sharpen_mild")} == {"clip"}
    assert {KERNELS[name].show for name in ("edge_1", "edge_2", "edge_3", "sobel_top", "line_1")} == {"magnitude"}
    assert KERNELS["curve"].show == "range"


@pytest.mark.parametrize("name", KERNELS)
def test_range_reaches_black_and_white_and_no_further(name: str) -> None:
    """On the picture that answers most, and on its negative."""
    kernel = KERNELS[name]
    best = np.where(np.array(kernel.matrix) > 0, 255, 0).astype(np.uint8)
    middle = tuple((n - 1) // 2 for n in best.shape)
    responses = (response(255 - best, kernel)[middle], response(best, kernel)[middle])
    assert responses == pytest.approx(kernel.reach, abs=1e-9)
    assert apply_kernel(best, kernel, show="range")[middle] == 255
    assert apply_kernel(255 - best, kernel, show="range")[middle] == 0


def test_even_areas_have_no_edges_up_to_the_border() -> None:
    grey = np.full((6, 6), 77, np.uint8)
    assert not apply_kernel(grey, KERNELS["edge_3"]).any()
    assert apply_kernel(grey, KERNELS["edge_3"], border="zero")[0].all()


def test_a_kernel_of_ones_own() -> None:
    assert parse_kernel("0 -1 0; -1 5 -1; 0 -1 0").matrix == KERNELS["sharpen"].matrix
    assert parse_kernel("1/9, 0.5\n -1e1 ;2 3 4;").matrix == ((1 / 9, 0.5, -10), (2, 3, 4))
    for text, said in {
        "1 2; 3": "2, 1 numbers",
        "1 x": "'x'",
        "": "numbers",
        "1/0": "numbers",
        "inf": "inf",
        "nan": "nan",
    }.items():
        with pytest.raises(UsageError, match=said):
            parse_kernel(text)


def test_names() -> None:
    assert find_kernel("Sobel-Left") is KERNELS["sobel_left"]
    with pytest.raises(UsageError, match="Did you mean 'sobel_left'"):
        find_kernel("sobel_lef")
    with pytest.raises(UsageError, match="no border 'mirror'"):
        apply_kernel(picture(3, 3), KERNELS["box"], border="mirror")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nothing is shown as 'abs'"):
        apply_kernel(picture(3, 3), KERNELS["box"], show="abs")  # type: ignore[arg-type]


def test_command_on_pictures_of_every_kind(tmp_path: Path, striate_command: Command) -> None:
    """Colour, grey, 16-bit, CMYK, and one that EXIF turns: each as it is decoded everywhere else."""
    colour = Image.fromarray(picture(5, 9))
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(picture(5, 9)[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(picture(5, 9)[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    colour.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    for name, size, mode in [("turned.png", (5, 9), "RGB"), ("grey.png", (9, 5), "L"), ("deep.png", (9, 5), "L"),
                             ("cmyk.jpg", (9, 5), "RGB")]:  # fmt: skip
        ended = striate_command("filter", "identity", tmp_path / name, "-o", tmp_path / "out.png")
        assert ended.status == 0, ended.err
        assert str(tmp_path / "out.png") in ended.out
        with Image.open(tmp_path / "out.png") as out:
            assert (out.size, out.mode) == (size, mode)
            if mode == "L":
                assert np.array_equal(np.asarray(out), picture(5, 9)[:, :, 0])
    expected = np.rot90(picture(5, 9), -1)
    striate_command("filter", "sharpen", tmp_path / "turned.png", "--out", tmp_path / "out.webp")
    with Image.open(tmp_path / "out.webp") as out:
        assert np.array_equal(np.asarray(out.convert("RGB")), apply_kernel(np.ascontiguousarray(expected), KERNELS["sharpen"]))


def test_command_with_a_kernel_of_ones_own(tmp_path: Path, striate_command: Command) -> None:
    Image.fromarray(picture(5, 9)).save(tmp_path / "in.png")
    words = (tmp_path / "in.png", "-o", tmp_path / "out.png", "--kernel", "-1 1", "--show", "clip", "--border", "zero")
    assert striate_command("filter", *words).status == 0
    with Image.open(tmp_path / "out.png") as out:
        expected = apply_kernel(picture(5, 9), Kernel("own", ((-1, 1),)), "zero", "clip")
        assert np.array_equal(np.asarray(out), expected)


@pytest.mark.parametrize("words", [(), ("--list",)])
def test_list_shows_every_filter_with_its_matrix(words: tuple[str, ...], striate_command: Command) -> None:
    ended = striate_command("filter", *words)
    assert ended.status == 0
    assert [name for name in KERNELS if name not in ended.out.split()] == []
    assert "-1  5 -1" in ended.out
    assert "/ 16" in ended.out


def test_a_name_alone_shows_its_matrix(striate_command: Command) -> None:
    ended = striate_command("filter", "scharr-left")
    assert (ended.status, ended.out.count("10   0 -10")) == (0, 1)


def test_what_the_command_refuses(tmp_path: Path, striate_command: Command) -> None:
    """Nothing is written, and the picture is as it was."""
    source = tmp_path / "in.png"
    Image.fromarray(picture(4, 4)).save(source)
    (tmp_path / "broken.png").write_bytes(source.read_bytes()[:60])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for words, status, said in [
        (("sharpn", source, "-o", tmp_path / "out.png"), 2, "Did you mean 'sharpen'?"),
        (("sharpen", source), 2, "-o RESULT.png"),
        (("sharpen", source, source, "-o", tmp_path / "out.png"), 2, "one picture"),
        (("sharpen", "-o", tmp_path / "out.png"), 2, "needs a picture"),
        (("sharpen", source, "-o", tmp_path / "out.gif"), 2, ".gif"),
        (("sharpen", source, "-o", tmp_path / "out"), 2, "no ending"),
        (("sharpen", source, "-o", source), 2, "the picture itself"),
        (("sharpen", source, "-o", tmp_path / "no" / "out.png"), 5, "Could not write"),
        (("sharpen", tmp_path / "broken.png", "-o", tmp_path / "out.png"), 1, "broken.png"),
        (("sharpen", tmp_path / "none.png", "-o", tmp_path / "out.png"), 1, "none.png"),
        ((source, "-o", tmp_path / "out.png", "--kernel", "1 2; 3"), 2, "equally long"),
        (("sharpen", source, "-o", tmp_path / "out.png", "--show", "all"), 2, "--show"),
    ]:  # fmt: skip
        ended = striate_command("filter", *words)
        assert (ended.status, said in ended.err) == (status, True), ended.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
