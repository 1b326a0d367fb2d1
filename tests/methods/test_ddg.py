"""DDG against its equations, in double precision: every gradient is one of backpropagation through
the whole net, with the images and the weights of earlier steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from cases import Case, Row, a_batch, images, same, snapshot
from modulewise.engine.build import build
from modulewise.method import Batch, Method

K, LR, MOMENTUM = 3, 0.1, 0.9
Weights = list[dict[str, Tensor]]
"""Of every module, by name."""


def batches(n: int) -> list[Batch]:
    given = [a_batch(8 - seed % 2, seed) for seed in range(n)]
    return [replace(b, x=b.x.double(), image=b.image.double()) for b in given]


def weights(method: Method) -> Weights:
    return [{name: p.detach().clone() for name, p in m.named_parameters()} for m in method.trunk]


def backprop(method: Method, at: Weights, batch: Batch) -> Weights:
    """Gradients of the whole net with these weights; running statistics do not matter."""
    leaves = [{name: w.clone().requires_grad_() for name, w in own.items()} for own in at]
    h = batch.x
    for module, own in zip(method.trunk, leaves, strict=True):
        h = functional_call(module, own, (h,))
    F.cross_entropy(h, batch.y).backward()
    return [{name: w.grad for name, w in own.items()} for own in leaves]


def test_six_steps_by_hand() -> None:
    """SGD with momentum: w_k <- w_k - lr v_k, v_k <- 0.9 v_k + g_k, g_k that of K - 1 - k steps
    before."""
    made, plain = (Row(Case("ddg"), "mlp3x32").build().double().train() for _ in range(2))
    optimizer = torch.optim.SGD(made.parameters(), LR, MOMENTUM)
    given, past = batches(6), [weights(made)]
    velocity = [{name: torch.zeros_like(w) for name, w in own.items()} for own in past[0]]
    for t, batch in enumerate(given):
        optimizer.zero_grad()
        for loss in made.losses(batch):
            loss.value.backward()
        optimizer.step()
        now = [dict(own) for own in past[-1]]
        for k in range(K):
            then = t - (K - 1 - k)
            if then < 0:
                continue
            g = backprop(plain, past[then], given[then])[k]
            for name in now[k]:
                velocity[k][name] = MOMENTUM * velocity[k][name] + g[name]
                now[k][name] = now[k][name] - LR * velocity[k][name]
        past.append(now)
        torch.testing.assert_close(weights(made), now, rtol=0, atol=1e-12)
    for k in range(K):
        moved = [not torch.allclose(past[-1][k][n], w, atol=1e-3) for n, w in past[0][k].items()]
        assert any(moved)


def test_a_step_leaves_weights_where_they_are_and_keeps_its_copies() -> None:
    """Old weights take the place of new ones for a backward pass alone, also of one that fails."""
    method = Row(Case("ddg"), "mlp3x32").build().double().train()
    optimizer = torch.optim.SGD(method.parameters(), LR)
    for batch in batches(3):
        optimizer.zero_grad()
        for loss in method.losses(batch):
            loss.value.backward()
        optimizer.step()
    before, places = weights(method), [p.data_ptr() for p in method.parameters()]
    losses = method.losses(batches(4)[-1])
    next(losses)
    assert not all(map(torch.equal, method.trunk[0].parameters(), before[0].values()))
    losses.close()
    torch.testing.assert_close(weights(method), before, rtol=0, atol=0)
    assert [p.data_ptr() for p in method.parameters()] == places


@pytest.mark.parametrize("recompute", ["stages", "norms"])
def test_what_is_computed_again_has_the_old_weights_too(recompute: str) -> None:
    """Blocks that recompute do so within the backward pass, when weights have moved on."""
    states = []
    for kind in ("none", recompute):
        row = Row(Case("ddg"), "resnet8")
        method = made_with(row, kind)
        optimizer = torch.optim.SGD(method.parameters(), LR)
        for batch in batches(5):
            optimizer.zero_grad()
            for loss in method.losses(batch):
                loss.value.backward()
            optimizer.step()
        states.append(snapshot(method))
    assert same(*states)


def made_with(row: Row, recompute: str) -> Method:
    loaded = images()
    return build(row.cell(recompute=recompute), loaded.image, loaded.task)[0].double().train()
