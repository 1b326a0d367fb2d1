"""The optimisers against updates written by hand, and stepping modules on their own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from cases import Case, Row, a_batch
from modulewise.config.training import TrainConfig
from modulewise.method import Method
from modulewise.optim import ModuleOptimizers

SGD = TrainConfig(lr=0.3, momentum=0.9, weight_decay=0.01, warmup_epochs=0)


class Pair(Method):
    """Two groups of one parameter each."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.trunk = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.a = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor([[0.5]], dtype=torch.float64))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"a/0": [self.a], "b/1": [self.b]}


def gradient(p: Tensor, t: int) -> Tensor:
    """A gradient that depends on the weights and on time."""
    return torch.sin(3 * p.detach()) + 0.1 * t


def nesterov(p: Tensor, rates: list[float], decay: float, momentum: float = 0.9) -> Tensor:
    """SGD with Nesterov momentum as its definition goes: v <- m v + g, p <- p - r (g + m v)."""
    p, v = p.clone(), torch.zeros_like(p)
    for t, rate in enumerate(rates):
        g = gradient(p, t) + decay * p
        v = momentum * v + g
        p = p - rate * (g + momentum * v)
    return p


def test_sgd_with_nesterov_momentum() -> None:
    pair = Pair()
    rates = [0.3, 0.2, 0.1, 0.05]
    expected = [
        nesterov(pair.a.detach(), rates, 0.01),
        nesterov(pair.b.detach(), rates, 0.01),
    ]
    optimiser = ModuleOptimizers(pair, SGD)
    for t, rate in enumerate(rates):
        optimiser.set_lr(rate)
        for p in (pair.a, pair.b):
            p.grad = gradient(p, t)
        optimiser.step()
    for p, e in zip((pair.a, pair.b), expected, strict=True):
        torch.testing.assert_close(p.detach(), e, rtol=1e-13, atol=1e-15)


def test_adamw() -> None:
    pair = Pair()
    p = pair.a.detach().clone()
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    optimiser = ModuleOptimizers(
        pair, TrainConfig(optimizer="adamw", lr=0.01, weight_decay=0.1, warmup_epochs=0)
    )
    for t in range(4):
        optimiser.set_lr(0.01)
        pair.a.grad = gradient(pair.a, t)
        optimiser.step()
        g = gradient(p, t)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p * (1 - 0.01 * 0.1)
        p = p - 0.01 * (m / (1 - 0.9 ** (t + 1))) / (torch.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        torch.testing.assert_close(pair.a.detach(), p, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_takes_weight_decay_as_part_of_the_gradient(decay: float) -> None:
    pair = Pair()
    p = pair.a.detach().clone()
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    optimiser = ModuleOptimizers(
        pair, TrainConfig(optimizer="adam", lr=0.01, weight_decay=decay, warmup_epochs=0)
    )
    for t in range(4):
        pair.a.grad = gradient(pair.a, t)
        optimiser.step()
        g = gradient(p, t) + decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - 0.01 * (m / (1 - 0.9 ** (t + 1))) / (torch.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        torch.testing.assert_close(pair.a.detach(), p, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_stepping_a_module_is_a_separate_optimiser_on_it(kind: str) -> None:
    training = SGD.model_copy(update={"optimizer": kind})
    pair, alone = Pair(), Pair()
    separate: torch.optim.Optimizer
    if kind == "sgd":
        separate = torch.optim.SGD([alone.a], 0.3, 0.9, 0, 0.01, True)
    else:
        separate = torch.optim.AdamW([alone.a], 0.3, weight_decay=0.01)
    optimiser = ModuleOptimizers(pair, training)
    for t in range(4):
        pair.a.grad, pair.b.grad = gradient(pair.a, t), gradient(pair.b, t)
        kept = pair.b.grad.clone()
        optimiser.step(0)
        optimiser.zero_grad(0)
        assert pair.a.grad is None
        assert torch.equal(pair.b.grad, kept), "the others wait"
        assert torch.equal(pair.b.detach(), Pair().b.detach())
        alone.a.grad = gradient(alone.a, t)
        separate.step()
        assert torch.equal(pair.a, alone.a)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_all_modules_at_once_are_the_modules_one_by_one(kind: str) -> None:
    training = SGD.model_copy(update={"optimizer": kind})
    fused, parts = Pair(), Pair()
    together, apart = ModuleOptimizers(fused, training), ModuleOptimizers(parts, training)
    for t in range(4):
        for pair in (fused, parts):
            for p in (pair.a, pair.b):
                p.grad = gradient(p, t)
        together.step()
        apart.step(1)
        apart.step(0)
    assert torch.equal(fused.a, parts.a)
    assert torch.equal(fused.b, parts.b)


def test_stepping_after_each_backward_is_stepping_once_at_the_end() -> None:
    """The modules are isolated: when each one steps makes no difference, bit for bit."""
    row = Row(Case("infopro", {"mode": "softmax", "feature_dim": 8}), "resnet8")
    late = row.build().train()
    early = copy.deepcopy(late)
    ends, each = ModuleOptimizers(late, SGD), ModuleOptimizers(early, SGD)
    for seed in range(2):
        batch = a_batch(seed=seed)
        ends.zero_grad()
        each.zero_grad()
        for loss in late.losses(batch):
            loss.value.backward()
        ends.step()
        for k, loss in enumerate(early.losses(batch)):
            loss.value.backward()
            each.step(k)
    assert all(
        torch.equal(a, b) for a, b in zip(late.parameters(), early.parameters(), strict=True)
    )


def test_a_parameter_without_gradient_stays() -> None:
    """No weight decay on what had no loss: frozen modules rely on it."""
    pair = Pair()
    optimiser = ModuleOptimizers(pair, SGD)
    pair.b.grad = torch.ones_like(pair.b)
    optimiser.step()
    optimiser.zero_grad()
    optimiser.step()
    assert torch.equal(pair.a.detach(), Pair().a.detach())
    assert not torch.equal(pair.b.detach(), Pair().b.detach())


def test_rates_are_set_for_all_modules_or_for_one() -> None:
    optimiser = ModuleOptimizers(Pair(), SGD)
    optimiser.set_lr(0.2)
    optimiser.set_lr(0.1, 1)
    assert [one.param_groups[0]["lr"] for one in optimiser.inner.values()] == [0.2, 0.1]


def test_only_modules_that_learn_have_an_optimiser() -> None:
    pair = Pair()
    optimiser = ModuleOptimizers(pair, SGD, [1])
    pair.a.grad, pair.b.grad = torch.ones_like(pair.a), torch.ones_like(pair.b)
    optimiser.step()
    assert torch.equal(pair.a.detach(), Pair().a.detach())
    assert not torch.equal(pair.b.detach(), Pair().b.detach())
    assert optimiser.state_dict().keys() == {1}


def test_a_group_of_no_module_is_refused() -> None:
    pair = Pair()
    pair.groups = lambda: {"a/0": [pair.a], "b/7": [pair.b]}  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="b/7 is a group of no module"):
        ModuleOptimizers(pair, SGD)
