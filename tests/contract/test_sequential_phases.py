"""Phases with epochs, optimiser and rate of their own: what they are, what they cost, and that a
run stopped inside any of them goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from cases import Case, Row, same, snapshot, trainer_of
from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.config.training import TrainConfig
from modulewise.engine import budget, flops
from modulewise.engine.flops import Flops
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.errors import InvalidInput
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import Schedule

ROW = Row(Case("greedy"), "mlp3x16")
HEAD = {"epochs": 1, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0}
STEPS = 6
"""Of one epoch."""


def settings(**options: Any) -> dict[str, Any]:
    return {"schedule": "sequential", "sequential": options}


def made(k: int, options: dict[str, Any], epochs: int = 50) -> Schedule:
    return schedules.build(TrainConfig(epochs=epochs, **settings(**options)), k, 1, 0, "here")


def lengths(schedule: Schedule, epochs: int) -> list[int]:
    return [phase.epochs for phase in schedule.phases(epochs)]


@pytest.mark.parametrize(
    ("k", "options", "expected"),
    [
        (4, {}, [13, 13, 12, 12]),
        (4, {"epochs": "each"}, [50, 50, 50, 50]),
        (4, {"epochs": "each", "growth": 10}, [50, 60, 70, 80]),
        (4, {"epochs": "each", "growth": 10, "last": {"epochs": 20}}, [50, 60, 70, 20]),
        (3, {"last": {"epochs": 20}}, [25, 25, 20]),
        (3, {"last": {"lr": 0.1}}, [17, 17, 16]),
        (1, {"last": {"epochs": 20}}, [20]),
    ],
    ids=str,
)
def test_epochs_of_the_phases(k: int, options: dict[str, Any], expected: list[int]) -> None:
    assert lengths(made(k, options), 50) == expected


def test_only_the_last_phase_has_its_own_settings() -> None:
    given = TrainConfig(epochs=50, **settings(epochs="each", last=HEAD))
    *before, last = schedules.build(given, 3, 1, 0).phases(50)
    assert all(phase.training == given for phase in before)
    changed = {
        name
        for name in TrainConfig.model_fields
        if getattr(last.training, name) != getattr(given, name)
    }
    assert changed == {"epochs", "optimizer", "lr", "weight_decay"}
    assert last.training.optimizer == "adam"


@pytest.mark.parametrize(
    ("k", "epochs", "options", "message"),
    [
        (3, 2, {}, "3 modules needs at least 3 epochs, got 2"),
        (3, 1, {"last": {"epochs": 9}}, "2 modules needs at least 2 epochs, got 1"),
        (3, 9, {"growth": 2}, "growth needs epochs: each"),
        (3, 9, {"last": {"momentum": 0.0}}, "nesterov needs .*set nesterov: false"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    k: int, epochs: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=f"here: sequential.*{message}"):
        made(k, options, epochs)


def test_every_phase_has_its_optimiser_and_runs_its_rate_from_the_start(tmp_path: Path) -> None:
    cell = ROW.cell(epochs=2, **settings(epochs="each", growth=1, last=HEAD))
    trainer = trainer_of(cell, tmp_path)
    seen: list[tuple[str, float]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        seen.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"]))

    handle = register_optimizer_step_pre_hook(note)
    try:
        result = trainer.fit()
    finally:
        handle.remove()
    # Cosines to zero over two and three epochs; a single epoch runs at its highest rate.
    rates = [0.025, 0.0, 0.0375, 0.0125, 0.0]
    assert [name for name, _ in seen] == ["SGD"] * 5 * STEPS + ["Adam"] * STEPS
    assert [r for _, r in seen[::STEPS]] == pytest.approx([*rates, 0.01])
    assert result.epochs == result.planned_epochs == 6


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("n", [2, 2 * STEPS, 3 * STEPS + 1, 5 * STEPS, 5 * STEPS + 4])
def test_stopped_inside_any_phase(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Phases of 12, 18 and 6 steps."""
    cell = ROW.cell(epochs=2, **settings(epochs="each", growth=1, last=HEAD))
    whole = trainer_of(cell, tmp_path / "whole")
    expected = whole.fit()
    stop, count, inner = Stop(), 0, ModuleOptimizers.step

    def step(self: ModuleOptimizers, k: int | None = None) -> None:
        nonlocal count
        inner(self, k)
        count += 1
        stop.asked = count == n

    with monkeypatch.context() as patch:
        patch.setattr(ModuleOptimizers, "step", step)
        with pytest.raises(Interrupted):
            trainer_of(cell, tmp_path / "stopped", stop=stop).fit()
    again = trainer_of(cell, tmp_path / "stopped")
    result = again.fit()
    assert same(snapshot(again.method), snapshot(whole.method))
    assert result.module_metrics == expected.module_metrics
    assert result.origin.starts == 2


