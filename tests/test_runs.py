"""Run folders that other hands have been at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Ended

from striate.errors import Refused, StriateError, UsageError
from striate.report import write_report
from striate.runs import Run, list_runs

Command = Callable[..., Ended]

RECORD: dict[str, Any] = {
    "created": "2026-03-14T15:09:26+00:00",
    "recipe": {"name": "fast"},
    "resolved": {"epochs": 3},
    "model": {"name": "mlp"},
    "data": {"name": "photos"},
}
ROW = {"epoch": 1, "seconds": 2.0}


def make(folder: Path, record: str, metrics: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(record)
    (folder / "metrics.jsonl").write_text(metrics)
    return folder


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", json.dumps(RECORD | {"created": None})[:-9], "\x00"])
def test_one_damaged_record_leaves_the_others_listed(tmp_path: Path, damage: str, striate_command: Command) -> None:
    sound = make(tmp_path / "sound", json.dumps(RECORD), json.dumps(ROW) + "\n")
    damaged = make(tmp_path / "damaged", damage)
    assert [run.path for run in list_runs(tmp_path)] == [damaged, sound]
    first, second = json.loads(striate_command("runs", tmp_path, "--json").out)
    assert (first["path"], first["status"], first["accuracy"]) == (str(damaged), "unreadable", None)
    assert (second["status"], second["epochs"]) == ("stopped at 1/3", 1)
    assert set(first) == set(second)
    shown = striate_command("runs", tmp_path)
    assert shown.status == 0
    assert "unreadable" in shown.out
    assert "stopped at 1/3" in shown.out
    with pytest.raises(Refused, match=r"damaged[\s\S]*recipe\.json"):
        assert Run(damaged).record


def test_damaged_metrics_do_not_stop_the_list_either(tmp_path: Path) -> None:
    make(tmp_path / "run", json.dumps(RECORD), "{]\n{}\n")
    (run,) = list_runs(tmp_path)
    assert run.to_json()["status"] == "unreadable"


def test_what_is_no_run_is_told_alike_everywhere(tmp_path: Path) -> None:
    told = []
    for look in (lambda: Run(tmp_path).record, lambda: write_report(tmp_path)):
        with pytest.raises(UsageError) as caught:
            look()
        told.append(str(caught.value))
    assert told[0] == told[1]
    make(tmp_path / "damaged", "{")
    for look in (lambda: Run(tmp_path / "damaged").record, lambda: write_report(tmp_path / "damaged")):
        with pytest.raises(StriateError, match=r"The record of this run is damaged[\s\S]*do:"):
            look()
