"""Summaries of any network: what they count, what they fold, and what they say where shapes break."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Ended
from torch import Tensor, nn
from torch.nn import functional as F

from striate.layers import SqueezeExcitation
from striate.summary import Summary, summarize
from striate.summary_text import summary_text

Command = Callable[..., Ended]

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(400, 120), nn.Linear(120, num_classes)

    def forward(self, x):
        x = torch.max_pool2d(self.conv1(x).relu(), 2)
        x = torch.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc2(self.fc1(x.flatten(1)).relu())
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A user's network in a file: LeNet's sizes."""
    (tmp_path / "net.py").write_text(OWN)
    return f"{tmp_path / 'net.py'}:Net"


class Residual(nn.Module):
    """A 3x3 convolution beside nothing, or beside a strided 1x1."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride, 1)
        self.bn = nn.BatchNorm2d(channels)
        self.beside = nn.Identity() if stride == 1 else nn.Conv2d(in_channels, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)) + self.beside(x))


class Branches(nn.Module):
    """Windows of different heights and widths side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.tall = nn.Conv2d(1, 2, (1, 5), padding=(0, 2)), nn.Conv2d(1, 2, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(torch.cat([self.flat(x), self.tall(x)], 1), 2)


class ChannelsLast(nn.Module):
    """Norm and dense layer over the channels of each pixel, as in ConvNeXt, then every second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dense = nn.Conv2d(1, 4, 3), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dense(self.norm(self.conv(x).permute(0, 2, 3, 1)))
        return x.permute(0, 3, 1, 2)[:, :, 1::2, 1::2]


class Shuffle(nn.Module):
    """Halves of the channels, one of them convolved, shuffled into one another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(2, 2, 3, padding=1, dilation=1)

    def forward(self, x: Tensor) -> Tensor:
        kept, other = self.first(x).chunk(2, 1)
        x = torch.cat([kept, self.second(other)], 1)
        return x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "chain": lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, dilation=2)),
    "residual": lambda: nn.Sequential(Residual(1, 2, 2), Residual(2, 2), Residual(2, 4, 2)),
    "branches": lambda: nn.Sequential(Branches(), nn.Conv2d(4, 1, 3)),
    "channels last": lambda: nn.Sequential(ChannelsLast(), nn.Conv2d(4, 1, 3)),
    "shuffle": lambda: nn.Sequential(Shuffle(), nn.AvgPool2d(3, 1)),
    "excitation": lambda: nn.Sequential(nn.Conv2d(1, 8, 3), SqueezeExcitation(8, 2), nn.Conv2d(8, 2, 3)),
}


def of(make: Callable[[], nn.Module], size: int = 48, channels: int = 1) -> Summary:
    return summarize(make, "test", (channels, size, size))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_receptive_field_is_what_an_output_depends_on(name: str) -> None:
    """Held against the gradient of one output pixel near the middle, in a network whose weights are all positive."""
    size = 48
    network = NETWORKS[name]().double().eval()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.05, 0.1)  # larger ones drive a sigmoid to where its gradient is 0
    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            network = nn.Sequential(*(nn.AvgPool2d(2) if each is module else each for each in network))  # the same windows
    image = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    out = network(image)
    row, column = out.shape[2] // 2, out.shape[3] // 2
    gradient = torch.autograd.grad(out[0, :, row, column].sum(), image)[0][0, 0]
    read = [sorted({int(place[axis]) for place in gradient.nonzero()}) for axis in (0, 1)]
    field = of(NETWORKS[name], size).receptive_field
    assert field is not None
    expected = [(offset + jump * at, offset + jump * at + side - 1) for offset, jump, at, side in zip(
        field.offset, field.jump, (row, column), field.size, strict=True
    )]  # fmt: skip
    assert [(lines[0], lines[-1]) for lines in read] == expected


def test_branches_that_do_not_agree_are_not_known() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coarse, self.fine = nn.Conv2d(1, 2, 2, 2), nn.Conv2d(1, 2, 25)

        def forward(self, x: Tensor) -> Tensor:
            return self.coarse(x) + self.fine(x)

    assert of(Uneven).receptive_field is None


def test_parameters_and_macs_add_up() -> None:
    summary = of(NETWORKS["residual"])
    parts = {part.path: part for part in summary.whole}
    assert summary.parameters == sum(p.numel() for p in NETWORKS["residual"]().parameters())
    assert parts["0.conv"].macs == 2 * 9 * 24 * 24
    assert summary.macs == sum(part.macs for part in summary.whole)
    assert parts["2"].output == (4, 12, 12)
    assert parts["2.beside"].layer == "Conv2d 1x1 /2"
    assert summary.uncounted == ()
    assert of(lambda: nn.Sequential(nn.Flatten(2), nn.LSTM(48 * 48, 4))).uncounted == ("LSTM",)


def test_a_container_that_is_never_called_stands_where_its_parts_run() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.layers = nn.AdaptiveAvgPool2d(1), nn.ModuleList([nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)])

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layers[1](self.layers[0](x)))

    assert [part.path for part in of(Held).whole] == ["", "layers", "layers.0", "layers.1", "last"]


