"""Which pixels a network's answer hangs on: gradients, integrated gradients, occlusion and the deconvolutional network.

Every function takes a module, one normalised image (float [C, H, W] or [1, C, H, W]) and what to explain: a class by its
number, a :class:`~striate.look.target.Unit`, or None for the class that the network says. The network is run in evaluation
mode and left as it was; results are detached and on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.errors import UsageError
from striate.look.target import Target, as_input, explaining, gradient, in_batches, scores, settle
from striate.progress import Progress, Silent
from striate.torch_network import evaluating


def saliency(module: nn.Module, image: Tensor, target: Target = None) -> Tensor:
    """The gradient of the explained number by every input number, signed: [C, H, W].

    Source: K. Simonyan, A. Vedaldi, A. Zisserman, arXiv:1312.6034, section 3, whose picture is its largest magnitude among the
    channels, see :func:`magnitude`.
    """
    with explaining(module):
        pixels = as_input(module, image).requires_grad_()
        score = scores(module, pixels.clone(), settle(module, pixels, target))  # a clone: the network may begin in place
        return gradient(score, pixels)[0].cpu()


def magnitude(attribution: Tensor) -> Tensor:
    """[C, H, W], signed -> [H, W]: the largest magnitude among the channels (Simonyan et al., section 3.1)."""
    return attribution.abs().amax(dim=0)


@dataclass(frozen=True)
class IntegratedGradients:
    """Shares in the difference that an image makes.

    Attributes:
        attribution: [C, H, W], signed: what each input number adds.
        difference: explained number of the image less that of the baseline.
        gap: sum of the shares less ``difference``: 0 but for the error of the quadrature (completeness, proposition 1).
    """

    attribution: Tensor
    difference: float
    gap: float


def integrated_gradients(
    module: nn.Module, image: Tensor, target: Target = None, *, baseline: Tensor | None = None, steps: int = 50, batch: int = 10,
    progress: Progress | None = None,
) -> IntegratedGradients:  # fmt: skip
    """The gradient averaged on the straight way from a baseline to the image, times their difference.

    Source: M. Sundararajan, A. Taly, Q. Yan, arXiv:1703.01365, eq. 1; here by Gauss-Legendre quadrature instead of eq. 3.

    Args:
        baseline: [C, H, W], normalised; None: zeros, the mean colour of the training images.
        steps: points of the quadrature.
        batch: images that the network takes at once.
        progress: told how far it is.
    """
    if steps < 1:
        raise UsageError(f"integrated gradients in {steps} steps", fix="take at least 1; 50 are usual")
    places, weights = np.polynomial.legendre.leggauss(steps)
    with explaining(module):
        pixels = as_input(module, image)
        begin = torch.zeros_like(pixels) if baseline is None else as_input(module, baseline)
        wanted = settle(module, pixels, target)
        total = torch.zeros_like(pixels[0])
        for start in range(0, steps, batch):
            (progress or Silent()).stage("integrated gradients", start, steps)
            here = slice(start, start + batch)
            alphas = pixels.new_tensor((places[here] + 1) / 2)[:, None, None, None]
            between = (begin + alphas * (pixels - begin)).requires_grad_()
            slopes = gradient(scores(module, between.clone(), wanted), between)
            total += (slopes * pixels.new_tensor(weights[here] / 2)[:, None, None, None]).sum(dim=0)
        shares = (pixels - begin)[0] * total
        with torch.no_grad():
            ends = scores(module, torch.cat([pixels, begin]), wanted).double()
    difference = float(ends[0] - ends[1])
    return IntegratedGradients(shares.cpu(), difference, float(shares.double().sum()) - difference)


@dataclass(frozen=True)
class Occlusion:
    """What covering a part of the image takes away.

    Attributes:
        drop: [rows, columns], the explained number of the whole image less that with the window there; negative: it rose.
        pixels: [H, W], the mean drop of the windows that cover a pixel.
        tops, lefts: first row and first column of each window.
        window: (height, width) in pixels.
    """

    drop: Tensor
    pixels: Tensor
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    window: tuple[int, int]


def occlusion(
    module: nn.Module, image: Tensor, target: Target = None, *, window: int | None = None, stride: int | None = None,
    fill: float = 0.0, batch: int = 32, progress: Progress | None = None,
) -> Occlusion:  # fmt: skip
    """Slides a plain square over the image and notes how far the explained number falls. It takes no gradients.

    Source: M. Zeiler, R. Fergus, arXiv:1311.2901, section 4.2. Windows stand ``stride`` apart; the last of a row and of a column
    stand at the edge.

    Args:
        window: side of the square in pixels; None: a seventh of the shorter side.
        stride: None: half the window.
        fill: normalised value under the square; 0 is the mean colour of the training images.
        batch: images that the network takes at once.
        progress: told how far it is.
    """
    with torch.inference_mode(False), torch.no_grad():
        pixels = as_input(module, image)
        height, width = pixels.shape[2:]
        side = max(1, round(min(height, width) / 7)) if window is None else window
        step = max(1, side // 2) if stride is None else stride
        if not 1 <= side <= min(height, width) or step < 1:
            raise UsageError(
                f"an occluding window of {side} pixels every {step}, on an image of {height} x {width}",
                fix=f"take a window of 1 to {min(height, width)} pixels, and a stride of at least 1",
            )
        tops, lefts = (sorted({*range(0, size - side + 1, step), size - side}) for size in (height, width))

        def covered(places: Tensor) -> Tensor:
            copies = pixels.repeat(len(places), 1, 1, 1)
            for copy, (top, left) in zip(copies, places.tolist(), strict=True):
                copy[:, top : top + side, left : left + side] = fill
            return scores(module, copies, wanted)

        with evaluating(module):
            wanted = settle(module, pixels, target)
            whole = scores(module, pixels, wanted)
            places = torch.cartesian_prod(torch.tensor(tops), torch.tensor(lefts))
            told = partial((progress or Silent()).stage, "occlusion", total=len(places))
            drop = whole - in_batches(covered, places, batch, told)
    drop = drop.view(len(tops), len(lefts)).cpu()
    total, count = torch.zeros(height, width, dtype=drop.dtype), torch.zeros(height, width, dtype=drop.dtype)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            total[top : top + side, left : left + side] += drop[row, column]
            count[top : top + side, left : left + side] += 1
    # Where the stride exceeds the window some pixels are never covered.
    return Occlusion(drop, total / count.clamp(min=1), tuple(tops), tuple(lefts), (side, side))


def deconvnet(module: nn.Module, image: Tensor, target: Target = None, *, guided: bool = False) -> Tensor:
    """Projects the explained number back to the pixels, rectifying at each ReLU what comes from above: [C, H, W], signed.

    Convolutions are passed backwards by their transpose and max pooling by its switches, as a gradient does; the ReLU alone is
    another, and batch norm, which the paper has not, is passed by its scale. Source: M. Zeiler, R. Fergus, arXiv:1311.2901,
    section 2.1, as written down in Simonyan et al., arXiv:1312.6034, section 4. Beware: it draws edges of the image more than
    what the network has learned, see :func:`~striate.look.sanity.sanity_check`.

    Args:
        guided: pass only where the ReLU itself was open, too: guided backpropagation (J. T. Springenberg et al.,
            arXiv:1412.6806, section 3.4).

    Raises:
        UsageError: the network's activations are no ReLU: the rule says nothing about them.
    """
    rule = _RectifyingMode(guided)
    with explaining(module):
        pixels = as_input(module, image).requires_grad_()
        wanted = settle(module, pixels, target)
        with rule:
            score = scores(module, pixels.clone(), wanted)
        if rule.others and not rule.num_rectified:
            fix = "take saliency, integrated gradients or Grad-CAM"
            raise UsageError(f"A deconvnet needs ReLUs; the network's activations are {', '.join(sorted(rule.others))}", fix=fix)
        return gradient(score, pixels)[0].cpu()


class _Rectifier(torch.autograd.Function):
    """Clips to 0..``high``; backwards only what is positive passes, and with ``guided`` only where nothing was clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float, guided: bool) -> Tensor:
        if guided:
            ctx.save_for_backward((x > 0) & (x < high))
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        passed = above.clamp(min=0)
        for opened in ctx.saved_tensors:
            passed = passed * opened
        return passed, None, None


