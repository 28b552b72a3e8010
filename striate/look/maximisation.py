"""The image that excites a class or a unit most: activation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from striate.data.preprocess import Preprocess
from striate.errors import UsageError
from striate.look.target import Unit, beside_weights, explaining, gradient, scores

CONTRAST = 0.25
"""Of the image before the logistic function, for coefficients of size 1."""
OPPONENTS = torch.tensor([[0.58, 0.58, 0.58], [0.21, 0.0, -0.21], [0.08, -0.16, 0.08]])
"""Red, green and blue of three directions that do not correlate in photos, as long as these vary along them: light and dark,
reddish and bluish, magenta and green (D. Ruderman et al., "Statistics of cone responses to natural images", JOSA A 1998)."""


@dataclass(frozen=True)
class Maximised:
    """An image made from noise.

    Attributes:
        image: uint8 [H, W, C], as a picture that the network would read.
        values: the maximised number at each step, of the image as it was shifted there.
        before, after: the number for the first and the last image, not shifted, before its rounding to 8 bits.
    """

    image: NDArray[np.uint8]
    values: tuple[float, ...]
    before: float
    after: float


def maximize(
    module: nn.Module, preprocess: Preprocess, target: int | Unit, *, steps: int = 128, rate: float = 0.05,
    jitter: int | None = None, decay: float = 0.0, seed: int = 0,
) -> Maximised:  # fmt: skip
    """Climbs from noise to an image for which the network says ``target`` as loudly as it can.

    What is climbed are the coefficients of the image's Fourier spectrum, each weighed by one over its frequency, so that fine
    patterns have no head start; a logistic function keeps the pixels within 0..255; before each step the image is shifted by
    chance, so that nothing depends on where the strides fall. The steps are Adam's.

    Sources: D. Erhan et al., "Visualizing higher-layer features of a deep network", 2009 (the idea); Simonyan et al.,
    arXiv:1312.6034, section 2 (of a logit); A. Mordvintsev et al., "Inceptionism", 2015 (the shifts); C. Olah, A. Mordvintsev,
    L. Schubert, "Feature visualization", Distill 2017, doi:10.23915/distill.00007 (the spectrum).

    Args:
        module: any network of images; it is run in evaluation mode and left as it was.
        preprocess: of its pictures: size, channels and normalisation.
        target: a class (its logit) or a :class:`~striate.look.target.Unit` (with no position: the mean of a channel's map).
        steps: of the climb.
        rate: Adam's.
        jitter: largest shift in pixels, with what leaves entering on the other side; None: a sixteenth of the shorter side.
        decay: weight of the spectrum's mean square, taken off.
        seed: of the noise and the shifts.

    Raises:
        UsageError: no such class or unit, or no step.
    """
    if steps < 1 or rate <= 0:
        raise UsageError(f"a climb of {steps} steps at a rate of {rate}", fix="take at least 1 step, and a rate above 0")
    height, width = preprocess.size
    jitter = min(height, width) // 16 if jitter is None else jitter
    generator = torch.Generator().manual_seed(seed)
    weights = _spectral_weights(height, width)
    spectrum = 0.01 * torch.randn(preprocess.channels, *weights.shape, 2, generator=generator)
    mean, square = torch.zeros_like(spectrum), torch.zeros_like(spectrum)
    values = []

    def score(pixels: Tensor) -> Tensor:
        return scores(module, beside_weights(module, preprocess.normalize(pixels[None])), target)

    with explaining(module):
        before = float(score(_pixels(spectrum, weights, height, width)).detach())
        for step in range(1, steps + 1):
            spectrum.requires_grad_()
            pixels = _pixels(spectrum, weights, height, width)
            down, across = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
            value = score(pixels.roll((down, across), dims=(1, 2)))
            slope = gradient(value.cpu() - decay * spectrum.square().mean(), spectrum)
            values.append(float(value.detach()))
            # Adam (D. Kingma, J. Ba, arXiv:1412.6980), upwards.
            mean = 0.9 * mean + 0.1 * slope
            square = 0.999 * square + 0.001 * slope**2
            spectrum = spectrum.detach() + rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        last = _pixels(spectrum, weights, height, width)
        after = float(score(last).detach())
    image: NDArray[np.uint8] = last.detach().round().byte().permute(1, 2, 0).contiguous().numpy()
    return Maximised(image, tuple(values), before, after)


def _spectral_weights(height: int, width: int) -> Tensor:
    """[H, W // 2 + 1]: one over the frequency, in cycles a pixel; the lowest but the mean also for the mean."""
    frequencies = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    return 1 / frequencies.clamp(min=1 / max(height, width))


def _pixels(spectrum: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """Coefficients [C, H, W // 2 + 1, 2] -> pixels [C, H, W] within 0..255."""
    values = torch.fft.irfft2(torch.view_as_complex(spectrum) * weights, s=(height, width), norm="ortho")
    if len(values) == 3:
        values = torch.einsum("chw,cd->dhw", values, OPPONENTS / OPPONENTS[0, 0])
    return 255 * torch.sigmoid(CONTRAST * values)
