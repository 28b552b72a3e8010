"""Commands that compute by hand: sizes and costs of layers, and the named image filters. None of them needs torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from striate.cli.parameters import Flag
from striate.cli.printing import columns, print_json
from striate.errors import UsageError


def shape(network: str, /, *, strict: Flag = False, json: Flag = False) -> None:
    """Say what comes out of each layer of a network, and what it costs.

    For example: striate shape "in 1x28x28; conv 32 k3; pool 2; fc 10"

    The input, channels x height x width, comes first; then a layer after each
    semicolon or line break; # begins a comment.

    conv 64 k7 s2 p3   64 filters of 7 x 7, stride 2, padding 3 on each side
    convt 32 k4 s2 p1  a transposed convolution; o1 is output padding
    pool 3 s2          maximum pooling; without s, windows do not overlap
    avgpool, sumpool   likewise; gap is global average pooling
    fc 10              fully connected; it flattens what it reads
    bn, relu, tanh, sigmoid, softmax, dropout

    k kernel, s stride, p padding, d dilation, g groups. k3x5 is 3 high and 5
    wide; p0,1,0,1 pads top, bottom, left, right. Words: same and valid
    (padding), nobias, ceil (partial windows count), strict (a remainder is
    an error).

    In the table, MACs are multiply-accumulates for one image; field is the
    part of the input that one output sees, in pixels, and jump the way from
    one output's part to the next one's. Warnings name rows and columns that
    are never read.

    Args:
        network: The input and the layers, in quotes.
        strict: Refuse a window that leaves a remainder, in every layer.
        json: Print every figure as JSON.
    """
    from striate.arithmetic.table import shape_table

    table = shape_table(network, strict)
    if json:
        print_json(table.to_json())
    else:
        print(table.text(columns() if sys.stdout.isatty() else None))


def filter(
    *words: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    kernel: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    border: Literal["edge", "zero"] = "edge",
    show: Literal["clip", "magnitude", "range"] | None = None,
    list: Flag = False,
) -> None:
    """Apply a named image filter, or one of your own, to a picture.

    striate filter sharpen photo.jpg -o sharp.png
    striate filter photo.jpg -o own.png --kernel "0 -1 0; -1 5 -1; 0 -1 0"

    Without a picture it prints the filter's matrix, without a name all of
    them. Colours are filtered one by one. The picture is read upright, on 8
    bits a colour, transparency laid on white.

    Args:
        words: The filter's name, and the picture; with --kernel the picture alone.
        out: The result: .png, .jpg, .webp, .bmp or .tiff.
        kernel: Your own matrix: rows between semicolons, numbers (also 1/9) between spaces.
        border: Around the picture lie its outermost pixels again (edge), or black (zero).
        show: What negative and very large responses become. clip: black and white. magnitude: the sign is dropped. range: all
            that the filter can put out, spread from black to white. Without it: clip where the filter keeps the brightness,
            magnitude where it answers even areas with 0, else range.
        list: Print every filter with its matrix.
    """
    from striate.kernels import describe, describe_all, find_kernel, parse_kernel

    if list or not (words or kernel):
        print(describe_all(columns()))
        print("\nstriate filter NAME PICTURE -o RESULT.png")
        return
    chosen = find_kernel(words[0]) if kernel is None else parse_kernel(kernel)
    pictures = words[1:] if kernel is None else words
    if not pictures and out is None:
        print(describe(chosen))
        return
    if len(pictures) != 1 or out is None:
        raise UsageError(
            "one picture is filtered at a time" if len(pictures) > 1 else "a filter needs a picture, and a name for the result",
            fix="striate filter NAME PICTURE -o RESULT.png; of your own: striate filter PICTURE -o RESULT.png --kernel MATRIX",
        )
    from striate.filtering import filter_file

    height, width = filter_file(Path(pictures[0]), out, chosen, border, show)
    print(f"{out}: {width} x {height}, {chosen.name}, shown as {show or chosen.show}")
