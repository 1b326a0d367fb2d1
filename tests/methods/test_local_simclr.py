"""Local contrastive learning: labels never reach the trunk, both views are normalised together, and
a data set without a second view is refused."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cases import CLASSES, IMAGES, Case, Row, a_batch, images
from modulewise.engine.build import build
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.parts.losses import nt_xent
from modulewise.schedules.sequential import Sequential

ROW = Row(Case("local_simclr", {"feature_dim": 16}), "resnet8")


def gradients(method: Method, batch: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    for loss in method.losses(batch):
        loss.value.backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def readout(name: str) -> bool:
    """Whether a parameter is a probe's, or of the net's own classifier."""
    return name.startswith(("heads.", "trunk.2.1.", "trunk.2.2."))


def test_labels_reach_probes_alone() -> None:
    method, batch = ROW.build().train(), a_batch()
    assert len(method.trunk[2]) == 2, "a stage and the classifier"
    mine = gradients(method, batch)
    other = gradients(method, replace(batch, y=(batch.y + 1) % CLASSES))
    moved = {name for name in mine if not torch.equal(mine[name], other[name])}
    assert moved
    assert moved == {name for name in mine if readout(name)}


def test_the_other_view_reaches_the_trunk_and_no_probes_labels() -> None:
    method, batch = ROW.build().train(), a_batch()
    mine = gradients(method, batch)
    other = gradients(method, replace(batch, view=lambda: batch.x))
    assert all(not torch.equal(mine[n], other[n]) for n in mine if n.startswith("trunk.0"))


def test_the_losses_are_those_of_a_pass_over_both_views() -> None:
    method, batch = ROW.build().train(), a_batch()
    assert batch.view
    h, expected = torch.cat([batch.x, batch.view()]), []
    other = ROW.build().train()
    with torch.no_grad():
        for k in range(3):
            for stage in list(other.trunk[k])[: 2 if k == 0 else 1]:
                h = stage(h)
            expected.append(nt_xent(*other.projections[k](h).chunk(2), 0.5))
    found = [loss.value for loss in method.losses(batch) if loss.name.startswith("contrast")]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))


def test_a_module_alone_is_given_the_second_view_through_the_frozen_ones() -> None:
    """In sequence, module 1 has the first view's state alone; it makes the second's itself, and no
    statistics of the frozen module move."""
    method, batch = ROW.build(), a_batch()
    assert batch.view
    training = ROW.cell(epochs=3).training
    schedule = Sequential(training, 3, 1, 0)
    schedule.begin(method, 1, 3)
    with torch.no_grad():
        state = torch.cat([method.trunk[0](batch.x), method.trunk[0](batch.view())])
    before = {n: b.clone() for n, b in method.trunk[0].named_buffers()}
    given: list[Tensor] = []
    method.trunk[1][0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    method.trunk[1].train()
    values = schedule.step(method, batch, ModuleOptimizers(method, training, [1]), nullcontext)
    assert set(values) == {"contrast_1", "module_1"}
    torch.testing.assert_close(given[0], state)
    assert all(torch.equal(b, before[n]) for n, b in method.trunk[0].named_buffers())


@pytest.mark.parametrize("change", [{"pad": 0}, {"flip": False}])
def test_crops_or_flips_alone_make_two_views(change: dict[str, object]) -> None:
    cell = ROW.cell().model_copy(update={"data": IMAGES.model_copy(update=change)})
    assert build(cell, images().image, images().task)[0].two_views


def test_a_data_set_without_augmentation_is_refused_in_one_line() -> None:
    plain = IMAGES.model_copy(update={"pad": 0, "flip": False})
    cell = ROW.cell().model_copy(update={"data": plain})
    with pytest.raises(InvalidInput, match="set pad or flip in its entry") as error:
        build(cell, images().image, images().task)
    assert str(error.value).startswith("fake resnet8 local-simclr K=3 s0: local_simclr compares")
    assert "\n" not in str(error.value)
