"""What serves a model elsewhere, written to a folder: files to build an image of, a systemd unit, a Triton repository, a page."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import striate
from striate.backends.opening import is_artefact, open_artefact
from striate.bundle import read_info
from striate.errors import UsageError
from striate.files import make_folder, write_text
from striate.prediction import model_file
from striate.serving.browser_page import browser_page, find_ort_web
from striate.serving.limits import Limits
from striate.serving.models import name_models

PORT = 8000

_PACKAGES = ("numpy", "pillow", "simplejpeg", "safetensors", "rich", "cyclopts", "fastapi", "uvicorn", "python-multipart")
"""What serving takes beside what runs the network."""

_RUNTIMES = {".onnx": "onnxruntime", ".xml": "openvino"}

Value = int | float | str

_LIMITS = {"max_batch", "max_delay_ms", "max_queue", "max_images", "max_megabytes", "max_pixels", "timeout_s", "workers", "port"}

TAKEN: dict[str, set[str]] = {
    "dockerfile": _LIMITS,
    "systemd": _LIMITS | {"host"},
    "triton": {"max_batch", "max_delay_ms"},
    "html": set(),
}
"""By kind: the options of `striate serve` that mean something there."""

_TRITON_BACKENDS = {".onnx": "onnxruntime", ".xml": "openvino"}


@dataclass(frozen=True)
class Emitted:
    """One model to be written out.

    Attributes:
        name: as in addresses.
        path: of its file.
    """

    name: str
    path: Path

    @property
    def files(self) -> list[Path]:
        """The file, and the weights that OpenVINO keeps beside it."""
        beside = self.path.with_suffix(".bin")
        return [self.path, beside] if self.path.suffix == ".xml" else [self.path]


@dataclass(frozen=True)
class Order:
    """What is to be written, and how it is to serve.

    Attributes:
        models: at least one.
        out: an empty folder.
        options: of `striate serve`, by name.
        ort_web: of onnxruntime-web, for a page; None: to be found.
    """

    models: list[Emitted]
    out: Path
    options: Mapping[str, Value]
    ort_web: Path | None

    @property
    def words(self) -> list[str]:
        """The options as they stand on a command line."""
        return [word for name, value in self.options.items() for word in (f"--{name.replace('_', '-')}", f"{value}")]

    @property
    def port(self) -> int:
        """Where it will listen."""
        return int(self.options.get("port", PORT))


def emit(kind: str, models: Sequence[str], out: Path, *, ort_web: Path | None = None, **options: Value) -> list[Path]:
    """Writes what serves ``models`` and returns what was written.

    Args:
        kind: a key of :data:`KINDS`.
        models: ``PATH`` or ``NAME=PATH``, of files.
        out: a folder that is not there yet, or empty.
        ort_web: the folder ``dist`` of the npm package onnxruntime-web.
        options: those of `striate serve` that are not as they are by default.

    Raises:
        UsageError: a model is no file, or not of the kind that this takes; the folder is not empty; an option that would do
            nothing there.
        Refused: a model's file is damaged.
    """
    if strange := sorted(options.keys() - TAKEN[kind]):
        raise UsageError(f"--{strange[0].replace('_', '-')} does nothing with --emit {kind}", fix="leave it out")
    named = []
    for name, given in name_models(models).items():
        path = model_file(given)
        if not path.is_file():
            fix = "name a run's folder, a model.safetensors or an exported file"
            raise UsageError("No such model", where=given, fix=fix)
        if not is_artefact(path):
            read_info(path)  # refuses what would not be opened there either
        named.append(Emitted(name, path.absolute()))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("The folder is not empty", where=out, fix="name one that is not there yet")
    return KINDS[kind](Order(named, out, options, ort_web))


def _emit_dockerfile(order: Order) -> list[Path]:
    """The package itself goes with it, so that what runs there is what runs here; exported graphs do without torch."""
    out = make_folder(order.out)
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    shutil.copytree(Path(striate.__file__).parent, out / "striate", ignore=ignored)
    words = []
    for model in order.models:
        folder = make_folder(out / "models" / model.name)
        for file in model.files:
            shutil.copy2(file, folder / file.name)
        words.append(f"{model.name}=models/{model.name}/{model.path.name}")
    runtimes = sorted({_RUNTIMES.get(model.path.suffix, "torch") for model in order.models})
    write_text(out / "requirements.txt", "".join(f"{name}=={_version(name)}\n" for name in (*_PACKAGES, *runtimes)))
    command = ["python", "-m", "striate", "serve", *words, "--host", "0.0.0.0", *order.words]
    text = _DOCKERFILE.format(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        name=order.models[0].name.lower(),
        port=order.port,
        command=json.dumps(command),
        note=_TORCH_NOTE if "torch" in runtimes else "",
    )
    write_text(out / "Dockerfile", text)
    return [out / "Dockerfile", out / "requirements.txt", out / "striate", out / "models"]


_DOCKERFILE = """\
# docker build -t {name} .
# docker run --rm -p {port}:{port} -e STRIATE_TOKEN=... {name}     without a token one is made, and printed when it starts
FROM python:{python}-slim
ENV PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.txt .
{note}RUN pip install --no-cache-dir -r requirements.txt
COPY striate striate
COPY models models
RUN useradd --system --no-create-home striate
USER striate
EXPOSE {port}
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/healthz', timeout=5)"]
# SIGTERM, which `docker stop` sends, answers what has been taken on; give it the time: docker stop -t 60
CMD {command}
"""

_TORCH_NOTE = "# torch makes this image large; of a model written by `striate export --to onnx` it would be a tenth.\n"


def _version(package: str) -> str:
    """As installed here, without the part that names a build of one machine."""
    return version(package).partition("+")[0]


def _emit_systemd(order: Order) -> list[Path]:
    out = make_folder(order.out)
    name = f"striate-{order.models[0].name}"
    words = [f"{model.name}={model.path}" for model in order.models]
    command = [sys.executable, "-m", "striate", "serve", *words, *order.words]
    unit = out / f"{name}.service"
    write_text(unit, _UNIT.format(name=name, command=" ".join(map(_unit_word, command))))
    return [unit]


def _unit_word(word: str) -> str:
    """As systemd reads it: quoted, with the signs that it would expand doubled."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


