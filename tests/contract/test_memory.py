"""The field's claim, measured: a step of K modules keeps fewer bytes alive than a step of
backpropagation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from cases import Case, Row, trainer_of
from modulewise import methods, models
from modulewise.config.training import TrainConfig
from modulewise.engine import flops, memory
from modulewise.method import Batch
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.optim import ModuleOptimizers
from modulewise.schedules.joint import Joint
from modulewise.tasks.classification import Classification


def peak(method_name: str, k: int, **options: str) -> int:
    """Growth of live tensor bytes in the second step of a ResNet-20 on 32 images."""
    task = Classification(10)
    network = models.build("resnet20", (3, 32, 32), 10)
    method = methods.build(
        method_name, cut(network, partition.even(len(network.stages), k), task), options
    )
    optimiser = ModuleOptimizers(method, TrainConfig(lr=0.1))
    batch = Batch(
        torch.rand(32, 3, 32, 32),
        torch.arange(32) % 10,
        torch.rand(32, 3, 32, 32),
        torch.arange(32),
    )
    joint = Joint(TrainConfig(), method.k, 1, 0)
    joint.begin(method, 0, 1)
    joint.step(method, batch, optimiser, nullcontext)
    optimiser.zero_grad()
    with memory.growth() as grown:
        joint.step(method, batch, optimiser, nullcontext)
    return grown.live


@pytest.fixture(scope="module")
def backprop_peak() -> int:
    """Of end-to-end backpropagation."""
    return peak("backprop", 1)


@pytest.mark.parametrize("method", ["greedy", "dgl"])
def test_four_modules_need_less_memory_than_one(method: str, backprop_peak: int) -> None:
    four, two = peak(method, 4), peak(method, 2)
    assert four < 0.7 * backprop_peak
    assert four < two < backprop_peak


MAP = 32 * 16 * 32 * 32 * 4
"""Bytes of one full-size feature map of ResNet-20 in 32 images; a stage-1 block keeps four, stage 2
halves, stage 3 quarters that."""


@pytest.mark.parametrize(("k", "blocks"), [(1, 5.25), (2, 3.5), (3, 3), (4, 2), (8, 1)])
def test_the_peak_is_four_maps_a_block_of_the_largest_module(k: int, blocks: float) -> None:
    """The model behind InfoPro's table 3, with even cuts: beside it the stem's image and two maps,
    and at most four maps on their way back.

    Of three modules the first holds the stem and all of stage 1, of eight the first the stem and
    one block.
    """
    measured = peak("greedy", k)
    assert 4 * MAP * blocks < measured < 4 * MAP * blocks + (2 + 3 / 16 + 4) * MAP


@pytest.mark.usefixtures("uncounted")
@pytest.mark.parametrize("schedule", ["joint", "asynchronous"])
def test_the_optimisers_state_counts_once(schedule: str, tmp_path: Path) -> None:
    """A run's peak is of a step that finds the momentum there: with momentum it is larger by the
    weights it is kept for, which here are what memory holds."""
    peaks = []
    for momentum in (0.0, 0.9):
        cell = Row(Case("greedy"), "mlp3x64").cell(
            schedule=schedule, momentum=momentum, nesterov=False
        )
        trainer = trainer_of(cell, tmp_path / str(momentum))
        trainer.fit()
        peaks.append(trainer.memory.peak.live)
    assert peaks[1] - peaks[0] == pytest.approx(
        memory.live_bytes(trainer.method.parameters()), abs=64
    ), "but for a scalar or two"


def test_more_segments_need_less_memory_than_none(backprop_peak: int) -> None:
    four, two = peak("checkpointed", 4), peak("checkpointed", 2)
    assert four < 0.7 * backprop_peak
    assert four < two < backprop_peak
    assert peak("checkpointed", 1) == pytest.approx(backprop_peak, rel=1e-3)


@pytest.mark.parametrize(("at", "share"), [("blocks", 0.5), ("sqrt", 0.8)])
def test_segments_of_stages_need_less_memory_than_none(
    at: str, share: float, backprop_peak: int
) -> None:
    """Ten stages: each alone, or three segments of which the largest holds the stem and three of
    the four-map blocks at full size."""
    assert peak("checkpointed", 1, at=at) < share * backprop_peak


def test_backprop_needs_at_least_its_activations(backprop_peak: int) -> None:
    network = models.build("resnet20", (3, 32, 32), 10)
    assert backprop_peak > 32 * sum(partition.activation_bytes(network))


def test_the_peak_of_known_allocations() -> None:
    mib = 2**18  # floats
    with memory.growth() as grown:
        a = torch.ones(3 * mib)
        b = torch.ones(2 * mib)
        del a
        c = torch.ones(mib)
        del b, c
        d = torch.ones(2 * mib)
    assert grown == memory.Peak(5 * 2**20, 5 * 2**20)
    del d


def test_what_an_operator_allocates_for_itself_is_workspace() -> None:
    """A product with a transposed batch copies it: the copy dies with the operator."""
    a = torch.rand(64, 256, 256).transpose(1, 2)
    with memory.growth() as grown:
        b = torch.tensordot(a, torch.rand(256, 8), 1)
    assert grown.live == b.nbytes + 256 * 8 * 4
    assert grown.whole == grown.live + a.nbytes


def test_the_batch_counts_and_the_data_set_does_not(tmp_path: Path) -> None:
    """What a run holds between steps, its batch, and the growth within a step."""
    trainer = trainer_of(Row(Case("greedy"), "mlp3x64").cell(), tmp_path)
    result = trainer.fit()
    batch = next(trainer.data.batches(1))
    given = batch.x.nbytes + batch.y.nbytes + batch.image.nbytes + batch.index.nbytes
    held = memory.live_bytes(trainer.held())
    assert trainer.memory.growth.live > given
    assert result.cost.peak_memory_bytes == held + trainer.memory.growth.live
    assert result.cost.data_bytes == 42 * (3 * 8 * 8 + 8) + 10 * (3 * 8 * 8 + 8)


def test_memory_from_before_does_not_count() -> None:
    a = torch.ones(4 * 2**18)
    with memory.growth() as grown:
        del a
        b = torch.ones(2**18)
    assert grown.live == grown.whole == 2**20
    del b


def test_distinct_storages_count_once() -> None:
    a = torch.zeros(10)
    assert memory.live_bytes([a, a[2:], a.view(2, 5), torch.zeros(3)]) == 52


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(3, 4)
    assert flops.parameters([layer, nn.Sequential(layer, nn.Linear(4, 1))]) == 16 + 5


def events(*rows: tuple[int, int, int, int]) -> list[memory.Event]:
    """Of address, bytes, operator and the allocator's sum, one a nanosecond."""
    return [memory.Event(n, *row) for n, row in enumerate(rows)]


