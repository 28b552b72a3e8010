"""What went into a run: its data, recipe and machine, and how to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from striate.recipe import Recipe
from striate.recipe_fields import to_fields
from striate.report.findings import Finding
from striate.report.run_folder import RunFolder
from striate.report.words import setting
from striate.runs import MODEL_FILE

MOST_BARS, MOST_ENTRIES, MOST_NAMED = 60, 100, 6
"""Classes drawn as bars, entries of a list of files, and files named in one entry."""
MACHINE = {
    "cpu": "Processor",
    "cores": "Cores",
    "threads": "Threads",
    "cuda": "GPU",
    "platform": "System",
    "striate": "striate",
    "python": "Python",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "pillow": "Pillow",
    "git_commit": "Git commit",
}
"""Keys of the record's ``environment`` that are shown, and what they are called."""

Facts = list[tuple[str, str]]


def data(run: RunFolder) -> dict[str, Any]:
    """Where the images came from, how they were split, and what the audit found."""
    about, audit = run.info["data"], run.audit
    held_out = f"held out ({about['held_out_name']})" if about["held_out_name"] else "held out"
    parts = (("training", "num_train"), ("validation", "num_validation"), (held_out, "num_held_out"))
    facts = [
        ("Source", str(about["location"])),
        ("Images", ", ".join(f"{about[key]:,} {name}" for name, key in parts if about[key])),
        ("Split", str(about["how"])),
    ]
    if audit is None:
        return {"facts": facts, "findings": [], "counts": [], "lists": []}
    fine = Finding("Every image could be read; no duplicates, no leaks between splits, no conflicting labels.", "good")
    return {
        "facts": facts + _files(audit) + [("Fingerprint", str(about["fingerprint"]))],
        "findings": _audit_findings(audit) or [fine],
        "counts": _counts(audit),
        "lists": _lists(audit),
    }


def grave_findings(run: RunFolder) -> list[Finding]:
    """What the audit found that makes a score wrong or misleading."""
    return [Finding(found.text, "warn", "data") for found in _audit_findings(run.audit or {}) if found.tone == "warn"]


def _audit_findings(audit: Mapping[str, Any]) -> list[Finding]:
    entries = audit.get("findings", [])
    return [Finding(f"{e['text']} {e['fix']}".strip(), "plain" if e["level"] == "note" else "warn") for e in entries]


def _files(audit: Mapping[str, Any]) -> Facts:
    """Sizes, formats and modes."""
    height, width = audit["sizes"]["height"], audit["sizes"]["width"]
    size = f"{height['median']} × {width['median']}"
    if (height["min"], width["min"]) != (height["max"], width["max"]):
        size += f" in the median, {height['min']} to {height['max']} × {width['min']} to {width['max']}"
    kinds = [(label, ", ".join(f"{name} {count:,}" for name, count in audit[key].items())) for label, key in _KINDS]
    return [("Height × width", size), *((label, said) for label, said in kinds if said)]


_KINDS = (("Formats", "formats"), ("Modes", "modes"))


def _counts(audit: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """(class, images, share of the largest), the largest first; none where all are equal, or there are too many to show."""
    counts = dict(zip(audit["classes"], audit["counts"], strict=True))
    if len(counts) > MOST_BARS or len(set(counts.values())) < 2:
        return []
    most = max(counts.values())
    return [(name, count, count / most) for name, count in sorted(counts.items(), key=lambda item: -item[1])]


def _lists(audit: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Files that a reader may want to look up, under a heading each."""
    twins, conflicts, leaks = audit["duplicates"], audit["conflicts"], audit["leaks"]
    bad = [f"{entry['key']}: {entry['why']}" for entry in audit["bad"]]
    leaking = [f"{a} = {b}" for leak in leaks for a, b in leak["pairs"]]
    conflicting = [f"{c['a']} ({c['targets'][0]}) = {c['b']} ({c['targets'][1]})" for c in conflicts["pairs"]]
    exact = [" = ".join(group[:MOST_NAMED]) for group in twins["exact"]]
    near = [f"{pair['a']} ~ {pair['b']}" for pair in twins["near"]]
    found = (
        ("Unreadable files", audit["num_bad"], bad),
        ("Images that leak between splits", sum(leak["images"] for leak in leaks), leaking),
        ("Duplicates with different labels", conflicts["num"], conflicting),
        ("Groups of exact copies", twins["num_exact_groups"], exact),
        ("Pairs of nearly equal images", twins["num_near"], near),
    )
    return [(_heading(name, count, entries), entries[:MOST_ENTRIES]) for name, count, entries in found if entries]


def _heading(name: str, count: int, entries: list[str]) -> str:
    shown = min(len(entries), MOST_ENTRIES)
    return f"{name}: {count:,}" + (f", of which {shown} are listed" if count > shown and shown == MOST_ENTRIES else "")


def time_shares(run: RunFolder) -> list[tuple[str, float]]:
    """What training time went on, as shares of the whole, over the epochs that say so; the rest is the steps themselves."""
    timed = [e for e in run.epochs if e.seconds and e.parts]
    whole = sum(e.seconds or 0.0 for e in timed)
    if not whole:
        return []
    names = dict.fromkeys(name for e in timed for name in e.parts)
    shares = [(name, min(1.0, sum(e.parts.get(name, 0.0) for e in timed) / whole)) for name in names]
    rest = 1 - sum(share for _, share in shares)
    return shares + ([("training steps" if len(shares) == 1 else "other", rest)] if rest > 0.001 else [])


def recipe(run: RunFolder, shares: list[tuple[str, float]]) -> dict[str, Any]:
    """The settings, those apart that differ from the defaults, and the machine."""
    used, defaults = dict(_flat(run.info["recipe"])), dict(_flat(to_fields(Recipe())))
    changed = {name for name, value in used.items() if name != "name" and (name not in defaults or defaults[name] != value)}
    chosen = [(name, value) for name, value in _flat(run.info["resolved"]) if name not in ("notes", "step_seconds")]
    environment = run.info["environment"]
    count = f"{len(changed)} of {len(used)} settings differ from the defaults."
    return {
        "words": f"Recipe {used['name']}. " + (count if changed else "Every setting is the default."),
        "changed": [(name, setting(value)) for name, value in used.items() if name in changed],
        "all": [(name, setting(value), name in changed) for name, value in used.items()],
        "chosen": [(name.replace("_", " "), setting(value)) for name, value in chosen],
        "notes": run.info["resolved"].get("notes", []),
        "shares": shares,
        "machine": [(label, setting(environment[key])) for key, label in MACHINE.items() if environment.get(key) is not None],
    }


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Fields with dotted names, ``optimizer.lr``; tuples as the lists that JSON makes of them."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, list(value) if isinstance(value, tuple) else value


def again(run: RunFolder) -> dict[str, str]:
    """The command, the same as Python, and how the model is used."""
    model, answer = str(run.path / MODEL_FILE), "value" if run.kind == "value" else "label"
    lines = (
        "import striate",
        "",
        f"model = striate.load({model!r})",
        "for prediction in model.predict('photos/'):",
        f"    print(prediction.source, prediction.{answer})",
    )
    return {
        "command": shlex.join(run.info["command"]),
        "python": run.info["python"],
        "predict": shlex.join(["striate", "predict", model, "photos/"]),
        "use": "\n".join(lines),
    }
