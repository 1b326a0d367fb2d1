"""Gradient checkpointing is backpropagation: equal gradients, statistics and random numbers, for
one more forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from modulewise import methods, models
from modulewise.engine import flops
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.tasks.classification import Classification

TASK = Classification(5)
ARMS = [("cuts", 1), ("cuts", 2), ("cuts", 4), ("blocks", 1), ("sqrt", 1)]
arms = pytest.mark.parametrize(("at", "k"), ARMS)


def dropout_net() -> Network:
    """Stages that draw random numbers."""
    stages = [
        (
            str(i),
            nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3)),
        )
        for i in range(6)
    ]
    return Network(stages, nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)), (3, 8, 8))


NETS = {
    "resnet14": lambda: models.build("resnet14", (3, 8, 8), 5),
    "densenet16-3": lambda: models.build("densenet16-3", (3, 8, 8), 5),
    "dropout": dropout_net,
}


def made(name: str, method: str, k: int = 1, **options: str) -> Method:
    torch.manual_seed(0)
    network = NETS[name]()
    return (
        methods.build(method, cut(network, partition.even(len(network.stages), k), TASK), options)
        .double()
        .train()
    )


def stepped(method: Method) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """Gradients in the order of the stages, state by place, and the random state after two forward
    and backward passes."""
    torch.manual_seed(1)
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    y = torch.arange(6) % 5
    for _ in range(2):
        for loss in method.losses(Batch(x, y, x, y)):
            loss.value.backward()
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    return gradients, dict(enumerate(method.buffers())), torch.get_rng_state()  # type: ignore[arg-type]


@arms
@pytest.mark.parametrize("name", NETS)
def test_gradients_statistics_and_random_numbers_are_those_of_backpropagation(
    name: str, at: str, k: int
) -> None:
    mine, its = stepped(made(name, "checkpointed", k, at=at)), stepped(made(name, "backprop"))
    for ours, theirs in zip(mine[0], its[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert mine[1].keys() == its[1].keys()
    assert all(torch.equal(mine[1][n], its[1][n]) for n in its[1])
    assert torch.equal(mine[2], its[2])


@arms
def test_normalisations_keep_their_settings(at: str, k: int) -> None:
    method = made("resnet14", "checkpointed", k, at=at)
    stepped(method)
    norms = [m for m in method.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {0.1}
    assert all(m.track_running_stats and m.training and m.num_batches_tracked == 2 for m in norms)


@pytest.mark.parametrize(
    ("at", "k", "sizes"),
    [("cuts", 4, [2, 2, 2, 2]), ("blocks", 1, [1] * 6 + [2]), ("sqrt", 1, [3, 2, 3])],
)
def test_segments(at: str, k: int, sizes: list[int]) -> None:
    """ResNet-14 has seven stages and a head, which goes with the last segment."""
    segments = made("resnet14", "checkpointed", k, at=at).segments()  # type: ignore[operator]
    assert [len(s) for s in segments] == sizes
    held = [id(p) for s in segments for p in s.parameters()]
    assert len(held) == len(set(held)) == sum(1 for _ in made("resnet14", "backprop").parameters())


@pytest.mark.parametrize("at", ["blocks", "sqrt"])
def test_segments_of_stages_need_no_cuts(at: str) -> None:
    with pytest.raises(
        InvalidInput, match=f"checkpoints at {at} need no cuts; valid modules: 1, got 2"
    ):
        made("resnet14", "checkpointed", 2, at=at)


BLOCK = 2 * 9 * 16 * 16 * 64
"""Multiply-accumulates of a block of ResNet-14's first stage on 8x8 pixels; the later stages'
others have the same."""
STEM = 9 * 3 * 16 * 64
FIRST = 9 * 16 * 32 * 16 + 9 * 32 * 32 * 16 + 16 * 32 * 16
"""Of the first block of the second stage, the projection included; of the third stage's
likewise."""


@pytest.mark.parametrize(
    ("at", "k", "again"),
    [
        ("blocks", 1, STEM + 3 * BLOCK + 2 * FIRST),
        ("sqrt", 1, STEM + 3 * BLOCK + FIRST),
        ("cuts", 1, 0),
    ],
)
def test_what_is_computed_again_is_all_but_the_last_segment(at: str, k: int, again: int) -> None:
    """Counted as the helpers' operations, two a multiply-accumulate."""
    assert (
        flops.flops(made("resnet14", "checkpointed", k, at=at), (3, 8, 8), 4).helpers == 2 * again
    )


def test_checkpoints_at_cuts_compute_again_and_pass_gradients_back() -> None:
    """Beside the second pass, what isolated modules do not compute: the gradient of what enters the
    second one, through block 2.1."""
    assert partition.even(7, 2) == [4]
    again, into_the_second = STEM + 2 * BLOCK + FIRST, BLOCK // 2
    assert flops.flops(made("resnet14", "checkpointed", 2), (3, 8, 8), 4).helpers == 2 * (
        again + into_the_second
    )


@pytest.mark.slow
@pytest.mark.parametrize(("at", "percent"), [("blocks", 32.7), ("sqrt", 29.0)])
def test_overhead_on_resnet_110(at: str, percent: float) -> None:
    """InfoPro's table 3 prints 32.8 % for gradient checkpointing, as every block comes to but for
    the rounding."""
    network = models.build("resnet110", (3, 32, 32), 10)
    f = flops.flops(
        methods.build("checkpointed", cut(network, [], Classification(10)), {"at": at}),
        network.image,
        2,
    )
    assert 100 * f.helpers / f.trunk == pytest.approx(percent, abs=0.05)
