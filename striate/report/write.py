"""``report.html``: verdict, curves, mistakes, data and recipe of a run in one file that asks for nothing over a network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from striate import __version__
from striate.data.source import Source
from striate.files import write_text
from striate.prediction import Model
from striate.report import galleries, inputs, panels
from striate.report.class_maps import explain_mistakes
from striate.report.findings import diagnose
from striate.report.run_folder import RunFolder, read_run
from striate.report.scores import class_row, confused_pairs, likely_label_errors
from striate.report.thumbnails import collect, open_pictures
from striate.report.verdict import headline, highlights, verdict
from striate.report.words import interval, percent
from striate.runs import REPORT_FILE

BUDGET = 3_200_000
"""Bytes of the page that thumbnails may take; the rest of it stays under 1.5 MB by ``MOST_ROWS`` and galleries' limits."""
MOST_ROWS = 1000
"""Rows of the table of classes; of more classes the weakest are listed."""
SECTIONS = {
    "curves": "Curves",
    "confusion": "Confusion",
    "mistakes": "Mistakes",
    "classes": "Classes",
    "calibration": "Calibration",
    "numbers": "Numbers",
    "data": "Data",
    "recipe": "Recipe",
    "again": "Do it again",
}
"""Every section by its id; one without content is left out."""


def write_report(run_dir: str | Path, source: Source | str | Path | None = None, model: Model | None = None) -> Path:
    """Writes the report of a run into its folder, whole or not at all.

    Args:
        run_dir: a run folder; without ``evaluation.json`` or ``predictions.npz`` the sections they feed are left out.
        source: the data of the run, or where they are now; None: where they were. Out of reach, the report has no pictures.
        model: the run's, for Grad-CAM beside its mistakes; None: that in its folder. A network of your own has to be given.

    Returns:
        The path of ``report.html``: one file of at most about 5 MB.

    Raises:
        UsageError: the folder is no run.
        Refused: one of its files is damaged.
        Failed: the file could not be written.
    """
    run = read_run(Path(run_dir))
    html = _templates().get_template("report.html.j2").render(_context(run, source, model))
    path = run.path / REPORT_FILE
    # A file name that is not UTF-8 holds lone surrogates, which no page can.
    write_text(path, html.encode("utf-8", "replace").decode("utf-8"))
    return path


@cache
def _templates() -> Environment:
    loader = PackageLoader("striate.report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(percent=percent, interval=interval)
    return environment


@cache
def _script() -> str:
    """The page's JavaScript, which its content security policy names by hash: no other script runs."""
    return "\n".join(_templates().get_template(name).render() for name in ("base.js.j2", "report.js.j2"))


def _context(run: RunFolder, source: Source | str | Path | None, model: Model | None) -> dict[str, Any]:
    """Everything the template reads."""
    diagnosis, confusion, predictions = diagnose(run), run.confusion, run.predictions
    rows = [class_row(score) for score in (run.evaluation or {}).get("per_class", [])]
    pairs = confused_pairs(confusion) if confusion is not None else []
    suspects = likely_label_errors(predictions) if run.kind == "label" and predictions is not None else None
    pictures = open_pictures(run, source)
    gallery = galleries.plan(run, confusion, pairs, suspects)
    class_maps = explain_mistakes(run, pictures, gallery.suspects + gallery.surest, model)
    thumbnails = collect(pictures, run, gallery.wanted, BUDGET - class_maps.size)
    shares = inputs.time_shares(run)
    content: dict[str, Any] = {
        "curves": panels.curves(run, diagnosis),
        "confusion": galleries.confusion(run, confusion, pairs, gallery, thumbnails, pictures.absent),
        "mistakes": galleries.mistakes(run, gallery, suspects, thumbnails, class_maps),
        "classes": sorted(rows, key=lambda row: (row.support == 0, row.recall))[:MOST_ROWS],
        "calibration": panels.calibration(run),
        "numbers": panels.scatter(run),
        "data": inputs.data(run),
        "recipe": inputs.recipe(run, shares),
        "again": inputs.again(run),
    }
    return content | {
        "version": __version__,
        "script": _script(),
        "script_hash": "sha256-" + base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
        "sections": {id: name for id, name in SECTIONS.items() if content[id]},
        "title": run.path.resolve().name,
        "eyebrow": f"{run.info['model']['name']} on {run.info['data']['name']}, recipe {run.info['recipe']['name']}",
        "created": str(run.info["created"])[:16].replace("T", " "),
        "kind": run.kind,
        "names": run.classes,
        "verdict": verdict(run, diagnosis),
        "scale": run.evaluation if run.kind == "label" else None,
        "figures": headline(run),
        "findings": inputs.grave_findings(run) + highlights(run, diagnosis, rows, pairs, suspects, shares),
        "kept": run.kept,
        "epochs": panels.epoch_table(run),
        "absent": pictures.absent,
    }
