"""What the lab calls the lectures' worked examples, and which of their numbers an example of sizes alone is shown on."""

from __future__ import annotations

from typing import Any

TITLES = {
    "s0.conv6x6.vertical": "Vertical edges in a 6 × 6 image",
    "s0.conv6x6.stride3": "The same with stride 3: windows that do not overlap",
    "s0.vertical_edge": "One vertical edge, bright to dark",
    "s0.filter.horizontal": "Horizontal edges",
    "s0.filter.sobel_x": "Sobel, vertical edges",
    "s0.conv5x5.xfilter.valid": "An X in a 5 × 5 image, without padding",
    "s0.conv5x5.xfilter.same": "The same with padding 1: the size is kept",
    "s0.curve_filter_self": "A curve detector on its own curve",
    "s0.pool.max": "Max pooling, 2 × 2",
    "s0.pool.avg": "Average pooling, 2 × 2",
    "s1.lincoln24x16.blur141": "Blur on a 24 × 16 table of pixels",
    "s1.lincoln24x16.sharpen8": "Sharpen on the table",
    "s1.lincoln24x16.laplacian4": "Laplacian on the table: edges",
    "s2.pool.max": "Max pooling of four quarters",
    "s3.top_sobel": "Top Sobel at one place of a photo",
    "s3.sharpen": "Sharpen at one place of a photo",
    "s3.line.f1.valid": "Line filter 1, valid",
    "s3.line.f1.same": "Line filter 1, same",
    "s3.line.f2.valid": "Line filter 2, valid",
    "s3.line.f3.valid": "Line filter 3, valid",
    "s3.line.f3.same": "Line filter 3, same",
    "s3.line.f4.valid": "Line filter 4, valid",
    "s3.line.f4.same": "Line filter 4, same",
    "s3.stride2.7x7": "Strided convolution, 7 × 7 with stride 2",
    "s3.pool.5x5.ceil": "Max pooling of 5 × 5 with partial windows",
    "s3.pool.5x5.floor": "The same without: a row and a column are dropped",
    "s4.filter1.s1": "A diagonal detector",
    "s4.filter1.s2": "A diagonal detector with stride 2",
    "s4.filter2.s1": "A vertical-line detector",
    "s4.filters12.stack": "Two filters, two feature maps",
    "s4.loopy.mean": "A loop detector on a 9",
    "s4.rgb.r": "A colour image: the red channel alone",
    "s4.rgb.g": "A colour image: the green channel alone",
    "s4.rgb.b": "A colour image: the blue channel alone",
    "s4.rgb.sum": "A colour image: three channels summed, plus a bias",
    "s4.filterbank.edge1": "Edge filter 1 on the 24 × 16 table",
    "s4.filterbank.edge2": "Edge filter 2 on the table",
    "s4.filterbank.edge3": "Edge filter 3 on the table",
    "s4.filterbank.sharpen": "Sharpen on the table, brightness kept",
    "s4.filterbank.box": "Box blur on the table",
    "s4.filterbank.identity": "The filter that changes nothing",
    "s4.sharpen.pad1.s2": "Sharpen with padding 1 and stride 2",
    "s4.gif.pad1.s2": "Padding 1 and stride 2, animated on the slide",
    "s4.pool3.max": "Max pooling of a feature map",
    "s4.pool3.avg": "Average pooling of a feature map",
    "s4.pool.max.29": "Max pooling, the large numbers survive",
    "s4.pool.avg.29": "Average pooling of the same",
    "s4.pool.avg.31": "Average pooling as printed, with 31 in the corner",
}
"""Item of ``golden.json`` -> title, in the order in which a lecture shows them."""

_SEVEN, _VERTICAL = ["s3.stride2.7x7"], [["s0.conv6x6.vertical"]]
_COLOURS = ["s0.conv6x6.vertical", "s0.vertical_edge", "s4.filter1.s1"]
_THREE = ["s0.conv6x6.vertical", "s0.filter.horizontal", "s0.filter.sobel_x"]

SIZES: dict[str, dict[str, Any]] = {
    "s0.shape.pad1": {
        "title": "6 × 6 padded to 8 × 8: the size is kept",
        "size": (6, 6), "inputs": ["s0.conv6x6.vertical"], "kernels": _VERTICAL, "stride": 1, "padding": 1},
    "s0.shape.rgb2": {
        "title": "6 × 6 × 3, two filters of 3 × 3 × 3",
        "size": (6, 6), "inputs": _COLOURS, "kernels": [_THREE, _THREE[::-1]], "stride": 1, "padding": 0},
    "s1.shape.7_3_s1": {
        "title": "7 × 7, window 3, stride 1", "size": (7, 7), "inputs": _SEVEN, "kernels": _VERTICAL, "stride": 1, "padding": 0},
    "s1.shape.7_3_s2": {
        "title": "7 × 7, window 3, stride 2", "size": (7, 7), "inputs": _SEVEN, "kernels": _VERTICAL, "stride": 2, "padding": 0},
    "s1.shape.7_3_p1": {
        "title": "7 × 7, window 3, zero padding 1",
        "size": (7, 7), "inputs": _SEVEN, "kernels": _VERTICAL, "stride": 1, "padding": 1},
    "s2.shape.7_3_s3": {
        "title": "7 × 7, window 3, stride 3: “doesn’t fit”",
        "size": (7, 7), "inputs": _SEVEN, "kernels": _VERTICAL, "stride": 3, "padding": 0},
    "s3.shape.4_3": {
        "title": "4 × 4, window 3", "size": (4, 4), "inputs": _SEVEN, "kernels": _VERTICAL, "stride": 1, "padding": 0},
    "s3.shape.rgb": {
        "title": "6 × 6 × 3, one filter of 3 × 3 × 3: one map",
        "size": (6, 6), "inputs": _COLOURS, "kernels": [_THREE], "stride": 1, "padding": 0},
}  # fmt: skip
"""Item of ``golden.json`` that gives only sizes -> its title, and the items whose numbers and kernels fill it."""