def test_what_is_shared_is_counted_once() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
            self.again = nn.Sequential(self.inner[0])
            self.tied = nn.Conv2d(1, 1, 3, padding=1, bias=False)
            self.tied.weight = self.inner[0].weight

        def forward(self, x: Tensor) -> Tensor:
            return self.tied(self.again(self.inner(x)))

    summary = of(Shared, 8)
    assert (summary.parameters, summary.macs) == (9 + 1, 3 * 9 * 8 * 8)


def test_a_network_of_ones_own_is_left_as_it_was() -> None:
    network = NETWORKS["residual"]().train()
    network[0].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    made = [network]
    assert of(lambda: made[0]).parameters > 0
    modes = [module.training for module in network.children()]
    assert modes == [False, True, True]
    assert before.keys() == network.state_dict().keys()


def test_a_network_that_looks_at_numbers_is_run_on_zeros() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scales = nn.Conv2d(1, 2, 3), [torch.tensor(2.0)]

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.scales[0] if float(x.sum()) == 0 else x

    assert of(Looks).whole.output == (2, 46, 46)


def lines_of(summary: Summary, **more: Any) -> list[str]:
    return summary_text(summary, **more).splitlines()


def test_modules_alike_are_one_line_and_the_columns_add_up() -> None:
    blocks = (Residual(4, 4) for _ in range(5))
    lines = lines_of(of(lambda: nn.Sequential(nn.Conv2d(1, 4, 1), *blocks)), depth=1)
    assert [line.split()[0] for line in lines[4:8]] == ["0", "1", "2-5", "─" * len(lines[3])]
    assert "4 more like it" in lines[6]
    each = sum(p.numel() for p in Residual(4, 4).parameters())
    assert f"{4 * each:,}" in lines[6]
    assert f"{8 + 5 * each:,}" in lines[8]


def test_a_table_too_long_is_less_deep() -> None:
    deep = of(lambda: nn.Sequential(*(nn.Sequential(Residual(1, 1), nn.Conv2d(1, 1, 2 * n + 1, padding=n)) for n in range(40))))
    lines = lines_of(deep)
    assert any("shown to depth 1 of 3: --depth 3 shows every module" in line for line in lines)
    assert len(lines_of(deep, depth=3)) > len(lines) > 40


@pytest.mark.parametrize("columns", [60, 80])
def test_long_paths_lose_their_middle_and_no_number_is_cut(columns: int) -> None:
    long = nn.Sequential()
    long.add_module("a_rather_long_name_of_a_module_that_someone_chose_with_care", Residual(1, 2, 2))
    lines = lines_of(of(lambda: long), columns=columns)
    assert max(map(len, lines)) <= columns
    assert any("…" in line and "2x24x24" in line for line in lines)


def test_the_command(own: str, striate_command: Command) -> None:
    ended = striate_command("summary", own, "--size", 32)
    assert ended.status == 0
    assert "conv2   Conv2d 5x5  16x10x10       2,416   240 k     14" in ended.out
    figures = json.loads(striate_command("summary", "--arch", own, "--size", 32, "--json").out)
    assert (figures["name"], figures["input"], figures["parameters"]) == (
        "Net",
        [1, 32, 32],
        26 * 6 + 151 * 16 + 401 * 120 + 121 * 10,
    )
    assert [module["path"] for module in figures["modules"]] == ["", "conv1", "conv2", "fc1", "fc2"]
    assert "4,089,184,256 MACs for an image of 3x224x224" in striate_command("summary", "resnet50", "--depth", 1).out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("OWN", "--size", 28), 3, ("breaks at fc1", "which is given 256", "in_features=256, or --size 32")),
        (("OWN", "--size", 32, "--channels", 3), 3, ("breaks at conv1", "given 3x32x32", "--channels 1")),
        (("OWN", "--size", 4), 3, ("breaks at conv1", "given 1x4x4", "--size 32")),
        (("resnet18", "--size", 0), 2, ("--size is 0",)),
        (("resnet81",), 2, ("There is no network 'resnet81'", "did you mean 'resnet18'?")),
        (("qqqqqq",), 2, ("striate zoo lists them all",)),
        ((), 2, ("striate summary NAME",)),
        (("alexnet", "--size", 30), 2, ("it needs at least 63 x 63",)),
    ],
)
def test_what_breaks_is_named_with_a_fix(
    words: tuple[object, ...], status: int, said: tuple[str, ...], own: str, striate_command: Command
) -> None:
    ended = striate_command("summary", *(own if word == "OWN" else word for word in words))
    assert (ended.status, ended.out) == (status, "")
    assert all(part in ended.err for part in said), ended.err
    assert "Traceback" not in ended.err


def test_a_fork_that_does_not_fit_is_in_no_layer() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    with pytest.raises(ValueError, match=r"the forward\(\) of Fork, between its layers, after b"):
        of(Fork)
