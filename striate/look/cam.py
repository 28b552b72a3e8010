"""Where a network finds what it says: Grad-CAM, on the layer that it finds by itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from striate.errors import Refused, UsageError
from striate.look.operations import MOVED, operation_name
from striate.look.placement import Placement, place_map
from striate.look.target import (
    as_input,
    beside_weights,
    class_scores,
    explaining,
    gradient,
    gradient_if_any,
    run_keeping,
    run_whole,
)


@dataclass(frozen=True)
class ClassMap:
    """What speaks for a class, place by place.

    Attributes:
        layer: whose map it is, by the name that it has in the graph of :func:`striate.look.trace`.
        target: the class.
        signed: [h, w], the channels of the map summed with the weights alpha, before the ReLU of eq. 2: negative values speak
            against the class.
        placement: of its pixels on the image.
        size: (height, width) of the image.
    """

    layer: str
    target: int
    signed: Tensor
    placement: Placement
    size: tuple[int, int]

    @property
    def heat(self) -> Tensor:
        """[h, w], what speaks for the class (eq. 2). Where all is 0, nothing in this layer does."""
        return self.signed.clamp(min=0)

    def on_image(self) -> Tensor:
        """``heat`` over the image: [H, W]."""
        return self.placement.enlarge(self.heat, self.size)


def grad_cam(module: nn.Module, image: Tensor, target: int | None = None, layer: str | None = None) -> ClassMap:
    """Grad-CAM: the last spatial map's channels, each weighted by the mean gradient of the class's logit on it.

    On a head of global average pooling and a dense layer this is CAM (B. Zhou et al., arXiv:1512.04150), divided by the number
    of the map's pixels. Source: R. Selvaraju et al., arXiv:1610.02391, eq. 1 and 2.

    Args:
        module: any classifier; it is run in evaluation mode and left as it was.
        image: normalised, float [C, H, W] or [1, C, H, W].
        target: the class; None: the one that the network says.
        layer: path of another module; None: the last map with a height and a width that the logit hangs on and that is not
            pooled or only rearranged.

    Raises:
        UsageError: no such class or layer.
        Refused: there is no such map (a network of dense layers alone), or no gradient.
    """
    return grad_cams(module, as_input(module, image), None if target is None else [target], layer)[0]


def grad_cams(
    module: nn.Module, images: Tensor, targets: Sequence[int] | None = None, layer: str | None = None
) -> list[ClassMap]:
    """:func:`grad_cam` of several images [N, C, H, W] in one run; ``targets``: a class each."""
    images = beside_weights(module, images)
    with explaining(module):
        if layer is None:
            maps, slopes, name, chosen = _last_map(module, images, targets)
        else:
            name = layer
            maps, logits = run_keeping(module, images, layer)
            if maps.ndim != 4:
                raise UsageError(f"Grad-CAM needs a layer with maps; this one puts out {list(maps.shape[1:])}", where=layer)
            score, chosen = class_scores(logits, targets)
            slopes = gradient(score, maps)
    signed = (slopes.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1).cpu()
    _, channels, height, width = images.shape
    placement = place_map(module, (channels, height, width), (signed.shape[1], signed.shape[2]))
    return [ClassMap(name, k, each, placement, (height, width)) for k, each in zip(chosen, signed, strict=True)]


def _last_map(module: nn.Module, images: Tensor, targets: Sequence[int] | None) -> tuple[Tensor, Tensor, str, list[int]]:
    """The last map that the scores hang on, their gradient on it, its name, and their classes."""
    with _MapWatch(module) as watch:
        logits = run_whole(module, images)
    score, chosen = class_scores(logits, targets)
    for maps, inside, operation, call in reversed(watch.maps):
        if maps.requires_grad and (slopes := gradient_if_any(score, maps)) is not None:
            return maps, slopes, watch.name(inside, operation, call), chosen
    why = "nothing that its answer hangs on has a height and a width" if watch.maps else "none of its layers puts out a map"
    raise Refused("The network has no feature map for Grad-CAM", where=type(module).__name__, why=why, fix="take saliency")


_NO_NEW_MAP = (MOVED - {"cat"}) | {"double", "float", "half", "interpolate", "to", "type", "type_as"}
"""Operations whose output is a cropped, enlarged or rearranged map, not one of its own; poolings and dropouts beside them."""


class _MapWatch(TorchFunctionMode):
    """While it is entered, every map [N, C, H, W] that is made is noted, be it by a module or by a function."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.maps: list[tuple[Tensor, nn.Module | None, str, int]] = []
        self._paths = {each: path for path, each in module.named_modules()}
        self._operations: Counter[tuple[nn.Module | None, str]] = Counter()
        self._at_work: list[nn.Module] = []
        self._thread = threading.get_ident()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> _MapWatch:
        for each in self._paths:
            # Functions, not methods: another thread's deep copy of the module copies a method's object, tensors and all.
            self._hooks.append(each.register_forward_pre_hook(lambda module, _: self._enter(module)))
            self._hooks.append(each.register_forward_hook(lambda _module, _inputs, _output: self._leave()))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def _enter(self, each: nn.Module) -> None:
        if threading.get_ident() == self._thread:
            self._at_work.append(each)

    def _leave(self) -> None:
        if threading.get_ident() == self._thread:
            self._at_work.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = operation_name(func)
        innermost = self._at_work[-1] if self._at_work else None
        self._operations[innermost, operation] += 1
        made = isinstance(out, Tensor) and out.ndim == 4 and min(out.shape[2:]) > 1 and operation not in _NO_NEW_MAP
        if made and "pool" not in operation and "dropout" not in operation:
            self.maps.append((out, innermost, operation, self._operations[innermost, operation]))
        return out

    def name(self, module: nn.Module | None, operation: str, call: int) -> str:
        """The module's path where it does this operation alone, with the operation where it does others."""
        path = "" if module is None else self._paths[module]
        does = {name for each, name in self._operations if each is module}
        alone = module is not None and path and next(module.children(), None) is None and does == {operation}
        named = path if alone else f"{path}:{operation}"
        return named if call == 1 else f"{named}#{call}"
