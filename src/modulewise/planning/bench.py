"""Time and memory of arms, measured side by side: their steps take turns in one process, so that
whatever the machine does meanwhile does it to all of them."""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modulewise import models
from modulewise.data.resident import Resident
from modulewise.data.sources import streamed
from modulewise.engine import device as devices
from modulewise.engine import graphs
from modulewise.engine.flops import parameters
from modulewise.engine.memory import MemoryProbe, live_bytes
from modulewise.engine.trainer import WARM, Trainer
from modulewise.errors import InvalidInput, memory_short
from modulewise.method import Batch
from modulewise.models.partition import activation_bytes, by_cost
from modulewise.planning import capacity, products
from modulewise.planning.arms import Arm, Group
from modulewise.planning.profile import evaluation_seconds, held_images
from modulewise.rng import fork
from modulewise.units import memory

log = logging.getLogger(__name__)
Found = dict[str, Any]
"""What the file says of an arm, of a group, or of a step."""
CLOSE = 4
"""On a CPU a batch of at most so many times the arm's own is measured, to find the largest that
fits; on a GPU any."""


def measure(
    groups: Sequence[Group], data: Path, on: torch.device, rounds: int, caps: Sequence[int]
) -> Found:
    """Measure every group.

    Args:
        groups: what is compared.
        data: folder of downloaded data; only a user's own files are looked at.
        on: the device.
        rounds: timed steps of every arm; none measures memory alone.
        caps: bytes that the largest batch is looked for.

    Returns:
        `groups`, as `measure_group` has them, and `peak_flops`: operations a second by precision.
    """
    kinds = (
        {products.numerics(arm.cell.training) for group in groups for arm in group.arms}
        if rounds
        else set()
    )
    peaks = {kind: products.peak_flops(kind, on) for kind in sorted(kinds)}
    found = []
    for n, group in enumerate(groups, 1):
        log.info(f"{n}/{len(groups)}  {group.title}: {len(group.arms)} arms")
        found.append(measure_group(group, data, on, rounds, caps, peaks))
    return {"peak_flops": peaks, "groups": found}


def measure_group(
    group: Group,
    data: Path,
    on: torch.device,
    rounds: int,
    caps: Sequence[int],
    peaks: dict[str, float],
) -> Found:
    """Measure a group's arms: memory one by one, then time in turn.

    Args:
        group: the arms.
        data: folder of downloaded data.
        on: the device.
        rounds: timed steps of every arm.
        caps: bytes that the largest batch is looked for.
        peaks: operations a second of the device by precision.

    Returns:
        What the file says of the group: its arms, and `steps`, every timed step in the order in
        which they were made.
    """
    noise: dict[Any, Resident] = {}
    arms, found = [], []
    for arm in group.arms:
        key = arm.cell.data.validation, arm.cell.training.train_images
        try:
            if key not in noise:
                few = 4 * arm.cell.training.batch_size if streamed(arm.cell.data) else None
                noise[key] = held_images(arm.cell, data, few).to(on)
            arms.append(running := Running(arm, noise[key], on))
            found.append(running.figures(caps))
            log.info(f"{arm.name}: {memory(found[-1]['memory']['peak'])}")
        except InvalidInput as error:
            raise InvalidInput(f"{arm.cell}: {error}") from None
        except (RuntimeError, MemoryError) as error:
            if (short := memory_short(error)) is None:
                log.error(f"{arm.name}: cannot be measured")
                raise
            arms = [a for a in arms if a.arm is not arm]
            found.append(described(arm) | missing(short))
        devices.tidy(on)
    for running in arms if rounds else ():
        running.lap()  # once more after the steps of other sizes
    steps = [
        {"round": n, "arm": running.arm.name} | running.lap()
        for n in range(rounds)
        for running in arms
    ]
    by_name = {running.arm.name: running for running in arms}
    for entry in found:
        if entry["name"] in by_name:
            running = by_name[entry["name"]]
            mine = [s for s in steps if s["arm"] == entry["name"]]
            entry |= running.times(mine)
            entry["bound"]["step_seconds"] = running.least_seconds(peaks)
            entry["over_bound"] = {
                "memory": entry["memory"]["peak"] / entry["bound"]["memory"],
                "step_seconds": entry["step"]["seconds"]["median"] / entry["bound"]["step_seconds"]
                if mine and entry["bound"]["step_seconds"]
                else None,
            }
    return {
        "dataset": group.dataset,
        "networks": group.networks,
        "batch_size": group.batch_size,
        "reference": group.reference,
        "arms": found,
        "steps": steps,
    }


