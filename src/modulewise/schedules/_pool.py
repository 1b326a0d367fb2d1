"""The processes of all modules, as the trainer sees them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from modulewise.errors import InvalidInput
from modulewise.runs.stops import STOPS
from modulewise.schedules._worker import (
    GONE,
    Failure,
    Home,
    Order,
    Report,
    Start,
    dumps,
    loads,
    work,
)

PATIENCE = 5.0
"""Seconds that a process is given to end by itself."""


class Pool:
    """One process a module, each connected with the trainer and with the next.

    They come of a fresh interpreter (`forkserver`), not of the trainer's, whose threads and GPU
    would not survive it. They end when the pool is closed or forgotten, and with this process,
    however it ends.

    Args:
        starts: of all modules, in order.

    Raises, as do its methods:
        InvalidInput: a process failed, or was ended from outside.
        MemoryError: a process had too little memory.
    """

    def __init__(self, starts: Sequence[Start]) -> None:
        context = multiprocessing.get_context("forkserver")
        self.trainers: list[Connection] = []
        self.processes: list[BaseProcess] = []
        self.close = util.Finalize(self, _end, (self.trainers, self.processes), exitpriority=10)
        before: Connection | None = None
        for k in range(len(starts)):
            mine, theirs = context.Pipe()
            coming, after = context.Pipe(duplex=False) if k < len(starts) - 1 else (None, None)
            process = context.Process(target=work, args=(k, theirs, before, after), daemon=True)
            with _undisturbed():
                process.start()
            for given in (theirs, before, after):
                if given:
                    given.close()
            before = coming
            self.trainers.append(mine)
            self.processes.append(process)
        for k, start in enumerate(starts):
            self._send(k, dumps(start))

    def feed(self, order: Order) -> None:
        """Give all modules a batch; its tensors move to shared memory."""
        for k in range(len(self.trainers)):
            self._send(k, order)

    def collect(self) -> list[Report]:
        """What the modules report, in order, of the oldest batch that they have not reported of."""
        return [self._receive(k) for k in range(len(self.trainers))]

    def home(self) -> list[Home]:
        """What the modules have learnt; no batch may be under way."""
        for k in range(len(self.trainers)):
            self._send(k, None)
        return [loads(self._receive(k)) for k in range(len(self.trainers))]

    def _send(self, k: int, content: object) -> None:
        with self._present(k):
            self.trainers[k].send(content)

    def _receive(self, k: int) -> Any:
        with self._present(k):
            said = self.trainers[k].recv()
        if isinstance(said, Failure):
            self.close()
            raise said.error()
        return said

    @contextmanager
    def _present(self, k: int) -> Iterator[None]:
        """Turns a broken pipe to module k into the reason for it."""
        try:
            yield
        except GONE:
            raise self._reason(k) from None

    def _reason(self, k: int) -> Exception:
        """Why module k's process has gone: its own failure, or another's; else what ended it."""
        found = [said for trainer in self.trainers for said in _rest(trainer)]
        failures = [said for said in found if isinstance(said, Failure)]
        if not failures:
            self.processes[k].join(PATIENCE)
        status = self.processes[k].exitcode
        self.close()
        if failures:
            return failures[0].error()
        how = f"by signal {-status}" if status and status < 0 else f"with status {status}"
        return InvalidInput(
            f"schedule parallel: the process of module {k} was ended from outside, {how}; start "
            f"the run again, with more memory if that was why"
        )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started inside is deaf to requests to stop, from its first moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _rest(trainer: Connection) -> Iterator[Any]:
    """What a process has still said before it ended, or says within a while."""
    try:
        while trainer.poll(PATIENCE / 10):
            yield trainer.recv()
    except GONE:
        return


def _end(trainers: list[Connection], processes: list[BaseProcess]) -> None:
    """End the processes: they go when their pipes are closed, or are killed."""
    for trainer in trainers:
        trainer.close()
    for process in processes:
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
