"""``train()`` and ``resume()``: from a folder of images to a run folder with a model, its scores and its report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from striate.data.audit import Audit, audit
from striate.data.formats import open_source
from striate.data.source import Source
from striate.data.split import make_split, read_split, write_split
from striate.environment import describe_environment, inexact_because
from striate.errors import Interrupted, Refused, UsageError
from striate.files import write_json
from striate.locking import locked
from striate.machine import Tuning
from striate.outcome import finish_run
from striate.plan import Plan, majority_baseline, parse_seconds
from striate.preparation import Prepared, choose_device, data_notes, prepare, refuse_bad_files, resolve_run
from striate.progress import Progress, Silent
from striate.recipe import Recipe, Resolved
from striate.recipe_fields import apply_fields, to_fields
from striate.recipes import get_recipe
from striate.reproduction import command_line, python_code
from striate.runs import AUDIT_FILE, RECIPE_FILE, SPLIT_FILE, Run, claim_run_folder, free_run_folder, refuse_inside
from striate.signals import StopRequest
from striate.subject import check_forward, choose_network, make_subject, recipe_name
from striate.training import fit

Network = str | nn.Module | Callable[..., nn.Module]


def train(
    data: str | Path | Source,
    model: Network | None = None,
    recipe: str | Recipe | None = None,
    *,
    out: str | Path | None = None,
    split: str | Path | None = None,
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
    chosen = apply_fields(get_recipe(recipe if recipe is not None else recipe_name(network)), fields)
    subject = make_subject(network, source, chosen)
    check_forward(subject)
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
        ready = prepare(
            source, parts, subject, subject.preprocess(), chosen, workers=workers, cache=cache, progress=listener, check=check
        )
        resolved, estimate = resolve_run(ready, choose_device(device), seconds, tuning, check)
        record = _record(
            ready, resolved, str(data) if isinstance(data, str | Path) else source.location, budget=budget, split=split
        )
        folder = claim_run_folder(folder, out, f"{source.name}-{subject.name}")
        with locked(folder):
            free_run_folder(folder, "")  # two runs may have been given one --out: the lock says which of them has it
            write_split(folder / SPLIT_FILE, parts, source)
            write_json(folder / AUDIT_FILE, found.to_json())
            write_json(folder / RECIPE_FILE, record)
            notes = (*parts.notes, *data_notes(source, found, resolved, subject))
            baseline = majority_baseline(source, parts)
            plan = Plan(subject, source, parts, chosen, resolved, ready.batches.steps, baseline, estimate, notes)
            listener.plan(plan.rows())
            return _fit_and_finish(ready, resolved, folder, listener, request, resuming=False)


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
    _refuse_inexact(record, allow_inexact, found.path)
    chosen = apply_fields(Recipe(), record["recipe"])
    resolved = apply_fields(Resolved(), record["resolved"])
    source = open_source(record["data"]["location"])
    _refuse_other_data(record, source)
    subject = make_subject(_network_of(record, arch, found.path), source, chosen)
    with _request(stop) as request, locked(found.path):
        parts = read_split(found.path / SPLIT_FILE, source)
        check = partial(_check, request, "before training went on", f"striate resume {found.path}")
        ready = prepare(
            source, parts, subject, subject.preprocess(), chosen,
            workers=workers, cache=cache, progress=listener, balance=resolved.balance, check=check,
        )  # fmt: skip
        listener.message(f"resuming {found.path}: {len(found.history)} of {resolved.epochs} epochs done")
        return _fit_and_finish(ready, resolved, found.path, listener, request, resuming=True)


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
    ready: Prepared, resolved: Resolved, folder: Path, listener: Progress, request: StopRequest, *, resuming: bool
) -> Run:
    has_checkpoint = resuming and any((folder / "checkpoints").glob("step-*.safetensors"))
    fitted = fit(
        ready.task, ready.subject.module, ready.batches, ready.recipe,
        run=folder, resolved=resolved, resume=has_checkpoint, progress=listener, stop=request,
    )  # fmt: skip
    return finish_run(ready, fitted, folder, listener)


def _record(
    ready: Prepared, resolved: Resolved, data: str, *, budget: str | float | None, split: str | Path | None
) -> dict[str, Any]:
    source, parts = ready.source, ready.split
    subject = ready.subject
    # Not the bare name of a user's own, which may be that of another network of the zoo.
    network = subject.source_file or (subject.name if subject.variant else f"{subject.name} of your own")
    options = {"budget": budget, "split": None if split is None else str(split)}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(data, network, ready.recipe, **options),
        "python": python_code(data, network, ready.recipe, **options),
        "recipe": to_fields(ready.recipe),
        "resolved": to_fields(resolved),
        "model": ready.subject.to_json(),
        "task": ready.task.to_json(),
        "classes": list(source.classes),
        "preprocess": ready.preprocess.to_json(),
        "data": {
            "location": source.location,
            "name": source.name,
            "fingerprint": source.fingerprint(),
            "num_train": len(parts.train),
            "num_validation": len(parts.validation),
            "num_held_out": len(parts.held_out),
            "held_out_name": parts.held_out_name,
            "how": parts.how,
        },
        "environment": describe_environment(),
    }


def _refuse_inexact(record: dict[str, Any], allow_inexact: bool, path: Path) -> None:
    differences = inexact_because(record["environment"], describe_environment())
    if differences and not allow_inexact:
        raise Refused(
            "This resume would not be exact",
            where=path,
            why="; ".join(differences) + ": sums differ in their last bits",
            fix="resume where the run began, or accept that with --allow-inexact",
        )


def _refuse_other_data(record: dict[str, Any], source: Source) -> None:
    if source.fingerprint() != record["data"]["fingerprint"]:
        raise Refused(
            "The data are not those that this run began with",
            where=source.location,
            why="a file was added, removed, renamed, changed or put in another class since",
            fix="put the data back as they were, or start a new run with `striate train`",
        )


def _network_of(record: dict[str, Any], arch: Network | None, path: Path) -> Network:
    model = record["model"]
    if model["in_zoo"]:
        if arch is not None:
            raise UsageError(f"This run's network is {model['name']} of the zoo", where=path, fix="leave --arch away")
        return str(model["name"])
    if arch is None:
        hint = model["source_file"] or "FILE.py:FUNCTION"
        raise Refused(
            f"This run trains a network of your own ({model['name']})",
            where=path,
            why="code is run only when you name it",
            fix=f"striate resume {path} --arch {hint}",
        )
    return arch
