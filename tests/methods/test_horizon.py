"""The gradient horizon against autograd: a loss reaches back through h modules, discounted at every
cut."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from modulewise import methods, models
from modulewise.config.training import TrainConfig
from modulewise.engine import flops, memory
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import backward
from modulewise.schedules.joint import Joint
from modulewise.tasks.classification import Classification

CLASSES, IMAGE = 5, (3, 8, 8)


def build(name: str, k: int, network: str = "mlp6x8", **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, IMAGE, CLASSES)
    return methods.build(
        name, cut(net, partition.even(len(net.stages), k), Classification(CLASSES)), options
    ).train()


def batch(size: int = 12, dtype: torch.dtype = torch.float64) -> Batch:
    x = torch.randn(size, *IMAGE, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(size) % CLASSES, x, torch.arange(size))


def gradients(method: Method, given: Batch) -> dict[str, Tensor]:
    for loss in method.losses(given):
        loss.value.backward()
    return {name: p.grad for name, p in method.named_parameters()}


def reference(method: Method, given: Batch, reach: int, discount: float) -> dict[str, Tensor]:
    """One plain graph per loss, its input cut off h modules back; every parameter's gradients
    weighted by the cuts between."""
    for m in method.modules():
        m.momentum = (
            0.0 if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) else None
        )  # running figures stay
    names = dict(method.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in names.items()}
    for k in range(method.k):
        h = given.x
        for j in range(k + 1):
            h = method.trunk[j](h.detach() if j <= k - reach + 1 else h)
        scores = h if k == method.k - 1 else method.heads[k](h)
        found = torch.autograd.grad(
            F.cross_entropy(scores, given.y), list(names.values()), allow_unused=True
        )
        for name, g in zip(names, found, strict=True):
            if g is not None:
                total[name] += g * discount ** (k - int(name.split(".")[1]))
    return total


@pytest.mark.parametrize("discount", [1.0, 0.999, 0.5, 0.0])
@pytest.mark.parametrize("reach", [1, 2, 3, 4, 5, 6, 9])
def test_gradients_in_float64(reach: int, discount: float) -> None:
    made = build("horizon", 6, reach=reach, discount=discount).double()
    found = gradients(made, batch())
    expected = reference(made, batch(), reach, discount)
    for name, g in expected.items():
        torch.testing.assert_close(
            found[name], g, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert all(g.abs().max() > 0 for g in expected.values())


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_gradients_of_a_resnet_in_float64(reach: int) -> None:
    made = build("horizon", 4, "resnet8", reach=reach, head="0c1f").double()
    expected = reference(made, batch(), reach, 1.0)
    for name, g in gradients(made, batch()).items():
        torch.testing.assert_close(g, expected[name], rtol=1e-8, atol=1e-11)


def weights_after(method: Method, precision: object = nullcontext) -> dict[str, Tensor]:
    joint = Joint(TrainConfig(), method.k, 1, 0)
    joint.begin(method, 0, 1)
    optimiser = ModuleOptimizers(method, TrainConfig(lr=0.1, warmup_epochs=0))
    for _ in range(3):
        joint.step(method, batch(dtype=torch.float32), optimiser, precision)  # type: ignore[arg-type]
    return method.state_dict()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("head", ["1c2f", "0c2f", "mlp-sr"])
def test_a_horizon_of_one_is_dgl_bit_for_bit(head: str, bf16: bool) -> None:
    def precision() -> object:
        return torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    mine = weights_after(build("horizon", 4, "resnet8", reach=1, head=head), precision)
    its = weights_after(build("dgl", 4, "resnet8", head=head), precision)
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in its)


def test_a_horizon_of_k_is_the_sum_of_all_losses_at_once() -> None:
    made = build("horizon", 3, reach=3).double()
    found = gradients(made, batch())
    h, total = batch().x, 0
    for k in range(3):
        h = made.trunk[k](h)
        total = total + F.cross_entropy(h if k == 2 else made.heads[k](h), batch().y)
    expected = torch.autograd.grad(total, list(made.parameters()))
    for g, e in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(g, e, rtol=1e-9, atol=1e-12)


class InFloat(torch.nn.Module):
    """A layer that its network keeps in fp32."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return self.layer(x.float())


