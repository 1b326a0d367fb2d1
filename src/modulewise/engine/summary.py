"""From a run's final state to its Result."""

from __future__ import annotations

import socket
import statistics
from typing import TYPE_CHECKING

from modulewise.engine import device, flops
from modulewise.runs import record
from modulewise.runs.provenance import source_hash
from modulewise.runs.result import Cost, Origin, Result, Status

if TYPE_CHECKING:
    from modulewise.engine.trainer import Trainer


def summarise(trainer: Trainer, status: Status, reason: str | None) -> Result:
    """The Result of a run that has ended.

    Args:
        trainer: after its last step.
        status: how it ended.
        reason: why, if not well.
    """
    p = trainer.progress
    last = p.history[-1] if p.history else {}
    auxiliary = [last.get(f"test_error/module_{k}") for k in range(trainer.cell.modules - 1)]
    return Result(
        cell=trainer.cell,
        status=status,
        reason=reason,
        epochs=len(p.history),
        planned_epochs=p.epochs,
        test_last=last.get("test_error/overall"),
        test_best_epoch=last.get("test_error/best"),
        val_last=last.get("val_error/overall"),
        module_metrics=[*auxiliary, last.get("test_error/overall")],
        module_losses={
            k.removeprefix("train_loss/"): v for k, v in last.items() if k.startswith("train_loss/")
        },
        cuts=trainer.cuts,
        horizon=trainer.method.horizon,
        cost=_cost(trainer),
        origin=_origin(trainer),
    )


def _cost(trainer: Trainer) -> Cost:
    p, f, method = trainer.progress, trainer.flops, trainer.method
    epoch = statistics.median(p.times) if p.times else None
    seen = trainer.seen
    helpers = f.helpers + (_feeding(trainer) / (seen * len(p.history)) if p.history else 0.0)
    total = flops.parameters([method])
    return Cost(
        peak_memory_bytes=p.peak or None,
        memory_source=("cuda allocator" if trainer.device.type == "cuda" else "cpu allocator")
        if p.peak
        else None,
        step_seconds=epoch / trainer.steps if epoch else None,
        epoch_seconds=epoch,
        train_seconds=p.seconds,
        samples_per_second=seen / epoch if epoch else None,
        train_flops=(f.trunk + helpers) * seen * len(p.history),
        trunk_flops=f.trunk,
        helper_flops=helpers,
        parameters=total,
        helper_parameters=total - flops.parameters([method.trunk]),
        inference_parameters=flops.parameters(method.deployed()),
        inference_macs=f.inference_macs,
    )


def _feeding(trainer: Trainer) -> float:
    """Operations of forward passes that only fed other modules, under the asynchronous schedule."""
    fed = trainer.asynchronous.fed if trainer.asynchronous else []
    if not any(fed):
        return 0.0
    return sum(
        n * f
        for n, f in zip(fed, flops.module_flops(trainer.method, trainer.data.image), strict=True)
    )


def _had_its_core(trainer: Trainer) -> bool:
    """Whether a run on the CPU computed for at least nine tenths of its training time instead of
    waiting for a core."""
    return trainer.progress.busy >= 0.9 * trainer.progress.seconds


def _origin(trainer: Trainer) -> Origin:
    return Origin(
        device=device.describe(trainer.device),
        exclusive=trainer.progress.exclusive
        and (trainer.device.type != "cpu" or _had_its_core(trainer)),
        host=socket.gethostname(),
        starts=len(record.read(trainer.folder).starts),
        commit=device.git_commit(),
        source=source_hash(),
        versions=device.versions(),
        data=trainer.data.digest,
        slurm_job=device.slurm_job(),
    )
