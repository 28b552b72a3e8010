"""``striate doctor``: what is installed, what the machine can do, and what stands in the way of either, with its cure."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import striate
from striate import machine
from striate.data.findings import counted

CORE = (
    "torch",
    "numpy",
    "pillow",
    "simplejpeg",
    "safetensors",
    "rich",
    "cyclopts",
    "jinja2",
    "fastapi",
    "uvicorn",
    "python-multipart",
)
EXTRAS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino", "nncf"),
    "explain": ("captum",),
    "detect": ("faster-coco-eval",),
    "hub": ("huggingface_hub",),
    "track": ("tensorboard", "mlflow"),
    "tune": ("optuna",),
    "keras": ("h5py",),
    "parquet": ("pyarrow",),
    "umap": ("umap-learn",),
    "faiss": ("faiss-cpu",),
}
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
ENOUGH = 2 << 30
"""Bytes of free memory and disk below which training on real images soon fails."""


@dataclass(frozen=True)
class Problem:
    """One thing that stands in the way: what it is, and what to do about it."""

    what: str
    fix: str


@dataclass(frozen=True)
class Examination:
    """What :func:`examine` found. Sizes are in bytes; None stands for "the system does not say".

    Attributes:
        versions: Python, striate and each package it needs -> version; None: not installed.
        extras: name of the extra -> its packages -> version; None: not installed.
        cpu: name, cores this process may use, threads of torch, capability torch was built for, and the instruction
            sets that decide speed, each present or not.
        devices: every device training can run on.
        memory: what can be allocated now.
        disk: free space in the working folder and in the folder of caches, and what the caches hold.
        problems: in the order in which they matter.
    """

    versions: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    cpu: dict[str, Any]
    devices: list[str]
    memory: int | None
    disk: dict[str, Any]
    problems: list[Problem]

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)

    def text(self) -> str:
        """The same for a terminal, a finding a line."""
        cpu, disk = self.cpu, self.disk
        flags = (
            ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in cpu["flags"].items()) or "not told by the system"
        )
        installed = [name for name, packages in self.extras.items() if all(packages.values())]
        others = [name for name in self.extras if name not in installed]
        cores = counted(cpu["cores"], "core")
        rows = [
            ("versions", ", ".join(f"{name} {version or 'MISSING'}" for name, version in self.versions.items())),
            ("processor", f"{cpu['name']}; {cores}, {counted(cpu['threads'], 'thread')}, torch uses {cpu['capability']}"),
            ("instructions", flags),
            ("devices", ", ".join(self.devices)),
            ("memory", f"{_gigabytes(self.memory)} available"),
            ("disk", f"{_gigabytes(disk['here'])} free here, {_gigabytes(disk['cache_free'])} free for caches"),
            ("caches", f"{_gigabytes(disk['cache_used'])} in {disk['cache']}"),
            (
                "extras",
                f"installed: {', '.join(installed) or 'none'}; not: {', '.join(others) or 'none'} (pip install 'striate[NAME]')",
            ),
        ]
        lines = [f"{name:<14}{value}" for name, value in rows]
        lines += [f"\nproblem: {problem.what}\n  do:    {problem.fix}" for problem in self.problems]
        return "\n".join([*lines, "", f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)} found"])


def examine() -> Examination:
    """Looks at the installation and the machine; changes nothing and sends nothing anywhere."""
    versions = {"python": platform.python_version(), "striate": striate.__version__, **{name: _version(name) for name in CORE}}
    extras = {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()}
    flags = machine.cpu_flags()
    cpu: dict[str, Any] = {
        "name": machine.cpu_name(),
        "cores": machine.num_cores(),
        "flags": {name: name in flags for name in FLAGS} if flags else {},
        "bf16": machine.has_bf16(),
    }
    cpu["threads"], cpu["capability"], devices, problems = _ask_torch(cpu["cores"])
    memory = machine.available_memory()
    cache = machine.cache_folder()
    disk = {"here": _free(Path.cwd()), "cache": str(cache), "cache_free": _free(cache), "cache_used": _used(cache)}
    problems += [
        *_missing(versions),
        *_torchvision_mismatch(versions["torch"], _version("torchvision"), _required_torch()),
        *_too_little(memory, disk),
        *_unwritable(cache),
    ]
    return Examination(versions, extras, cpu, devices, memory, disk, problems)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _ask_torch(cores: int) -> tuple[int | None, str, list[str], list[Problem]]:
    """Threads, CPU capability, devices and what is wrong with them, as torch itself sees it."""
    try:
        import torch
    except Exception as error:
        fix = "install it again: see the page of PyTorch for your system, pytorch.org/get-started/locally"
        return None, "unknown", [], [Problem(f"torch cannot be imported: {error}", fix)]
    problems = []
    threads = torch.get_num_threads()
    if threads > cores:
        what = f"torch uses {counted(threads, 'thread')} on {counted(cores, 'core')}"
        problems.append(Problem(what, f"set OMP_NUM_THREADS={cores}"))
    devices = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.version.cuda and not devices:
        what = f"this torch is built for CUDA {torch.version.cuda}, but no usable GPU was found: training runs on the CPU"
        problems.append(Problem(what, "update the driver; without a GPU, the CPU build of torch is smaller by gigabytes"))
    return threads, torch.backends.cpu.get_cpu_capability(), [*devices, "cpu"], problems


def _missing(versions: dict[str, str | None]) -> list[Problem]:
    missing = [name for name, version in versions.items() if version is None]
    return [Problem(f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")] if missing else []


def _required_torch() -> str | None:
    """The torch version that the installed torchvision declares, read without importing it."""
    if _version("torchvision") is None:
        return None
    pins = [re.match(r"torch\s*\(?==\s*([\w.+]+)", line) for line in metadata.requires("torchvision") or []]
    return next((pin[1] for pin in pins if pin), None)


def _torchvision_mismatch(torch: str | None, torchvision: str | None, required: str | None) -> list[Problem]:
    """striate never imports torchvision, but packages a user adds beside it do."""
    if not torch or not torchvision or not required or torch.partition("+")[0] == required.partition("+")[0]:
        return []
    what = f"torchvision {torchvision} was built for torch {required}, and torch {torch} is installed: importing it fails"
    return [Problem(what, "striate never imports it; remove it (pip uninstall torchvision) or install the pair that matches")]


def _too_little(memory: int | None, disk: dict[str, Any]) -> list[Problem]:
    problems = []
    if memory is not None and memory < ENOUGH:
        problems.append(
            Problem(f"only {_gigabytes(memory)} of memory are available", "close other programs, or train with a smaller --batch")
        )
    if disk["here"] is not None and disk["here"] < ENOUGH:
        problems.append(
            Problem(
                f"only {_gigabytes(disk['here'])} are free in {Path.cwd()}", "free some space, or name another folder with --out"
            )
        )
    if disk["cache_free"] is not None and disk["cache_free"] < ENOUGH:
        what = f"only {_gigabytes(disk['cache_free'])} are free for caches in {disk['cache']}"
        problems.append(Problem(what, "free some space, set STRIATE_CACHE to another folder, or train with --cache off"))
    return problems


def _unwritable(cache: Path) -> list[Problem]:
    if os.access(_existing(cache), os.W_OK):
        return []
    return [Problem(f"caches cannot be written to {cache}", "set STRIATE_CACHE to a folder of your own")]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return None


def _used(folder: Path) -> int:
    """Bytes on the disk under a folder; files that vanish meanwhile count nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            # Sparse cache files occupy less than their length.
            total += min(status.st_size, status.st_blocks * 512)
    return total


def _gigabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
