"""A module in a process of its own: it learns on every batch as soon as its input is there, and
passes what it makes on to the process of the next module.

A process ends when the trainer or a neighbour has gone: reading from their pipes fails then,
however they ended. Requests to stop (SIGTERM and the like) are the trainer's to answer.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput, memory_short
from modulewise.method import Batch, Method, State
from modulewise.optim import ModuleOptimizers
from modulewise.runs import stops
from modulewise.schedules._base import Precision, descend
from modulewise.schedules._laps import clock

GONE = (EOFError, ConnectionError, FileNotFoundError)
"""What reading or writing raises when the process at the other end has ended."""


@dataclass(frozen=True)
class Start:
    """What a process is given first.

    Attributes:
        k: number of its module.
        method: the whole method, on the CPU.
        training: the cell's settings, as JSON.
        optimizer: state of the module's optimiser; `None` if it has none.
        precision: of forward passes.
        device: that the module lives on.
        ready: makes the process compute like the trainer's.
    """

    k: int
    method: Method
    training: str
    optimizer: dict[str, Any] | None
    precision: Precision
    device: torch.device
    ready: Callable[[], object]


@dataclass(frozen=True)
class Order:
    """A batch to learn on (`x`, `y`, `image`, `index`), in shared memory, and at what rate."""

    tensors: tuple[Tensor, Tensor, Tensor, Tensor]
    rate: float


@dataclass(frozen=True)
class Report:
    """Losses of a step by name, and the seconds that it took, waiting for input not counted."""

    losses: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why a process has ended."""

    k: int
    memory: str | None
    line: str
    trace: str

    def error(self) -> Exception:
        """What the trainer raises: of want of memory what a run can end with, else one line."""
        if self.memory:
            return MemoryError(f"module {self.k}: {self.memory}")
        error = InvalidInput(f"schedule parallel, module {self.k}: {self.line}")
        error.add_note(self.trace)
        return error


Home = tuple[dict[str, Tensor], dict[str, Any] | None]
"""State of a module with its helpers, by the names of the method's state, and its optimiser's."""


class Module:
    """One module with its helpers and its optimiser.

    Args:
        start: what it begins with.
    """

    def __init__(self, start: Start) -> None:
        start.ready()
        if start.device.type == "cuda":
            torch.cuda.set_device(start.device)
        self.k, self.method, self.device = start.k, start.method.train(), start.device
        for part in self.method.children():
            if isinstance(part, torch.nn.ModuleList) and self.k < len(part):
                part[self.k].to(self.device)
        self.precision = start.precision
        self.optimizers = ModuleOptimizers(
            self.method, TrainConfig.model_validate_json(start.training), [self.k]
        )
        if start.optimizer:
            self.optimizers.load_state_dict({self.k: start.optimizer})

    def step(self, order: Order, state: State | None) -> tuple[Report, State]:
        """One update.

        Args:
            order: the batch.
            state: that enters the module, in shared memory; `None` for the first module.

        Returns:
            What the trainer is told, and the state that leaves the module, on the CPU.

        Raises:
            InvalidInput: the step draws random numbers.
        """
        begun, random = clock(self.device), self._random()
        x, y, image, index = (t.to(self.device) for t in order.tensors)
        batch = Batch(x, y, image, index)
        if state is None:
            with self.precision():
                state = self.method.initial_state(batch.x)
        state = tuple(t.to(self.device) for t in state)
        self.optimizers.set_lr(order.rate, self.k)
        local = self.method.local(self.k, batch, state)
        values, left = descend(local, self.optimizers, self.precision, self.k)
        if not torch.equal(random, self._random()):
            raise InvalidInput(
                "a step draws random numbers (dropout?), whose order the processes do not share; "
                "valid schedule: joint"
            )
        losses = {name: value.item() for name, value in values.items()}
        passed = tuple(t.cpu() for t in left)
        return Report(losses, clock(self.device) - begun), passed

    def home(self) -> Home:
        """What the trainer keeps of it."""
        own = {
            name: value.cpu()
            for name, value in self.method.state_dict().items()
            if name.split(".")[1] == str(self.k)
        }
        return own, self.optimizers.state_dict().get(self.k)

    def _random(self) -> Tensor:
        """Where the random streams stand."""
        if self.device.type == "cuda":
            return torch.cat([torch.get_rng_state(), torch.cuda.get_rng_state(self.device)])
        return torch.get_rng_state()


def work(k: int, trainer: Connection, before: Connection | None, after: Connection | None) -> None:
    """The life of module k's process.

    Args:
        k: number of the module.
        trainer: gives the start, then orders, or `None` for the module to come home; is told
            reports, or the failure.
        before: gives the states that enter the module; `None` for the first one.
        after: takes the states that leave it; `None` for the last one.
    """
    stops.ignore()  # they are the trainer's to answer
    try:
        module = Module(loads(trainer.recv(), whole=True))
        while True:
            order = trainer.recv()
            if order is None:
                trainer.send(dumps(module.home()))
                continue
            report, state = module.step(order, before.recv() if before else None)
            if after:
                after.send(state)
            trainer.send(report)
            del order, state
    except GONE:
        return
    except Exception as error:
        said = str(error) if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
        with suppress(*GONE):
            trainer.send(Failure(k, memory_short(error), said, traceback.format_exc()))


def dumps(content: object) -> bytes:
    """Anything with tensors, which are copied."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def loads(given: bytes, whole: bool = False) -> Any:
    """Read what `dumps` gave, on the CPU; objects of all kinds only if it is the `whole`."""
    return torch.load(io.BytesIO(given), map_location="cpu", weights_only=not whole)
