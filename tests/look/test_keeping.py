"""What an inspection keeps: every output as it was, in no more memory than that takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from striate.look import Inspection


class Overwriting(nn.Module):
    """Changes what it computed in every way that PyTorch has, and a tensor that it holds from run to run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.state = torch.zeros(2, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        maps.view(-1)[0] = 7.0  # through a view
        maps.data.mul_(2.0)  # behind autograd's back
        torch.add(maps, 1.0, out=maps)
        nn.functional.relu(maps, inplace=True)
        self.state.copy_(maps[0])
        scaled: Tensor = self.state * 1.0
        return scaled


def test_outputs_stay_as_they_were() -> None:
    network = Overwriting().eval()
    first, second = torch.randn(2, 1, 8, 8).unbind()
    inside = Inspection(network, first)
    with torch.no_grad():
        expected = network.conv(first[None])[0]
    assert torch.equal(inside.values("conv"), expected)
    changed = expected.clone()
    changed.view(-1)[0] = 7.0
    state = (2 * changed + 1).relu()
    nodes = {node.operation: node.id for node in inside.graph.nodes}
    assert torch.equal(inside.values(nodes["relu"]), state)
    assert torch.equal(inside.values(nodes["copy"]), state)
    Inspection(network, second)
    assert torch.equal(inside.values(nodes["copy"]), state)
    assert inside.pixel(nodes["mul"], (1, 2, 3)).agrees


def test_memory_is_taken_once() -> None:
    maps = 4 * 8 * 16 * 16  # bytes of one layer's output
    layers = [nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Identity(), nn.Flatten(), nn.Unflatten(1, (8, 16, 16)), nn.ReLU(inplace=True)]
    inside = Inspection(nn.Sequential(*layers), torch.randn(8, 16, 16))
    # The image, the sum, and both ReLUs; what is laid out anew has no numbers of its own.
    assert inside.memory == 4 * maps
