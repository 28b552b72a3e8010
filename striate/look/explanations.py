"""The class maps by name, each as one picture [H, W] of the same image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from striate.look.attribution import deconvnet, integrated_gradients, magnitude, occlusion, saliency
from striate.look.cam import grad_cam
from striate.progress import Progress, Silent

Explain = Callable[[nn.Module, Tensor, int], Tensor]
"""(network, normalised image [1, C, H, W], class) -> [H, W]."""

Told = Callable[[nn.Module, Tensor, int, Progress], Tensor]
"""The same, that tells how far it is."""


@dataclass(frozen=True)
class Explanation:
    """A way to explain a class.

    Attributes:
        title: in words.
        source: the paper, short.
        way: see ``Told``.
        signed: whether values below 0 speak against the class; otherwise none is below 0.
    """

    title: str
    source: str
    way: Told
    signed: bool = False

    def explain(self, network: nn.Module, image: Tensor, target: int, progress: Progress | None = None) -> Tensor:
        """[H, W] for a normalised image [1, C, H, W]: how much each pixel speaks for a class."""
        return self.way(network, image, target, progress or Silent())


EXPLANATIONS: dict[str, Explanation] = {
    "grad_cam": Explanation("Grad-CAM", "arXiv:1610.02391", lambda net, image, k, _: grad_cam(net, image, k).on_image()),
    "saliency": Explanation("Saliency", "arXiv:1312.6034", lambda net, image, k, _: magnitude(saliency(net, image, k))),
    "integrated_gradients": Explanation(
        "Integrated gradients", "arXiv:1703.01365",
        lambda net, image, k, told: integrated_gradients(net, image, k, progress=told).attribution.sum(dim=0), signed=True,
    ),
    "occlusion": Explanation(
        "Occlusion", "arXiv:1311.2901", lambda net, image, k, told: occlusion(net, image, k, progress=told).pixels,
        signed=True,
    ),
    "deconvnet": Explanation("Deconvnet", "arXiv:1311.2901", lambda net, image, k, _: magnitude(deconvnet(net, image, k))),
    "guided_backpropagation": Explanation(
        "Guided backpropagation", "arXiv:1412.6806", lambda net, image, k, _: magnitude(deconvnet(net, image, k, guided=True))
    ),
}  # fmt: skip
"""By the names that ``striate look`` and the studio use."""
