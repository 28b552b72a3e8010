"""A frozen backbone is run once: however often the head looks at an image again, the network does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_transferring import stripes

from striate import linear_probe, transferring, zoo
from striate.experiment import train

NUM, HELD_OUT = 120, 30


class Counted:
    """Images that went through the first convolution, and passes of the head over its images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = self.passes = 0
        build, loss_of = zoo.build, linear_probe._loss_of

        def built(*given: Any, **named: Any) -> torch.nn.Module:
            network = build(*given, **named)
            network.get_submodule("conv1").register_forward_hook(self._image)
            return network

        def counted(*given: Any) -> Any:
            loss = loss_of(*given)

            def call(*tensors: torch.Tensor) -> torch.Tensor:
                self.passes += 1
                return loss(*tensors)

            return call

        monkeypatch.setattr("striate.subject.build", built)
        monkeypatch.setattr(linear_probe, "_loss_of", counted)

    def _image(self, _module: Any, _inputs: Any, output: torch.Tensor) -> None:
        self.images += len(output)


def test_the_second_epoch_does_not_run_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIATE_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(3)
    save_file(zoo.build("resnet20_cifar").state_dict(), tmp_path / "source.safetensors")
    counted = Counted(monkeypatch)
    at_the_end: list[int] = []
    finish = transferring._Solution.finish

    def noted(solution: Any) -> Any:
        fitted = finish(solution)
        at_the_end.append(counted.images)
        return fitted

    monkeypatch.setattr(transferring._Solution, "finish", noted)
    source, settings = stripes(NUM, held_out=HELD_OUT), {"weights": tmp_path / "source.safetensors", "regime": "small"}
    train(source, "resnet20_cifar", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    blank = 2  # images, before anything is read: does the network take these shapes?
    assert at_the_end == [2 * (NUM - HELD_OUT) + blank], "each image and its mirror image, once"
    assert counted.passes > 20, "the head was solved by looking at all of them again and again"
    counted.images = 0
    train(source, "resnet20_cifar", out=tmp_path / "again", **settings)  # type: ignore[arg-type]
    assert at_the_end[1] == blank, "another run with the same backbone reads nothing at all"
