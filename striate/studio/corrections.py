"""Labels that somebody put right on the page: written to a table beside the runs, while the data stay as they are."""

from __future__ import annotations

import csv
import io
import threading
from pathlib import Path

from striate.data.source import SPLITS, Source
from striate.errors import Refused, UsageError
from striate.files import make_folder, write_text


class Corrections:
    """Of one data set.

    The table of data that are files holds every picture (``path,label,split,was``), so that `striate train` takes it as it is;
    that of arrays holds what was changed alone (``key,label,was``).

    Attributes:
        path: of the table; it is there from the first correction on.
        labels: position -> the right class; those of an earlier start are read again.
    """

    def __init__(self, source: Source, name: str, home: Path) -> None:
        self.source, self.path = source, home / f"labels-{name}.csv"
        self.labels: dict[int, str] = {}
        self._lock = threading.Lock()
        if self.path.exists():
            self._read()

    @property
    def trainable(self) -> bool:
        """Whether the table itself can be trained on."""
        return self.source.path(0) is not None if len(self.source) else False

    def was(self, i: int) -> str:
        """The label that the data say."""
        return self.source.classes[int(self.source.targets[i])]

    def set(self, i: int, label: str | None) -> None:
        """Gives a picture another label; None, or the one it has, takes a correction back.

        Raises:
            UsageError: no such picture, or a text that is no class.
            Refused: the data's pictures have no single label.
            Failed: the table could not be written.
        """
        if self.source.kind != "label":
            raise Refused("These pictures have no single label to correct", where=self.source.location)
        if not 0 <= i < len(self.source):
            raise UsageError(f"There is no picture {i}", fix=f"use 0 to {len(self.source) - 1}")
        if label is not None and (not (label := label.strip()) or "|" in label or len(label) > 200 or not label.isprintable()):
            raise UsageError(f"{label!r} is no name of a class", fix="write a short word or two, without |")
        with self._lock:
            if label is None or label == self.was(i):
                self.labels.pop(i, None)
            else:
                self.labels[i] = label
            make_folder(self.path.parent)
            write_text(self.path, self._table())

    def _table(self) -> str:
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        if self.trainable:
            rows.writerow(("path", "label", "split", "was"))
            for i in range(len(self.source)):
                label = self.labels.get(i, self.was(i))
                rows.writerow((self.source.path(i), label, SPLITS[self.source.given[i]], self.was(i)))
        else:
            rows.writerow(("key", "label", "was"))
            rows.writerows((self.source.key(i), label, self.was(i)) for i, label in sorted(self.labels.items()))
        return text.getvalue()

    def _read(self) -> None:
        """Takes up what an earlier start wrote. Raises ``Refused`` where the table is not as it was written."""
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                rows = [(row.get("path") or row["key"], row["label"], row["was"]) for row in csv.DictReader(file, strict=True)]
        except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
            fix = "mend it, or move it away to begin anew"
            raise Refused("The table of corrected labels cannot be read", where=self.path, why=repr(error), fix=fix) from error
        changed = {name: label for name, label, was in rows if label != was}
        for i in range(len(self.source)):
            name = str(self.source.path(i) or self.source.key(i))
            if name in changed:
                self.labels[i] = changed[name]