_UNIT = """\
# cp {name}.service /etc/systemd/system/ && systemctl daemon-reload && systemctl enable --now {name}
# A new model: put its file in the old one's place, then systemctl reload {name}
# It runs as a user of its own, who must be able to read the model and this Python: neither can lie in /root or /tmp.
# Others may ask: add --host 0.0.0.0 below, and a line STRIATE_TOKEN=... to /etc/{name}.env (chmod 600)
[Unit]
Description=striate serve
After=network.target

[Service]
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
EnvironmentFile=-/etc/{name}.env
Restart=on-failure
KillMode=mixed
TimeoutStopSec=60
DynamicUser=yes
NoNewPrivileges=yes
PrivateDevices=yes
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
LockPersonality=yes
LimitNOFILE=4096

[Install]
WantedBy=multi-user.target
"""


def _emit_triton(order: Order) -> list[Path]:
    written = []
    for model in order.models:
        path = of_form(model.path, "tensor")
        _, card = open_artefact(path)
        folder = make_folder(order.out / model.name)
        make_folder(folder / "1")
        for file in Emitted(model.name, path).files:
            shutil.copy2(file, folder / "1" / f"model{file.suffix}")
        write_text(folder / "config.pbtxt", _triton_config(model.name, path, card, order))
        written.append(folder / "config.pbtxt")
        if card["classes"]:
            write_text(folder / "labels.txt", "".join(f"{name}\n" for name in card["classes"]))
            written.append(folder / "labels.txt")
        written.append(folder / "1")
    return written


def _triton_config(name: str, path: Path, card: dict[str, object], order: Order) -> str:
    classes, preprocess = card["classes"], card["preprocess"]
    assert isinstance(classes, list)
    assert isinstance(preprocess, dict)
    dims = ", ".join(map(str, (preprocess["channels"], *preprocess["size"])))
    labels = ' label_filename: "labels.txt"' if classes else ""
    return f"""\
# tritonserver --model-repository {order.out.absolute()}
name: {json.dumps(name)}
backend: "{_TRITON_BACKENDS[path.suffix]}"
max_batch_size: {order.options.get("max_batch", Limits.max_batch)}
# uint8 as striate.Preprocess makes it: the normalisation is part of the graph
input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ {dims} ] }} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ {len(classes) or 1} ]{labels} }} ]
dynamic_batching {{ max_queue_delay_microseconds: {round(1000 * float(order.options.get("max_delay_ms", Limits.max_delay_ms)))} }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""


def _emit_html(order: Order) -> list[Path]:
    if len(order.models) != 1:
        raise UsageError(f"A page holds one model; {len(order.models)} are given", fix="write a page for each")
    model = order.models[0]
    path = of_form(model.path, "images")
    if path.suffix != ".onnx":
        raise UsageError("A browser runs ONNX alone", where=path, fix="striate export MODEL --to onnx")
    text = browser_page(path, open_artefact(path)[1], order.ort_web or find_ort_web())
    page = make_folder(order.out) / f"{model.name}.html"
    write_text(page, text)
    return [page]


def of_form(path: Path, form: str) -> Path:
    """That file of an exported pair which takes ready tensors (``tensor``) or whole pictures (``images``).

    Raises:
        UsageError: it is no exported graph for others to run, or its other half is not beside it.
    """
    if path.suffix not in _TRITON_BACKENDS:
        what = f"{path.name} runs in striate alone"
        raise UsageError(what, where=path, fix=f"export it first: striate export {path} --to onnx, and give what that writes")
    stem = path.name.removesuffix(path.suffix).removesuffix(".tensor")
    wanted = path.with_name(f"{stem}.tensor{path.suffix}" if form == "tensor" else f"{stem}{path.suffix}")
    if not wanted.is_file():
        raise UsageError(f"{wanted.name} is not beside it", where=path, fix="keep the two files of an export together")
    return wanted


KINDS: dict[str, Callable[[Order], list[Path]]] = {
    "dockerfile": _emit_dockerfile,
    "systemd": _emit_systemd,
    "triton": _emit_triton,
    "html": _emit_html,
}
