"""Where a run was made: versions and machine, and which differences make a resume inexact."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

from striate import machine


def describe_environment() -> dict[str, Any]:
    """Versions, processor, threads and git commit, as ``recipe.json`` keeps them."""
    import numpy as np
    import PIL
    import torch

    from striate import __version__

    return {
        "striate": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "cores": machine.num_cores(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_commit": _git_commit(),
    }


def inexact_because(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Differences that change the last bits of sums, a phrase each; empty where a resume is exact."""
    names = {"cpu": "processor", "torch": "torch", "threads": "threads", "cuda": "GPU"}
    return [f"{label} was {then.get(key)}, now {now.get(key)}" for key, label in names.items() if then.get(key) != now.get(key)]


def _git_commit() -> str | None:
    """Commit of the working folder, where it is a git checkout."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
