"""Asynchronous: every module moves at its own pace, on states that its predecessor left in a
bounded buffer.

This simulates, in one process and on one device, asynchronous decoupled greedy learning (Belilovsky
et al., arXiv 1901.08164, and their released code). Turn after turn one module moves: it takes a
state from the buffer before it (the first module: the next batch of the data), makes one step on
its own losses, and puts what leaves it into the buffer behind it. On the first K turns the modules
move in order, so that no buffer is ever empty. Then turns go

- by `clock`: module k has been given n_k turns and waits until time s_k n_k, s_k being its
  slow-down; the earliest is next, the lower module first among equals. Without slow-downs the
  modules go round in order;
- at `random`: module k is next with probability (1/s_k) / sum_j (1/s_j), from the stream of (seed,
  turns).

**Budget.** Every module makes as many updates as under the joint schedule: epochs x batches. A
module that has made them learns no more, but goes on feeding: in eval mode and without gradients,
on its further turns, as long as a module after it still learns. An epoch of the run is K x batches
updates, whoever makes them, so a run has as many epochs as a joint one. Each module follows the
learning-rate schedule by the epochs of its own updates.

Buffers hold states, on the device. Labels, images and views of a state's batch are functions of the
batch's number and are made anew for every module that needs them. With buffers of one state, by the
clock and without slow-downs, the schedule is the joint one, bit for bit.

Differences from the released code: a last short batch is kept as a state like any other; the
modules' first turns are in order once (there: twice each, and again whenever a learning rate falls,
with a fresh optimiser for that module); `fresh` is the last to come, where the released index
arithmetic takes the next to be dropped, if it is among the least taken; no limit on how often a
state is taken; learning rates are those of the cell's settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.config.types import Count, Slowdowns
from modulewise.data.base import Data
from modulewise.method import Batch, Method, State
from modulewise.optim import ModuleOptimizers, learning_rate
from modulewise.rng import generator
from modulewise.schedules._base import Precision, Schedule, descend, freeze
from modulewise.schedules._replay import Replay


class Asynchronous(Schedule):
    """The schedule with its state: buffers, turns and streams. The default options make it the
    joint one, bit for bit.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of the streams `turns` and `replay`.
        buffer: Number of states, each of one batch, that the buffer before every module but the
            first can hold.
        turns: Rule of whose turn it is: `clock`, one simulated clock a module; or `random`, drawn
            with probability proportional to the modules' speeds.
        reads: Rule of which state a module takes: of the least often taken the `fresh`est, or any,
            `uniform`ly.
        slowdown: Module (from 0) to how many times as long as the others it takes for a step.

    Attributes:
        epochs: the budget of every module.
        turns: each module has had, updates first, then feeding.
        fed: images that each module has passed on without learning from them.

    Raises:
        ValueError: a slow-down of a module that is not there.
    """

    def __init__(
        self,
        training: TrainConfig,
        k: int,
        batches: int,
        seed: int,
        *,
        buffer: Count = 1,
        turns: Literal["clock", "random"] = "clock",
        reads: Literal["fresh", "uniform"] = "fresh",
        slowdown: Slowdowns = {},  # noqa: B006 (an option's default is a literal; never written)
    ) -> None:
        super().__init__(training, k, batches, seed)
        if beyond := [module for module in slowdown if module >= k]:
            raise ValueError(
                f"asynchronous: slowdown: there is no module {beyond[0]}; valid: 0 to {k - 1}"
            )
        self.updates, self.epochs = k, training.planned
        self.rule = turns
        self.slowdown = [slowdown.get(i, 1.0) for i in range(k)]
        self.turns, self.fed = [0] * k, [0] * k
        self.buffers = [Replay(buffer, reads) for _ in range(k - 1)]
        self.who, self.what = generator(seed, "turns"), generator(seed, "replay")
        self.module, self.number = 0, 0
        self.state: State = ()

    def begin(self, method: Method, phase: int, epochs: int) -> None:
        """Modules that have made all their updates are frozen."""
        self.phase, self.epochs = phase, epochs
        freeze(method, self._finished)

    def batches(
        self, method: Method, data: Data, epoch: int, done: int, precision: Precision
    ) -> Iterator[Batch]:
        """The batch of each turn on which a module learns."""
        for _ in range(done, self.updates * self.steps_per_epoch):
            yield self.turn(method, data.batch, precision)

    def turn(self, method: Method, numbered: Callable[[int], Batch], precision: Precision) -> Batch:
        """Give out turns until a module is to learn; finished ones feed meanwhile. The batch it
        learns on.

        Args:
            method: whose modules move.
            numbered: the run's batch of that number, from 0.
            precision: for the feeding.

        Raises:
            RuntimeError: every module has made its updates.
        """
        if all(map(self._finished, range(len(self.turns)))):
            raise RuntimeError("every module has made its updates")
        while self._finished(k := self._next()):
            if all(map(self._finished, range(k, len(self.turns)))):
                self.turns[k] += 1  # nobody would take what it makes
                continue
            self.fed[k] += len(self._take(k, method, numbered).y)
            with torch.no_grad(), precision():
                self.buffers[k].put(method.forward_module(k, self.state), self.number)
        self.module = k
        return self._take(k, method, numbered)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """One update of the module whose turn it is, on the batch that `turn` gave."""
        k, state, self.state = self.module, self.state, ()
        epoch = (self.turns[k] - 1) // self.steps_per_epoch + 1
        optimizers.set_lr(learning_rate(self.training, epoch, self.epochs), k)

        values, left = descend(method.local(k, batch, state), optimizers, precision, k)
        if k < len(self.buffers):
            self.buffers[k].put(left, self.number)
        if self._finished(k):
            self.begin(method, self.phase, self.epochs)
        return values

    def memory_step(self, done: int) -> bool:
        """Whether the module whose turn it is makes its second update."""
        return self.turns[self.module] == 2

    def held(self) -> Iterator[Tensor]:
        """All tensors in the buffers."""
        for buffer in self.buffers:
            yield from buffer.tensors()

    def extra_flops(self, module_flops: list[float]) -> float:
        """Forward passes that only fed other modules."""
        return sum(n * f for n, f in zip(self.fed, module_flops, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on exactly: turns, streams and buffers."""
        streams = {"who": self.who.get_state(), "what": self.what.get_state()}
        return {
            "turns": list(self.turns),
            "fed": list(self.fed),
            "buffers": [b.save() for b in self.buffers],
            **streams,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.turns, self.fed = list(saved["turns"]), list(saved["fed"])
        for buffer, entries in zip(self.buffers, saved["buffers"], strict=True):
            buffer.load(entries)
        self.who.set_state(saved["who"].cpu())
        self.what.set_state(saved["what"].cpu())

    def _finished(self, k: int) -> bool:
        """Whether module k has made all its updates."""
        return self.turns[k] >= self.epochs * self.steps_per_epoch

    def _next(self) -> int:
        """The module whose turn is next."""
        if 0 in self.turns:
            return self.turns.index(0)
        if self.rule == "clock":
            return min(range(len(self.turns)), key=lambda k: self.slowdown[k] * self.turns[k])
        speeds = torch.tensor([1 / s for s in self.slowdown], dtype=torch.float64).cumsum(0)
        point = torch.rand((), dtype=torch.float64, generator=self.who) * speeds[-1]
        return int(torch.searchsorted(speeds, point, right=True))

    def _take(self, k: int, method: Method, numbered: Callable[[int], Batch]) -> Batch:
        """Give module k its turn: the state it goes on with, and its batch."""
        if k == 0:
            batch = numbered(self.turns[0])
            self.state, self.number = method.initial_state(batch.x), self.turns[0]
        else:
            entry = self.buffers[k - 1].take(self.what)
            batch, self.state, self.number = numbered(entry.number), entry.state, entry.number
        self.turns[k] += 1
        return batch
