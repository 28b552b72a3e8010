"""``striate shape``: the little language, the table, the warnings and the errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended

from striate.arithmetic import (
    Convolution,
    Dense,
    DoesNotFit,
    Elementwise,
    GlobalPooling,
    Layer,
    Pooling,
    TransposedConvolution,
    parse_network,
    shape_table,
)
from striate.errors import UsageError

Command = Callable[..., Ended]
LENET = "in 1x32x32; conv 6 k5; pool 2; conv 16 k5; pool 2; conv 120 k5; fc 84; fc 10"
TRUTH: dict[str, dict[str, Any]] = {
    row["name"]: row for row in json.loads((Path(__file__).parent / "papers" / "architectures.json").read_text())
}
STEM = "in 3x224x224; conv 64 k7 s2 p3 nobias; bn; relu; pool 3 s2 p1; conv 64 k3x1 same g64; convt 8 k4 s2 p1; gap; fc 10"


def layer(text: str) -> Layer:
    return parse_network(f"in 4x9x9; {text}")[2][0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv 6 k5", Convolution(6, 5)),
        ("conv 6 k3x5 s2x1 p1x2 d2 g2", Convolution(6, (3, 5), (2, 1), (1, 2), 2, 2)),
        ("conv 6 k3 p0,1,2,3 nobias ceil", Convolution(6, 3, 1, (0, 1, 2, 3), bias=False, rounding="ceil")),
        ("CONV  6 same k3", Convolution(6, 3, padding="same")),
        ("conv 6 valid k3 strict", Convolution(6, 3, padding="valid", rounding="strict")),
        ("convt 8 k4 s2 p1 o1 g2 nobias", TransposedConvolution(8, 4, 2, 1, groups=2, bias=False, output_padding=1)),
        ("convt 8 k4 s2 same d1", TransposedConvolution(8, 4, 2, "same")),
        ("pool 3x2 s2 p1 d2", Pooling((3, 2), 2, 1, 2)),
        ("maxpool k2", Pooling(2)),
        ("avgpool 2 ceil", Pooling(2, rounding="ceil")),
        ("sumpool 2 same", Pooling(2, padding="same")),
        ("gap", GlobalPooling()),
        ("fc 10", Dense(10)),
        ("fc 10 nobias", Dense(10, bias=False)),
        ("bn", Elementwise(trainable=True)),
        ("softmax", Elementwise()),
    ],
)
def test_layer(text: str, expected: Layer) -> None:
    assert layer(text) == expected


def test_comments_line_breaks_and_empty_pieces() -> None:
    text = "\n in 1x8x8 # the image\nconv 2 k3; # a filter ; fc 9\n\n;fc 3;"
    assert parse_network(text) == ((1, 8, 8), ["conv 2 k3", "fc 3"], [Convolution(2, 3), Dense(3)])


def test_strict_throughout_but_where_ceil_is_said() -> None:
    layers = parse_network("in 1x8x8; conv 2 k3; pool 2 ceil; fc 3", strict=True)[2]
    assert layers == [Convolution(2, 3, rounding="strict"), Pooling(2, rounding="ceil"), Dense(3)]


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("", None, "there is no layer"),
        ("in 3x7x7", None, "there is no layer"),
        ("conv 3 k3; fc 10", "conv 3 k3", "the input does not come first"),
        ("in 3x7; fc 10", "in 3x7", "channels x height x width"),
        ("in 3x0x7; fc 10", "in 3x0x7", "channels x height x width"),
        ("in 3x7x7; in 3x7x7", "layer 1: in 3x7x7", "the input comes once"),
        ("in 3x7x7; fc 3; conf 3 k3", "layer 2: conf 3 k3", "Did you mean 'conv'?"),
        ("in 3x7x7; flatten; fc 3", "layer 1: flatten", "fc flattens what it reads"),
        ("in 3x7x7; conv 3", "layer 1: conv 3", "does not say its kernel"),
        ("in 3x7x7; pool", "layer 1: pool", "for example: pool 2"),
        ("in 3x7x7; conv 3 k3 z2", "layer 1: conv 3 k3 z2", "does not take 'z2'"),
        ("in 3x7x7; conv 3 k3 o1", "layer 1: conv 3 k3 o1", "does not take 'o1'"),
        ("in 3x7x7; conv 3 k3 k5", "layer 1: conv 3 k3 k5", "the kernel again"),
        ("in 3x7x7; conv 3 k3 p1 same", "layer 1: conv 3 k3 p1 same", "the padding again"),
        ("in 3x7x7; conv 3 k0", "layer 1: conv 3 k0", "does not take 'k0'"),
        ("in 3x7x7; conv 3x3 k3", "layer 1: conv 3x3 k3", "does not take '3x3'"),
        ("in 3x7x7; conv 3 k3 p1,1,1", "layer 1: conv 3 k3 p1,1,1", "does not take 'p1,1,1'"),
        ("in 3x7x7; conv 4 k3 g2", "layer 1: conv 4 k3 g2", "2 groups do not divide 3 channels"),
        ("in 3x7x7; convt 4 k3 o1", "layer 1: convt 4 k3 o1", "output_padding is 1"),
        ("in 3x7x7; gap 2", "layer 1: gap 2", "it stands alone"),
    ],
)
def test_mistakes_name_the_layer(text: str, where: str | None, said: str) -> None:
    with pytest.raises(UsageError) as error:
        shape_table(text)
    assert error.value.where == where
    assert said in str(error.value)
    assert error.value.fix or "groups" in said or "output_padding" in said


def test_what_does_not_fit_names_its_layer_and_a_fix(striate_command: Command) -> None:
    ended = striate_command("shape", "in 3x10x10; conv 4 k5; pool 2; conv 8 k5")
    assert ended.status == 2
    assert "3x3 with 5x5 at stride 1 does not fit" in ended.err
    assert "where: layer 3: conv 8 k5" in ended.err
    assert "pad by 2 pixels in all" in ended.err
    # The fix, followed.
    assert striate_command("shape", "in 3x10x10; conv 4 k5; pool 2; conv 8 k5 p1").status == 0


def test_strict_refuses_what_floor_warns_of(striate_command: Command) -> None:
    text = "in 3x7x7; pool 3 s3"
    warned = striate_command("shape", text)
    assert warned.status == 0
    assert "warning: layer 1: pool 3 s3 never reads the last row and column of its 7x7 input" in warned.out
    refused = striate_command("shape", text, "--strict")
    assert refused.status == 2
    assert "7x7 with 3x3 at stride 3 does not fit" in refused.err
    with pytest.raises(DoesNotFit):
        shape_table(f"{text} strict")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("in 1x8x7; pool 3", "the last 2 rows and the last column of its 8x7 input"),
        ("in 1x9x4; pool 2", "the last row of its 9x4 input"),
        ("in 1x7x7; conv 1 k1 s2", "rows and columns 1, 3, 5 (from 0) of its 7x7 input"),
        ("in 1x21x1; conv 1 k1 s2x1", "rows 1, 3, 5, 7, ... 19 (from 0) of its 21x1 input"),
    ],
)
def test_warnings(text: str, said: str) -> None:
    assert shape_table(text).warnings() == [f"layer 1: {text.split('; ')[1]} never reads {said}"]


def test_nothing_is_warned_of_where_all_is_read(striate_command: Command) -> None:
    assert "warning" not in striate_command("shape", LENET).out


def test_json_holds_every_figure(striate_command: Command) -> None:
    told = json.loads(striate_command("shape", LENET, "--json").out)
    truth = TRUTH["lenet5_slide"]
    assert (told["parameters"], told["macs"]) == (truth["params"], truth["macs"])
    assert [row["layer"] for row in told["layers"]] == LENET.split("; ")[1:]
    for row, after in zip(told["layers"], told["layers"][1:], strict=False):
        assert row["output"] == after["input"]
        assert row["weights"] + row["biases"] == row["parameters"]
    for key in ("parameters", "macs", "neurons", "connections"):
        assert told[key] == sum(row[key] for row in told["layers"])
    assert told["layers"][4]["receptive_field"] == {"size": [32, 32], "jump": [4, 4], "offset": [0, 0]}
    assert told["layers"][0]["size_formula"] == "(32 - 5) / 1 + 1 = 28"
    assert told["warnings"] == []
    assert json.loads(striate_command("shape", STEM, "--json").out)["layers"][-1]["receptive_field"] is None


def test_fully_connected_instead() -> None:
    """14,450,688 weights against 450: every pixel to every neuron."""
    table = shape_table("in 3x32x32; conv 6 k5 nobias")
    items = {item["id"]: item for item in json.loads((Path(__file__).parent / "papers" / "golden.json").read_text())}
    assert table.dense_parameters == items["s1.fc_vs_conv.fc_weights"]["expected"]
    assert table.parameters == items["s1.fc_vs_conv.conv_weights"]["expected"]
    assert f"{table.dense_parameters:,} parameters" in table.text()
    assert shape_table("in 3x32x32; fc 10").dense_parameters is None


@pytest.mark.parametrize("text", [LENET, STEM, "in 1x9x9; pool 2; conv 4 k1 s2"])
@pytest.mark.parametrize("columns", [80, 100, 120, None])
def test_table_fits_and_says_everything(text: str, columns: int | None) -> None:
    table = shape_table(text)
    lines = table.text(columns).splitlines()
    assert columns is None or max(map(len, lines)) <= columns
    assert [line for line in lines if line != line.rstrip()] == []
    for name, row in zip(table.names, table.rows, strict=True):
        line = next(line for line in lines if name in line)
        if row.parameters:
            assert f"{row.parameters:,}" in line
    told = table.to_json()
    formulas = [row[key] for row in told["layers"] for key in ("size_formula", "parameter_formula")]
    assert [formula for formula in formulas if formula not in "\n".join(lines)] == []
    if columns is None:
        assert len([line for line in lines if line.lstrip()[:1].isdigit() and "neurons" not in line]) == len(table.rows)


def test_piped_table_has_one_line_a_layer(striate_command: Command) -> None:
    out = striate_command("shape", STEM).out.splitlines()
    assert all(any(line.split()[:1] == [str(n)] for line in out) for n in range(1, len(STEM.split(";"))))
    assert "2·3" in next(line for line in out if "conv 64 k7" in line)


def test_network_of_several_lines(striate_command: Command) -> None:
    assert striate_command("shape", LENET.replace("; ", "\n")).out == striate_command("shape", LENET).out


@pytest.mark.parametrize("words", [["shape", LENET], ["filter"], ["filter", "sharpen", "{image}", "-o", "{image}.png"]])
def test_torch_is_not_imported(words: list[str], tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "in.png")
    words = [word.format(image=tmp_path / "in.png") for word in words]
    code = f"import sys; from striate.cli import main; assert main({words!r}) == 0; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
