"""`striate export`: which files there are afterwards, what they are called, and what the exit status says."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from command_line import Ended
from trained_run import ARCH, open_run

from striate.backends.artefact import CARD
from striate.errors import Refused, Undecided, UsageError
from striate.exporting import conversion
from striate.exporting.conversion import CONVERTERS, Order, Pair
from striate.exporting.export import export
from striate.prediction import Model

Command = Callable[..., Ended]


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may write into."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def copying(pair: Pair, break_it: bool = False) -> Callable[[Order, Pair], None]:
    """A converter that takes a moment only: it gives what was made before, or another network's."""

    def convert(order: Order, target: Pair) -> None:
        for source, to in zip(pair.files, target.files, strict=True):
            if not break_it:
                shutil.copy(source, to)
                continue
            from striate.exporting.onnx_file import write_onnx

            graph = onnx.load(source)
            card = json.loads(next(entry.value for entry in graph.metadata_props if entry.key == CARD))
            for tensor in graph.graph.initializer:
                if tensor.name.endswith("fc.bias"):
                    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + 1, tensor.name))
            write_onnx(to, graph, card)

    return convert


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_two_files_beside_the_model_and_a_table(
    own_run: Path, onnx_pair: Pair, striate_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), copying(onnx_pair))
    before = names(own_run)
    ended = striate_command("export", own_run, "--to", "onnx", "--arch", ARCH)
    assert ended.status == 0, ended.err
    assert names(own_run) - before == {"model.onnx", "model.tensor.onnx"}
    for word in ("30 of 30", "images/s", "at most 1e-04", "30 validation images", "Passed."):
        assert word in ended.out
    ended = striate_command("export", own_run, "--to", "onnx", "--arch", ARCH, "--json", "-o", own_run / "other.onnx")
    record = json.loads(ended.out)
    assert record["status"] == "passed"
    assert record["files"]["tensor"]["path"] == str(own_run / "other.tensor.onnx")
    assert record["files"]["tensor"]["bytes"] == (own_run / "other.tensor.onnx").stat().st_size
    assert record["gate"]["before"]["accuracy"] == record["gate"]["after"]["accuracy"]


@pytest.mark.slow
def test_what_fails_is_kept_as_rejected_and_what_passed_before_stays(
    own_run: Path, onnx_pair: Pair, striate_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), copying(onnx_pair))
    model = open_run(own_run)
    passed = export(model).pair
    stamp = passed.images.read_bytes()
    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), copying(onnx_pair, break_it=True))
    ended = striate_command("export", own_run, "--to", "onnx", "--arch", ARCH)
    assert ended.status == 3
    assert "FAILED" in ended.out
    assert "fc" in ended.out.partition("this layer did it")[0].splitlines()[-1]
    assert {"model.onnx.rejected", "model.tensor.onnx.rejected"} <= names(own_run)
    assert passed.images.read_bytes() == stamp
    with pytest.raises(Refused, match="rejected by the gate"):
        export(model)
    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), copying(onnx_pair))
    export(model)
    assert not [name for name in names(own_run) if name.endswith(".rejected")]


def test_too_few_images_is_status_4_and_kept_as_undecided(
    own_run: Path, onnx_pair: Pair, striate_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONVERTERS, ("onnx", "int8"), copying(onnx_pair))
    ended = striate_command("export", own_run, "--to", "onnx", "--precision", "int8", "--arch", ARCH)
    assert ended.status == 4, ended.err
    assert "images would tell" in ended.out
    assert {"model.int8.onnx.undecided", "model.int8.tensor.onnx.undecided"} <= names(own_run)


def test_no_images_at_all_is_status_4_and_nothing_is_written(own_run: Path, striate_command: Command) -> None:
    (own_run / "split.json").unlink()
    before = names(own_run)
    ended = striate_command("export", own_run, "--to", "onnx", "--arch", ARCH)
    assert ended.status == 4
    assert "--data" in ended.err
    assert names(own_run) == before
    with pytest.raises(Undecided):
        export(open_run(own_run))


def test_changed_data_are_not_judged_by(own_run: Path) -> None:
    record = json.loads((own_run / "recipe.json").read_text())
    record["data"]["fingerprint"] = "0" * 64
    (own_run / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(Refused, match="not what they were"):
        export(open_run(own_run))


def test_a_conversion_that_breaks_leaves_nothing(own_run: Path, onnx_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(order: Order, pair: Pair) -> None:
        copying(onnx_pair)(order, pair)
        raise RuntimeError("the exporter has no such operator")

    monkeypatch.setitem(CONVERTERS, ("onnx", "fp32"), breaking)
    before = names(own_run)
    with pytest.raises(RuntimeError):
        export(open_run(own_run))
    assert names(own_run) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "onnx", "--precision", "bf16"], "no bf16 convolution"),
        (["--to", "torch", "--precision", "int8"], "static int8"),
        (["--to", "onnx", "-o", "x.pt2"], "does not end with .pt2"),
    ],
)
def test_what_is_not_made_is_refused_before_anything(
    run: Path, striate_command: Command, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = striate_command("export", run, *words, "--arch", ARCH)
    assert ended.status == 2
    assert says in ended.err
    assert names(tmp_path) == set()


def test_an_exported_graph_is_not_exported_again(onnx_pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not exported again"):
        export(onnx_pair.images, out=tmp_path)
    assert os.listdir(tmp_path) == []


def test_every_kind_is_made_or_has_its_reason() -> None:
    kinds = {(to, precision) for to in conversion.SUFFIXES for precision in conversion.PRECISIONS}
    assert kinds == CONVERTERS.keys() | conversion.NOT_MADE.keys()


def test_the_card_is_the_models(model: Model, onnx_pair: Pair) -> None:
    from striate.backends.opening import open_artefact

    for path, form in ((onnx_pair.tensor, "tensor"), (onnx_pair.images, "images")):
        card: dict[str, Any] = open_artefact(path)[1]
        made = card.pop("export")
        assert card == {key: value for key, value in model.info.items() if key in card}
        assert card.keys() == model.info.keys()
        assert (made["to"], made["precision"], made["form"], made["format"]) == ("onnx", "fp32", form, 1)
        assert len(made["model_sha256"]) == 64
    text = onnx_pair.images.read_bytes()
    assert b"torch/nn" not in text, "the exporter's remarks name the code that it read"
    assert str(Path(__file__).parent).encode() not in text
