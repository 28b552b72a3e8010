"""``striate doctor``: a machine with something wrong is told so, with a cure."""

from __future__ import annotations

import pytest

from striate import doctor, machine


@pytest.mark.parametrize(
    ("torch", "torchvision", "required", "mismatch"),
    [
        ("2.13.0+cpu", "0.28.0", "2.13.0", False),
        ("2.13.0+cpu", "0.27.0", "2.12.1", True),
        ("2.13.0", None, None, False),
        (None, "0.28.0", "2.13.0", False),
    ],
)
def test_torchvision_of_another_torch(torch: str | None, torchvision: str | None, required: str | None, mismatch: bool) -> None:
    problems = doctor._torchvision_mismatch(torch, torchvision, required)
    assert bool(problems) == mismatch
    for problem in problems:
        assert "0.27.0 was built for torch 2.12.1" in problem.what
        assert "never imports it" in problem.fix


def test_little_memory_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: 100 << 20)
    found = doctor.examine()
    assert [problem.fix for problem in found.problems if "of memory are available" in problem.what]
    assert "problem: only 0.1 GiB of memory" in found.text()


def test_unknown_memory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    found = doctor.examine()
    assert found.memory is None
    assert not [problem for problem in found.problems if "memory" in problem.what]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "simplejpeg" else version(name))
    found = doctor.examine()
    assert found.versions["simplejpeg"] is None
    assert ("not installed: simplejpeg", "pip install simplejpeg") in [(p.what, p.fix) for p in found.problems]


def test_more_threads_than_cores_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    assert any("1,000 threads" in problem.what and "OMP_NUM_THREADS" in problem.fix for problem in doctor.examine().problems)
