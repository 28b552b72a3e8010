"""Networks written in all the ways that people write them, each with its graph counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Functional(nn.Module):
    """No layer is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.dense = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(5, 64))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(F.conv2d(x, self.kernel, padding=1)), 2)
        return F.linear(x.flatten(1), self.dense)


class Choosing(nn.Module):
    """What runs depends on the numbers, and how often on the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.left(x) if x.mean() > 0 else self.right(x)
        for _ in range(x.shape[1]):
            x = torch.tanh(x)
        return x


class TwoInputs(nn.Module):
    """An image and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.dense, self.head = (
            nn.Conv2d(3, 4, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Linear(6, 4),
            nn.Linear(8, 2),
        )

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        seen = self.pool(self.conv(image)).flatten(1)
        return self.head(torch.cat((seen, self.dense(features)), dim=1))


class Shared(nn.Module):
    """One layer runs twice, and another has its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.tied = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.tied.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tied(self.act(self.conv(self.act(self.conv(x)))))


class Decoder(nn.Module):
    """Down, up again with a transposed convolution, beside what was before."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1)
        self.out = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([x, self.up(self.down(x))], 1))


class Signal(nn.Module):
    """One dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 4, 5, stride=2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(dim=-1))


class Volume(nn.Module):
    """Three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv3d(1, 2, 3, groups=1), nn.AvgPool3d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x)).flatten(1)


class InPlace(nn.Module):
    """A residual that is overwritten: the sum reads what the first ReLU has left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x - 0.5
        y = self.conv(self.relu(x))
        y += x
        return self.relu(y)


class Dense(nn.Module):
    """Halves of the channels, and everything beside everything."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        left = self.a(left)
        return torch.cat([left, right, self.b(left + right)], dim=1)


class Nested(nn.Module):
    """Lists in lists, and a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.ModuleList([nn.ModuleList([nn.Conv2d(3, 3, 1), nn.ReLU()]) for _ in range(2)])
        self.heads = nn.ModuleDict({"first": nn.Conv2d(3, 1, 1), "second": nn.Conv2d(3, 2, 1)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for row in self.rows:
            for layer in row:
                x = layer(x)
        return {name: head(x) for name, head in self.heads.items()}


class Doubled(torch.autograd.Function):
    """What no function of PyTorch shows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        return x * (2 * scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        return gradient * 2, None


class Hidden(nn.Module):
    """A module whose inside is a function of its own making, with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return Doubled.apply(x, self.scale)  # type: ignore[no-any-return]


class AroundHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden = nn.Conv2d(3, 1, 1), Hidden()

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(self.conv(x)) + 1


class ThroughAView(nn.Module):
    """A part is changed in place, and then the whole is read."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1
        part = x[:, :1]
        part.mul_(2)
        return x + 1


@dataclass(frozen=True)
class Odd:
    """A network, what it reads, and the nodes and edges that it has: ``source>target``."""

    make: Callable[[], nn.Module]
    inputs: Any
    nodes: str
    edges: str


ODD = {
    "functional": Odd(
        Functional, (3, 8, 8), "input :conv2d :relu :max_pool2d :flatten :linear",
        "input>:conv2d :conv2d>:relu :relu>:max_pool2d :max_pool2d>:flatten :flatten>:linear",
    ),
    "control flow": Odd(
        Choosing, (3, 8, 8), "input :mean :gt right :tanh :tanh#2",
        "input>:mean :mean>:gt input>right right>:tanh :tanh>:tanh#2",
    ),
    "two inputs": Odd(
        TwoInputs, ((3, 8, 8), (6,)), "input input#2 conv pool :flatten dense :cat head",
        "input>conv conv>pool pool>:flatten input#2>dense :flatten>:cat dense>:cat :cat>head",
    ),
    "shared weights": Odd(
        Shared, (3, 8, 8), "input conv act conv#2 act#2 tied", "input>conv conv>act act>conv#2 conv#2>act#2 act#2>tied"
    ),
    "transposed": Odd(Decoder, (3, 8, 8), "input down up :cat out", "input>down down>up input>:cat up>:cat :cat>out"),
    "one dimension": Odd(
        Signal, (2, 20), "input body.0 body.1 body.2 body.3 :mean head",
        "input>body.0 body.0>body.1 body.1>body.2 body.2>body.3 body.3>:mean :mean>head",
    ),
    "three dimensions": Odd(Volume, (1, 6, 6, 6), "input conv pool :flatten", "input>conv conv>pool pool>:flatten"),
    "in place": Odd(
        InPlace, (3, 8, 8), "input :sub relu conv :add relu#2",
        "input>:sub :sub>relu relu>conv conv>:add relu>:add :add>relu#2",
    ),
    "concatenations": Odd(
        Dense, (4, 8, 8), "input :chunk a :add b :cat",
        "input>:chunk :chunk>a a>:add :chunk>:add :add>b a>:cat :chunk>:cat b>:cat"
    ),
    "nested lists": Odd(
        Nested, (3, 8, 8), "input rows.0.0 rows.0.1 rows.1.0 rows.1.1 heads.first heads.second",
        "input>rows.0.0 rows.0.0>rows.0.1 rows.0.1>rows.1.0 rows.1.0>rows.1.1 rows.1.1>heads.first rows.1.1>heads.second",
    ),
    "hidden": Odd(AroundHidden, (3, 8, 8), "input conv hidden :add", "input>conv conv>hidden hidden>:add"),
    "through a view": Odd(
        ThroughAView, (3, 8, 8), "input :mul :getitem :mul#2 :updated_view :add",
        "input>:mul :mul>:getitem :getitem>:mul#2 :mul>:updated_view :mul#2>:updated_view :updated_view>:add",
    ),
}  # fmt: skip
