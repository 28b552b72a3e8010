"""From rounds of readings to medians, ratios and one table: arithmetic alone, nothing is run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A column of the table.

    Attributes:
        key: of the reading.
        title: as the table heads it, with its unit.
        text: how a number is written.
        less_is_better: of times and memory. None: it is shown, and no ratio is formed.
    """

    key: str
    title: str
    text: Callable[[float], str] = lambda value: f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    less_is_better: bool | None = False


@dataclass(frozen=True)
class Spread:
    """Median, least and most of some numbers, and how many they are."""

    median: float
    least: float
    most: float
    num: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None of no numbers."""
        return cls(statistics.median(values), min(values), max(values), len(values)) if values else None


def readings(record: Record, side: str, key: str) -> list[float | None]:
    """A figure of one side in every round; None where the round has none."""
    values = [reading.get(side, {}).get(key) for reading in record["rounds"]]
    return [None if value is None else float(value) for value in values]


def spread(record: Record, side: str, key: str) -> Spread | None:
    """Of the rounds that have the figure."""
    return Spread.of([value for value in readings(record, side, key) if value is not None])


def ratio(record: Record, side: str, figure: Figure) -> Spread | None:
    """How many times striate (the first side) is ahead of ``side``, formed within each round; above 1 it is ahead."""
    ours = next(iter(record["asked"]["sides"]))
    pairs = zip(readings(record, ours, figure.key), readings(record, side, figure.key), strict=True)
    found = [(b / a if figure.less_is_better else a / b) for a, b in pairs if a and b]
    return Spread.of(found)


def best_peer(record: Record, figure: Figure) -> str | None:
    """The side with the best median among those that count as peers."""
    names = [name for name, side in record["asked"]["sides"].items() if side["peer"]]
    medians = {name: found.median for name in names if (found := spread(record, name, figure.key)) is not None}
    choose = min if figure.less_is_better else max
    return choose(medians, key=lambda name: medians[name]) if medians else None


def table(record: Record, figures: Sequence[Figure]) -> list[str]:
    """Header and Markdown table: a row a side, a ratio beside each figure, and the best peer last."""
    ours, *_ = sides = list(record["asked"]["sides"])
    shown = [figure for figure in figures if any(spread(record, side, figure.key) for side in sides)]
    heads = [""]
    for figure in shown:
        heads += [figure.title] + ([] if figure.less_is_better is None else [f"{ours} is ahead"])
    lines = [*header(record), "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for side in sides:
        lines.append("| " + " | ".join([side, *_cells(record, side, shown, side == ours)]) + " |")
    if any(record["asked"]["sides"][side]["peer"] for side in sides):
        lines.append("| " + " | ".join(["best peer", *_best_cells(record, shown)]) + " |")
    return lines


def _cells(record: Record, side: str, figures: Sequence[Figure], ours: bool) -> list[str]:
    if absent := record["asked"]["sides"][side]["absent"]:
        return [f"not run: {absent}"]
    errors = [reading[side]["error"] for reading in record["rounds"] if "error" in reading.get(side, {})]
    cells = []
    for figure in figures:
        found = spread(record, side, figure.key)
        cells.append("" if found is None else _between(found, figure.text))
        if figure.less_is_better is not None:
            cells.append("" if ours else _times(ratio(record, side, figure)))
    if errors:
        cells[0] = f"{cells[0]} failed: {errors[-1]}".strip().replace("|", "/")
    return cells


def _best_cells(record: Record, figures: Sequence[Figure]) -> list[str]:
    cells = []
    for figure in figures:
        if figure.less_is_better is None:
            cells.append("")
            continue
        best = best_peer(record, figure)
        cells += ["", ""] if best is None else [best, _times(ratio(record, best, figure))]
    return cells


def _between(found: Spread, text: Callable[[float], str]) -> str:
    return text(found.median) + (f" ({text(found.least)} to {text(found.most)})" if found.num > 1 else "")


def _times(found: Spread | None) -> str:
    return "" if found is None else _between(found, lambda value: f"{value:.2f}x")


def header(record: Record) -> list[str]:
    """Machine, versions, threads, and how quiet it was."""
    machine, rounds = record["machine"], record["rounds"]
    runs = [reading for sides in rounds for reading in sides.values()]
    memory = machine["available_memory"]
    lines = [
        f"{record['question']}: {len(rounds)} round{'s' * (len(rounds) != 1)} of {', '.join(record['asked']['sides'])}",
        f"{machine['cpu']}, {machine['cores']} cores, {', '.join(machine['instructions']) or 'instruction sets not told'}"
        + ("" if memory is None else f"; {memory / 2**30:.1f} GiB available")
        + f"; {machine['platform']}; striate {machine['striate']} at {(machine['git_commit'] or 'no commit')[:12]}",
    ]
    if "fp32_tflops" in (ceilings := record.get("ceilings", {})):
        lines.append("ceilings of this machine, measured just before: " + describe_ceilings(ceilings))
    told: dict[str, str] = {}
    for reading in runs:
        if versions := reading.get("versions"):
            told |= versions
    threads = sorted({reading["threads"] for reading in runs if "threads" in reading})
    lines.append(
        f"{', '.join(f'{name} {version}' for name, version in sorted(told.items()))}; threads: {', '.join(map(str, threads))}"
    )
    return [*lines, describe_quiet(runs)]


def describe_quiet(runs: Sequence[Record]) -> str:
    """How much others took while the sides ran."""
    others = Spread.of([reading["others"] for reading in runs if reading.get("others") is not None])
    if others is None:
        return "how busy others were is not known on this system"
    stolen = max(reading["stolen"] for reading in runs if reading.get("stolen") is not None)
    loud = sum(not reading["wait"]["quiet"] for reading in runs)
    again = sum(reading.get("repeated", 0) for reading in runs)
    return (
        f"others took {others.median:.2f} cores in the median of {len(runs)} runs, {others.most:.2f} at most; the host stole "
        f"{stolen:.2f} at most, {again} more runs were thrown away for that; {loud} of them began before the machine was quiet"
    )


def describe_ceilings(ceilings: dict[str, float | None]) -> str:
    """What :mod:`benchmarks.peers.ceilings` found, in words."""
    bf16 = ceilings["bf16_tflops"]
    return (
        f"matrix product fp32 {ceilings['fp32_tflops']:.3f} TFLOP/s, "
        + (f"bf16 {bf16:.3f} TFLOP/s" if bf16 is not None else "no bf16 instructions")
        + f"; memory {ceilings['copy_gbs']:.1f} GB/s; first touch of fresh memory {ceilings['first_touch_gbs']:.2f} GB/s"
    )


def ceiling_lines(record: Record, operations: int) -> list[str]:
    """What each side makes of the machine: arithmetic of its images a second against the fastest matrix product."""
    ceilings, lines = record.get("ceilings", {}), []
    if "fp32_tflops" not in ceilings:
        return []
    fastest = max(ceilings["fp32_tflops"], ceilings["bf16_tflops"] or 0.0)
    for side in record["asked"]["sides"]:
        speed = spread(record, side, "images_per_second")
        if speed is not None:
            reached = speed.median * operations / 1e12
            lines.append(f"{side}: {reached:.3f} TFLOP/s, {100 * reached / fastest:.1f} % of the ceiling of {fastest:.3f}")
    return lines