def test_passes_back_are_no_part_of_autocast() -> None:
    """A layer in fp32 has its gradients in fp32, as in one backward pass over the sum of all
    losses."""
    given = batch(dtype=torch.float32)
    made, its = (build("horizon", 3, reach=3) for _ in range(2))
    for method in (made, its):
        method.trunk[1] = torch.nn.Sequential(*map(InFloat, method.trunk[1]))
    losses, autocast = made.losses(given), torch.autocast("cpu", torch.bfloat16)
    for _ in range(3):
        with autocast:
            loss = next(losses)
        loss.value.backward()
    with autocast:
        h, total = given.x, 0
        for k in range(3):
            h = its.trunk[k](h)
            total = total + F.cross_entropy(h if k == 2 else its.heads[k](h), given.y)
    total.backward()  # type: ignore[attr-defined]
    for p, q in zip(made.parameters(), its.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_values_are_those_of_the_local_losses(reach: int) -> None:
    mine, its = (
        backward(made.double().losses(batch()), nullcontext)[0]
        for made in (build("horizon", 4, reach=reach), build("dgl", 4))
    )
    assert {k: v.item() for k, v in mine.items()} == {k: v.item() for k, v in its.items()}


def test_memory_grows_with_the_horizon_and_not_with_the_modules() -> None:
    def peak(k: int, reach: int) -> int:
        method = build("horizon", k, "mlp24x64", reach=reach, head="0c2f", feature_dim=4)
        given = batch(512, torch.float32)
        optimiser = ModuleOptimizers(method, TrainConfig(lr=0.1))
        joint = Joint(TrainConfig(), method.k, 1, 0)
        joint.begin(method, 0, 1)
        joint.step(method, given, optimiser, nullcontext)
        optimiser.zero_grad()
        with memory.growth() as grown:
            joint.step(method, given, optimiser, nullcontext)
        return grown.live

    local, two, all_ = peak(8, 1), peak(8, 2), peak(8, 8)
    assert local < two < 0.6 * all_


def test_operations_of_the_passes_back_are_counted() -> None:
    """mlp4x8, K = 4, counted by hand in matrix products of one image; the gradient passes the
    second layer's weights on its way back."""

    def helpers(reach: int) -> float:
        return flops.flops(
            build("horizon", 4, "mlp4x8", reach=reach, head="0c2f", feature_dim=8), IMAGE, 4
        ).helpers

    square, first, classifier = 2 * 8 * 8, 2 * 8 * 8, 2 * 8 * CLASSES
    local = helpers(1)
    assert local == 3 * 3 * (first + classifier)
    # Losses 1 and 2 pass through head and layer, loss 3 through the classifier, which is the
    # trunk's own, and layer; then every layer but the first gives the gradient of its input once
    # more, with that of its weights.
    passes = 2 * (first + classifier + square) + (classifier + square)
    assert helpers(2) - local == passes + 3 * square
    # With h = K the one pass back that learns also carries: the gradients of three inputs, and of
    # the local heads' as before.
    assert helpers(4) - local == 3 * square


def test_a_full_horizon_costs_what_end_to_end_training_under_all_heads_costs() -> None:
    """Counted over one graph of all losses."""
    given = batch(4, torch.float32)
    made = build("horizon", 4, "resnet8", reach=4, head="0c1f")
    counted = flops.flops(made, IMAGE, 4)
    with FlopCounterMode(display=False) as counter:
        h, total = given.x, torch.zeros(())
        for k in range(4):
            h = made.trunk[k](h)
            total = total + F.cross_entropy(h if k == 3 else made.heads[k](h), given.y)
        total.backward()  # type: ignore[no-untyped-call]
    assert (counted.trunk + counted.helpers) * 4 == counter.get_total_flops()
