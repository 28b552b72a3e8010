"""How long does a look inside a network take?

    python -m benchmarks.looking --out runs/looking.json

The largest networks of the zoo are traced; then one network reads one image of its own size, keeps every number, and answers as
the page asks: the receptive field of a number (a hover) and its arithmetic (a panel), for numbers drawn from all its layers. Wall
time; of the answers the median and the slowest. The forward pass of the same network, in the same process, stands beside.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from striate.files import write_json
from striate.look import Inspection, trace
from striate.machine import cpu_name, tune
from striate.zoo import build, find_variant

TRACED = ("densenet201", "inception_resnet_v2", "resnet152", "inception_v4", "efficientnet_b7", "resnet50")
ANSWERS = 300


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def traces(names: tuple[str, ...], rounds: int) -> dict[str, float]:
    """Median seconds from the network to the JSON of its graph."""
    found = {}
    for name in names:
        variant = find_variant(name)
        with torch.device("meta"):
            network = build(name)
        shape = (variant.in_channels, *variant.input_size)
        found[name] = statistics.median(seconds(lambda: trace(network, shape, name).to_json()) for _ in range(rounds))  # noqa: B023
        print(f"trace {name:22} {found[name]:6.2f} s", flush=True)
    return found


def answers(name: str, rounds: int) -> dict[str, Any]:
    """What one image costs, and then each question about it."""
    variant = find_variant(name)
    network, draw = build(name).eval(), random.Random(0)
    image = torch.randn(variant.in_channels, *variant.input_size)
    with torch.no_grad():
        forward = statistics.median(seconds(lambda: network(image[None])) for _ in range(rounds))
    reading = statistics.median(seconds(lambda: Inspection(network, image, name)) for _ in range(rounds))
    inside = Inspection(network, image, name)
    hovers, panels = [], []
    for _ in range(ANSWERS):
        node = draw.choice(inside.graph.nodes)
        unit = tuple(map(draw.randrange, node.output_shapes[0]))
        hovers.append(seconds(lambda: inside.receptive_field(node.id, unit)))  # noqa: B023
        panels.append(seconds(lambda: inside.pixel(node.id, unit).to_json()))  # noqa: B023
    told = {
        "forward": forward, "inspection": reading, "memory": inside.memory, "hover": statistics.median(hovers),
        "slowest hover": max(hovers), "panel": statistics.median(panels), "slowest panel": max(panels),
    }  # fmt: skip
    for key, value in told.items():
        print(
            f"{name} {key:14} {value / 1e6:8.1f} MB" if key == "memory" else f"{name} {key:14} {1e3 * value:8.1f} ms", flush=True
        )
    return told


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50", help="reads the image")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    tune()
    found = {"cpu": cpu_name(), "threads": torch.get_num_threads(), "trace": traces(TRACED, given.rounds)}
    write_json(given.out, {**found, given.model: answers(given.model, given.rounds)})


if __name__ == "__main__":
    main()
