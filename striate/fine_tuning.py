"""Which parts of a network learn, when, and how fast: freezing by stage, rates by depth, a pull to the starting weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from striate.errors import UsageError, nearest
from striate.models.variant import Network
from striate.recipe import FineTune

EARLY = "early"
"""Stands for the part of a network that learns what most pictures share, however its parts are named."""
EARLY_STAGE = "2"


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training moves: those that require a gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def freeze(model: nn.Module, until: str) -> int:
    """Stops the parameters up to ``until`` from learning, that part included; those after it stay as they are.

    Batch norms whose own parameters are frozen keep their statistics too: ``fit`` leaves them in evaluation mode.

    Args:
        model: a network of the zoo, whose stages have names, or any module.
        until: ``stem``, the number of a stage, the path of a module (then parameters count in the order in which the module
            lists them), or ``early``: stage 2 where the network has one, else the first half of :func:`depth_groups`.

    Returns:
        How many numbers no longer learn.

    Raises:
        UsageError: there is no such stage or module.
    """
    frozen = list(_until(model, until))
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in frozen)


def depth_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters in order of depth: the stages of a network of the zoo and then what follows the last of them; of any other
    module, and of a network without feature maps, its children that hold parameters, or where one holds them all, that one's."""
    if isinstance(model, Network) and any(model.stage_paths.values()):
        parts = [[model.get_submodule(path) for path in paths] for paths in model.stage_paths.values()]
    else:
        parts = [[child] for child in _parts(model)]
    groups: list[list[nn.Parameter]] = []
    seen: set[int] = set()
    for modules in parts:
        group = [p for module in modules for p in module.parameters() if id(p) not in seen]
        seen |= set(map(id, group))
        groups.append(group)
    groups.append([p for p in model.parameters() if id(p) not in seen])
    return [group for group in groups if group]


def _parts(model: nn.Module) -> list[nn.Module]:
    parts = [child for child in model.children() if next(child.parameters(), None) is not None]
    return _parts(parts[0]) if len(parts) == 1 else parts


def _early(model: nn.Module) -> list[nn.Parameter]:
    groups = depth_groups(model)
    if len(groups) < 2:
        raise UsageError(f"{type(model).__name__} has no early part", why="all its parameters are in one module")
    return [parameter for group in groups[: len(groups) // 2] for parameter in group]


def _until(model: nn.Module, until: str) -> list[nn.Parameter]:
    stages = dict(model.stage_paths) if isinstance(model, Network) else {}
    if until == EARLY:
        if EARLY_STAGE not in stages:
            return _early(model)
        until = EARLY_STAGE
    if until in stages:
        names = list(stages)
        paths = [path for name in names[: names.index(until) + 1] for path in stages[name]]
        return [parameter for path in paths for parameter in model.get_submodule(path).parameters()]
    modules = dict(model.named_modules())
    if until not in modules or not until:
        raise UsageError(
            f"{type(model).__name__} has no stage or module {until!r}",
            fix=nearest(until, [EARLY, *stages, *(name for name in modules if name)]),
        )
    last = [id(parameter) for parameter in modules[until].parameters()]
    every = list(model.parameters())
    places = [place for place, parameter in enumerate(every) if id(parameter) in set(last)]
    if not places:
        raise UsageError(f"{until!r} has no parameters to freeze", where=type(model).__name__)
    return every[: max(places) + 1]


class FineTuning:
    """What a recipe's ``fine_tune`` does to a network while it trains.

    Attributes:
        rates: multiple of the learning rate by parameter (its ``id``).
        start: the weights that training is pulled back to, by name; empty without such a pull.
    """

    def __init__(self, model: nn.Module, settings: FineTune) -> None:
        self.settings, self._model = settings, model
        groups = depth_groups(model)
        learning = set(map(id, trainable_parameters(model)))
        chosen = set() if settings.freeze is None else {id(p) for p in _until(model, settings.freeze)} & learning
        self._frozen = [part for group in groups if (part := [p for p in group if id(p) in chosen])]
        self.rates: dict[int, float] = {
            id(parameter): settings.rate_decay ** (len(groups) - 1 - place)
            for place, group in enumerate(groups)
            for parameter in group
        }
        self.start = _starting_weights(model) if settings.l2_sp else {}

    def begin_epoch(self, epoch: int) -> None:
        """Freezes, and from the deepest group on unfreezes one every ``unfreeze_every`` epochs: a function of ``epoch`` alone."""
        every = self.settings.unfreeze_every
        thawed = epoch // every if every else 0
        for place, group in enumerate(reversed(self._frozen)):
            for parameter in group:
                parameter.requires_grad_(place < thawed)

    @torch.no_grad()
    def pull(self, lr: float) -> None:
        """L2-SP (X. Li, Y. Grandvalet, F. Davoine 2018, arXiv:1802.01483), decoupled from the gradient as AdamW's decay is:
        each weight that learns moves ``lr * l2_sp`` of its way back to where it started."""
        if not self.start:
            return
        parameters = dict(self._model.named_parameters())
        for name, start in self.start.items():
            parameter = parameters[name]
            if parameter.requires_grad:
                parameter.lerp_(start, min(1.0, lr * self.rates[id(parameter)] * self.settings.l2_sp))

    def load_start(self, start: Mapping[str, Tensor]) -> None:
        """The starting weights of the run that is resumed."""
        for name, value in start.items():
            self.start[name].copy_(value)


def _starting_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights but the head's, which starts from nothing worth keeping."""
    head = f"{model.head_path}." if isinstance(model, Network) else None
    named = dict(model.named_parameters())
    return {name: p.detach().clone() for name, p in named.items() if head is None or not name.startswith(head)}
