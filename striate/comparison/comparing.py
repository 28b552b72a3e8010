"""All regimes of transfer under one budget, from few images to all, over several seeds; goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from striate.comparison.cells import REGIMES, Cell, Result, Results, make_cells
from striate.comparison.draws import class_counts, refuse_too_many
from striate.comparison.figures import Figures
from striate.comparison.identity import keep_identity
from striate.comparison.picture import draw
from striate.comparison.running import Clock, Maker, OfOne, Runner, fields_for, image_seconds
from striate.comparison.text import table
from striate.data.audit import audit
from striate.data.findings import counted
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import Split, make_split, read_split, write_split
from striate.errors import Interrupted, UsageError, nearest
from striate.features import find_head
from striate.files import make_folder, write_text
from striate.fine_tuning import freeze
from striate.locking import locked
from striate.machine import Tuning
from striate.plan import format_seconds, parse_seconds
from striate.progress import Progress, Silent
from striate.recipe_fields import apply_fields
from striate.recipes import get_recipe
from striate.runs import SPLIT_FILE, refuse_inside
from striate.signals import StopRequest
from striate.starting_point import begin_from
from striate.subject import Subject, check_forward, make_subject
from striate.transferring import RECIPE_OF, Regime

IMAGES: tuple[int | None, ...] = (5, 10, 20, 50, None)
BUDGET = "60s"
RESULTS_FILE, PICTURE_FILE, TABLE_FILE = "results.jsonl", "comparison.svg", "comparison.txt"


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        path: its folder: ``results.jsonl``, ``comparison.svg``, ``comparison.txt``, and a run a cell below ``runs/``.
        results: a row a cell that was asked for.
    """

    path: Path
    results: tuple[Result, ...]

    def text(self) -> str:
        """The table, the verdict, and where the files are."""
        return f"{table(Figures(self.results))}\n\npicture  {self.path / PICTURE_FILE}\nrows     {self.path / RESULTS_FILE}"

    def to_json(self) -> dict[str, Any]:
        """The verdict and the rows."""
        rows = [result.to_json() for result in self.results]
        return {"path": str(self.path), "verdict": Figures(self.results).verdict(), "results": rows}


def compare(
    data: str | Path | Source,
    model: Maker,
    weights: str | Path,
    *,
    regimes: Sequence[Regime] = REGIMES,
    images: Sequence[int | None] | None = None,
    seeds: int = 3,
    budget: str | float = BUDGET,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    cache: str = "auto",
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    tuning: Tuning | None = None,
    **fields: Any,
) -> Comparison:
    """Trains every regime on every number of images a class, once a seed, each for as long as the budget says.

    The images of a draw come from the training part alone, and its validation is cut from them. All runs score the same
    held-out images, once, at their end; no run, regime or draw is chosen by these.

    Args:
        data: as for :func:`striate.train`; one class an image.
        model: a name of the zoo, ``FILE.py:FUNCTION``, or a function that returns a network.
        weights: what the network begins with.
        regimes: of ``REGIMES``.
        images: numbers a class, those that validate among them; None as a number stands for all. None: those of ``IMAGES``
            that every class has.
        seeds: how many draws of each number: 0, 1, ...; the seed of a draw is its run's.
        budget: time for the epochs of a run; ``small`` has none.
        out: folder of the comparison; None: ``runs/transfer-DATA-MODEL``. One that holds the same comparison is gone on with.
        device, workers, cache, progress, stop, tuning, fields: as for :func:`striate.train`.

    Raises:
        UsageError: unknown regimes, more images than there are, data without classes, or what ``train`` raises.
        Refused: weights that do not fit, a folder that holds another comparison, or that another process is at.
        Interrupted: after SIGINT or SIGTERM; the same call goes on.
    """
    listener, source = progress or Silent(), open_source(data)
    _refuse_settings(source, regimes, IMAGES if images is None else images, seeds, weights, fields)
    subject = _make_subject(source, model, weights, regimes, fields, listener)
    folder = Path(out) if out is not None else Path("runs") / f"transfer-{source.name}-{subject.name}"
    refuse_inside(folder, source)
    make_folder(folder)
    with locked(folder), nullcontext(stop) if stop is not None else StopRequest() as request:
        seconds = parse_seconds(budget)
        keep_identity(folder, source, subject.source_file or subject.name, str(weights), seconds, device, fields)
        whole = _split(folder, source, listener, request)
        counts = class_counts(source, whole)
        asked = images if images is not None else [number for number in IMAGES if number is None or number <= counts.min()]
        for number in asked:
            refuse_too_many(source, whole, number)
        runner = Runner(source, whole, model, weights, folder, seconds, device, workers, cache, tuning, fields)
        cells = make_cells(regimes, asked, seeds)
        results = Results(folder / RESULTS_FILE)
        for cell in cells:
            if cell not in results and runner.is_done(cell):
                results.add(Result.of(cell, runner.run_of(cell)))
        clock = Clock(runner, image_seconds(subject), int(counts.sum()), [cell for cell in cells if cell not in results])
        listener.plan(_plan(subject, runner, int(counts.sum()), str(weights), cells, results, clock))
        for place, cell in enumerate(cells, 1):
            if cell not in results:
                _run(runner, cell, f"{place}/{len(cells)}", results, clock, listener, request)
                _write(folder, results.among(cells))
        _write(folder, results.among(cells))
        return Comparison(folder, tuple(results.among(cells)))


