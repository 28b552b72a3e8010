"""Fields by name: the command line's strings and Python's values end in the same record."""

from __future__ import annotations

import json

import pytest

from striate.errors import UsageError
from striate.recipe import Recipe
from striate.recipe_fields import apply_fields, field_names, to_fields
from striate.recipes import RECIPES


def test_strings_and_values_give_the_same_recipe() -> None:
    words = apply_fields(
        Recipe(), {"epochs": "3", "optimizer.lr": "0.1", "optimizer.name": "sgd", "ema": "none", "augment.crop_scale": "0.5,1"}
    )
    values = apply_fields(
        Recipe(), {"epochs": 3, "optimizer": {"lr": 0.1, "name": "sgd"}, "ema": None, "augment": {"crop_scale": (0.5, 1.0)}}
    )
    assert words == values
    assert (words.optimizer.lr, words.augment.crop_scale) == (0.1, (0.5, 1.0))
    assert words.optimizer.betas == Recipe().optimizer.betas, "what is not named stays"


def test_hyphens_are_underscores_and_booleans_have_words() -> None:
    recipe = apply_fields(Recipe(), {"label-smoothing": "0.1", "probe": "no", "optimizer.decay-norms-and-biases": "true"})
    assert (recipe.label_smoothing, recipe.probe, recipe.optimizer.decay_norms_and_biases) == (0.1, False, True)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"optimizer.learning_rate": 0.1}, "Unknown recipe field 'optimizer.learning_rate'"),
        ({"optimizer.name": "adamv"}, "Did you mean 'adamw'"),
        ({"epochs": "three"}, "epochs takes a whole number"),
        ({"epochs": 2.5}, "epochs takes a whole number"),
        ({"optimizer.lr": "fast"}, "optimizer.lr takes a number"),
        ({"optimizer": 3}, "optimizer is a group of fields"),
        ({"probe": "perhaps"}, "probe takes true or false"),
        ({"optimizer.betas": "0.9"}, "takes 2 values"),
        ({"batch": 0}, "batch is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"size": 0}, "size is 0"),
        ({"validation": 2}, "validation is 2"),
        ({"optimizer.lr": -1}, "learning rate is -1"),
    ],
)
def test_mistakes_are_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        apply_fields(Recipe(), fields)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert apply_fields(Recipe(), json.loads(json.dumps(to_fields(recipe)))) == recipe


def test_every_field_can_be_set_by_its_name() -> None:
    names = field_names(Recipe())
    assert {"optimizer.lr", "augment.mixup", "epochs"} <= set(names)
    flat = {}
    for name in names:
        value: object = Recipe()
        for part in name.split("."):
            value = getattr(value, part)
        flat[name] = value
    assert apply_fields(Recipe(), flat) == Recipe()
