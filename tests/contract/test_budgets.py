"""A step without data tells the peak that the real step has, and cuts within a budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import IMAGES, TRAINING, Case, Row, data_of, images, rows, same, snapshot, trainer_of
from modulewise.config.cell import Cell
from modulewise.config.partition import Budget
from modulewise.config.training import TrainConfig
from modulewise.engine import dry
from modulewise.engine.build import Planned, build
from modulewise.errors import InvalidInput
from modulewise.methods.checkpointed import Checkpointed
from modulewise.methods.dni import Dni
from modulewise.tasks.classification import Classification
from modulewise.units import memory_bytes

GREEDY = Case("greedy")
DGL = Case("dgl", {"feature_dim": 16})
INFOPRO = Case("infopro", {"mode": "contrast", "feature_dim": 16})
SEGMENTS = Case("checkpointed")
GENERATOR = 5056
"""Bytes of the state of a CPU's random generator."""


def ran(cell: Cell, folder: Path) -> int:
    """Peak memory of a run, as its result has it."""
    peak = trainer_of(cell, folder).fit().cost.peak_memory_bytes
    assert peak is not None
    return peak


def predicted(cell: Cell) -> int:
    loaded = data_of(cell)
    method, _ = build(cell, loaded.image, loaded.task)
    return dry.peak_bytes(method, cell.training, loaded.image)


def unseen(row: Row, batch: int) -> int:
    """Bytes that only a step with data holds, on a CPU: the generator's state at every checkpointed
    segment, and under the result of `mse_loss` the storage of what it averages."""
    method = row.build()
    if isinstance(method, Checkpointed):
        return GENERATOR * len(method.segments())
    if isinstance(method, Dni):
        features = [torch.zeros(batch, *images().image)]
        for module in method.eval().trunk[:-1]:
            features.append(module(features[-1]).detach())
        return sum(feature.nbytes for feature in features[1:])
    return 0


@pytest.mark.usefixtures("uncounted")
@rows(lambda row: row.case.method != "budgeted", one_a_method=True)
def test_the_peak_of_every_method_is_known_before(row: Row, tmp_path: Path) -> None:
    cell = row.cell(epochs=1, batch_size=16)
    found, real = predicted(cell), ran(cell, tmp_path)
    assert found < 1.03 * real
    assert 0.99 * real < found + unseen(row, 16)


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize(
    "training",
    [{"precision": "bf16"}, {"optimizer": "adam"}, {"momentum": 0.0, "nesterov": False}],
    ids=lambda training: "-".join(map(str, training.values())),
)
def test_the_peak_is_known_under_other_settings(training: dict[str, Any], tmp_path: Path) -> None:
    cell = Row(DGL, "resnet8").cell(epochs=1, batch_size=16, **training)
    assert predicted(cell) == pytest.approx(ran(cell, tmp_path), rel=0.01)


def test_nothing_moves_while_a_step_is_looked_at() -> None:
    torch.manual_seed(0)
    method = Row(DGL, "resnet8").build()
    before, random = snapshot(method), torch.get_rng_state()
    dry.peak_bytes(method, TrainConfig(**TRAINING), images().image)
    assert same(before, snapshot(method))
    assert torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in method.parameters())


def test_operations_and_memory_bytes_known_layers() -> None:
    """A product of (8, 6) and (6, 4): 2 x 8 x 6 x 4 operations, as many again for each gradient."""
    layer = torch.nn.Linear(6, 4, bias=False)
    with dry.FakeTensorMode(), dry.Meter() as meter:
        weight = torch.empty(layer.weight.shape, requires_grad=True)
        x = torch.empty(8, 6, requires_grad=True)
        meter.lap()
        y = x @ weight.t()
        forward = meter.lap()
        y.sum().backward()
        backward = meter.lap()
    assert forward.cost == 2 * 8 * 6 * 4
    assert backward.cost == 2 * forward.cost
    assert forward.live - 4 * (8 * 6 + 4 * 6) == 4 * 8 * 4
    assert backward.live - forward.live == 4 * (8 * 6 + 4 * 6)


