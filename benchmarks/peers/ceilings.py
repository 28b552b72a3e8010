"""What this machine could do at most: matrix products, copying memory, and touching memory for the first time."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.peers import job as asked

SIDE = 2048
BLOCK = 256 << 20


def best_seconds(work: Callable[[], object], times: int = 7) -> float:
    """The fastest of several, after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def product_tflops(dtype: torch.dtype) -> float:
    """Of a square matrix product, 2 operations a multiply-accumulate."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * SIDE**3 / best_seconds(lambda: torch.mm(a, b, out=out)) / 1e12


def copy_gbs() -> float:
    """Read and written, by all threads of torch."""
    a, b = torch.ones(BLOCK, dtype=torch.uint8), torch.ones(BLOCK, dtype=torch.uint8)
    return 2 * BLOCK / best_seconds(lambda: b.copy_(a)) / 1e9


def first_touch_gbs() -> float:
    """Of pages that the system has to hand out, written by all threads of torch."""

    def touch() -> None:
        fresh = mmap.mmap(-1, BLOCK)
        torch.from_numpy(np.frombuffer(fresh, dtype=np.uint8)).fill_(1)

    return BLOCK / best_seconds(touch, 3) / 1e9


def main() -> None:
    asked.answer(
        fp32_tflops=product_tflops(torch.float32),
        bf16_tflops=product_tflops(torch.bfloat16) if asked.has_bf16() else None,
        copy_gbs=copy_gbs(),
        first_touch_gbs=first_touch_gbs(),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
