"""Angles to backpropagation's gradient, of every method: they disturb nothing, and are what the
method's declarations say."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cases import SCHEDULES, Case, Row, a_batch, data_of, rows, same, snapshot, trainer_of
from modulewise.engine.gradients import against_backprop, metrics
from modulewise.engine.trainer import Interrupted, Stop
from modulewise.optim import ModuleOptimizers
from modulewise.runs import record
from modulewise.schedules import backward

pytestmark = pytest.mark.usefixtures("uncounted")
CLOCKS = ("time/", "throughput/", "memory/", "system/")
DGL = Row(Case("dgl", {"feature_dim": 8}), "mlp3x16")
DISTURBED = [
    (DGL, "joint"),
    (DGL, "sequential"),
    (DGL, "by the clock"),
    (Row(Case("cascade", {"units": 8}), "vgg8b-w2-d30"), "joint"),  # draws from the global stream
    (Row(Case("man", {"feature_dim": 8}), "mlp3x16"), "joint"),  # follows moving averages
    (Row(Case("forward_forward"), "mlp3x16"), "joint"),
]


@rows(one_a_method=True)
def test_a_method_is_left_as_it_is(row: Row) -> None:
    method, batch = row.build(), a_batch()
    before, stream = snapshot(method), torch.get_rng_state()
    found = against_backprop(method, batch, nullcontext)
    assert same(before, snapshot(method)) and method.training
    assert torch.equal(stream, torch.get_rng_state())
    assert all(p.grad is None for p in method.parameters())
    assert found == against_backprop(method, batch, nullcontext), "the same every time"
    assert len(found) == method.k
    assert all(angle is None or 0 <= angle <= 180 for angle, _ in found)


@rows(one_a_method=True)
def test_one_module_that_equals_backprop_has_no_angle_to_it(row: Row) -> None:
    method = row.build(modules=1)
    if not method.equals_backprop:
        pytest.skip("with one module it is something else than backpropagation")
    assert against_backprop(method, a_batch(), nullcontext) == [(0.0, 1.0)]


def test_feedback_alignment_is_compared_with_the_networks_own_weights() -> None:
    """And is backpropagation where the weights that carry errors are those of the layers."""
    method, batch = Row(Case("feedback_alignment", modules=1), "mlp3x16").build(), a_batch()
    ((apart, _),) = against_backprop(method, batch, nullcontext)
    layers = [m for m in method.trunk.modules() if isinstance(m, nn.Linear)]
    for matrix, layer in zip(method.feedback_weights.buffers(), layers, strict=True):
        matrix.copy_(layer.weight.detach())
    assert apart is not None and apart > 30
    assert against_backprop(method, batch, nullcontext) == [(0.0, 1.0)]


@pytest.mark.parametrize("method", ["ddg", "features_replay"])
def test_delayed_gradients_are_backpropagation_once_the_images_are_the_same(method: str) -> None:
    made = Row(Case(method), "mlp3x32").build()
    backward(made.losses(a_batch(seed=1)), nullcontext)
    found = against_backprop(made, a_batch(), nullcontext)
    assert [angle for angle, _ in found] == pytest.approx([0, 0, 0], abs=0.01)
    assert [ratio for _, ratio in found] == pytest.approx([1, 1, 1], rel=1e-3)


def test_what_is_dropped_makes_no_angle() -> None:
    """Delayed gradients run a module twice, backpropagation once."""
    method = Row(Case("features_replay"), "vgg8b-w2-d20").build()
    assert against_backprop(method, a_batch(), nullcontext) == [(0.0, 1.0)] * 3


@pytest.mark.parametrize("backend", ["off", "aot_eager"])
def test_a_compiled_method_is_copied_without_what_was_compiled(backend: str) -> None:
    method = DGL.build()
    expected = against_backprop(method, a_batch(), nullcontext)
    if backend != "off":
        for module in method.trunk:
            module.compile(backend=backend)
    before = snapshot(method)
    assert against_backprop(method, a_batch(), nullcontext) == expected
    assert same(before, snapshot(method)) and all(p.grad is None for p in method.parameters())


def learnt(folder: Path) -> dict[tuple[str, int], float]:
    """The folded record without what was measured by a clock or an allocator."""
    found = record.read(folder).settled().items()
    return {key: value for key, (value, _) in found if not key[0].startswith(CLOCKS)}


def run(row: Row, folder: Path, stop_after: int | None = None, **training: Any) -> dict[str, Any]:
    """Train two epochs, maybe stopped after so many steps and resumed; the weights."""
    cell = row.cell(**training)
    if stop_after:
        stop, steps, inner = Stop(), 0, ModuleOptimizers.step

        def step(self: ModuleOptimizers, k: int | None = None) -> None:
            nonlocal steps
            inner(self, k)
            steps += 1
            stop.asked = steps == stop_after or stop.asked

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(ModuleOptimizers, "step", step)
            trainer_of(cell, folder, stop=stop).fit()
    trainer = trainer_of(cell, folder)
    trainer.fit()
    return snapshot(trainer.method)


@pytest.mark.parametrize(("row", "schedule"), DISTURBED, ids=str)
def test_a_training_that_records_them_ends_with_the_same_weights(
    row: Row, schedule: str, tmp_path: Path
) -> None:
    settings = SCHEDULES[schedule] | {"epochs": 3}
    plain = run(row, tmp_path / "plain", **settings)
    assert same(run(row, tmp_path / "angles", gradient_angles=True, **settings), plain)
    resumed = run(row, tmp_path / "resumed", 8, gradient_angles=True, **settings)
    assert same(resumed, plain)
    without, with_angles = learnt(tmp_path / "plain"), learnt(tmp_path / "angles")
    assert learnt(tmp_path / "resumed") == with_angles
    angles = {key: v for key, v in with_angles.items() if key[0].startswith("gradient_")}
    assert {k: v for k, v in with_angles.items() if k not in angles} == without
    kinds, modules = ("gradient_angle", "gradient_norm_ratio"), range(row.case.modules)
    expected = {(f"{n}/module_{k}", e) for n in kinds for k in modules for e in range(4)}
    assert angles.keys() == expected, "before the first epoch, and after every one"


def test_what_is_recorded_is_of_the_weights_of_that_moment(tmp_path: Path) -> None:
    cell = DGL.cell(gradient_angles=True)
    trainer = trainer_of(cell, tmp_path)
    start = metrics(trainer.method, data_of(cell), cell.training, cell.seed)
    trainer.fit()
    end = metrics(trainer.method, data_of(cell), cell.training, cell.seed)
    recorded = learnt(tmp_path)
    for epoch, expected in ((0, start), (2, end)):
        assert {name: recorded[name, epoch] for name in expected} == expected
    assert start != end
    assert recorded["gradient_angle/module_2", 2] == 0, "its loss is the net's own"
    assert 10 < recorded["gradient_angle/module_0", 0] < 170
