"""What this machine is, and the process-wide settings: threads and allocator. Set by the command line, or by :func:`tune`."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from striate.errors import UsageError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
"""Parameters of glibc's mallopt (malloc.h)."""


@dataclass(frozen=True)
class Tuning:
    """Process-wide settings as they are now."""

    threads: int
    allocator: bool


def tune(threads: int | None = None, allocator: bool = True) -> Tuning:
    """Sets torch's threads and the allocator for this process; nothing else in the library does.

    glibc gives big tensors back to the system after every operation, and touching fresh pages costs far more than the
    arithmetic of small networks: ``allocator`` keeps freed memory with the process instead.

    Args:
        threads: of the CPU operators; None: ``OMP_NUM_THREADS`` where set, else the cores this process may use.
        allocator: whether freed memory stays with the process (glibc only; elsewhere nothing happens).
    """
    import torch

    if threads is None:
        threads = int(os.environ.get("OMP_NUM_THREADS") or num_cores())
    torch.set_num_threads(threads)
    return Tuning(threads, keep_freed_memory(allocator))


def usable_device(device: str) -> str:
    """The name of a device that torch has here.

    Raises:
        UsageError: neither ``cpu`` nor ``cuda``, or one that is not here.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise UsageError(f"Unknown device {device!r}", fix="use cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        why = f"torch {torch.__version__} sees none"
        raise UsageError("No CUDA device here", why=why, fix="use --device cpu, or see `striate doctor`")
    return device


def keep_freed_memory(keep: bool) -> bool:
    """Tells glibc's allocator to keep (or again to return) freed memory; returns whether it now does."""
    libc = _glibc()
    if libc is None:
        return False
    settings: tuple[tuple[int, int], ...]
    if keep:
        settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 1 << 30), (_M_TOP_PAD, 256 << 20))
    else:
        settings = ((_M_MMAP_MAX, 65536), (_M_MMAP_THRESHOLD, 128 << 10), (_M_TRIM_THRESHOLD, 128 << 10), (_M_TOP_PAD, 0))
    taken = [libc.mallopt(parameter, value) for parameter, value in settings]
    return all(taken) and keep


def release_freed_memory() -> None:
    """Gives what the allocator holds without need back to the system (glibc only), so that what grows next is seen to grow."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_busy() -> bool:
    """Whether other work takes a noticeable part of the cores: the load of the last minute, this process's own aside."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return False
    return load > 1.0 + 0.25 * num_cores()


def busy_seconds() -> float | None:
    """Processor seconds that all programs together, and other guests of the same host, have taken since the start (Linux)."""
    words = (_lines("/proc/stat") or [""])[0].split()
    if words[:1] != ["cpu"]:
        return None
    user, nice, system, _, _, irq, softirq, stolen = map(int, words[1:9])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


@cache
def cpu_name() -> str:
    """The processor as the system names it."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor (Linux x86-64 names); empty where the system does not say."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware; without it bf16 is emulated and slow."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def available_memory() -> int | None:
    """Bytes that can be allocated before the system kills or swaps, also within a container; None where unknown."""
    free = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        free.append(max(0, limit - used))
    return min(free) if free else None


def resident_memory() -> int:
    """Bytes of this process that are in memory now."""
    for line in _lines("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return peak_memory()


def peak_memory() -> int:
    """Most bytes of this process that were in memory at once, since the start or :func:`reset_peak_memory`."""
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def reset_peak_memory() -> None:
    """Starts :func:`peak_memory` anew, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def cache_folder() -> Path:
    """Where caches and downloads go: ``STRIATE_CACHE``, or the system's folder for a user's caches."""
    if chosen := os.environ.get("STRIATE_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "striate"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "striate"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "striate"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _number(path: str) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None
