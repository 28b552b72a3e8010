"""Eight small scenes with everything a task could ask about them: masks, boxes, captions."""

from __future__ import annotations

import numpy as np
import torch

from striate.tasks.base import Batch

SIDE = 32
COLOURS = ("red", "green", "blue")


def scenes(num: int = 8) -> Batch:
    """One or two coloured rectangles on a dark noisy ground, one in each half of a picture of 32 x 32.

    Keys: ``image`` [N, 3, 32, 32] 0..1; ``mask`` 0 = ground, 1.. = colours, 255 = the rectangle's outline; ``boxes``;
    ``box_label`` 0.. = colours; ``words`` list of captions; ``index``.
    """
    rng = np.random.default_rng(0)
    image = rng.uniform(0.0, 0.2, (num, 3, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((num, SIDE, SIDE), np.int64)
    boxes, labels, words = [], [], []
    for n in range(num):
        rectangles = []
        for half in range(1 + n % 2):
            colour, (height, width) = rng.integers(3), rng.integers(8, 14, 2)
            top, left = rng.integers(0, SIDE - height), 16 * half + rng.integers(0, 16 - width)
            bottom, right = top + height, left + width
            image[n, colour, top:bottom, left:right] = 0.9
            mask[n, top:bottom, left:right] = 255
            mask[n, top + 1 : bottom - 1, left + 1 : right - 1] = colour + 1
            rectangles.append((colour, (left, top, right, bottom)))
        boxes.append(torch.tensor([box for _, box in rectangles], dtype=torch.float32))
        labels.append(torch.tensor([int(colour) for colour, _ in rectangles]))
        words.append(" left of ".join(f"a {COLOURS[colour]} box" for colour, _ in rectangles))
    return {
        "image": torch.from_numpy(image),
        "mask": torch.from_numpy(mask),
        "boxes": boxes,
        "box_label": labels,
        "words": words,
        "index": torch.arange(num),
    }
