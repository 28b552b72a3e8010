"""PyTorch's ways to predict: eager as it comes; compiled with frozen weights, in bf16 where the processor has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers import inference
from benchmarks.peers import job as asked
from benchmarks.peers.torch_networks import large_network, num_parameters, versions

MEAN, STD = (torch.tensor(values).view(-1, 1, 1) for values in (asked.IMAGENET_MEAN, asked.IMAGENET_STD))
CLASSES = 1000


class Photos(Dataset[Tensor]):
    """JPEG files by Pillow, one by one: the shorter side to 256, the middle 224x224, normalised float32 [3, 224, 224]."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        with Image.open(self.files[i]) as file:
            picture = file.convert("RGB")
        factor = inference.SHORTER / min(picture.size)
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BILINEAR)
        left, top = ((side - inference.CENTRE) // 2 for side in picture.size)
        crop = picture.crop((left, top, left + inference.CENTRE, top + inference.CENTRE))
        return (torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255 - MEAN) / STD


def speed(job: dict[str, Any]) -> None:
    model = large_network(job["model"], CLASSES).eval()
    compiled = job["compile"]
    bf16 = compiled and asked.has_bf16()
    if compiled:
        from torch._inductor import config

        config.freezing = True
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    called: Callable[[Tensor], Tensor] = torch.compile(model) if compiled else model

    def run(batch: int) -> Callable[[], object]:
        images = (torch.from_numpy(inference.noise(batch)).float() / 255 - MEAN) / STD
        images = images.contiguous(memory_format=torch.channels_last) if compiled else images
        if compiled:
            torch._dynamo.reset()  # a graph for this batch size, as the other sides have
        return lambda: called(images)

    with torch.inference_mode(not compiled), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        figures = inference.speeds(run, job)
    asked.answer(
        **figures, parameters=num_parameters(model), precision="bf16" if bf16 else "fp32", versions=versions(),
        threads=torch.get_num_threads(),
    )  # fmt: skip


def one(job: dict[str, Any]) -> None:
    """One picture. The network is made without a pass over its weights, which is faster than any file of them."""
    with torch.device("meta"):
        model: nn.Module = large_network(job["model"], CLASSES).eval()
    with torch.inference_mode():
        inference.say(model.to_empty(device="cpu")(Photos([job["picture"]])[0][None]).numpy())


def folder(job: dict[str, Any]) -> None:
    """JPEGs to a table, as a user of PyTorch writes it."""
    model = large_network(job["model"], CLASSES).eval()
    files = inference.jpegs(job["folder"])
    loader = DataLoader(Photos(files), job["batch"], num_workers=asked.cores())

    def logits() -> Iterator[asked.Array]:
        with torch.inference_mode():
            for images in loader:
                yield model(images).numpy()

    inference.write_table(job["table"], files, logits())


def main() -> None:
    job = asked.read_job()
    {"speed": speed, "one": one, "folder": folder}[job["task"]](job)


if __name__ == "__main__":
    main()
