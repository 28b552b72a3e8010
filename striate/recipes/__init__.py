"""Every recipe by name. A recipe is a plain function that returns a :class:`striate.recipe.Recipe`."""

from __future__ import annotations

from collections.abc import Callable

from striate.errors import UsageError, nearest
from striate.recipe import Recipe
from striate.recipes.classic import fashion_cnn, lenet5, letters_cnn, mlp, resnet_cifar
from striate.recipes.general import careful, fast

RECIPES: dict[str, Callable[[], Recipe]] = {
    "fast": fast,
    "careful": careful,
    "mlp": mlp,
    "lenet5": lenet5,
    "fashion_cnn": fashion_cnn,
    "letters_cnn": letters_cnn,
    "resnet_cifar": resnet_cifar,
}


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
