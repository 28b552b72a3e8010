"""Logistic regression on raw 32x32 colour pixels: what a network on CIFAR must beat by far.

striate train FOLDER --arch benchmarks/linear.py:make --recipe mlp --channels 3 --size 32
"""

from torch import nn


def make(num_classes: int) -> nn.Module:
    """One linear layer on the flattened image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