def _run(
    runner: Runner, cell: Cell, title: str, results: Results, clock: Clock, listener: Progress, request: StopRequest
) -> None:
    try:
        if request:
            raise Interrupted("Stopped", request.signal_number)
        result = Result.of(cell, runner.run(cell, OfOne(listener, f"{title} {cell}"), request))
    except Interrupted as error:
        raise Interrupted(
            f"Stopped in run {title} ({cell})", request.signal_number, where=runner.folder,
            fix="the same command goes on from there; what is done is kept",
        ) from error  # fmt: skip
    results.add(result)
    clock.done(cell)
    left = f"  about {format_seconds(clock.left)} left" if clock.left else ""
    listener.plan([(title, f"{cell!s:<36}{100 * result.accuracy:6.2f} %  {format_seconds(result.seconds):>10}{left}")])


def _write(folder: Path, results: Sequence[Result]) -> None:
    figures = Figures(results)
    write_text(folder / TABLE_FILE, table(figures) + "\n")
    write_text(folder / PICTURE_FILE, draw(figures))


def _refuse_settings(
    source: Source, regimes: Sequence[Regime], images: Sequence[int | None], seeds: int, weights: str | Path,
    fields: Mapping[str, Any],
) -> None:  # fmt: skip
    if source.kind != "label":
        raise UsageError(
            "These data have no classes of one an image", where=source.location, why="so many images a class are drawn",
            fix="`striate train --weights ... --regime ...` takes them, a regime at a time",
        )  # fmt: skip
    for regime in regimes:
        if regime not in REGIMES:
            raise UsageError(f"Unknown regime {regime!r}", fix=nearest(regime, REGIMES))
    if not regimes or not images or seeds < 1:
        raise UsageError("Nothing to compare", fix="give at least one regime, one number of images and one seed")
    for name, why in (("seed", "each draw has its own: say how many with --seeds N"), ("epochs", "the budget says how many")):
        if name in fields:
            raise UsageError(f"{name} is not to be set in a comparison", why=why, fix="leave it out")
    for name, value in fields.items():
        if not any(fields_for(regime, weights, {name: value}) for regime in regimes):
            raise UsageError(f"{name} does nothing in the regime {' or '.join(regimes)}", fix="leave it out")


def _make_subject(
    source: Source, model: Maker, weights: str | Path, regimes: Sequence[Regime], fields: Mapping[str, Any], listener: Progress
) -> Subject:
    """The network as the runs will have it, so that what cannot work is refused before the first of them."""
    recipe = apply_fields(get_recipe(RECIPE_OF["small"]), fields_for("small", weights, fields))
    subject = make_subject(model, source, recipe, begun=True)
    check_forward(subject)
    begin_from(subject, weights, source.classes, listener)
    if "small" in regimes and find_head(subject.module, subject.image) is None:
        others = ",".join(regime for regime in regimes if regime != "small")
        raise UsageError(
            f"the head of {subject.name} cannot be solved by itself",
            why="the network's output is not that of one dense layer with a bias",
            fix=f"--regimes {others or 'mid,enough,scratch'}",
        )
    for regime in regimes:
        _refuse_freezing(subject, regime, weights, fields)
    return subject


def _refuse_freezing(subject: Subject, regime: Regime, weights: str | Path, fields: Mapping[str, Any]) -> None:
    """Freezes as the regime will, in a network that is not trained."""
    if regime not in RECIPE_OF:
        return
    until = apply_fields(get_recipe(RECIPE_OF[regime]), fields_for(regime, weights, fields)).fine_tune.freeze
    try:
        if until is not None:
            freeze(subject.module, until)
    except UsageError as error:
        raise UsageError(
            f"The regime {regime} cannot freeze {subject.name} up to {until!r}", why=error.what,
            fix="name one of its modules with --fine-tune.freeze, or leave the regime out with --regimes",
        ) from error  # fmt: skip


def _split(folder: Path, source: Source, listener: Progress, request: StopRequest) -> Split:
    """What learns and what is held out: cut once, then read."""
    path = folder / SPLIT_FILE
    if path.exists():
        return read_split(path, source)

    def told(done: int, total: int) -> None:
        listener.stage("reading the data", done, total)
        if request:
            raise Interrupted("Stopped while reading the data", request.signal_number, fix="start again")

    found = audit(source, progress=told)
    for finding in found.findings:
        if finding.level != "note":
            listener.message(f"{finding.text} {finding.fix}".strip())
    whole = make_split(source, groups=found.groups)
    write_split(path, whole, source)
    return whole


def _plan(
    subject: Subject, runner: Runner, num_images: int, weights: str, cells: Sequence[Cell], results: Results, clock: Clock
) -> list[tuple[str, str]]:
    source, whole = runner.source, runner.whole
    regimes, numbers, seeds = (
        [*dict.fromkeys(values)] for values in zip(*((c.regime, c.images, c.seed) for c in cells), strict=True)
    )
    each = ", ".join("all" if number is None else str(number) for number in numbers)
    done = len(results.among(cells))
    runs = f"{counted(len(cells), 'run')}: {', '.join(regimes)}; {each} images a class; {counted(len(seeds), 'seed')}"
    rows = [
        (
            "data",
            f"{source.name}: {num_images} images to learn from, {len(whole.held_out)} held out, {len(source.classes)} classes",
        ),
        ("model", f"{subject.name}, beginning with {weights}"),
        ("runs", runs + (f"; {done} done already" if done else "")),
        ("budget", f"{format_seconds(runner.seconds)} of epochs a run; small has none, its head is solved"),
        ("folder", str(runner.folder)),
    ]
    return rows + ([("estimate", f"about {format_seconds(clock.left)}")] if done < len(cells) else [])
