"""Every method that is not `joint_only` runs module after module: the frozen stay frozen, the later
ones wait."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cases import SCHEDULES, Case, Row, a_batch, data_with, rows, same, snapshot, trainer_of
from modulewise.config.options import names
from modulewise.config.training import TrainConfig
from modulewise.method import Method
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import Phase, Schedule
from modulewise.schedules.joint import Joint
from modulewise.schedules.sequential import Sequential

pytestmark = pytest.mark.usefixtures("uncounted")
TRAINING = TrainConfig(batch_size=8, lr=0.05, warmup_epochs=0)
PHASES = TrainConfig(epochs=160)


def lengths(schedule: Schedule, epochs: int) -> list[int]:
    """Epochs of every phase."""
    return [phase.epochs for phase in schedule.phases(epochs)]


def by_module(method: Method) -> list[dict[str, torch.Tensor]]:
    """State of every module with its helpers: parameters and buffers."""
    out: list[dict[str, torch.Tensor]] = [{} for _ in range(method.k)]
    for name, value in snapshot(method).items():
        out[int(name.split(".")[1])][name] = value
    return out


@rows(lambda row: row.splits)
def test_a_phase_moves_its_module_and_no_other(row: Row) -> None:
    method = row.build()
    sequential = Sequential(PHASES, method.k, 1, 0)
    for phase in range(method.k):
        before = by_module(method)
        sequential.begin(method, phase, 160)
        optimiser = ModuleOptimizers(method, TRAINING)
        for batch in list(data_with(TRAINING).batches(phase + 1))[:2]:
            assert sequential.step(method, batch, optimiser, nullcontext)
        after = by_module(method)
        for k in range(method.k):
            assert same(before[k], after[k]) == (k != phase), f"module {k} in phase {phase}"
        idle = [
            n
            for n in method.of_module(phase)
            if not any(p.requires_grad for p in method.groups()[n])
        ]
        assert not idle


@rows(lambda row: row.splits)
def test_every_parameter_of_the_phase_moves(row: Row) -> None:
    method = row.build()
    sequential = Sequential(PHASES, method.k, 1, 0)
    for phase in range(method.k):
        before = by_module(method)[phase]
        sequential.begin(method, phase, 160)
        sequential.step(method, a_batch(), ModuleOptimizers(method, TRAINING), nullcontext)
        moved = by_module(method)[phase]
        still = [
            n for n in before if before[n].is_floating_point() and torch.equal(before[n], moved[n])
        ]
        assert not [n for n in still if n.endswith("weight")]


@rows(lambda row: row.splits)
def test_frozen_modules_are_in_eval_mode_and_later_ones_in_train_mode(row: Row) -> None:
    method = row.build()
    sequential = Sequential(PHASES, method.k, 1, 0)
    for phase in range(method.k):
        sequential.begin(method, phase, 160)
        assert [m.training for m in method.trunk] == [k >= phase for k in range(method.k)]


@rows(lambda row: row.splits, one_a_method=True)
def test_one_module_in_sequence_is_joint_training(row: Row) -> None:
    states = []
    for kind in (Joint, Sequential):
        method = row.build(modules=1)
        schedule = kind(PHASES, method.k, 1, 0)
        schedule.begin(method, 0, 160)
        optimiser = ModuleOptimizers(method, TRAINING)
        for batch in data_with(TRAINING).batches(1):
            schedule.step(method, batch, optimiser, nullcontext)
        states.append(method.state_dict())
    assert same(*states)


@rows(lambda row: row.splits, one_a_method=True)
def test_module_0_learns_the_same_in_sequence_as_jointly(row: Row) -> None:
    """Nothing comes back from later modules, so for the first module the schedules cannot
    differ."""
    states = []
    for kind in (Joint, Sequential):
        method = row.build()
        schedule = kind(PHASES, method.k, 1, 0)
        schedule.begin(method, 0, 160)
        optimiser = ModuleOptimizers(method, TRAINING)
        for batch in data_with(TRAINING).batches(1):
            schedule.step(method, batch, optimiser, nullcontext)
        states.append(by_module(method)[0])
    assert same(*states)


@rows(lambda row: row.splits, one_a_method=True)
def test_the_trainer_runs_every_phase(row: Row, tmp_path: Path) -> None:
    k = row.case.modules
    cell = row.cell(schedule="sequential", epochs=k)
    trainer = trainer_of(cell, tmp_path)
    before = by_module(trainer.method)
    result = trainer.fit()
    assert result.epochs == k
    for p, metrics in enumerate(trainer.progress.history):
        losses = [name for name in metrics if name.startswith("train_loss/")]
        assert f"train_loss/module_{p}" in losses
        assert all(name.endswith(f"_{p}") for name in losses)
    after = by_module(trainer.method)
    assert not any(same(a, b) for a, b in zip(before, after, strict=True))


def test_every_schedule_has_a_row() -> None:
    rows = {settings.get("schedule", "joint") for settings in SCHEDULES.values()}
    assert set(names("schedules")) == rows, "add a row to SCHEDULES in tests/cases.py"


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_moves_every_module(schedule: str, tmp_path: Path) -> None:
    trainer = trainer_of(
        Row(Case("greedy"), "mlp3x16").cell(epochs=3, **SCHEDULES[schedule]), tmp_path
    )
    before = by_module(trainer.method)
    assert trainer.fit().epochs == sum(lengths(trainer.schedule, 3)) == 3
    assert not any(same(a, b) for a, b in zip(before, by_module(trainer.method), strict=True))


@given(st.integers(1, 16), st.integers(1, 400))
def test_phases_share_the_epochs_evenly(k: int, epochs: int) -> None:
    shares = lengths(Sequential(PHASES, k, 1, 0), epochs)
    assert len(shares) == k
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)
    if epochs >= k:
        assert sum(shares) == epochs


def test_the_joint_schedule_has_one_phase() -> None:
    assert Joint(PHASES, 7, 1, 0).phases(160) == [Phase(160, PHASES)]


def test_each_phase_starts_the_learning_rate_anew(tmp_path: Path) -> None:
    cell = Row(Case("greedy"), "mlp3x16").cell(schedule="sequential", epochs=6)
    trainer = trainer_of(cell, tmp_path)
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    try:
        trainer.fit()
    finally:
        handle.remove()
    steps = 6
    first, last = rates[0], rates[steps]
    assert first > last == 0.0, "a cosine over two epochs"
    assert rates == ([first] * steps + [last] * steps) * 3