def _relu(x: Tensor, inplace: bool = False) -> tuple[Tensor, float, bool]:
    return x, math.inf, inplace


def _relu_inplace(x: Tensor) -> tuple[Tensor, float, bool]:
    return x, math.inf, True


def _relu6(x: Tensor, inplace: bool = False) -> tuple[Tensor, float, bool]:
    return x, 6.0, inplace


_RECTIFIERS: dict[Any, Callable[..., tuple[Tensor, float, bool]]] = {
    F.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    torch.relu_: _relu_inplace,
    Tensor.relu_: _relu_inplace,
    F.relu6: _relu6,
}
_OTHERS = (F.silu, F.gelu, F.hardswish, F.elu, F.leaky_relu, F.tanh, torch.tanh, Tensor.tanh, F.sigmoid, torch.sigmoid, F.mish)


class _RectifyingMode(TorchFunctionMode):
    """While it is entered, every ReLU, be it a module's or a function's, is a :class:`_Rectifier`."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided, self.num_rectified, self.others = guided, 0, set[str]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.hardtanh and _hardtanh(*args, **kwargs)[1] == 0:  # what torch.nn.ReLU6 calls
            x, _, high, inplace = _hardtanh(*args, **kwargs)
        elif func in _RECTIFIERS:
            x, high, inplace = _RECTIFIERS[func](*args, **kwargs)
        else:
            if func in _OTHERS:
                self.others.add(func.__name__)
            return func(*args, **kwargs)
        self.num_rectified += 1
        made: Tensor = _Rectifier.apply(x, high, self.guided)  # type: ignore[no-untyped-call]
        return x.copy_(made) if inplace else made


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> tuple[Tensor, float, float, bool]:
    return x, min_val, max_val, inplace
