"""Networks in one line: ``in 1x32x32; conv 6 k5; pool 2; conv 16 k5; pool 2; conv 120 k5; fc 84; fc 10``.

The input (channels x height x width) comes first, then a layer after each semicolon or line break; ``#`` begins a comment.

    conv 64 k7 s2 p3     64 filters of 7 x 7 at stride 2, 3 pixels of padding on each side
    convt 32 k4 s2 p1    the transposed convolution; o1: one pixel of output padding
    pool 3 s2            maximum pooling (also maxpool, avgpool, sumpool); without s, the windows do not overlap
    gap                  global average pooling
    fc 10                a fully connected layer; it flattens what it reads
    bn, relu, tanh, sigmoid, softmax, dropout

Options: ``k`` kernel, ``s`` stride, ``p`` padding, ``d`` dilation, ``g`` groups. A number stands for a square, ``k3x5`` is 3 high
and 5 wide, ``p1x2`` pads 1 above and below and 2 left and right, ``p0,1,0,1`` is top, bottom, left, right. Words: ``same`` or
``valid`` padding, ``nobias``, ``ceil`` (partial windows count), ``strict`` (a remainder is an error).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from striate.arithmetic.counts import Convolution, Dense, Elementwise, GlobalPooling, Layer, Pooling, TransposedConvolution
from striate.arithmetic.sizes import Shape
from striate.errors import UsageError, nearest

_FIELDS = {"k": "kernel", "s": "stride", "p": "padding", "d": "dilation", "g": "groups", "o": "output_padding"}
_WORDS: dict[str, tuple[str, Any]] = {
    "same": ("padding", "same"),
    "valid": ("padding", "valid"),
    "nobias": ("bias", False),
    "ceil": ("rounding", "ceil"),
    "strict": ("rounding", "strict"),
}


@dataclass(frozen=True)
class _Form:
    """How a layer is written: what its bare number means, and the options it takes."""

    make: Callable[..., Layer]
    number: str = ""
    options: str = ""
    words: frozenset[str] = frozenset()
    fixed: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    example: str = ""


_POOL = _Form(Pooling, "kernel", "kspd", frozenset({"same", "valid", "ceil", "strict"}), needs=("kernel",), example="pool 2")
_FORMS = {
    "conv": _Form(
        Convolution, "filters", "kspdg", frozenset(_WORDS), needs=("filters", "kernel"), example="conv 16 k3"
    ),
    "convt": _Form(
        TransposedConvolution, "filters", "kspdgo", frozenset({"same", "valid", "nobias"}),
        needs=("filters", "kernel"), example="convt 16 k4 s2",
    ),
    **dict.fromkeys(("pool", "maxpool", "avgpool", "sumpool"), _POOL),
    "gap": _Form(GlobalPooling, example="gap"),
    "fc": _Form(Dense, "units", words=frozenset({"nobias"}), needs=("units",), example="fc 10"),
    "bn": _Form(Elementwise, fixed={"trainable": True}, example="bn"),
    **{name: _Form(Elementwise, example=name) for name in ("relu", "tanh", "sigmoid", "softmax", "dropout")},
}  # fmt: skip


def parse_network(text: str, strict: bool = False) -> tuple[Shape, list[str], list[Layer]]:
    """One line -> the input's (channels, height, width), the layers as they were written, and the layers.

    Args:
        strict: remainders are errors in every layer that does not say ``ceil``.

    Raises:
        UsageError: it names the layer, and how it is written.
    """
    lines = (line.partition("#")[0] for line in text.splitlines())
    names = [" ".join(piece.split()) for line in lines for piece in line.split(";") if piece.strip()]
    if len(names) < 2:
        raise UsageError("there is no layer", fix='write the input and the layers behind it: "in 3x32x32; conv 16 k3; fc 10"')
    size = re.fullmatch(r"in ([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", names[0].lower())
    if size is None:
        raise UsageError(
            "the input does not come first, as channels x height x width",
            where=names[0],
            fix='begin like this: "in 3x224x224; conv 64 k7 s2 p3"',
        )
    channels, height, width = map(int, size.groups())
    layers = [_layer(name.lower(), f"layer {number}: {name}", strict) for number, name in enumerate(names[1:], 1)]
    return (channels, height, width), names[1:], layers


def _layer(name: str, where: str, strict: bool) -> Layer:
    word, *options = name.split()
    if word not in _FORMS:
        known = {"flatten": "leave it out: fc flattens what it reads", "in": "the input comes once, and first"}
        raise UsageError(f"there is no layer {word!r}", where=where, fix=known.get(word) or nearest(word, _FORMS))
    form = _FORMS[word]
    arguments = dict(form.fixed)
    for option in options:
        key, value = _option(option, form, word, where)
        if key in arguments:
            raise UsageError(f"{option!r} says the {key.replace('_', ' ')} again", where=where, fix="say it once")
        arguments[key] = value
    missing = [key for key in form.needs if key not in arguments]
    if missing:
        raise UsageError(f"{word} does not say its {' and '.join(missing)}", where=where, fix=f"for example: {form.example}")
    if strict and "strict" in form.words:
        arguments.setdefault("rounding", "strict")
    return form.make(**arguments)


def _option(option: str, form: _Form, word: str, where: str) -> tuple[str, Any]:
    """``k3x5`` -> ("kernel", (3, 5))."""
    if option in form.words:
        return _WORDS[option]
    match = re.fullmatch(r"([a-z]?)(\d+(?:x\d+|(?:,\d+){3})?)", option)
    if match:
        letter, digits = match.groups()
        key = _FIELDS.get(letter, "") if letter and letter in form.options else "" if letter else form.number
        numbers = tuple(map(int, re.split("[x,]", digits)))
        wanted = {"padding": (1, 2, 4), "filters": (1,), "units": (1,), "groups": (1,)}.get(key, (1, 2))
        least = 0 if key in ("padding", "output_padding") else 1
        if key and len(numbers) in wanted and min(numbers) >= least:
            return key, numbers[0] if len(numbers) == 1 else numbers
    taken = [form.number] if form.number else []
    taken += [f"{letter} ({_FIELDS[letter].replace('_', ' ')})" for letter in form.options] + sorted(form.words)
    raise UsageError(
        f"{word} does not take {option!r}",
        where=where,
        why=f"it takes {', '.join(taken)}" if taken else "it stands alone",
        fix=f"for example: {form.example}",
    )
