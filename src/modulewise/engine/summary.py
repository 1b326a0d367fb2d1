"""From a run's final state to its Result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from modulewise.config.cell import Cell
from modulewise.data.base import Data
from modulewise.engine import scales
from modulewise.engine.flops import Flops, mean, module_flops, parameters
from modulewise.engine.memory import Peak, live_bytes
from modulewise.engine.needs import needs_of
from modulewise.engine.progress import Progress
from modulewise.errors import InvalidInput, memory_short
from modulewise.method import Method
from modulewise.runs.result import Cost, Origin, Result, Secondary, Status, Use
from modulewise.schedules import Schedule
from modulewise.task import Task, secondary

Ended = tuple[Status, str | None]
"""How a run ended, and why."""


def summarise(
    cell: Cell,
    task: Task,
    status: Status,
    reason: str | None,
    progress: Progress,
    cuts: list[int],
    method: Method,
    cost: Cost,
    origin: Origin,
) -> Result:
    """The Result of a run that has ended.

    Args:
        cell: that was run.
        task: whose metrics were counted.
        status: how it ended.
        reason: why, if not well.
        progress: after its last step.
        cuts: cut points.
        method: that was trained.
        cost: what it took.
        origin: where and with what it was made.
    """
    last, metric = progress.history[-1] if progress.history else {}, task.metric
    test, val = f"test_{metric.name}", f"val_{metric.name}"
    auxiliary = [last.get(f"{test}/module_{k}") for k in range(cell.modules - 1)]
    losses = {name: value for name, value in last.items() if name.startswith("train_loss/")}
    return Result(
        cell=cell,
        status=status,
        reason=reason,
        metric=metric,
        epochs=len(progress.history),
        planned_epochs=progress.epochs,
        test_last=last.get(f"{test}/overall"),
        test_best_epoch=last.get(f"{test}/best"),
        val_last=last.get(f"{val}/overall"),
        secondary=[
            Secondary(
                metric=m, last=last[f"test_{m.name}/overall"], best=last[f"test_{m.name}/best"]
            )
            for m in (*(it.metric for it in secondary(task)), *scales.metrics(metric))
            if f"test_{m.name}/overall" in last
        ],
        module_metrics=[*auxiliary, last.get(f"{test}/overall")],
        module_losses={k.removeprefix("train_loss/"): v for k, v in losses.items()},
        cuts=cuts,
        horizon=method.horizon,
        needs=needs_of(method),
        cost=cost,
        origin=origin,
    )


def cost_of(
    method: Method,
    schedule: Schedule,
    data: Data,
    flops: Sequence[Flops],
    progress: Progress,
    peak: Peak,
    use: Use,
) -> Cost:
    """What a run took.

    Args:
        method: that was trained.
        schedule: it was trained under, after the last step.
        data: it was trained on.
        flops: of a training image, in each phase.
        progress: after the last step.
        peak: of memory; zero if not measured.
        use: of the machine.
    """
    epoch = statistics.median(progress.times) if progress.times else None
    images = data.seen * len(progress.history)
    extra = schedule.extra_flops(module_flops(method, data.image)) if images else 0.0
    made = mean(flops, progress.by_phase([p.epochs for p in schedule.phases(progress.budget)]))
    helpers = made.helpers + (extra / images if images else 0.0)
    total = parameters([method])
    return Cost(
        peak_memory_bytes=peak.live or None,
        workspace_bytes=peak.whole - peak.live if peak.live else None,
        data_bytes=live_bytes(data.held()),
        memory_source="live tensors" if peak.live else None,
        step_seconds=epoch / data.steps if epoch else None,
        epoch_seconds=epoch,
        train_seconds=progress.seconds,
        module_seconds=schedule.module_seconds(),
        samples_per_second=data.seen / epoch if epoch else None,
        train_flops=(made.trunk + helpers) * images,
        trunk_flops=made.trunk,
        helper_flops=helpers,
        parameters=total,
        helper_parameters=total - parameters([method.trunk]),
        inference_parameters=parameters(method.deployed()),
        inference_macs=made.inference_macs,
        use=use,
    )


def within_memory(act: Callable[[], Ended | None]) -> Ended | None:
    """How the run ended in `act`, if it did: also for want of memory."""
    try:
        return act()
    except (RuntimeError, MemoryError) as error:
        if reason := memory_short(error):
            return "out_of_memory", reason
        raise


def no_room(folder: Path, ended: Ended, but: str) -> InvalidInput:
    """What is said where a run ended for want of memory and may go on later.

    Args:
        folder: of the run.
        ended: how it ended.
        but: why that is not its result.
    """
    return InvalidInput(f"{folder}: {ended[1]}; {but}, start the run again when there is room")
