"""What enters a module whose predecessors are frozen: it is the same in every epoch."""

from __future__ import annotations

import copy
import math

import torch

from modulewise.data.base import Data
from modulewise.method import Method, State
from modulewise.schedules._base import Precision


def sizes(method: Method, image: tuple[int, ...]) -> list[int | None]:
    """Bytes of the state of one image that enters each module, in 32-bit numbers; `None` where not
    every tensor of it has one row an image. Found without data.

    Args:
        method: the method.
        image: shape of one image (C, H, W).
    """
    ghost = copy.deepcopy(method).to("meta").eval()
    state, out = ghost.initial_state(torch.empty(2, *image, device="meta")), []
    for k in range(ghost.k):
        rows = all(t.dim() and len(t) == 2 for t in state)
        out.append(sum(t.nbytes for t in state) // 2 if rows else None)
        with torch.no_grad():
            state = ghost.forward_module(k, state) if k < ghost.k - 1 else ()
    return out


@torch.no_grad()
def collect(method: Method, k: int, data: Data, precision: Precision) -> State:
    """The state that enters module k, of all training images in order (N ...); made in batches of
    one size, so that it is the same whenever it is made. The modules before k are in eval mode.

    Args:
        method: the method.
        k: number of the module.
        data: without augmentation.
        precision: of the forward passes.
    """
    whole: State = ()
    done = 0
    for x, _ in data.eval_batches("train"):
        with precision():
            part = method.entering(k, x)
        whole = whole or tuple(t.new_empty(data.sizes.train, *t.shape[1:]) for t in part)
        for all_rows, rows in zip(whole, part, strict=True):
            all_rows[done : done + len(rows)] = rows
        done += len(x)
    return whole


def mib(size: float) -> int:
    """Bytes in MiB, rounded up."""
    return math.ceil(size / 2**20)
