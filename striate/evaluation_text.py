"""The figures of an evaluation as lines for a terminal; from its JSON record, so that a stored one reads the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from striate.evaluation_tree import describe_tree

MAX_CLASSES = 40
"""Longest table of classes; of more, the worst are shown."""

MAX_BAD = 5


def describe_scores(record: Mapping[str, Any]) -> str:
    """What ``Evaluation.to_json`` returned, as a summary and a table of classes."""
    rows = list(_summary(record))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, *_class_table(record), *_bad_files(record)])


def _summary(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    unreadable = f", {record['num_bad']:,} more could not be read" if record["num_bad"] else ""
    yield record["split"], f"{record['n']:,} image{'s' * (record['n'] != 1)}{unreadable}"
    if record["how"]:
        yield "", record["how"]
    if record["kind"] == "value":
        yield "mean absolute error", f"{_number(record['mae'])} ({_number(record['baseline_mae'])} by always giving the mean)"
        yield "root mean square", _number(record["rmse"])
        yield "R²", _share(record["r2"])
        return
    low, high = record["interval"]
    accuracy = "accuracy" if record["top5"] is None else "top-1 accuracy"
    of = accuracy if record["kind"] == "label" else "all labels right"
    yield of, f"{_percent(record['accuracy'])} (95 % interval {100 * low:.2f} to {100 * high:.2f})"
    commonest = "class" if record["kind"] == "label" else "set of labels"
    yield "baseline", f"{_percent(record['majority_baseline'])} by always giving the commonest {commonest}"
    if record["top5"] is not None:
        yield "top-5 accuracy", _percent(record["top5"])
    if record.get("tree"):
        yield from describe_tree(record["tree"])
    if record["mean_average_precision"] is not None:
        yield "mAP", f"{record['mean_average_precision']:.4f}"
    if record["macro_f1"] is not None:
        yield "macro F1", f"{record['macro_f1']:.4f}"
    if record["ece"] is not None:
        yield "calibration error", _percent(record["ece"])
    worst = next((row for row in record["per_class"] if row["name"] == record["worst_class"]), None)
    if worst is not None:
        yield "worst class", f"{worst['name']}: {_percent(worst['recall'])} of {worst['support']:,} found"
    if record["most_confused"] is not None:
        pair = record["most_confused"]
        yield "most confused", f"{pair['true']} taken for {pair['predicted']}: {pair['num']:,} image{'s' * (pair['num'] != 1)}"


def _class_table(record: Mapping[str, Any]) -> list[str]:
    rows = [row for row in record["per_class"] if row["support"] or row["predicted"]]
    if not rows:
        return []
    left_out = len(rows) - MAX_CLASSES
    if left_out > 0:
        rows = sorted(rows, key=lambda row: row["f1"])[:MAX_CLASSES]
    width = max(5, *(len(row["name"]) for row in rows))
    header = f"{'class':<{width}}  images  precision  recall      F1"
    lines = [
        f"{row['name']:<{width}}  {row['support']:>6,}"
        f"  {_share(row['precision']):>9}  {_share(row['recall']):>6}  {_share(row['f1']):>6}"
        for row in rows
    ]
    return ["", header, *lines, *([f"... and {left_out:,} better classes"] if left_out > 0 else [])]


def _bad_files(record: Mapping[str, Any]) -> list[str]:
    bad = record["bad"]
    more = [f"  ... and {len(bad) - MAX_BAD:,} more"] if len(bad) > MAX_BAD else []
    return ["", "could not be read:", *(f"  {key}: {reason}" for key, reason in bad[:MAX_BAD]), *more] if bad else []


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
