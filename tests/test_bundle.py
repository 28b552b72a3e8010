"""The one-file model: what goes in comes out, other tools can read it, and what is not one is refused in words."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

from striate.bundle import read_arrays, read_bundle, read_info, write_bundle
from striate.errors import Failed, Refused, UsageError
from striate.sealed import read_sealed, write_sealed

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
)  # fmt: skip


def every_kind_of_tensor() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = {f"of {dtype}".replace("torch.", ""): (torch.rand(3, 5) * 200).to(dtype) for dtype in DTYPES}
    base = torch.randn(4, 6)
    return state | {
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 7),
        "transposed": base.t(),
        "strided": base[::2, 1::3],
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "tied": base,
        "ключ/é": torch.arange(3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }


def test_every_dtype_and_layout_comes_back_equal(tmp_path: Path) -> None:
    state, info = every_kind_of_tensor(), {"classes": ["кот", "dog 🐕", '"quoted"\n'], "metrics": {"accuracy": 0.1}}
    digest = write_bundle(tmp_path / "m.safetensors", state, info)
    got_info, got = read_bundle(tmp_path / "m.safetensors")
    assert got_info == info | {"format": "striate", "format_version": 1}
    assert read_info(tmp_path / "m.safetensors") == got_info
    assert set(got) == set(state)
    assert len(digest) == 64
    for name, tensor in state.items():
        assert got[name].dtype == tensor.dtype
        assert got[name].shape == tensor.shape
        assert torch.equal(got[name], tensor.detach())
    got["tied"].add_(1)
    assert not torch.equal(got["tied"].t(), got["transposed"]), "tensors must not share memory once read"


def test_arrays_equal_tensors_bfloat16_widened(tmp_path: Path) -> None:
    state = every_kind_of_tensor()
    write_bundle(tmp_path / "m.safetensors", state, {})
    _, arrays = read_arrays(tmp_path / "m.safetensors")
    for name, tensor in state.items():
        want = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        assert arrays[name].dtype == want.numpy().dtype
        np.testing.assert_array_equal(arrays[name], want.numpy())


def test_the_safetensors_library_reads_our_file(tmp_path: Path) -> None:
    state = every_kind_of_tensor()
    write_bundle(tmp_path / "m.safetensors", state, {"classes": ["a"]})
    for name, tensor in safetensors.torch.load_file(tmp_path / "m.safetensors").items():
        assert torch.equal(tensor, state[name].detach())
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert json.loads(file.metadata()["striate"])["classes"] == ["a"]


def test_the_digest_depends_on_content_alone(tmp_path: Path) -> None:
    state = {"b": torch.ones(2), "a": torch.zeros(3)}
    first = write_bundle(tmp_path / "1", state, {"x": 1, "y": 2})
    assert write_bundle(tmp_path / "2", dict(reversed(state.items())), {"y": 2, "x": 1}) == first
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert write_bundle(tmp_path / "3", {"b": torch.ones(2), "a": torch.zeros(1, 3)}, {"x": 1, "y": 2}) != first
    assert write_bundle(tmp_path / "4", state, {"x": 1, "y": 3}) != first


def test_headers_of_every_length(tmp_path: Path) -> None:
    """A length of 640, 896, 1,152 or 1,408 begins with the bytes of a pickle."""
    for padding in range(0, 1600, 8):
        write_bundle(tmp_path / "m", {}, {"classes": ["x" * padding]})
        assert read_info(tmp_path / "m")["classes"] == ["x" * padding]


def test_reading_without_torch(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m.safetensors", {"w": torch.ones(2, dtype=torch.bfloat16)}, {"classes": ["a"]})
    code = (
        "import sys; from striate.bundle import read_arrays, read_info; info, arrays = read_arrays(sys.argv[1]);"
        "assert read_info(sys.argv[1]) == info; print(info['classes'], arrays['w'].tolist(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.safetensors"], capture_output=True, text=True, check=True)
    assert done.stdout == "['a'] [1.0, 1.0] False\n"


def test_a_figure_without_value_is_null_in_a_card_and_itself_in_a_state(tmp_path: Path) -> None:
    values = {"metrics": {"r2": float("nan"), "mae": [1.0, float("inf")]}}
    write_bundle(tmp_path / "m", {}, values)
    assert read_info(tmp_path / "m")["metrics"] == {"r2": None, "mae": [1.0, None]}
    write_sealed(tmp_path / "s", {}, values)
    state, _ = read_sealed(tmp_path / "s")
    assert state["metrics"]["mae"] == [1.0, float("inf")]
    assert state["metrics"]["r2"] != state["metrics"]["r2"]


@pytest.mark.parametrize(
    "tensor", [torch.empty(3, device="meta"), torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.complex64)]
)
def test_tensors_without_plain_bytes_are_named(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"'conv1\.weight' is a .* only plain tensors"):
        write_bundle(tmp_path / "m", {"conv1.weight": tensor}, {})
    assert not list(tmp_path.iterdir())


def test_no_space_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    write_bundle(path, {"w": torch.ones(4)}, {"which": "old"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))  # the kernel itself refuses the write half-way
    try:
        with pytest.raises(
            Failed, match=r"Could not write .*\n  where: .*m\.saf.*\n  why:   File too large\n  do:    name another folder"
        ):
            write_bundle(path, {"w": torch.ones(1 << 16)}, {"which": "new"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Failed, match="No space left on device"):
        write_bundle(path, {"w": torch.ones(5)}, {"which": "new"})
    assert read_info(path)["which"] == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_is_not_a_model(tmp_path: Path) -> None:
    write_sealed(tmp_path / "step", {"w": torch.ones(2)}, {"step": 3})
    state, tensors = read_sealed(tmp_path / "step")
    assert state == {"step": 3}
    assert tensors["w"].tolist() == [1, 1]
    with pytest.raises(Refused, match=r"Not a model: .*\n  where: .*step\n  do:    name the run folder"):
        read_info(tmp_path / "step")


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    write_sealed(tmp_path / "m", {}, {"format": "striate", "format_version": 2, "striate": "9.0"})
    with pytest.raises(Refused, match=r"newer striate \(9\.0, format 2\)[\s\S]*upgrade"):
        read_bundle(tmp_path / "m")


def test_other_tools_files_are_told_apart(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "theirs.safetensors")
    with pytest.raises(Refused, match=r"Another tool's safetensors[\s\S]*striate\.build\(NAME, weights=.*theirs\.safetensors"):
        read_info(tmp_path / "theirs.safetensors")
    for legacy in (False, True):
        torch.save({"w": torch.ones(2)}, tmp_path / "theirs.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(Refused, match=r"PyTorch pickle[\s\S]*striate\.build\(NAME, weights=.*theirs\.pth"):
            read_bundle(tmp_path / "theirs.pth")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(500))
    with pytest.raises(Refused, match="not a safetensors file"):
        read_info(tmp_path / "photo.jpg")


@pytest.mark.parametrize("name", ["absent.safetensors", "", "file/below"])
def test_no_such_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"No such model file[\s\S]*give a run folder"):
        read_info(tmp_path / name)