class Running:
    """An arm that is ready to make steps.

    Args:
        arm: the arm.
        noise: images of its data set, on the device.
        on: the device.

    Raises:
        InvalidInput: a network or method that refuses the cell.
    """

    def __init__(self, arm: Arm, noise: Resident, on: torch.device) -> None:
        self.arm, self.cell, self.noise, self.device = arm, arm.cell, noise, on
        self.trainer = Trainer(arm.cell, self._batches_of(), Path("/nonexistent"), on)
        self.size = min(arm.cell.training.batch_size, noise.sizes.train)
        self.trainer.prepare()
        self.trainer.plan()
        self.trainer.enter_phase()
        self.batches = self._endless()
        for _ in range(graphs.WARM + 1 if self.cell.training.cuda_graphs else WARM):
            self.lap()

    def _batches_of(self, size: int | None = None) -> Resident:
        """The images, in batches of the arm's size or of another, repeated if there are too few."""
        n, training = self.noise, self.cell.training
        parts, every = n.parts, n.sizes.train
        if size is not None:
            training = training.model_copy(update={"batch_size": size})
        if size is not None and size > every:
            index = torch.arange(size, device=parts.train.y.device) % every
            parts = replace(parts, train=parts.train.take(index))
        statistics = (n.mean, n.std)
        return Resident(parts, n.task, n.config, n.digest, training, self.cell.seed, statistics)

    def _endless(self) -> Iterator[Batch]:
        for epoch in itertools.count(1):
            yield from self.trainer.data.batches(epoch)

    def lap(self) -> Found:
        """Make a batch and a step on it: seconds of the step, those of all the process's threads on
        a CPU, and those of the batch."""
        training, cpu = self.cell.training, self.device.type == "cpu"
        devices.set_numerics(training.tf32, training.deterministic)
        found: list[Batch] = []
        batch_seconds = devices.timed(lambda: found.append(next(self.batches)), self.device)
        begun = time.process_time()
        seconds = devices.timed(lambda: self.trainer.step(found[0]), self.device)
        worked = time.process_time() - begun if cpu else None
        return {"seconds": seconds, "cpu_seconds": worked, "batch_seconds": batch_seconds}

    def step_memory(self, size: int | None = None) -> Found:
        """Bytes of a step that the tensors between steps do not hold, of so many images. The step
        is no recorded one: a replay allocates nothing."""
        training, t = self.cell.training, self.trainer
        devices.set_numerics(training.tf32, training.deterministic)
        batch = self._batches_of(size).batch(0)
        given = live_bytes([batch.x, batch.y, batch.image, batch.index])
        probe = MemoryProbe(self.device)
        with probe.step(t.optimizers, batch):
            t.schedule.step(t.method, batch, t.optimizers, t.precision)
        grown = probe.growth
        return {
            "batch": given,
            "activations": grown.live - given,
            "workspace": grown.whole - grown.live,
        }

    def held(self) -> Found:
        """Bytes between two steps, by what holds them: parameters and buffers of the network's
        modules, their optimisers' state; the same of helpers; what else is kept."""
        method, states = self.trainer.method, self.trainer.optimizers.inner.values()
        trunk = {id(p) for p in method.trunk.parameters()}
        state: dict[bool, list[Tensor]] = {True: [], False: []}
        for optimizer in states:
            for parameter, values in optimizer.state.items():
                kept = [v for v in values.values() if isinstance(v, Tensor)]
                state[id(parameter) in trunk] += kept
        own = live_bytes([*method.trunk.parameters()]), live_bytes([*method.trunk.buffers()])
        every = live_bytes([*method.parameters(), *method.buffers()])
        found = {
            "parameters": own[0],
            "buffers": own[1],
            "optimizer": live_bytes(state[True]),
            "helpers": every - sum(own),
            "helper_optimizer": live_bytes(state[False]),
        }
        return found | {"other": live_bytes(self.trainer.held()) - sum(found.values())}

    def figures(self, caps: Sequence[int]) -> Found:
        """What the file says of the arm but for its times."""
        between, step = self.held(), self.step_memory()
        live = sum(between.values())
        peak = live + step["batch"] + step["activations"]
        size = self.size
        known = {size: float(peak)}

        def reached(n: int) -> float:
            try:
                other = self.step_memory(n)
                known[n] = live + other["batch"] + other["activations"]
            except (RuntimeError, MemoryError) as error:
                if memory_short(error) is None:
                    raise
                known[n] = math.inf
            devices.tidy(self.device)
            return known[n]

        for n in (size // 4, size // 2, 2 * size) if caps else ():
            reached(max(capacity.LEAST, n))
        most = CLOSE * size if self.device.type == "cpu" else 10**9
        fits = [capacity.largest(reached, known, cap, most) for cap in caps]
        method, flops = self.trainer.method, self.trainer.flops[0]
        total = parameters([method])
        return (
            described(self.arm)
            | {"status": "measured", "reason": None}
            | {"horizon": method.horizon, "end_to_end": method.horizon == method.k}
            | {
                "memory": {**between, **step, "peak": peak},
                "peaks": {str(n): y for n, y in sorted(known.items()) if math.isfinite(y)},
                "fits": [
                    {"cap": cap, "batch": fit.batch, "how": fit.how}
                    for cap, fit in zip(caps, fits, strict=True)
                ],
                "flops": {"trunk": flops.trunk, "helpers": flops.helpers},
                "inference_macs": flops.inference_macs,
                "parameters": {
                    "trained": total,
                    "helpers": total - parameters([method.trunk]),
                    "inference": parameters(method.deployed()),
                },
                "bound": {
                    "memory": memory_bound(self.trainer, between, step["batch"]),
                    "step_seconds": None,
                },
            }
        )

    def times(self, steps: Sequence[Found]) -> Found:
        """What the file says of the arm's times, from its timed steps; nothing without."""
        if not steps:
            return {"step": None, "epoch": None}
        cpu = [s["cpu_seconds"] for s in steps if s["cpu_seconds"] is not None]
        step, batch = (quartiles([s[k] for s in steps]) for k in ("seconds", "batch_seconds"))
        n = self.trainer.data.steps
        return {
            "step": {
                "seconds": step,
                "cpu_seconds": quartiles(cpu) if cpu else None,
                "batch_seconds": batch,
            },
            "epoch": {
                "steps": n,
                "seconds": n * (step["median"] + batch["median"]),
                "evaluation_seconds": evaluation_seconds(self.trainer, self.device),
            },
        }

    def least_seconds(self, peaks: dict[str, float]) -> float | None:
        """Seconds of the arm's operations at the device's peak."""
        flops, peak = self.trainer.flops[0], peaks.get(products.numerics(self.cell.training))
        return (flops.trunk + flops.helpers) * self.size / peak if peak else None


def described(arm: Arm) -> Found:
    """What an arm is."""
    cell = arm.cell
    return {
        "name": arm.name,
        "recipe": cell.recipe,
        "method": cell.method,
        "network": cell.network,
        "modules": cell.modules,
        "precision": cell.training.precision,
        "channels_last": cell.training.channels_last,
        "configuration": cell.configuration,
    }


def missing(reason: str) -> Found:
    """The figures of an arm that had no room."""
    figures = ("memory", "peaks", "flops", "inference_macs", "parameters", "step", "epoch")
    return (
        {"status": "out_of_memory", "reason": reason, "horizon": None, "end_to_end": None}
        | dict.fromkeys((*figures, "bound", "over_bound"))
        | {"fits": []}
    )


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles.

    Example:
        >>> quartiles([4.0, 1.0, 2.0, 3.0])
        {'median': 2.5, 'low': 1.75, 'high': 3.25}
    """
    low, median, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [*values]
    )
    return {"median": median, "low": low, "high": high}


def memory_bound(trainer: Trainer, held: Found, batch: int) -> int:
    """Bytes that training in K modules cannot do without, if nothing is computed twice: the
    network's parameters, buffers and optimiser state, the batch, and what the largest module of the
    partition that makes it smallest keeps for its backward pass.

    Args:
        trainer: of the arm.
        held: bytes between steps.
        batch: bytes of the batch, images included; the first stage does not count them again.
    """
    cell, data = trainer.cell, trainer.data
    with fork(cell.seed, "trunk"):
        network = models.build(cell.network, data.image, data.task.outputs, str(cell))
    bf16 = cell.training.precision == "bf16"
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        two, four = (activation_bytes(network, n) for n in (2, 4))
    costs = [(4 * b - 2 * a) // 2 for a, b in zip(two, four, strict=True)]  # no copies of weights
    if not bf16:  # of bf16 the first stage keeps a copy
        costs[0] = max(0, costs[0] - 4 * math.prod(data.image))
    ends = [0, *by_cost(costs, cell.modules), len(costs)]
    largest = max(sum(costs[a:b]) for a, b in itertools.pairwise(ends))
    own = held["parameters"] + held["buffers"] + held["optimizer"]
    return int(own + batch + min(cell.training.micro_batch, data.sizes.train) * largest)
