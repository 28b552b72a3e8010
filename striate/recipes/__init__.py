"""Every recipe by name. A recipe is a plain function that returns a :class:`striate.recipe.Recipe`."""

from __future__ import annotations

from collections.abc import Callable

from striate.errors import UsageError, nearest
from striate.recipe import Recipe
from striate.recipes import imagenet
from striate.recipes.classic import SHORT, fashion_cnn, fashion_cnn_short, lenet5, letters_cnn, mlp, resnet_cifar
from striate.recipes.general import careful, fast
from striate.recipes.metric import metric_learning
from striate.recipes.mnist import lenet1, lenet5_1998
from striate.recipes.transfer import transfer_enough, transfer_mid, transfer_small

RECIPES: dict[str, Callable[[], Recipe]] = {
    "fast": fast,
    "careful": careful,
    "metric_learning": metric_learning,
    "transfer_small": transfer_small,
    "transfer_mid": transfer_mid,
    "transfer_enough": transfer_enough,
    "mlp": mlp,
    "lenet5": lenet5,
    "fashion_cnn": fashion_cnn,
    "fashion_cnn_short": fashion_cnn_short,
    "letters_cnn": letters_cnn,
    "resnet_cifar": resnet_cifar,
    "lenet1": lenet1,
    "lenet5_1998": lenet5_1998,
    "alexnet": imagenet.alexnet,
    "zfnet": imagenet.zfnet,
    "vgg": imagenet.vgg,
    "googlenet": imagenet.googlenet,
    "inception_v3": imagenet.inception_v3,
    "inception_v4": imagenet.inception_v4,
    "inception_resnet": imagenet.inception_resnet,
    "xception": imagenet.xception,
    "resnet": imagenet.resnet,
    "resnext": imagenet.resnext,
    "wide_resnet": imagenet.wide_resnet,
    "se_resnet": imagenet.se_resnet,
    "densenet": imagenet.densenet,
    "mobilenet_v1": imagenet.mobilenet_v1,
    "mobilenet_v2": imagenet.mobilenet_v2,
    "mobilenet_v3": imagenet.mobilenet_v3,
    "squeezenet": imagenet.squeezenet,
    "shufflenet_v2": imagenet.shufflenet_v2,
    "efficientnet": imagenet.efficientnet,
    "efficientnet_v2": imagenet.efficientnet_v2,
    "regnet": imagenet.regnet,
    "convnext": imagenet.convnext,
}

USUAL = ("fast", "mlp", "lenet5", "fashion_cnn", "letters_cnn", "resnet_cifar")
"""Recipes that a variant's networks are trained with where none is named; those of the papers are asked for by name."""


def recipe_for(name: str, epochs: int) -> Recipe:
    """What trains for so many epochs where a network's recipe is ``name``: where there is one, its own for short runs."""
    short = f"{name}_short"
    return RECIPES[short if epochs <= SHORT and short in RECIPES else name]()


def get_recipe(recipe: str | Recipe) -> Recipe:
    """The recipe of that name, or the recipe itself.

    Raises:
        UsageError: no recipe of that name, with the nearest one.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise UsageError(f"Unknown recipe {recipe!r}", fix=nearest(recipe, RECIPES))
    return RECIPES[recipe]()
