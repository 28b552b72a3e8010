"""What a network is made of: every module's output, parameters, MACs and receptive field, found by one run.

The run is on the meta device, where tensors have shapes and no numbers; a network that cannot run there runs on zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from striate import arithmetic
from striate.layers import arithmetic_of
from striate.misfit import misfit
from striate.watching import WatchedRun, describe_layer


@dataclass(frozen=True)
class Part:
    """One module of a network at work, and the modules in it.

    Attributes:
        path: in the network; empty for the network itself.
        layer: its type, with kernel and stride where it has them: ``Conv2d 7x7 /2``.
        output: shape for one image, without the batch: (channels, height, width) or (features,); None where it did not run, or
            returns something else than one tensor.
        calls: how often it ran; 0: in training alone (an auxiliary classifier), or never.
        parameters: its own, without those of the parts.
        macs: likewise, of all its calls.
        receptive_field: of one output pixel; None where it differs between the ways to it, or is not known.
        parts: in the order of their first calls, then those that did not run.
    """

    path: str
    layer: str
    output: tuple[int, ...] | None
    calls: int
    parameters: int
    macs: int
    receptive_field: arithmetic.ReceptiveField | None
    parts: tuple[Part, ...]

    def __iter__(self) -> Iterator[Part]:
        """This part, then all below it, depth first."""
        yield self
        for part in self.parts:
            yield from part

    @property
    def all_parameters(self) -> int:
        """Its own and those of all parts below."""
        return sum(part.parameters for part in self)

    @property
    def all_macs(self) -> int:
        """Its own and those of all parts below."""
        return sum(part.macs for part in self)

    def is_like(self, other: Part) -> bool:
        """Whether both are built alike and do alike: all is the same but the names."""
        mine, others = (
            [(part.layer, part.output, part.calls, part.parameters, part.macs, len(part.parts)) for part in each]
            for each in (self, other)
        )
        return mine == others


@dataclass(frozen=True)
class Summary:
    """A network as its parts.

    Attributes:
        name: of the network.
        input: (channels, height, width) of the image.
        whole: the network itself, with all parts below it.
        uncounted: types of layers with weight matrices that no formula covers: their MACs are missing.
    """

    name: str
    input: tuple[int, int, int]
    whole: Part
    uncounted: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return self.whole.all_parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of its convolutions and dense layers for one image."""
        return self.whole.all_macs

    @property
    def receptive_field(self) -> arithmetic.ReceptiveField | None:
        """Of the network's own output where that is a map; else behind its last part with parameters that returns one."""
        if self.whole.output and self.whole.output[1:] not in ((), (1, 1)):
            return self.whole.receptive_field
        parts = [part for top in self.whole.parts for part in _that_ran(top)]
        maps = [part for part in parts if part.all_parameters and part.output and part.output[1:] not in ((), (1, 1))]
        return maps[-1].receptive_field if maps else None

    def to_json(self) -> dict[str, Any]:
        """Every module in a list; sizes and shapes as everywhere."""
        return {
            "name": self.name,
            "input": list(self.input),
            "parameters": self.parameters,
            "macs": self.macs,
            "uncounted": list(self.uncounted),
            "modules": [
                {
                    "path": part.path,
                    "layer": part.layer,
                    "output": part.output and list(part.output),
                    "calls": part.calls,
                    "parameters": part.parameters,
                    "macs": part.macs,
                    "receptive_field": part.receptive_field
                    and {
                        "size": part.receptive_field.size,
                        "jump": part.receptive_field.jump,
                        "offset": part.receptive_field.offset,
                    },
                }
                for part in self.whole
            ],
        }


def _that_ran(part: Part) -> Iterator[Part]:
    """The part itself, or those in it where it is only a container."""
    if part.calls:
        yield part
    else:
        for each in part.parts:
            yield from _that_ran(each)


def summarize(make: Callable[[], nn.Module], name: str, shape: tuple[int, int, int]) -> Summary:
    """Runs a network once on an image of ``shape`` (channels, height, width).

    Args:
        make: builds it; called with the meta device as PyTorch's default, and once more without where it cannot run there.

    Raises:
        Refused: the network does not take such an image; the layer at which it breaks is named, with what would fit.
    """
    try:
        with torch.device("meta"):
            run = WatchedRun(make())
        run.network.to("meta")
        run.start(shape, "meta")
    except Exception:
        run = WatchedRun(make())
        try:
            run.start(shape, "cpu")
        except Exception as error:
            raise misfit(make, run, name, shape, error) from error
    weighty = (module for module in run.network.modules() if arithmetic_of(module) is None)
    uncounted = {type(module).__name__ for module in weighty if any(map(_is_matrix, module.parameters(recurse=False)))}
    return Summary(name, shape, _part(run, "", run.network, set()), tuple(sorted(uncounted)))


def _is_matrix(parameter: Tensor) -> bool:
    return sum(side > 1 for side in parameter.shape) > 1


def _part(run: WatchedRun, path: str, module: nn.Module, counted: set[nn.Module | nn.Parameter]) -> Part:
    """Of ``counted`` modules and parameters, which stand elsewhere as well, nothing is counted again."""
    seen, fresh = run.of(module), module not in counted
    own = [parameter for parameter in module.parameters(recurse=False) if parameter not in counted]
    counted.update((module, *own))
    children = sorted(module.named_children(), key=lambda item: min(run.of(each).order for each in item[1].modules()))
    return Part(
        path,
        describe_layer(module),
        seen.output,
        seen.calls,
        sum(parameter.numel() for parameter in own),
        seen.macs if fresh else 0,
        seen.receptive_field,
        tuple(_part(run, f"{path}.{name}".lstrip("."), child, counted) for name, child in children),
    )
