"""The recipes of the LeNet papers, as near as a plain optimizer comes: one image a step, thirty and twenty passes.

Without: the rates of the papers, each parameter's own, from an estimate of the loss's second derivatives. Both losses are ours:
the squared error of probabilities, or the cross-entropy, where the papers' compare outputs with targets of their own.
"""

from __future__ import annotations

from striate.recipe import Optimizer, Recipe, Schedule


def lenet1() -> Recipe:
    """Y. LeCun et al., NIPS 1989: one digit a step, 30 passes, squared error. Without: second derivatives, targets of +-1."""
    return Recipe(
        "lenet1",
        epochs=30,
        batch=1,
        optimizer=Optimizer("sgd", 0.01, momentum=0.0, nesterov=False, weight_decay=0.0),
        schedule=Schedule("constant", warmup=0.0),
        loss="mse",
    )


def lenet5_1998() -> Recipe:
    """Y. LeCun et al., Proc. IEEE 1998, section III: one digit a step, 20 passes at 5 falling rates, no distortions.

    The rates fall as the paper's do, 5e-4, 2e-4 after 2 passes, 1e-4 after 5, 5e-5 after 8, 1e-5 after 12: by powers of
    10**-0.1, within 0.5 % of the paper's. They begin at 0.002, which is ours: the paper divides by second derivatives plus
    0.02, so by 0.02 at most 0.025, at which the squared distances of the output diverge here (8.6 % of MNIST after 2,500
    digits; 83.4 % at 0.002). Without: the second derivatives, and the loss's constant for rubbish classes (equation 9).
    """
    falls = (0.1,) * 4 + (0.25,) * 3 + (0.4,) * 3 + (0.6,) * 7
    return Recipe(
        "lenet5_1998",
        epochs=20,
        batch=1,
        optimizer=Optimizer("sgd", 0.002, momentum=0.0, nesterov=False, weight_decay=0.0),
        schedule=Schedule("step", warmup=0.0, milestones=falls, gamma=10**-0.1),
    )
