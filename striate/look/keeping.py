"""What a run computes, kept as it was: copied where something is about to write over it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Keeper(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, outputs that it was given stay as they were, whatever is done in place.

    An output and what is made of its memory (views, changes in place that follow each other) share that memory, until an
    operation whose schema says that it writes meets it. What Python code outside PyTorch writes is not seen.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: see :class:`striate.field_tracking.FieldTracker`."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept: dict[int, list[tuple[list[Tensor], int]]] = {}

    def keep(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs; an entry of the list is replaced by a copy before its memory is written to."""
        kept = [each.detach() for each in outputs]
        for place, each in enumerate(kept):
            self._kept.setdefault(memory_of(each), []).append((kept, place))
        return kept

    def part(self, tensors: Iterable[Tensor]) -> None:
        """Copies the memory of these tensors for the outputs that lie in it."""
        for tensor in tensors:
            if entries := self._kept.pop(memory_of(tensor), None):
                copied = tensor.untyped_storage().clone()  # type: ignore[no-untyped-call]
                for kept, place in entries:
                    old = kept[place]
                    kept[place] = old.new_empty(0).set_(copied, old.storage_offset(), old.shape, old.stride())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            self.part(_written(func._schema, args, kwargs))
        return func(*args, **kwargs)


def _written(schema: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The arguments that an operation changes."""
    for place, argument in enumerate(schema.arguments):
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        if argument.is_write:
            yield from (each for each in tree_leaves(given) if isinstance(each, Tensor))


def tensors_of(network: nn.Module) -> Iterator[Tensor]:
    """All that its modules hold, registered or not: a later run may write to it."""
    for module in network.modules():
        yield from (each for each in tree_leaves(vars(module)) if isinstance(each, Tensor))


def memory_of(tensor: Tensor) -> int:
    """The same number for all tensors that share memory."""
    return int(tensor.untyped_storage()._cdata)