# Budgets.


def within(row: Row, budget: int | str, modules: int, **training: Any) -> Cell:
    """The row's cell with cuts within a budget."""
    settings = {"epochs": 1, "batch_size": 16, **training}
    return row.cell(modules, **settings).model_copy(update={"partition": Budget(budget=budget)})


def least(cell: Cell) -> int:
    """The least possible budget, as an impossible one is told."""
    with pytest.raises(InvalidInput) as caught:
        build(cell, images().image, images().task)
    found = re.search(
        rf"^{re.escape(str(cell))}: partition: K = {cell.modules} needs more than \S+ \S+; the "
        r"least possible budget is (\S+)$",
        str(caught.value),
    )
    assert found, caught.value
    return memory_bytes(found[1])


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("case", [GREEDY, DGL, INFOPRO, SEGMENTS], ids=str)
def test_a_run_stays_within_its_budget(case: Case, tmp_path: Path) -> None:
    row = Row(case, "resnet14")
    smallest = least(within(row, "1KiB", 3))
    for factor in (1.0, 1.2):
        cell = within(row, round(factor * smallest), 3)
        peak = ran(cell, tmp_path / str(factor))
        assert peak <= factor * smallest
        assert factor > 1 or peak > 0.93 * smallest, "the least budget is not padded"
    least(within(row, round(0.97 * smallest), 3))


def test_a_net_that_is_not_cut_fits_or_does_not(tmp_path: Path) -> None:
    row = Row(Case("backprop"), "resnet8")
    smallest = least(within(row, "1KiB", 1))
    assert build(within(row, smallest, 1), images().image, images().task)[1] == []
    assert least(within(row, smallest - 1024, 1)) == smallest


def test_more_room_costs_no_more_operations() -> None:
    """The cheapest cuts that fit: of DGL's heads those on small maps."""
    row = Row(DGL, "resnet14")
    smallest = least(within(row, "1KiB", 3))
    costs = []
    for factor in (1.0, 1.3, 3.0):
        cell = within(row, round(factor * smallest), 3)
        _, cuts = build(cell, images().image, images().task)
        costs.append(Planned(cell, images().image, images().task).pieces.step(cuts))
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_the_same_cuts_written_out_train_the_same_weights(tmp_path: Path) -> None:
    row = Row(DGL, "resnet14")
    cell = within(row, 2 * least(within(row, "1KiB", 2)), 2)
    method, cuts = build(cell, images().image, images().task)
    names = Planned(cell, images().image, images().task).network.names
    written = cell.model_copy(update={"partition": tuple(names[cut - 1] for cut in cuts)})
    again, same_cuts = build(written, images().image, images().task)
    assert same_cuts == cuts
    assert same(snapshot(method), snapshot(again))


def test_cuts_depend_on_the_batch_but_not_on_the_seed() -> None:
    row, task = Row(DGL, "resnet14"), Classification(4)
    budget = 2 * least(within(row, "1KiB", 3))
    first = within(row, budget, 3)
    other = first.model_copy(update={"seed": 5})
    assert build(first, IMAGES.shape, task)[1] == build(other, IMAGES.shape, task)[1]
    least(within(row, budget, 3, batch_size=512))


def test_a_method_that_is_not_cut_everywhere_says_so() -> None:
    cell = within(Row(Case("dgl", {"head": "shared"}), "resnet8"), "1GiB", 2)
    with pytest.raises(InvalidInput, match="partition: a budget needs a method that can be cut"):
        build(cell, (3, 8, 8), Classification(4))


def test_too_many_modules() -> None:
    cell = within(Row(GREEDY, "resnet8"), "1GiB", 9)
    with pytest.raises(InvalidInput, match="9 modules asked for, the network has 4 stages"):
        build(cell, (3, 8, 8), Classification(4))


def test_what_is_compiled_while_it_runs_says_so() -> None:
    cell = within(Row(Case("budgeted", modules=1), "mlp1x8"), "1GiB", 1)
    with pytest.raises(InvalidInput, match="budgeted is compiled while it runs"):
        build(cell, (3, 8, 8), Classification(4))
