"""On several devices a module steps when the next one has made its gradients, for its own are being
averaged meanwhile: that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from cases import Case, Row, a_batch, data_of, rows, same, snapshot
from modulewise.engine.build import build
from modulewise.optim import Average, ModuleOptimizers
from modulewise.schedules import build as build_schedule


def away(parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
    """Take gradients away until they are called for; the mean over one process."""
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None

    def arrive() -> None:
        for p, grad in zip(parameters, kept, strict=True):
            assert p.grad is None
            p.grad = grad

    return arrive


def trained(row: Row, average: Average | None) -> dict[str, torch.Tensor]:
    cell = row.cell()
    data = data_of(cell)
    method, _ = build(cell, data.image, data.task)
    schedule = build_schedule(cell.training, cell.modules, data.steps, cell.seed)
    schedule.prepare(method, data)
    schedule.begin(method, 0, 1)
    optimizers = ModuleOptimizers(method, cell.training, average=average)
    torch.manual_seed(0)
    for number in range(2):
        schedule.step(method, data.batch(number), optimizers, nullcontext)
    return snapshot(method)


def test_gradients_travel_while_the_next_module_runs() -> None:
    row, said = Row(Case("greedy"), "mlp3x32"), list[str]()
    method = row.build()
    owner = {p: k for k in range(3) for name in method.of_module(k) for p in method.groups()[name]}

    def average(parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
        k = owner[parameters[0]]
        said.append(f"sent {k}")
        return lambda: said.append(f"there {k}")

    training = row.cell().training
    schedule = build_schedule(training, 3, 1, 0)
    schedule.step(
        method, a_batch(), ModuleOptimizers(method, training, average=average), nullcontext
    )
    assert said == ["sent 0", "sent 1", "there 0", "sent 2", "there 1", "there 2"]


@rows(lambda row: row.splits and row.network.startswith("mlp"), one_a_method=True)
def test_a_step_may_wait_for_the_gradients_of_the_next_module(row: Row) -> None:
    assert same(trained(row, None), trained(row, away))
