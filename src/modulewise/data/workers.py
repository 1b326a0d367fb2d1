"""Processes that decode pictures while the device trains."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader

from modulewise.data.samples import Made, Samples, Wanted
from modulewise.errors import InvalidInput
from modulewise.runs import stops

WORKERS = "MODULEWISE_WORKERS"
"""Number of worker processes; unset: one less than the run has CPUs."""
PACK = "SNAKEMAKE_SUBMITIT_PACK"
"""Set by the submitit executor: the number of jobs that share the allocation."""
_PR_SET_PDEATHSIG = 1
_alive: set[BaseProcess] = set()


def number(env: Mapping[str, str] = os.environ) -> int:
    """How many worker processes a run starts. No batch depends on it.

    CPUs are those of the Slurm job, shared by the runs that are packed in it and by the ranks of a
    run; elsewhere the training's threads.

    Args:
        env: environment of the process.

    Raises:
        InvalidInput: the variable holds no number.
    """
    if given := env.get(WORKERS):
        if not given.isdigit():
            raise InvalidInput(f"{WORKERS}={given}: a number of processes, 0 or more")
        return int(given)

    def said(name: str) -> int:
        return int(found) if (found := env.get(name, "")).isdigit() else 0

    job = said("SLURM_CPUS_PER_TASK") or said("SLURM_CPUS_ON_NODE")
    sharing = max(said(PACK), 1) * max(said("LOCAL_WORLD_SIZE"), 1)
    cpus = job // sharing if "SLURM_JOB_ID" in env and job else torch.get_num_threads()
    return max(cpus - 1, 0)


def made(samples: Samples, wanted: Iterable[Wanted], workers: int, pin: bool) -> Iterator[Made]:
    """The batches that are wanted, in order.

    Args:
        samples: makes them.
        wanted: what to make; read a few batches ahead.
        workers: number of processes; 0: this one.
        pin: whether batches lie in memory that a GPU reads by itself.

    Raises:
        InvalidInput: a picture cannot be read, or a worker has died.
    """
    before = set(multiprocessing.active_children())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of more workers than CPUs: their number was asked for
        batches = iter(_loader(samples, wanted, workers, pin))
    mine = set(multiprocessing.active_children()) - before
    _alive.update(mine)
    try:
        while (batch := next(batches, None)) is not None:
            if isinstance(batch, InvalidInput):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise InvalidInput(
            f"a worker process that decodes pictures died, perhaps for lack of memory; ask for "
            f"more, or for fewer workers than {workers}: {WORKERS}=N"
        ) from None
    finally:
        del batches  # ends the workers
        _end(mine)


def _loader(
    samples: Samples, wanted: Iterable[Wanted], workers: int, pin: bool
) -> Iterable[Made | InvalidInput]:
    return DataLoader(
        samples,
        batch_size=None,
        sampler=wanted,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        worker_init_fn=_begin if workers else None,
        multiprocessing_context="fork" if workers else None,
        generator=torch.Generator(),  # else it would draw from the global one
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin(_: int) -> None:
    """In a worker: leave signals to the trainer, which saves and stops, and die with it."""
    stops.ignore()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(workers: set[BaseProcess]) -> None:
    """End what has not ended by itself: workers do not listen to SIGTERM, with which Python ends
    the processes that it leaves behind."""
    for worker in workers:
        with suppress(ValueError):
            worker.kill()
    _alive.difference_update(workers)


atexit.register(lambda: _end(set(_alive)))
