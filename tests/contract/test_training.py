"""What training with a method must give: learning, predictions, pairing by seed, and
backpropagation when there is nothing to cut."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import Tensor

from cases import (
    BACKPROP,
    CLASSES,
    Case,
    Row,
    a_batch,
    data_with,
    rows,
    same,
    snapshot,
    trainer_of,
)
from modulewise.config.training import TrainConfig
from modulewise.engine.trainer import Trainer
from modulewise.method import Method
from modulewise.methods import method_class
from modulewise.optim import ModuleOptimizers
from modulewise.schedules.joint import Joint

pytestmark = pytest.mark.usefixtures("uncounted")


def train(
    row: Row, folder: Path, modules: int | None = None, seed: int = 0, **training: object
) -> Trainer:
    """A finished run."""
    cell = row.cell(modules, seed, **training)
    trainer = trainer_of(cell, folder)
    trainer.fit()
    return trainer


def cuttable(row: Row) -> bool:
    return not method_class(row.case.method).single


@cache
def by_backprop(network: str) -> tuple[dict[str, Tensor], float]:
    """Weights and last loss of a run with backpropagation."""
    with TemporaryDirectory() as folder:
        run = train(Row(Case("backprop"), network), Path(folder), modules=1)
    return snapshot(run.method.trunk), run.progress.history[-1]["train_loss/module_0"]


@rows(lambda row: method_class(row.case.method).equals_backprop)
def test_one_module_is_backpropagation_bit_for_bit(row: Row, tmp_path: Path) -> None:
    mine = train(row, tmp_path, modules=1)
    weights, loss = by_backprop(row.network)
    assert same(mine.method.trunk.state_dict(), weights)
    assert mine.progress.history[-1]["train_loss/module_0"] == loss


def surrogates(method: Method) -> set[str]:
    """Names of the losses whose values need not fall."""
    found = set()
    for loss in copy.deepcopy(method).losses(a_batch()):
        loss.value.backward()
        found |= {loss.name} if loss.surrogate else set()
    return found


@rows()
def test_only_what_feedback_makes_is_a_surrogate_and_never_the_nets_own_loss(row: Row) -> None:
    method = row.build()
    found = surrogates(method)
    assert not found or method.feedback != "none"
    assert f"module_{method.k - 1}" not in found


@rows()
def test_every_loss_falls_on_a_separable_toy(row: Row) -> None:
    method = row.build()
    joint = Joint(TrainConfig(), method.k, 1, 0)
    joint.begin(method, 0, 1)
    training = TrainConfig(batch_size=14, lr=0.05, warmup_epochs=0)
    optimiser = ModuleOptimizers(method, training)
    history: list[dict[str, Tensor]] = []
    for epoch in range(1, 13):
        for batch in data_with(training).batches(epoch):
            history.append(joint.step(method, batch, optimiser, nullcontext))
    for name in history[0].keys() - surrogates(method):
        first, last = (sum(float(h[name]) for h in part) for part in (history[:3], history[-3:]))
        assert last < 0.99 * first, name
    task = f"module_{method.k - 1}"
    assert float(history[-1][task]) < 0.9 * float(history[0][task]), "the net's own loss"


@rows()
def test_outputs_are_class_scores_and_the_last_is_the_prediction(row: Row) -> None:
    method = row.build().eval()
    x = a_batch().x
    with torch.no_grad():
        scores, outputs = method.predict(x), method.outputs(x)
    assert scores.shape == (len(x), CLASSES)
    assert len(outputs) == method.k
    assert torch.equal(outputs[-1], scores)
    assert all(o is None or o.shape == (len(x), CLASSES) for o in outputs)


@rows()
def test_predictions_of_an_image_do_not_depend_on_its_batch(row: Row) -> None:
    method = row.build().eval()
    x = a_batch().x
    with torch.no_grad():
        alone = torch.cat([method.predict(image[None]) for image in x])
        torch.testing.assert_close(method.predict(x), alone, rtol=1e-4, atol=1e-5)


@rows()
def test_deployed_parts_are_all_that_a_prediction_needs(row: Row) -> None:
    method = row.build().eval()
    x = a_batch().x
    kept = {id(p) for part in method.deployed() for p in part.parameters()}
    with torch.no_grad():
        before = method.predict(x)
        for p in method.parameters():
            if id(p) not in kept:
                p.fill_(float("nan"))
        assert torch.equal(method.predict(x), before)
    used = torch.autograd.grad(
        method.predict(x).sum(),
        [p for p in method.parameters() if id(p) in kept],
        allow_unused=True,
    )
    assert all(g is not None for g in used)


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_the_seed_decides_the_weights(row: Row, tmp_path: Path) -> None:
    first, again, other = (
        train(row, tmp_path / str(n), seed=seed, epochs=1, train_images=16)
        for n, seed in enumerate((3, 3, 4))
    )
    assert same(first.method.state_dict(), again.method.state_dict())
    assert not same(first.method.state_dict(), other.method.state_dict())


@rows()
def test_the_global_random_state_does_not_decide_the_weights(row: Row) -> None:
    torch.manual_seed(1)
    first = snapshot(row.build())
    torch.manual_seed(2)
    assert same(first, snapshot(row.build()))


@rows(lambda row: row.case.method != "backprop")
def test_initial_trunks_are_paired_with_those_of_backprop(row: Row) -> None:
    def flat(method: Method) -> Tensor:
        return torch.cat([p.detach().flatten() for p in method.trunk.parameters()])

    backprop = Row(Case("backprop"), row.network)
    assert torch.equal(flat(row.build(seed=5)), flat(backprop.build(modules=1, seed=5)))
    assert not torch.equal(flat(row.build(seed=5)), flat(row.build(seed=6)))


def batches_seen(row: Row, folder: Path) -> list[Tensor]:
    """The images the first stage is given in training, once each: a method that recomputes, or goes
    back to earlier steps, is given the same ones again; one that learns from two views has the
    batch's own first."""
    trainer = trainer_of(row.cell(), folder)
    seen: dict[bytes, Tensor] = {}

    def look(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            seen.setdefault(inputs[0].numpy(force=True).tobytes(), inputs[0])

    trainer.method.trunk[0][0].register_forward_pre_hook(look)
    trainer.fit()
    return list(seen.values())


@rows(lambda row: row.network == "resnet8" and cuttable(row), one_a_method=True)
def test_batches_are_paired_with_those_of_backprop(row: Row, tmp_path: Path) -> None:
    mine, its = batches_seen(row, tmp_path / "a"), batches_seen(BACKPROP, tmp_path / "b")
    assert len(mine) == len(its) == 12
    assert all(torch.equal(a[: len(b)], b) for a, b in zip(mine, its, strict=True))
