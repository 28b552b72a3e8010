"""``train()`` and ``resume()``: from a folder of images to a run folder with a model, its scores and its report."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from striate.data.audit import Audit, audit
from striate.data.formats import open_source
from striate.data.preprocess import Preprocess
from striate.data.source import Source
from striate.data.split import make_split, read_split, write_split
from striate.errors import Interrupted, Refused
from striate.files import write_json
from striate.locking import locked
from striate.machine import Tuning
from striate.outcome import finish_run
from striate.plan import Plan, majority_baseline, parse_seconds
from striate.preparation import (
    Prepared,
    choose_balance,
    choose_device,
    data_notes,
    prepare,
    prepare_again,
    refuse_bad_files,
    resolve_run,
)
from striate.progress import Progress, Silent
from striate.recipe import Recipe, Resolved, average_over, resolve_plainly
from striate.recipe_fields import apply_fields
from striate.recipes import get_recipe, recipe_for
from striate.run_record import Network, make_record, network_of, refuse_inexact, refuse_other_data
from striate.runs import AUDIT_FILE, RECIPE_FILE, SPLIT_FILE, Run, claim_run_folder, free_run_folder, refuse_inside
from striate.runstate import write_history
from striate.signals import StopRequest
from striate.starting_point import begin_from
from striate.subject import check_forward, choose_network, make_subject, recipe_name
from striate.training import fit
from striate.transferring import RECIPE_OF, Regime, as_it_is, refuse_ignored, solve_head, transfer


def train(
    data: str | Path | Source,
    model: Network | None = None,
    recipe: str | Recipe | None = None,
    *,
    out: str | Path | None = None,
    split: str | Path | None = None,
    weights: str | Path | None = None,
    regime: Regime = "auto",
    budget: str | float | None = None,
    device: str = "auto",
    workers: int | None = None,
    cache: str = "auto",
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    tuning: Tuning | None = None,
    **fields: Any,
) -> Run:
    """Trains a network on images and leaves a run folder: model, scores, report.

    Args:
        data: a path, ``scheme:path`` or an open source.
        model: a name of the zoo, ``FILE.py:FUNCTION``, a module or a function that returns one; None: chosen by the data.
        recipe: a name or record; None: the network's own.
        out: the run's folder; None: the next free ``runs/DATA-MODEL-N``.
        split: a file that `striate check` wrote; None: cut by the split rule, grouped by duplicates.
        weights: what the network begins with: published ones (``imagenet``), a weight file, or a model of ours; None: nothing.
        regime: of transfer, where there are weights: ``small`` (the head alone is solved), ``mid`` (the later layers learn),
            ``enough`` (all do), ``scratch`` (the weights are not used), or ``auto``, by the data.
        budget: time for the epochs (``"10m"``): their number is fitted to it, once.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: decoding threads; None: chosen by the cores. Samples and their order do not depend on it.
        cache: of decoded pixels: ``auto``, ``off``, or a folder.
        progress: told of the plan, of steps and epochs.
        stop: a request to save and stop, for callers in other threads; None: SIGINT and SIGTERM.
        tuning: what :func:`striate.machine.tune` gave, so that the probe may set threads and allocator anew; None: it may not.
        fields: recipe fields (``epochs=2, optimizer={"lr": 0.1}``).

    Raises:
        UsageError: unknown names, options or values.
        Refused: data or shapes that would train on nonsense.
        Interrupted: after SIGINT or SIGTERM, once saved.
        Failed: no space, or non-finite numbers that do not stop.
    """
    listener = progress or Silent()
    seconds = parse_seconds(budget) if budget is not None else None
    source = open_source(data)
    network = choose_network(source) if model is None else model
    begun = weights is not None and regime != "scratch"
    refuse_ignored(regime, weights, fields)
    if recipe is not None and regime == "auto":
        regime = "enough"  # who says how to train wants training

    def recipe_of(name: str, epochs: int | None = None) -> Recipe:
        """As asked for, for as many epochs as a budget allows or else the fields or the recipe itself say."""
        usual = get_recipe(recipe if recipe is not None else name)
        num = epochs or apply_fields(usual, fields).epochs
        return apply_fields(usual if recipe is not None else recipe_for(usual.name, num), fields)

    chosen = recipe_of("transfer_small" if begun else recipe_name(network))
    subject = make_subject(network, source, chosen, begun)
    check_forward(subject)
    start = begin_from(subject, weights, source.classes, listener) if begun and weights is not None else None
    device = choose_device(device)
    folder = free_run_folder(out, f"{source.name}-{subject.name}")
    refuse_inside(folder, source)
    with _request(stop) as request:
        found = _audit(source, listener, request)
        refuse_bad_files(source, found, chosen)
        parts = (
            read_split(Path(split), source)
            if split
            else make_split(source, validation=chosen.validation, seed=chosen.seed, groups=found.groups)
        )
        check = partial(_check, request, "before training began", "start again; nothing was written")
        look, plain = (subject.preprocess(), chosen) if start is None else (start.preprocess, as_it_is(chosen))
        ready = prepare(source, parts, subject, look, plain, workers=workers, cache=cache, progress=listener, check=check)
        moved = None
        if start is not None:
            subject.module.to(device)
            moved = transfer(
                ready, start, regime, lambda name: recipe_of(RECIPE_OF[name]),
                seconds=seconds, workers=workers, cache=cache, progress=listener, check=check,
            )  # fmt: skip
            ready, chosen = moved.ready, moved.ready.recipe
        solved = moved.fitted if moved is not None else None
        if moved is not None and solved is not None:
            resolved = dataclasses.replace(
                resolve_plainly(chosen, device), threads=torch.get_num_threads(), notes=moved.notes,
                balance=choose_balance(chosen, source, parts), memory_format="channels_last",  # as features are read
            )  # fmt: skip
            estimate = None
        else:
            resolved, estimate = resolve_run(ready, device, seconds, tuning, check)
            resolved = dataclasses.replace(resolved, notes=(*(moved.notes if moved else ()), *resolved.notes))
            if seconds is not None and recipe_of(chosen.name, resolved.epochs).name != chosen.name:
                ready = prepare_again(ready, recipe_of(chosen.name, resolved.epochs), workers, cache, listener, check)
            if "ema" not in fields and moved is None:  # weights that were good to begin with may stay in an average
                ema = average_over(ready.recipe.ema, resolved.epochs * ready.batches.steps)
                ready = dataclasses.replace(ready, recipe=dataclasses.replace(ready.recipe, ema=ema))
            chosen = ready.recipe
        record = make_record(
            ready, resolved, str(data) if isinstance(data, str | Path) else source.location,
            budget=budget, split=split, weights=weights, regime=moved.regime if moved else regime if weights else None,
        )  # fmt: skip
        folder = claim_run_folder(folder, out, f"{source.name}-{subject.name}")
        with locked(folder):
            free_run_folder(folder, "")  # two runs may have been given one --out: the lock says which of them has it
            write_split(folder / SPLIT_FILE, parts, source)
            write_json(folder / AUDIT_FILE, found.to_json())
            write_json(folder / RECIPE_FILE, record)
            notes = (*parts.notes, *data_notes(source, found, resolved, subject))
            baseline = majority_baseline(source, parts)
            plan = Plan(subject, source, parts, chosen, resolved, 0 if solved else ready.batches.steps, baseline, estimate, notes)
            listener.plan(plan.rows())
            if solved is not None:
                write_history(folder, solved.history)
                return finish_run(ready, solved, folder, listener)
            return _fit_and_finish(ready, resolved, folder, cache, listener, request, resuming=False)


def resume(
    run: str | Path | Run,
    *,
    arch: Network | None = None,
    allow_inexact: bool = False,
    workers: int | None = None,
    cache: str = "auto",
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Run:
    """Goes on with a stopped run from its newest sound checkpoint: on a CPU to the very weights it would have come to.

    Args:
        run: the run's folder.
        arch: the network again, where it is the user's own; never taken from the run's files.
        allow_inexact: go on though processor, threads or torch differ, which changes the last bits.
        workers, cache, progress, stop: as in :func:`train`.

    Raises:
        UsageError: not a run.
        Refused: other data, another machine without ``allow_inexact``, a network that has to be given, or a run that another
            process trains.
    """
    listener = progress or Silent()
    found = run if isinstance(run, Run) else Run(Path(run))
    record = found.record
    if found.status == "done":
        listener.message(f"{found.path} is done already; nothing to resume")
        return found
    refuse_inexact(record, allow_inexact, found.path)
    chosen = apply_fields(Recipe(), record["recipe"])
    resolved = apply_fields(Resolved(), record["resolved"])
    source = open_source(record["data"]["location"])
    refuse_other_data(record, source)
    begun = record.get("begun_from") is not None
    subject = make_subject(network_of(record, arch, found.path), source, chosen, begun)
    if begun and not _has_checkpoint(found.path):
        raise Refused(
            "This run was stopped before its first checkpoint", where=found.path,
            why="its network begins with weights of another task, which only a checkpoint holds",
            fix="start it again; the features that were read so far are kept",
        )  # fmt: skip
    with _request(stop) as request, locked(found.path):
        parts = read_split(found.path / SPLIT_FILE, source)
        check = partial(_check, request, "before training went on", f"striate resume {found.path}")
        ready = prepare(
            source, parts, subject, Preprocess.from_json(record["preprocess"]), chosen,
            workers=workers, cache=cache, progress=listener, balance=resolved.balance, check=check,
        )  # fmt: skip
        listener.message(f"resuming {found.path}: {len(found.history)} of {resolved.epochs} epochs done")
        return _fit_and_finish(ready, resolved, found.path, cache, listener, request, resuming=True)


@contextlib.contextmanager
def _request(stop: StopRequest | None) -> Iterator[StopRequest]:
    """One request for the whole run, so that a signal in any part of it ends the same way."""
    if stop is not None:
        yield stop
        return
    with StopRequest() as request:
        yield request


def _audit(source: Source, listener: Progress, request: StopRequest) -> Audit:
    def told(done: int, total: int) -> None:
        listener.stage("reading the data", done, total)
        _check(request, "while reading the data", "start again; nothing was written")

    return audit(source, progress=told)


def _check(request: StopRequest, where: str, fix: str) -> None:
    if request:
        raise Interrupted(f"Stopped {where}", request.signal_number, fix=fix)


def _fit_and_finish(
    ready: Prepared, resolved: Resolved, folder: Path, cache: str, listener: Progress, request: StopRequest, *, resuming: bool
) -> Run:
    has_checkpoint = resuming and _has_checkpoint(folder)
    fitted = fit(
        ready.learns, ready.subject.module, ready.batches, ready.recipe,
        run=folder, resolved=resolved, resume=has_checkpoint, progress=listener, stop=request,
    )  # fmt: skip
    if ready.learns is not ready.task:
        check = partial(_check, request, "before the head was solved", f"striate resume {folder}")
        solve_head(ready, workers=ready.batches.workers, cache=cache, progress=listener, check=check)
    return finish_run(ready, fitted, folder, listener)


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step-*.safetensors"))
