"""Features replay against its equations, in double precision: old inputs, today's weights, and the
gradient that the next module made in the step before."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cases import CLASSES, Case, Row, a_batch
from modulewise.method import Batch, Method

K, LR = 3, 0.1
EPS = 1e-5
"""Of BatchNorm."""


def batches(n: int) -> list[Batch]:
    given = [a_batch(8 - seed % 2, seed) for seed in range(n)]
    return [replace(b, x=b.x.double(), image=b.image.double()) for b in given]


def layer(w: list[Tensor], x: Tensor) -> Tensor:
    """A layer of `mlp3x32` in train mode, and behind the last one the classifier."""
    weight, gamma, beta, *classifier = w
    z = x.flatten(1) @ weight.T
    z = (z - z.mean(0)) / (z.var(0, unbiased=False) + EPS).sqrt()
    h = (z * gamma + beta).relu()
    return h @ classifier[0].T + classifier[1] if classifier else h


def pulled_back(w: list[Tensor], x: Tensor, delta: Tensor) -> tuple[list[Tensor], Tensor]:
    """J_w^T delta and J_x^T delta of a layer at these weights and this input."""
    w, x = [p.clone().requires_grad_() for p in w], x.clone().requires_grad_()
    *of_weights, of_input = torch.autograd.grad(layer(w, x), [*w, x], delta)
    return of_weights, of_input


def error(scores: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy's gradient with respect to the scores."""
    return (scores.softmax(1) - F.one_hot(y, CLASSES)) / len(y)


def weights(method: Method) -> list[list[Tensor]]:
    return [[p.detach().clone() for p in m.parameters()] for m in method.trunk]


def test_six_steps_by_hand() -> None:
    """Gradients and, after plain descent, weights of all modules: batches of eight and of seven."""
    made = Row(Case("features_replay"), "mlp3x32").build().double().train()
    optimizer = torch.optim.SGD(made.parameters(), LR)
    start = w = weights(made)
    entered: list[list[Tensor]] = [[] for _ in range(K)]
    came_back: dict[int, Tensor] = {}
    for t, batch in enumerate(batches(6)):
        optimizer.zero_grad()
        for loss in made.losses(batch):
            loss.value.backward()
        h = batch.x
        for k in range(K):
            entered[k].append(h)
            h = layer(w[k], h)
        sent, gradients = dict[int, Tensor](), list[list[Tensor]]()
        for k in range(K):
            then = t - (K - 1 - k)
            if then < 0:
                gradients.append([torch.zeros_like(p) for p in w[k]])
                continue
            delta = error(h, batch.y) if k == K - 1 else came_back[k]
            g, sent[k - 1] = pulled_back(w[k], entered[k][then], delta)
            gradients.append(g)
        came_back = sent
        found = [[p.grad for p in m.parameters()] for m in made.trunk]
        torch.testing.assert_close(found, gradients, rtol=0, atol=1e-12)
        optimizer.step()
        w = [
            [p - LR * g for p, g in zip(own, gs, strict=True)]
            for own, gs in zip(w, gradients, strict=True)
        ]
        torch.testing.assert_close(weights(made), w, rtol=0, atol=1e-12)
    for own, first in zip(w, start, strict=True):
        assert not all(torch.allclose(a, b, atol=1e-3) for a, b in zip(own, first, strict=True))
