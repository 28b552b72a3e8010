"""How much arithmetic training is, from the layers of the network alone."""

from __future__ import annotations

from striate.summary import summarize
from striate.zoo import build, find_variant


def training_operations(model: str) -> int:
    """Floating-point operations to train on one image of the network's own size.

    Twice the MACs forward, and as many again for the gradient of the weights and for that of the inputs; what is not a
    convolution or a dense layer does not count.
    """
    variant = find_variant(model)
    return 6 * summarize(lambda: build(model), model, (variant.in_channels, *variant.input_size)).macs
