"""A bounded buffer of the states that one module hands to the next, each of one batch; the oldest
is dropped first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modulewise.method import State


@dataclass
class Entry:
    """A state as it left a module, and what is needed to go on with it."""

    state: State
    number: int
    """Of the run's batch that it was made of, from 0."""
    taken: int = 0
    """How often the next module has taken it."""


class Replay:
    """The buffer between two modules.

    Args:
        size: how many states it holds at most.
        reads: `fresh`: of the states that were taken least often the last one to come; `uniform`:
            any of them.
    """

    def __init__(self, size: int, reads: str) -> None:
        self.entries: deque[Entry] = deque(maxlen=size)
        self.reads = reads

    def put(self, state: State, number: int) -> None:
        """Add a state; the oldest goes if there is no room."""
        self.entries.append(Entry(state, number))

    def take(self, random: torch.Generator) -> Entry:
        """The state to go on with; it stays in the buffer.

        Args:
            random: drawn from once if the buffer reads uniformly.
        """
        if self.reads == "uniform":
            entry = self.entries[int(torch.randint(len(self.entries), (), generator=random))]
        else:
            entry = min(reversed(self.entries), key=lambda e: e.taken)
        entry.taken += 1
        return entry

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of all states."""
        for entry in self.entries:
            yield from entry.state

    def save(self) -> list[dict[str, Any]]:
        """The states, oldest first, as plain values and tensors."""
        return [{"state": e.state, "number": e.number, "taken": e.taken} for e in self.entries]

    def load(self, saved: list[dict[str, Any]]) -> None:
        """Put back what `save` gave."""
        self.entries.clear()
        self.entries.extend(Entry(**e) for e in saved)
