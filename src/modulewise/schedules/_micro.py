"""Micro-batches of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from modulewise.method import Batch


def split(batch: Batch, parts: int) -> list[Batch]:
    """A batch in so many micro-batches, or fewer, of sizes as equal as possible; each has two
    images at least."""
    n = max(1, min(parts, len(batch.x) // 2))

    def cut(tensor: Tensor) -> tuple[Tensor, ...]:
        return tensor.tensor_split(n)

    rows = zip(*map(cut, (batch.x, batch.y, batch.image, batch.index)), strict=True)
    return [
        Batch(x, y, image, index, batch.view and partial(_rows, batch.view, n, i))
        for i, (x, y, image, index) in enumerate(rows)
    ]


def _rows(view: Callable[[], Tensor], n: int, i: int) -> Tensor:
    """Part i of n of what a batch's `view` makes."""
    return view().tensor_split(n)[i]
