"""What must not change while a comparison goes on: written at its first start, held against every later one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate.data.source import Source
from striate.errors import Refused
from striate.files import write_json

COMPARISON_FILE = "comparison.json"


def keep_identity(
    folder: Path, source: Source, model: str, weights: str, seconds: float, device: str, fields: Mapping[str, Any]
) -> None:
    """Writes what the comparison is of, or makes sure that it is still of the same. Regimes, numbers and seeds may grow.

    Raises:
        Refused: the folder holds another comparison; each difference is named.
        Failed: the disk refused.
    """
    path = folder / COMPARISON_FILE
    given = {name: str(value) for name, value in sorted(fields.items())}
    own = {
        "data": source.location, "fingerprint": source.fingerprint(), "model": model, "weights": weights,
        "budget_seconds": seconds, "device": device, "fields": given,
    }  # fmt: skip
    if not path.exists():
        write_json(path, own)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    differences = [f"{name} was {before.get(name)}, now {value}" for name, value in own.items() if before.get(name) != value]
    if differences:
        raise Refused(
            "This folder holds another comparison", where=folder, why="; ".join(differences), fix="name another one with --out"
        )
