"""Synthetic gradients: one step by hand, what perfect predictions give, and what synthesisers learn
on fixed weights. In double precision, for three modules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cases import CLASSES, Case, Row, a_batch
from modulewise import methods, models
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

NETWORKS = pytest.mark.parametrize("network", ["mlp3x32", "resnet8"])
CONTEXTS = pytest.mark.parametrize("context", ["none", "label"])
SMALL = {"channels": 8, "units": 64}


def made(network: str = "mlp3x32", **options: object) -> Method:
    return Row(Case("dni", SMALL | options), network).build().double().train()


def batch() -> Batch:
    b = a_batch()
    return Batch(b.x.double(), b.y, b.image.double(), b.index, b.view)


def step(method: Method, b: Batch) -> None:
    """Its gradients are left."""
    method.zero_grad()
    for loss in method.losses(b):
        loss.value.backward()


def of_backprop(method: Method, b: Batch) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Gradients of the whole net's loss: of what leaves every module but the last, and of the
    trunk's parameters."""
    trunk = copy.deepcopy(method.trunk)
    trunk.zero_grad()
    features, h = list[Tensor](), b.x
    for module in trunk:
        h = module(h)
        h.retain_grad()
        features.append(h)
    F.cross_entropy(h, b.y).backward()
    return (
        [f.grad for f in features[:-1] if f.grad is not None],
        {name: p.grad for name, p in trunk.named_parameters() if p.grad is not None},
    )


