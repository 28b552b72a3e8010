"""CSV tables: the columns, what a target is, and what is wrong with a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from striate.data.formats import open_source
from striate.errors import Refused, StriateError, UsageError

Write = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Write:
    def write(text: str, *, encoding: str = "utf-8", pictures: int = 12) -> Path:
        (tmp_path / "pictures").mkdir(exist_ok=True)
        for picture in [*(tmp_path / "pictures" / f"{i}.png" for i in range(pictures)), tmp_path / "a, b.png"]:
            if not picture.exists():
                picture.write_bytes(b"x")
        file = tmp_path / "data.csv"
        file.write_text(text, encoding=encoding, newline="")
        return file

    return write


def rows(*labels: str) -> str:
    return "".join(f"pictures/{i}.png,{label}\n" for i, label in enumerate(labels))


def test_one_class_a_picture(table: Write) -> None:
    source = open_source(table("path,label\n" + rows("dog", "cat", "dog")))
    assert (source.kind, source.classes, source.targets.tolist()) == ("label", ("cat", "dog"), [1, 0, 1])
    assert source.key(0) == "pictures/0.png"
    assert source.read(0) == b"x"
    assert source.targets.dtype == np.int64


def test_several_classes_a_picture(table: Write) -> None:
    source = open_source(table("path,label\n" + rows("sea|sky", "sky", "", "tree | sea")))
    assert (source.kind, source.classes) == ("labels", ("sea", "sky", "tree"))
    assert source.targets.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert source.targets.dtype == np.float32


@pytest.mark.parametrize(
    ("column", "labels", "kind", "classes"),
    [
        ("label", ["1.5", "2", "-3e1"], "value", ()),
        ("label", ["3", "1", "3", "10", "1", "10"], "label", ("1", "3", "10")),  # whole and repeated: classes
        ("label", ["31", "77", "12", "31"], "value", ()),  # whole, but most occur once: numbers
        ("label", ["1", "two", "3"], "label", ("1", "3", "two")),
        ("label", ["nan", "inf", "nan"], "label", ("inf", "nan")),
        ("class", ["x", "y", "x"], "label", ("x", "y")),
        ("value", ["1", "1", "2", "2"], "value", ()),
        ("labels", ["1", "2", "1"], "labels", ("1", "2")),
    ],
)
def test_what_the_target_is(table: Write, column: str, labels: list[str], kind: str, classes: tuple[str, ...]) -> None:
    source = open_source(table(f"path,{column}\n" + rows(*labels)))
    assert (source.kind, source.classes) == (kind, classes)
    if kind == "value":
        np.testing.assert_array_equal(source.targets, np.array(labels, dtype=np.float32))


def test_splits_extra_columns_quotes_bom_and_blank_lines(table: Write) -> None:
    lines = ["\ufeffID,Path,Label,Split", '1,"a, b.png",x,train', "", "2,pictures/1.png,y,Validation", "3,pictures/2.png,x,"]
    text = "\r\n".join([*lines, "4,./pictures/3.png,y,testing", ""])
    source = open_source(table(text))
    assert [source.key(i) for i in range(4)] == ["a, b.png", "pictures/1.png", "pictures/2.png", "pictures/3.png"]
    assert source.given.tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(table: Write, delimiter: str) -> None:
    source = open_source(table(f"path{delimiter}label\npictures/0.png{delimiter}1,5\npictures/1.png{delimiter}b\n"))
    assert source.classes == ("1,5", "b")


def test_paths_may_be_absolute_or_from_windows(table: Write, tmp_path: Path) -> None:
    source = open_source(table(f"path,label\n{tmp_path}/pictures/0.png,a\npictures\\1.png,b\n"))
    assert source.read(0) == b"x"
    assert source.key(1) == "pictures/1.png"


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("", UsageError, ["no column 'path'", "it is empty"]),
        ("path,label\n", UsageError, ["no rows"]),
        ("pictures/0.png,cat\n", UsageError, ["no column 'path'", "pictures/0.png, cat", "name the columns"]),
        ("path,what\npictures/0.png,cat\n", UsageError, ["no column 'label'"]),
        ("path,label,value\n", UsageError, ["more than one column", "label, value"]),
        ("path,label\npictures/0.png,a\npictures/1.png\n", UsageError, ["line 3", "1 cells where the header names 2"]),
        ("path,label\na, b.png,a\n", UsageError, ["line 2", "3 cells", "quote paths"]),
        ("path,label\n,a\n", UsageError, ["line 2", "without a path"]),
        ("path,label\npictures/0.png,a\npictures/1.png,\n", UsageError, ["line 3", "without a label"]),
        ("path,value\npictures/0.png,1\npictures/1.png,x\n", UsageError, ["line 3", "'x' is not a number"]),
        ("path,label,split\npictures/0.png,a,trian\n", UsageError, ["line 2", "'trian'", "'train'"]),
        ("path,label\npictures/0.png,a\nno/such.png,b\n", Refused, ["line 3", "'no/such.png' is not there", "relative"]),
        ("path,label\npictures/0.png,a\n./pictures/0.png,b\n", Refused, ["line 3", "listed twice", "line 2"]),
        ("path,label\n" + rows("a", "a"), Refused, ["only one class, 'a'"]),
        ("path,labels\n" + rows("", ""), Refused, ["no row has a label"]),
        ('path,label\n"pictures/0.png"x,a\n', UsageError, ["well-formed"]),
    ],
)
def test_mistakes_are_named(table: Write, text: str, kind: type[StriateError], says: list[str]) -> None:
    file = table(text)
    with pytest.raises(kind) as caught:
        open_source(file)
    for words in [str(file), *says]:
        assert words in str(caught.value)


def test_another_encoding_is_named(table: Write) -> None:
    file = table("path,label\npictures/0.png,Bär\npictures/1.png,b\n", encoding="latin-1")
    with pytest.raises(UsageError, match="UTF-8"):
        open_source(file)


def test_the_fingerprint_follows_the_labels(table: Write) -> None:
    prints = {open_source(table("path,label\n" + rows(*labels))).fingerprint() for labels in ("aab", "aba", "aac", "aab")}
    assert len(prints) == 3
