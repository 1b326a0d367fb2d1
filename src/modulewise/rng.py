"""Named streams of random numbers: each is a function of (seed, name), so that drawing from one
never moves another.

Adding a head changes neither the trunk's initial weights nor the batches: runs of one seed are
truly paired across methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_of(seed: int, *name: str | int) -> int:
    """A 63-bit seed for the stream of that name.

    Example:
        >>> seed_of(0, "order", 1) == seed_of(0, "order", 1) != seed_of(0, "order", 2)
        True
    """
    digest = hashlib.sha256(repr((seed, *name)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU generator at the start of the named stream."""
    return torch.Generator().manual_seed(seed_of(seed, *name))


@contextmanager
def fork(seed: int, *name: str | int) -> Iterator[None]:
    """Inside, torch's global CPU generator is the named stream; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, *name))
        yield
