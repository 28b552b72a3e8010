"""Does an explanation depend on what the network has learned? Its weights are made random, and the pictures compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from striate.columns import align
from striate.errors import Refused
from striate.look.explanations import Explain
from striate.look.similarity import rank_correlation, ssim
from striate.look.target import as_input, explaining, settle
from striate.progress import Progress, Silent
from striate.watching import WatchedRun

Verdict = Literal["depends on the weights", "depends on the weights in part", "hardly depends on the weights"]

DEPENDS, HARDLY = 0.4, 0.5
"""Scores up to the first and from the second on are clear. MobileNet v2 on photos of ImageNet: Grad-CAM and saliency lay below
0.4, guided backpropagation and the deconvnet above 0.5."""


@dataclass(frozen=True)
class SanityCheck:
    """What was left of an explanation as the weights were made random, from the last layer down.

    Attributes:
        layers: the lowest layer that was random at each step; all above it were, too. The last step has no weight left.
        num_layers: how many were random at each step.
        rank_correlation: Spearman's, between the picture before and after each step: 1 is the same order of pixels. A mean over
            the draws.
        ssim: likewise the structural similarity: 1 is the same picture.
    """

    layers: tuple[str, ...]
    num_layers: tuple[int, ...]
    rank_correlation: tuple[float, ...]
    ssim: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean rank correlation over the steps, 0..1, the lower the better: how much of it does without what was learned.

        The structural similarity is told but not scored: of smooth maps, as Grad-CAM's are, it is high whatever they show.
        """
        return max(0.0, sum(self.rank_correlation) / len(self.rank_correlation))

    @property
    def verdict(self) -> Verdict:
        """In words."""
        if self.score <= DEPENDS:
            return "depends on the weights"
        return "hardly depends on the weights" if self.score >= HARDLY else "depends on the weights in part"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the score and the verdict among them."""
        return {**asdict(self), "score": self.score, "verdict": self.verdict}

    def text(self) -> str:
        """The verdict, and a line for each step."""
        rows = [("random from the top down to", "layers", "rank correlation", "SSIM")]
        steps = zip(self.layers, self.num_layers, self.rank_correlation, self.ssim, strict=True)
        rows += [(layer, str(count), f"{rank:.2f}", f"{alike:.2f}") for layer, count, rank, alike in steps]
        ending = f"The explanation {self.verdict}: on average a rank correlation of {self.score:.2f} is left."
        return "\n".join([*align(rows, right=(1, 2, 3)), ending])


def sanity_check(
    module: nn.Module,
    image: Tensor,
    explain: Explain,
    target: int | None = None,
    *,
    steps: int = 6,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> SanityCheck:
    """The randomisation check: if the picture stays as the weights go, it shows the image, not what was learned of it.

    Layers are made random one group after the other, the last first, by shuffling the entries of each of their tensors: their
    scale stays, what was learned is gone. Source: J. Adebayo et al., arXiv:1810.03292, section 3.1 (there weights are drawn
    anew).

    Args:
        module: a trained network; a copy of it is made random.
        image: normalised, float [C, H, W] or [1, C, H, W].
        explain: one of :data:`~striate.look.explanations.EXPLANATIONS`' or another (network, image, class) -> [H, W].
        target: the class; None: the one that the network says with its own weights.
        steps: groups of layers.
        draws: times that all is done, with other random numbers.
        seed: of those.
        progress: told how far it is.

    Raises:
        Refused: the network has no weights.
    """
    pixels = as_input(module, image)
    with explaining(module):
        wanted = settle(module, pixels, target)
    assert isinstance(wanted, int)
    layers = _layers_from_the_top(copy.deepcopy(module), pixels)
    ends = sorted({round(len(layers) * step / steps) for step in range(1, steps + 1)} - {0})
    told = partial((progress or Silent()).stage, "sanity check", total=1 + draws * len(ends))
    told(0)
    before = explain(module, pixels, wanted)
    ranks, alike = torch.zeros(draws, len(ends)), torch.zeros(draws, len(ends))
    for draw in range(draws):
        generator = torch.Generator().manual_seed(seed + draw)
        random = copy.deepcopy(module)
        for step, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            for path in layers[start:end]:
                _shuffle(random.get_submodule(path), generator)
            told(1 + draw * len(ends) + step)
            after = explain(random, pixels, wanted)
            ranks[draw, step], alike[draw, step] = rank_correlation(before, after), ssim(before, after)
    return SanityCheck(
        tuple(layers[end - 1] for end in ends), tuple(ends), tuple(ranks.mean(dim=0).tolist()), tuple(alike.mean(dim=0).tolist())
    )


def _layers_from_the_top(module: nn.Module, pixels: Tensor) -> list[str]:
    """Paths of the modules that hold weights and ran, the last to run first."""
    run = WatchedRun(module)
    run.start((pixels.shape[1], pixels.shape[2], pixels.shape[3]), str(pixels.device))
    holding = [(path, each) for path, each in module.named_modules() if each in run.seen and _tensors(each)]
    if not holding:
        raise Refused("The network has no weights to make random", where=type(module).__name__)
    return [path for path, each in sorted(holding, key=lambda entry: run.of(entry[1]).order, reverse=True)]


def _tensors(layer: nn.Module) -> Sequence[Tensor]:
    """Its own parameters, and its own buffers of numbers (the statistics of a batch norm)."""
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return [each for each in tensors if each.is_floating_point() and each.numel() > 1]


def _shuffle(layer: nn.Module, generator: torch.Generator) -> None:
    """Vectors of one length change places alike: a batch norm's mean, variance, scale and shift stay with each other."""
    orders: dict[int, Tensor] = {}
    for each in _tensors(layer):
        order = torch.randperm(each.numel(), generator=generator) if each.ndim > 1 else None
        if order is None:
            order = orders.setdefault(each.numel(), torch.randperm(each.numel(), generator=generator))
        with torch.no_grad():
            each.copy_(each.flatten()[order.to(each.device)].view_as(each))
