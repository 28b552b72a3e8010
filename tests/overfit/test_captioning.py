"""Captioning: a network that reads an image and writes words, trained with the true words so far (teacher forcing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scenes import scenes
from tiny import memorise
from torch import Tensor, nn
from torch.nn import functional as F

from striate.tasks.base import Batch, Task

START, END, PAD = 0, 1, -100


class Captioner(nn.Module):
    """A small encoder whose output is the first state of a recurrent decoder (Vinyals et al., arXiv 1411.4555)."""

    def __init__(self, num_words: int, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 49, width))
        self.embed = nn.Embedding(num_words, width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, num_words)

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        """Images [N, 3, 32, 32] and words so far [N, T] -> logits of the next word at each place [N, T, W]."""
        logits: Tensor = self.head(self.decoder(self.embed(words), self.encoder(image)[None])[0])
        return logits

    def write(self, image: Tensor, length: int) -> Tensor:
        """The most probable word each time: [N, length]."""
        words = torch.full((len(image), 1), START)
        for _ in range(length):
            words = torch.cat([words, self(image, words)[:, -1:].argmax(dim=2)], dim=1)
        return words[:, 1:]


@dataclass(frozen=True)
class Caption(Task):
    """Reads two more keys: ``words``, a list of captions, and ``caption`` [N, T], their words' numbers, padded."""

    vocabulary: tuple[str, ...]
    monitor = "exact"
    monitor_mode = "max"

    def losses(self, model: nn.Module, batch: Batch, player: str) -> dict[str, Tensor]:
        caption = batch["caption"]
        so_far = F.pad(caption[:, :-1].clamp(min=END), (1, 0), value=START)
        return {"cross_entropy": F.cross_entropy(model(batch["image"], so_far).mT, caption, ignore_index=PAD)}

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Captioner)
        return model.write(batch["image"], 12)

    def decode(self, raw: Any) -> list[str]:
        sentences = (" ".join(self.vocabulary[word] for word in row) for row in raw)
        return [sentence.split(" <end>")[0] for sentence in sentences]

    def meter(self) -> ExactMeter:
        return ExactMeter()


class ExactMeter:
    def __init__(self) -> None:
        self.right: list[bool] = []

    def update(self, prediction: Any, batch: Batch) -> None:
        self.right += [said == meant for said, meant in zip(prediction, batch["words"], strict=True)]

    def compute(self) -> dict[str, float]:
        return {"exact": sum(self.right) / len(self.right)}


def test_captioning() -> None:
    torch.manual_seed(0)
    batch = scenes()
    vocabulary = ("<start>", "<end>", *sorted({word for words in batch["words"] for word in words.split()}))
    tokens = [torch.tensor([*map(vocabulary.index, words.split()), END]) for words in batch["words"]]
    batch["caption"] = nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=PAD)
    assert len(set(batch["words"])) > 4
    assert len({len(t) for t in tokens}) == 2

    task, model = Caption(vocabulary), Captioner(len(vocabulary))
    run = memorise(task, model, batch, steps=200, lr=3e-3)
    assert run.before["exact"] == 0
    assert run.after["exact"] == 1.0
    assert task.decode(task.forward(run.fitted.model, batch).numpy()) == batch["words"]
