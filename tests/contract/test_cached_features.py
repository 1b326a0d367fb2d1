"""Features of frozen modules that are made once a phase: what is learnt from them is what is learnt
when they are computed in every epoch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import IMAGES, Case, Row, data_of, heard, rows, same, snapshot, trainer_of
from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.data.resident import Resident
from modulewise.engine.build import build
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.methods import method_class
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import _features
from modulewise.schedules.sequential import Sequential

STILL = IMAGES.model_copy(update={"pad": 0, "flip": False})
STEPS = 6
"""Of one epoch."""
GREEDY = Row(Case("greedy"), "mlp3x16")


def cell_of(row: Row, **options: Any) -> Cell:
    cell = row.cell(epochs=row.case.modules, schedule="sequential", sequential=options)
    return cell.model_copy(update={"data": STILL})


class InFives(Resident):
    """Evaluates in batches of five, the last of which is short."""

    def eval_batches(self, part: Any, size: int = 5) -> Iterator[tuple[Tensor, Tensor]]:
        return super().eval_batches(part, size)


def in_fives(cell: Cell) -> InFives:
    d = data_of(cell)
    return InFives(d.parts, d.task, d.config, d.digest, d.training, d.seed, (d.mean, d.std))


def fits(row: Row) -> bool:
    """Whether a method is trained module by module, without a second view of an image."""
    return (
        row.splits
        and row.case.modules > 1
        and row.network == row.case.networks[0]
        and not method_class(row.case.method).two_views
    )


@rows(fits)
def test_cached_equals_recomputed(row: Row) -> None:
    """In phase after phase: features, losses and weights; and nothing else moves, by not a bit."""
    cells = [cell_of(row, cache=cache) for cache in ("off", "auto")]
    data = in_fives(cells[0])
    methods = [build(cell, data.image, data.task)[0] for cell in cells]
    made = [schedules.build(cell.training, cell.modules, data.steps, 0) for cell in cells]
    for method, schedule in zip(methods, made, strict=True):
        schedule.prepare(method, data)
    for phase in range(row.case.modules):
        losses = []
        for method, schedule in zip(methods, made, strict=True):
            schedule.begin(method, phase, 9)
            optimizers = ModuleOptimizers(method, replace_lr(cells[0]), schedule.trained(phase))
            before = snapshot(method)
            batches = schedule.batches(method, data, phase + 1, 0, nullcontext)
            for batch in itertools.islice(batches, 2):
                losses.append(schedule.step(method, batch, optimizers, nullcontext))
            moved = {n for n, v in snapshot(method).items() if not torch.equal(v, before[n])}
            assert {n.split(".")[1] for n in moved} == {str(phase)}
        assert isinstance(made[1], Sequential) and bool(made[1].features) == (phase > 0)
        for off, on in zip(losses[:2], losses[2:], strict=True):
            torch.testing.assert_close(on, off, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        methods[1].state_dict(), methods[0].state_dict(), rtol=1e-3, atol=1e-4
    )


def replace_lr(cell: Cell) -> Any:
    """Settings under which a rounding error does not grow."""
    return cell.training.model_copy(update={"lr": 0.01})


def test_features_are_those_of_their_images_in_order() -> None:
    """In float64, of every state tensor of a method that hands on several."""
    row = Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}), "mlp3x16")
    data = in_fives(cell_of(row))
    data.mean, data.std = data.mean.double(), data.std.double()
    method = row.build().double().eval()
    kept = _features.collect(method, 2, data, nullcontext)
    x = data.normalise(data.parts.train.x.double() / 255)
    state = method.initial_state(x)
    for k in (0, 1):
        state = method.forward_module(k, state)
    assert len(kept) == len(state) == 3
    for a, b in zip(kept, state, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=1e-6)
        assert not a.requires_grad


@pytest.mark.parametrize("n", [2, STEPS, STEPS + 1, 2 * STEPS - 1, 2 * STEPS, 2 * STEPS + 5])
def test_a_run_stopped_inside_a_phase_makes_its_features_again(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}), "mlp3x16")
    cell, stop, count = cell_of(row, cache="auto"), Stop(), 0
    whole = trainer_of(cell, tmp_path / "whole")
    expected = whole.fit()
    inner = ModuleOptimizers.step

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
    assert result.cost.train_flops == expected.cost.train_flops


@pytest.mark.usefixtures("uncounted")
def test_kept_features_count_in_memory(tmp_path: Path) -> None:
    """In the last phase, 42 images of 16 numbers."""
    trainers = {c: trainer_of(cell_of(GREEDY, cache=c), tmp_path / c) for c in ("off", "auto")}
    for trainer in trainers.values():
        trainer.fit()
    held = {c: sum(t.nbytes for t in trainers[c].held()) for c in trainers}
    assert held["auto"] - held["off"] == 42 * 16 * 4


def said(row: Row, folder: Path, cell: Cell | None = None) -> list[str]:
    lines: list[str] = []
    with heard(lines.append):
        trainer_of(cell or cell_of(row, cache="auto"), folder).fit()
    return [line for line in lines if "features" in line]


def test_the_log_says_once_a_phase_whether_features_are_kept(tmp_path: Path) -> None:
    assert said(GREEDY, tmp_path / "kept") == [
        f"features that enter module {k} are kept: 1 MiB" for k in (1, 2)
    ]
    moving = cell_of(GREEDY, cache="auto").model_copy(update={"data": IMAGES})
    assert said(GREEDY, tmp_path / "moving", moving) == [
        f"features that enter module {k} are computed in every epoch: images are augmented"
        for k in (1, 2)
    ]
    assert said(GREEDY, tmp_path / "off", cell_of(GREEDY)) == []


@pytest.mark.parametrize(("images", "entered"), [(16_384, 1), (16_385, 0)])
def test_features_without_room_are_not_kept(images: int, entered: int) -> None:
    """16 numbers an image, of 4 bytes: 16384 images are one MiB."""
    cell = cell_of(GREEDY, cache="auto", cache_mib=1)
    made = schedules.build(cell.training, 3, 1, 0)
    data = SimpleNamespace(augmented=False, image=(3, 8, 8), sizes=SimpleNamespace(train=images))
    made.prepare(GREEDY.build(), data)  # type: ignore[arg-type]
    assert isinstance(made, Sequential)
    assert made.entered(1) == entered
    assert made.reasons[1] == ("" if entered else "2 MiB, cache_mib is 1")


def test_operations_of_a_run_with_kept_features(tmp_path: Path) -> None:
    """mlp3x8 by hand: steps run their own layer alone, and each phase has one pass before."""
    inputs, units, classes, images = 3 * 8 * 8, 8, 4, 42
    first, square = 2 * inputs * units, 2 * units * units
    head = classifier = 2 * units * classes
    row = Row(Case("greedy"), "mlp3x8")
    trainer = trainer_of(cell_of(row, cache="auto"), tmp_path)
    cost = trainer.fit().cost
    trunk = [2 * first, 2 * square, 2 * square + 3 * classifier]
    assert [f.trunk for f in trainer.flops] == trunk
    passes = first + (first + square)
    assert cost.train_flops == images * (sum(trunk) + 2 * 3 * head + passes)
    assert cost.trunk_flops == pytest.approx(sum(trunk) / 3)
