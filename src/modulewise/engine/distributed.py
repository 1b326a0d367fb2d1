"""Several devices: one process each, its rank a number from 0, and what they tell one another.

Every rank has an equal share of each batch. When module k's backward passes are over, its gradients
set out to be averaged, in buckets, while module k+1 runs; they are waited for before module k's
optimiser steps:

    g_k = (1 / N) sum_r g_k(share r),  for equal shares the gradient of the whole batch

so that parameters and optimisers are equal on all ranks after every step. What a rank has of its
own are random streams, buffers (BatchNorm's statistics, queues) and sums of losses; a checkpoint
holds those of all. Rank 0 writes record, checkpoint and result; the others write into a folder that
is thrown away. All functions are those of one process where there is one alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modulewise.config.training import TrainConfig
from modulewise.data.base import Data
from modulewise.errors import InvalidInput
from modulewise.optim import Average
from modulewise.task import Metric

BUCKET = 2**25
"""Bytes of gradients that travel together, about."""
WAIT = timedelta(hours=6)
"""How long a rank waits for the others; one that died ends them all at once (`engine.ranks`)."""
LOST = 70
"""Exit status of a rank that lost another one: what happened is said there."""


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def started() -> bool:
    """Whether somebody, `torchrun` maybe, has started this process as one of several."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def local_device(name: str, devices: int) -> str:
    """Name of this rank's device, given that of all.

    Args:
        name: `auto`, `cpu` or `cuda`.
        devices: number of the run's devices.

    Raises:
        InvalidInput: there are more or fewer processes.
    """
    if int(os.environ["WORLD_SIZE"]) != devices:
        raise InvalidInput(
            f"devices: {devices}, but {os.environ['WORLD_SIZE']} processes were started"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return name
    return f"cuda:{os.environ.get('LOCAL_RANK', os.environ['RANK'])}"


@contextlib.contextmanager
def joined(on: torch.device) -> Iterator[None]:
    """Inside, this process and the others can call the functions below.

    Raises:
        SystemExit: another one has died meanwhile; with status `LOST`.
    """
    if on.type == "cuda":
        torch.cuda.set_device(on)
    backend = "cpu:gloo,cuda:nccl" if on.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=WAIT)
        yield
        dist.destroy_process_group()
    except (RuntimeError, OSError) as error:
        said = str(error).lower()
        if isinstance(error, dist.DistError) or any(w in said for w in ("gloo", "peer", "nccl")):
            raise SystemExit(LOST) from None
        raise


def end_with_parent() -> None:
    """Have Linux end this process with the one that started it, so that none trains on alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def check(training: TrainConfig) -> None:
    """Refuse to train with fewer or more processes than devices.

    Raises:
        ValueError: there are.
    """
    if world() != training.devices:
        raise ValueError(f"devices: {training.devices}, but {world()} processes train")


def share(data: Data, training: TrainConfig) -> Data:
    """What this rank has of a data set.

    Raises:
        InvalidInput: there is no batch of which each device had two images.
    """
    if training.devices == 1:
        return data
    if not data.steps:
        raise InvalidInput(
            f"devices: {training.devices} have at least two images of a batch each; there are "
            f"{data.sizes.train} to train on"
        )
    return data.shard(rank(), training.devices)


def stream() -> tuple[int, ...]:
    """What the name of a random stream has more on this rank; nothing on rank 0."""
    return (rank(),) if rank() else ()


def averager() -> Average | None:
    """What averages a module's gradients; `None` in one process."""
    return average if world() > 1 else None


def average(parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
    """Send gradients to be averaged: they leave `grad`, and come back when what is given is called.

    Args:
        parameters: of a module; on every rank the same of them have a gradient.
    """
    learning = [p for p in parameters if p.grad is not None]
    sent = []
    for bucket in buckets(learning):
        flat = torch.cat([p.grad.reshape(-1) for p in bucket if p.grad is not None])
        for p in bucket:
            p.grad = None
        sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))

    def arrive() -> None:
        for bucket, flat, work in sent:
            work.wait()
            flat.div_(world())
            for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                p.grad = part.view_as(p)

    return arrive


def buckets(parameters: Sequence[nn.Parameter], most: int = BUCKET) -> list[list[nn.Parameter]]:
    """Parameters in their order, so many bytes together, or one that is larger.

    Example:
        >>> three = [nn.Parameter(torch.zeros(n)) for n in (2, 2, 3)]
        >>> [len(bucket) for bucket in buckets(three, 16)]
        [2, 1]
    """
    made: list[list[nn.Parameter]] = []
    held = most
    for p in parameters:
        if held + p.nbytes > most:
            made.append([])
            held = 0
        made[-1].append(p)
        held += p.nbytes
    return made


def agree(*asked: bool) -> list[bool]:
    """Of each question whether any rank says yes."""
    return [bool(n) for n in largest(*map(int, asked))]


def largest(*values: float) -> list[float]:
    """Largest value of each over all ranks."""
    if world() == 1:
        return list(values)
    told = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return told.tolist()


def everyone(value: Any) -> list[Any]:
    """A value of plain content and tensors on the CPU, of every rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def on_cpu(content: Any) -> Any:
    """Tensors in dictionaries, lists and tuples, on the CPU."""
    if isinstance(content, Tensor):
        return content.detach().cpu()
    if isinstance(content, dict):
        return {name: on_cpu(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(map(on_cpu, content))
    return content


def add_up(counter: Metric) -> None:
    """Give a counter what those of all ranks have counted."""
    if world() == 1:
        return
    sums = getattr(counter, "sums", tuple(vars(counter)))
    told = everyone(on_cpu({name: getattr(counter, name) for name in sums}))
    for name in sums:
        setattr(counter, name, sum(it[name] for it in told))


def average_statistics(method: nn.Module) -> None:
    """Give all ranks the mean of BatchNorm's running statistics: with equal shares that of the
    means is exact, that of the variances lacks the spread of the ranks' means."""
    if world() == 1:
        return
    norms = [m for m in method.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    kept = [t for m in norms for t in (m.running_mean, m.running_var) if t is not None]
    if not kept:
        return
    flat = torch.cat([t.reshape(-1) for t in kept])
    dist.all_reduce(flat)
    for t, part in zip(kept, flat.div_(world()).split([t.numel() for t in kept]), strict=True):
        t.copy_(part.view_as(t))


OWN = ("rng", "cuda_rng", "sums")
"""What of a run's state every rank has of its own, beside its method's buffers."""


def gathered(state: dict[str, Any], method: nn.Module) -> dict[str, Any]:
    """A run's state, to be saved, with what every rank has of its own."""
    if world() == 1:
        return state
    own = {name: state[name] for name in OWN}
    learnt = {name for name, _ in method.named_parameters()}
    own["buffers"] = {n: value for n, value in state["method"].items() if n not in learnt}
    return state | {"ranks": everyone(on_cpu(own))}


def own(state: dict[str, Any]) -> dict[str, Any]:
    """What `gathered` gave, as this rank's own."""
    if "ranks" not in state:
        return state
    mine = dict(state["ranks"][rank()])
    return state | {"method": state["method"] | mine.pop("buffers")} | mine