def test_workspace_is_no_live_tensor_and_older_memory_does_not_count() -> None:
    found = memory.largest(
        events(
            (1, 10, 7, 110),  # 100 bytes were there before
            (2, 40, 7, 150),
            (2, -40, 7, 110),  # by the operator that took it: workspace
            (3, 5, 8, 115),
            (9, -60, -1, 55),  # of the 100
            (4, 20, -1, 75),
            (3, -5, 9, 70),  # by another operator: a tensor
        )
    )
    assert (found.live, found.whole) == (35, 50)


def test_a_release_that_no_event_tells_of_counts() -> None:
    """As happens in the backward passes of a GPU: the allocator's sum knows it."""
    found = memory.largest(events((1, 10, 1, 10), (2, 30, 2, 40), (3, 10, 3, 20), (2, 8, 4, 28)))
    assert (found.live, found.whole) == (40, 40)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["backprop", "checkpointed", "offloaded", "infopro"])
def test_the_growth_on_a_gpu_is_what_the_allocator_says(name: str) -> None:
    torch.manual_seed(0)
    task, k = Classification(5), 1 if name == "offloaded" else 3
    network = models.build("resnet8", (3, 32, 32), 5)
    trunk = cut(network, partition.even(len(network.stages), k), task)
    method = methods.build(name, trunk, {}).train().cuda()
    x, y = torch.rand(64, 3, 32, 32, device="cuda"), torch.arange(64, device="cuda") % 5
    batch = Batch(x, y, x, torch.arange(64, device="cuda"))

    def passes() -> None:
        for loss in method.losses(batch):
            loss.value.backward()

    peaks = []
    for _ in range(3):  # the first ones hold libraries' first allocations
        method.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        passes()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    method.zero_grad()
    with memory.growth("cuda") as grown:
        passes()
    assert grown.live < grown.whole == peaks[-1]