PRICES = st.lists(st.integers(1, 1000), min_size=1, max_size=5)


@given(PRICES, st.integers(0, 4), st.sampled_from([None, 1, 7]), st.integers(1, 9_000))
def test_a_budget_in_flops_pays_for_the_most_epochs_it_can(
    prices: list[int], growth: int, own: int | None, pays: int
) -> None:
    """Against a search by counting up."""
    k = len(prices)
    training = TrainConfig(
        flops=float(pays),
        **settings(epochs="each", growth=growth, last={"epochs": own} if own and k > 1 else None),
    )
    schedule = schedules.build(training, k, 1, 0)

    def cost(n: int) -> int:
        return 3 * sum(p * e for p, e in zip(prices, lengths(schedule, n), strict=True))

    most = 1
    while cost(most + 1) <= pays:
        most += 1
    counted = [Flops(float(p), 0.0, 1.0) for p in prices]
    assert budget.epochs(training, schedule, counted, seen=3, steps=1) == most


@given(PRICES, st.integers(1, 9_000))
def test_epochs_that_are_shared_out_cost_their_mean(prices: list[int], pays: int) -> None:
    training = TrainConfig(flops=float(pays), schedule="sequential")
    schedule = schedules.build(training, len(prices), 1, 0)
    counted = [Flops(float(p), 0.0, 1.0) for p in prices]
    found = sum(lengths(schedule, budget.epochs(training, schedule, counted, seen=3, steps=1)))
    assert found == max(len(prices), pays * len(prices) // (3 * sum(prices)))


def test_operations_of_a_run_are_those_of_its_phases(tmp_path: Path) -> None:
    """mlp3x8 counted by hand, in products of one image: a layer gives the gradient of its weights,
    a head that of its input too; a frozen layer runs forward only."""
    inputs, units, classes = 3 * 8 * 8, 8, 4
    first, second, third = 2 * inputs * units, 2 * units * units, 2 * units * units
    head = classifier = 2 * units * classes
    trunk = [2 * first, first + 2 * second, first + second + 2 * third + 3 * classifier]
    helpers = [3 * head, 3 * head, 0]
    cell = Row(Case("greedy"), "mlp3x8").cell(
        epochs=1, **settings(epochs="each", growth=1, last={"epochs": 1})
    )
    trainer = trainer_of(cell, tmp_path)
    cost = trainer.fit().cost
    epochs, images = [1, 2, 1], 42
    assert [f.trunk for f in trainer.flops] == trunk
    assert cost.trunk_flops == sum(e * t for e, t in zip(epochs, trunk, strict=True)) / 4
    assert cost.helper_flops == sum(e * h for e, h in zip(epochs, helpers, strict=True)) / 4
    assert cost.train_flops == images * sum(
        e * (t + h) for e, t, h in zip(epochs, trunk, helpers, strict=True)
    )


def test_the_mean_of_no_epochs_is_the_plain_one() -> None:
    two = [Flops(2.0, 1.0, 5.0), Flops(4.0, 3.0, 5.0)]
    assert flops.mean(two, [0, 0]) == flops.mean(two, [7, 7]) == Flops(3.0, 2.0, 5.0)
    assert flops.mean(two, [3, 1]) == Flops(2.5, 1.5, 5.0)


def test_a_cell_of_phases_travels_as_json() -> None:
    cell = ROW.cell(**settings(epochs="each", growth=1, last=HEAD))
    assert Cell.model_validate_json(cell.to_json()) == cell
    assert ROW.cell(**settings()).id == ROW.cell(schedule="sequential").id
