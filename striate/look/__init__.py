"""Inside any network: its graph of layers, the arithmetic of any number in it, and pictures of what it reacts to.

The public names below are loaded when first used, for most of them import torch.

    graph = look.trace(network, (3, 224, 224))
    inside = look.Inspection(network, image)
    print(inside.pixel("layer1.0.conv2", (17, 20, 31)).text())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from striate.look.attribution import deconvnet as deconvnet
    from striate.look.attribution import integrated_gradients as integrated_gradients
    from striate.look.attribution import occlusion as occlusion
    from striate.look.attribution import saliency as saliency
    from striate.look.cam import grad_cam as grad_cam
    from striate.look.graph import LayerGraph as LayerGraph
    from striate.look.inspection import Inspection as Inspection
    from striate.look.inspection import pixel as pixel
    from striate.look.maps import feature_maps as feature_maps
    from striate.look.maps import filters_picture as filters_picture
    from striate.look.maximisation import maximize as maximize
    from striate.look.patches import exciting_patches as exciting_patches
    from striate.look.sanity import sanity_check as sanity_check
    from striate.look.shifts import shift_response as shift_response
    from striate.look.subsampling import subsampling_accuracy as subsampling_accuracy
    from striate.look.tracing import trace as trace

_HOMES = {
    "Inspection": "striate.look.inspection",
    "LayerGraph": "striate.look.graph",
    "deconvnet": "striate.look.attribution",
    "exciting_patches": "striate.look.patches",
    "feature_maps": "striate.look.maps",
    "filters_picture": "striate.look.maps",
    "grad_cam": "striate.look.cam",
    "integrated_gradients": "striate.look.attribution",
    "maximize": "striate.look.maximisation",
    "occlusion": "striate.look.attribution",
    "pixel": "striate.look.inspection",
    "saliency": "striate.look.attribution",
    "sanity_check": "striate.look.sanity",
    "shift_response": "striate.look.shifts",
    "subsampling_accuracy": "striate.look.subsampling",
    "trace": "striate.look.tracing",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'striate.look' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
