"""The command that answers over HTTP. What does the work is imported inside."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from striate.cli.parameters import Arch, Count, Device, Workers
from striate.cli.printing import listening
from striate.errors import UsageError

if TYPE_CHECKING:
    from striate.prediction import Model
    from striate.serving.models import Opener
    from striate.serving.server import Address
    from striate.serving.service import Service

TOKEN_VARIABLE = "STRIATE_TOKEN"


def serve(
    *models: str,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8000,
    token: str | None = None,
    max_batch: Count = 32,
    max_delay_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 5.0,
    max_queue: Count | None = None,
    max_images: Count = 64,
    max_megabytes: Count = 32,
    max_pixels: Count | None = None,
    timeout_s: Annotated[float, Parameter(validator=Number(gt=0))] = 30.0,
    workers: Workers = None,
    weights: str | None = None,
    arch: Arch = None,
    device: Device = "cpu",
    emit: Literal["dockerfile", "systemd", "triton", "html"] | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    ort_web: Path | None = None,
) -> None:
    """Answer over HTTP: POST /predict takes image files, many at once, base64 in JSON, or ready tensors.

    A page to drop images on is at /, a description of every address at /openapi.json. SIGTERM answers what has been taken on,
    then ends; SIGHUP loads every model again without an interruption. With --emit nothing is served: what it takes to do so
    elsewhere is written to --out.

    Args:
        models: Each a run's folder, a model.safetensors, an exported .onnx or .xml, or with --weights a network by name.
            NAME=PATH gives it a name of its own; /predict means the first.
        host: Address to listen on. Beyond loopback a token is required: one is made and printed where none is given.
        port: 0 takes a free one.
        token: What requests must bring as "Authorization: Bearer TOKEN". Better in the environment, as STRIATE_TOKEN: a
            command line can be read by other users.
        max_batch: Images that the network takes at once.
        max_delay_ms: Milliseconds an image may wait for others to join its batch; none while the server is idle.
        max_queue: Images admitted and not yet answered; more get 503 with Retry-After. Without it four batches, and
            at least --max-images.
        max_images: Images in one request; more get 413.
        max_megabytes: Of one request; more get 413.
        max_pixels: Width x height of one picture; more get 413. Without it 52 million, or less
            where the model says so.
        timeout_s: Seconds until an answer; then 504.
        workers: Processes that decode; 0 or none given: one a core.
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        device: cpu or cuda.
        emit: Write instead what serves the models elsewhere: dockerfile (a folder to build an image of), systemd (a unit),
            triton (a model repository), html (one page that runs an exported .onnx in the browser, offline).
        out: The folder that --emit writes to.
        ort_web: For --emit html: the folder `dist` of the npm package onnxruntime-web; found by itself in node_modules here
            or above.
    """
    from striate.serving.limits import Limits
    from striate.serving.models import Source, name_models
    from striate.serving.server import Address, serve, with_token

    if emit is not None:
        given: dict[str, int | float | str | None] = {
            "host": host,
            "port": port,
            "token": token,
            "max_batch": max_batch,
            "max_delay_ms": max_delay_ms,
            "max_queue": max_queue,
            "max_images": max_images,
            "max_megabytes": max_megabytes,
            "max_pixels": max_pixels,
            "timeout_s": timeout_s,
            "workers": workers,
            "weights": weights,
            "arch": arch,
            "device": device,
        }
        _emit(emit, models, out, ort_web, given)
        return
    if out is not None or ort_web is not None:
        raise UsageError("--out and --ort-web go with --emit", fix="leave them out, or add --emit")
    limits = Limits(
        max_batch=max_batch,
        max_delay_ms=max_delay_ms,
        max_queue=max_queue or max(4 * max_batch, max_images),
        max_images=max_images,
        max_body_bytes=max_megabytes * 2**20,
        max_upload_bytes=max(8 * max_megabytes, 256) * 2**20,
        timeout_s=timeout_s,
        **({} if max_pixels is None else {"max_pixels": max_pixels}),
    )
    address = with_token(Address(host, port, token or os.environ.get(TOKEN_VARIABLE)))
    sources = [Source(name, path, _opener(path, weights, arch, device)) for name, path in name_models(models).items()]

    def announce(url: str, service: Service) -> None:
        _announce(url, service, address, made=not (token or os.environ.get(TOKEN_VARIABLE)))

    serve(sources, address, limits, workers, announce=announce)


def _opener(path: str, weights: str | None, arch: str | None, device: str) -> Opener:
    def load() -> Model:
        from striate import machine, prediction

        with listening() as progress:
            opened = prediction.load(path, arch=arch, device=device, weights=weights, progress=progress)
        if opened.is_torch:
            machine.tune()
        return opened

    return load


def _announce(url: str, service: Service, address: Address, made: bool) -> None:
    """What to open and whom it answers, on stdout."""
    from striate.columns import align

    rows = []
    for version in service.models.versions:
        preprocess, kind = version.model.preprocess, version.model.kind
        what = "one number" if kind == "value" else f"{len(version.model.classes)} classes"
        reads = f"uint8 [N, {preprocess.channels}, {preprocess.size[0]}, {preprocess.size[1]}]"
        rows.append([version.source.name, what, reads, f"{1000 * version.batch_seconds:.0f} ms for {service.limits.max_batch}"])
    print("\n".join(align(rows)))
    if address.token is None:
        print(f"\nserving at {url}  (this machine only; Ctrl-C ends it)")
    elif made:
        print(f"\nserving at {url}/#token={address.token}\ntoken made for this run: {address.token}")
        print("Traffic is not encrypted: put it behind a proxy with TLS where others share the network.")
    else:
        print(f"\nserving at {url}, for those who have the token")
    sys.stdout.flush()


def _emit(
    kind: Literal["dockerfile", "systemd", "triton", "html"],
    models: tuple[str, ...],
    out: Path | None,
    ort_web: Path | None,
    options: Mapping[str, int | float | str | None],
) -> None:
    from striate.serving.emitting import emit

    if out is None:
        raise UsageError("Where should it be written?", fix=f"striate serve MODEL --emit {kind} --out FOLDER")
    if ort_web is not None and kind != "html":
        raise UsageError("--ort-web goes with --emit html", fix="leave it out")
    by_default = {name: parameter.default for name, parameter in inspect.signature(serve).parameters.items()}
    changed = {name: value for name, value in options.items() if value is not None and value != by_default[name]}
    for path in emit(kind, models, out, ort_web=ort_web, **changed):
        print(path)