class Oracle(nn.Module):
    """Gives what it was given at first, whatever the feature."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        return self.answer


@NETWORKS
def test_with_perfect_predictions_the_trunk_learns_by_backpropagation(network: str) -> None:
    """And their synthesisers have nothing to learn: the gradients that come back are theirs."""
    method, b = made(network), batch()
    slopes, expected = of_backprop(method, b)
    method.synthesisers = nn.ModuleList(Oracle(len(b.x) * slope) for slope in slopes)
    step(method, b)
    for name, p in method.trunk.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-9, atol=1e-13)
    for oracle in method.synthesisers:
        assert oracle.answer.grad.abs().max() < 1e-12 < oracle.answer.abs().max()


@NETWORKS
@CONTEXTS
def test_gradients_of_a_step_by_hand(network: str, context: str) -> None:
    """Of the fourth, when feedback has reached every module."""
    method, b = made(network, context=context), batch()
    optimizer = torch.optim.SGD(method.parameters(), 0.05)
    for _ in range(3):
        step(method, b)
        optimizer.step()
    before = copy.deepcopy(method)
    step(method, b)
    images, features = len(b.x), [b.x]
    for module in before.trunk:
        features.append(module(features[-1].detach().requires_grad_()))
    h0, h1, scores = features[1:]
    error = (scores.softmax(1) - F.one_hot(b.y, CLASSES)).detach() / images
    s0, s1 = (s(h.detach(), b.y) for s, h in zip(before.synthesisers, (h0, h1), strict=True))
    carried = [s0.detach() / images, s1.detach() / images, error]
    assert all(c.abs().max() > 0 for c in carried)
    slopes = []
    for k, h in enumerate((h0, h1, scores)):
        check(before.trunk[k], h, carried[k], method.trunk[k])
        if k > 0:
            x = features[k].detach().requires_grad_()
            again = copy.deepcopy(before.trunk[k])(x)
            slopes += torch.autograd.grad(again, x, carried[k])
    for k, s in enumerate((s0, s1)):
        off = 2 * (s.detach() - images * slopes[k]) / s.numel()
        check(before.synthesisers[k], s, off, method.synthesisers[k])


def check(part: nn.Module, output: Tensor, gradient: Tensor, found: nn.Module) -> None:
    """`found` has the gradients of the parameters of `part` when `output` gets this one."""
    expected = torch.autograd.grad(output, list(part.parameters()), gradient, retain_graph=True)
    for e, p in zip(expected, found.parameters(), strict=True):
        torch.testing.assert_close(p.grad, e)


@pytest.mark.parametrize("layers", [0, 1, 2])
@CONTEXTS
@NETWORKS
def test_a_synthesiser_by_hand(network: str, context: str, layers: int) -> None:
    """Its prediction is zero at first; with other weights it is convolutions 5x5, or matrices, of
    the published plan."""
    method, b = made(network, context=context, layers=layers), batch()
    synthesiser, h = method.synthesisers[0], method.trunk[0](b.x).detach()
    assert torch.equal(synthesiser(h, b.y), torch.zeros_like(h))
    with torch.no_grad():
        for p in synthesiser.parameters():
            p.copy_(torch.randn_like(p))
    weights = [p.detach() for p in synthesiser.parameters()]

    def apply(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, padding=2) if x.dim() == 4 else x @ w.T

    def wide(v: Tensor) -> Tensor:
        return v.view(*v.shape, *[1] * (h.dim() - 2))

    z = apply(h, weights.pop(0))
    if layers == 0:
        z = z + wide(weights.pop(0)[None])
    if context == "label":
        z = z + wide(weights.pop(0).T[b.y])
    for i in range(layers):
        sides = [d for d in range(h.dim()) if d != 1]
        mean, var = z.mean(sides, keepdim=True), z.var(sides, correction=0, keepdim=True)
        gain, shift, w = (weights.pop(0) for _ in range(3))
        z = apply(((z - mean) / (var + 1e-5).sqrt() * wide(gain) + wide(shift)).relu(), w)
        z = z + wide(weights.pop(0)[None]) if i == layers - 1 else z
    assert not weights
    torch.testing.assert_close(synthesiser(h, b.y), z, rtol=1e-9, atol=1e-9)


def test_published_sizes() -> None:
    """128 channels for maps, 1,024 units for vectors."""
    for network, width in (("resnet8", 128), ("mlp3x32", 1024)):
        made_by_default = Row(Case("dni"), network).build()
        shapes = [p.shape[0] for p in made_by_default.synthesisers[0].parameters() if p.dim() > 1]
        assert shapes == [width, width, made_by_default.synthesisers[0].rest[-1].bias.shape[0]]


@CONTEXTS
def test_predictions_come_to_be_backprops_gradients(context: str) -> None:
    """On fixed weights and one batch: errors fall towards zero, that of module 0 by what module 1's
    synthesiser has learnt."""
    method, b = made(context=context), batch()
    slopes, _ = of_backprop(method, b)
    optimizer = torch.optim.Adam(method.synthesisers.parameters(), 3e-3)

    def state() -> list[tuple[float, float]]:
        """Of each module: relative error and cosine."""
        with torch.no_grad():
            h, found = b.x, []
            for k, slope in enumerate(slopes):
                h = copy.deepcopy(method.trunk[k])(h)
                guess = method.synthesisers[k](h, b.y) / len(h)
                cosine = F.cosine_similarity(guess.flatten(), slope.flatten(), dim=0)
                found.append((float((guess - slope).norm() / slope.norm()), float(cosine)))
            return found

    assert state() == [(1, 0), (1, 0)]
    trail = []
    for n in range(200):
        step(method, b)
        optimizer.step()
        if n in (0, 20, 199):
            trail.append(state())
    for k in range(2):
        errors, cosines = zip(*(found[k] for found in trail), strict=True)
        assert errors[2] < 0.05 and errors[2] < errors[1] < errors[0] + 0.2
        assert cosines[2] > 0.998 and cosines[2] > cosines[1]
    assert trail[0][0] == (1, 0), "after one step module 0 has heard nothing"
    assert trail[0][1][1] > 0


def test_only_synthesisers_with_the_labels_as_context_read_them() -> None:
    b = batch()
    other = Batch(b.x, (b.y + 1) % CLASSES, b.image, b.index, b.view)
    for context in ("none", "label"):
        method = made(context=context)
        optimizer = torch.optim.SGD(method.parameters(), 0.05)
        for _ in range(3):
            step(method, b)
            optimizer.step()
        again = copy.deepcopy(method)
        step(method, b)
        step(again, other)
        pairs = zip(method.trunk[0].parameters(), again.trunk[0].parameters(), strict=True)
        same = [torch.equal(p.grad, q.grad) for p, q in pairs]
        assert all(same) if context == "none" else not any(same)


def test_without_one_label_per_image_there_is_no_label_context() -> None:
    class Maps(Classification):
        def placeholder(self, n: int, image: tuple[int, ...], device: Any) -> Tensor:
            return torch.zeros(n, *image[1:], dtype=torch.long, device=device)

    trunk = cut(models.build("mlp2x8", (1, 4, 4), 2), [1], Maps(2))
    assert methods.build("dni", trunk, {}).k == 2
    with pytest.raises(InvalidInput, match="context label needs one class label per image"):
        methods.build("dni", trunk, {"context": "label"})
