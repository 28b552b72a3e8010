"""Convolutional networks on PyTorch: from a folder of images to a trained, measured, explained, deployable model.

The public names below are loaded when first used, so that ``import striate`` costs milliseconds and no torch.

    run = striate.train("photos/", model="resnet18", epochs=20)
    model = striate.load(run.model_path)
    model.predict(["new.jpg"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.checking import check as check
    from striate.data.augment import Augment as Augment
    from striate.data.formats import open_source as open_source
    from striate.data.preprocess import Preprocess as Preprocess
    from striate.errors import StriateError as StriateError
    from striate.evaluation import Evaluation as Evaluation
    from striate.evaluation import evaluate as evaluate
    from striate.experiment import resume as resume
    from striate.experiment import train as train
    from striate.fine_tuning import freeze as freeze
    from striate.fine_tuning import trainable_parameters as trainable_parameters
    from striate.prediction import Model as Model
    from striate.prediction import load as load
    from striate.recipe import Recipe as Recipe
    from striate.recipes import RECIPES as RECIPES
    from striate.report.write import write_report as write_report
    from striate.runs import Run as Run
    from striate.tasks.base import Task as Task
    from striate.training import fit as fit
    from striate.zoo import MODELS as MODELS
    from striate.zoo import build as build

__version__ = "0.1.0"

_HOMES = {
    "Augment": "striate.data.augment",
    "Evaluation": "striate.evaluation",
    "MODELS": "striate.zoo",
    "Model": "striate.prediction",
    "Preprocess": "striate.data.preprocess",
    "RECIPES": "striate.recipes",
    "Recipe": "striate.recipe",
    "Run": "striate.runs",
    "StriateError": "striate.errors",
    "Task": "striate.tasks.base",
    "build": "striate.zoo",
    "check": "striate.checking",
    "evaluate": "striate.evaluation",
    "fit": "striate.training",
    "freeze": "striate.fine_tuning",
    "load": "striate.prediction",
    "open_source": "striate.data.formats",
    "resume": "striate.experiment",
    "train": "striate.experiment",
    "trainable_parameters": "striate.fine_tuning",
    "write_report": "striate.report.write",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'striate' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
