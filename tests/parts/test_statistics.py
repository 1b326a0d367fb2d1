"""A forward pass that BatchNorm does not count is otherwise a pass in train mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from modulewise.parts.statistics import frozen_statistics

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def net(momentum: float | None = 0.1) -> nn.Sequential:
    """Both kinds of BatchNorm, at two depths, with statistics of one pass."""
    made = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum), nn.ReLU()),
        nn.Flatten(),
        nn.BatchNorm1d(16, momentum=momentum),
    )
    made(images(7))
    return made


def images(seed: int) -> Tensor:
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {n: b.clone() for n, b in module.named_buffers() if n.endswith(STATISTICS)}


def settings(module: nn.Module) -> list[float | None]:
    return [m.momentum for m in module.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving", "cumulative"])
def test_outputs_and_gradients_are_those_of_train_mode_and_no_statistic_moves(
    momentum: float | None,
) -> None:
    frozen = net(momentum)
    plain, before = copy.deepcopy(frozen), statistics(frozen)
    assert len(before) == 6
    expected = plain(images(1))
    with frozen_statistics(frozen):
        found = frozen(images(1))
    found.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(found, expected)
    for a, b in zip(frozen.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert equal(statistics(frozen), before)
    assert not equal(statistics(plain), before), "the comparison itself can fail"


@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving", "cumulative"])
def test_afterwards_passes_count_as_before(momentum: float | None) -> None:
    left, plain = net(momentum), net(momentum)
    plain.load_state_dict(left.state_dict())
    with frozen_statistics(left):
        left(images(1))
    for module in (left, plain):
        module(images(2))
    assert equal(statistics(left), statistics(plain))
    assert settings(left) == [momentum, momentum]


def test_an_error_inside_restores_everything() -> None:
    module = net()
    before = statistics(module)
    with pytest.raises(RuntimeError, match="inside"), frozen_statistics(module):
        raise RuntimeError("inside")
    assert equal(statistics(module), before)
    assert settings(module) == [0.1, 0.1]


def test_nested_contexts_end_one_by_one() -> None:
    module = net()
    before = statistics(module)
    with frozen_statistics(module):
        with frozen_statistics(module[0]):
            module(images(1))
        module(images(2))
    assert equal(statistics(module), before)
    module(images(3))
    assert not equal(statistics(module), before)


def test_in_eval_mode_nothing_changes() -> None:
    module = net().eval()
    expected = module(images(1))
    with frozen_statistics(module):
        assert torch.equal(module(images(1)), expected)
