"""A full InfoPro and ContSup step against plain autograd in float64, written here from the papers'
formulas.

The oracle shares nothing with the package but the initial weights: its convolutions, normalisation,
resizing, losses and contexts are its own, and it takes every module's weights in the order in which
they were declared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES, SIZE, TEMPERATURE = 3, 16, 0.07
Weights = Iterator[Tensor]


def build(method: str, k: int, **options: Any) -> Method:
    """The method on a ResNet-14 in float64, with BatchNorm and biases away from their start."""
    torch.manual_seed(0)
    network = models.build("resnet14", (3, SIZE, SIZE), CLASSES)
    trunk = cut(network, partition.even(len(network.stages), k), Classification(CLASSES))
    made = methods.build(method, trunk, {"feature_dim": 8, **options}).double().train()
    with torch.no_grad():
        for p in made.parameters():
            if p.dim() == 1:
                p.add_(0.2 * torch.randn_like(p))
    return made


def batch() -> Batch:
    """Six images; one class has a single one, an anchor without positives."""
    g = torch.Generator().manual_seed(1)
    image = torch.rand(6, 3, SIZE, SIZE, generator=g, dtype=torch.float64)
    return Batch((image - 0.45) / 0.25, torch.tensor([0, 1, 0, 2, 1, 0]), image, torch.arange(6))


# Layers.


def norm(x: Tensor, w: Weights) -> Tensor:
    """BatchNorm with the batch's own statistics."""
    gain, shift = next(w)[:, None, None], next(w)[:, None, None]
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift


def convolution(x: Tensor, w: Weights, stride: int = 1, bias: bool = False) -> Tensor:
    """Convolution with padding to the same size, by unfolding."""
    kernel = next(w)
    out, _, k, _ = kernel.shape
    size = (x.shape[2] - 1) // stride + 1
    columns = F.unfold(x, k, padding=k // 2, stride=stride)
    y = (kernel.reshape(out, -1) @ columns).reshape(len(x), out, size, size)
    return y + next(w)[:, None, None] if bias else y


def relu(x: Tensor) -> Tensor:
    return x * (x > 0)


def block(x: Tensor, w: Weights, channels: int) -> Tensor:
    """Post-activation basic block; a projection where channels change, at stride 2."""
    stride = 1 if x.shape[1] == channels else 2
    y = relu(norm(convolution(x, w, stride), w))
    y = norm(convolution(y, w), w)
    return relu(y + (x if stride == 1 else norm(convolution(x, w, stride), w)))


STAGES = (0, 16, 16, 32, 32, 64, 64)
"""Of ResNet-14: the stem, then the channels of every block."""


def module(h: Tensor, w: Weights, k: int, modules: int) -> Tensor:
    """Module k of the even cut: ceil(7 i / K) stages before cut i."""
    first, last = (math.ceil(len(STAGES) * i / modules) for i in (k, k + 1))
    for channels in STAGES[first:last]:
        h = block(h, w, channels) if channels else relu(norm(convolution(h, w), w))
    return h.mean((2, 3)) @ next(w).T + next(w) if k == modules - 1 else h


# Helpers.


def head(h: Tensor, w: Weights) -> Tensor:
    """1c2f: convolution, pooling, two fully connected layers."""
    h = relu(norm(convolution(h, w, 2 if h.shape[1] < 64 else 1), w)).mean((2, 3))
    h = relu(h @ next(w).T + next(w))
    return h @ next(w).T + next(w)


def resize(n: int) -> Tensor:
    """Matrix of linear interpolation from n points to SIZE, end points on end points."""
    out = torch.zeros(SIZE, n, dtype=torch.float64)
    for i in range(SIZE):
        at = i * (n - 1) / (SIZE - 1)
        low = min(int(at), n - 2)
        out[i, low], out[i, low + 1] = 1 - (at - low), at - low
    return out


def decoder(h: Tensor, w: Weights) -> Tensor:
    """Bilinear to the image's size, two convolutions, sigmoid."""
    m = resize(h.shape[2])
    h = torch.einsum("ip,bcpq,jq->bcij", m, h, m)
    h = relu(norm(convolution(h, w, bias=True), w))
    return 1 / (1 + torch.exp(-convolution(h, w, bias=True)))


def encoder(c: Tensor, w: Weights, size: int, image: bool) -> Tensor:
    """E-net for the image, Res-net for a module's input; pooled to the feature's size."""
    for _ in range(2 if image else 1):
        c = relu(norm(convolution(c, w, bias=True), w))
    f = c.shape[2] // size
    return c.reshape(*c.shape[:2], size, f, size, f).mean((3, 5))


# Losses.


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    p = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
    return -torch.stack([torch.log(p[i, int(c)]) for i, c in enumerate(y)]).mean()


def contrastive(z: Tensor, y: Tensor) -> Tensor:
    """Supervised contrastive loss, anchor by anchor."""
    z = z / torch.sqrt((z**2).sum(1, keepdim=True))
    total = z.new_zeros(())
    for i in range(len(y)):
        others = [a for a in range(len(y)) if a != i]
        denominator = sum(torch.exp(z[i] @ z[a] / TEMPERATURE) for a in others)
        same = [j for j in others if y[j] == y[i]]
        for j in same:
            total = total - torch.log(torch.exp(z[i] @ z[j] / TEMPERATURE) / denominator) / len(
                same
            )
    return total / len(y)


def reconstruction(made: Tensor, image: Tensor) -> Tensor:
    return -(image * torch.log(made) + (1 - image) * torch.log(1 - made)).mean()


def weight(ends: tuple[float, float], k: int, modules: int) -> float:
    return ends[0] if modules == 2 else ends[0] + (ends[1] - ends[0]) * k / (modules - 2)


def oracle(
    weights: dict[str, Weights],
    b: Batch,
    modules: int,
    mode: str,
    lambdas: tuple[tuple[float, float], ...] | None,
    context: str,
) -> Iterator[Tensor]:
    """The loss of every module; nothing but detached tensors crosses from one to the next."""
    last_n = int(context.strip("RE") or 0)
    inputs: list[Tensor] = []
    h = b.x
    for k in range(modules):
        h = h.detach()
        if k:
            sources = [(b.x, True)] if "E" in context else []
            if not (context == "R1E" and k == 1):
                sources += [(c, False) for c in reversed(inputs[-last_n:] if last_n else [])]
            for c, image in sources:
                h = h + encoder(c.detach(), weights[f"encoders/{k}"], h.shape[2], image)
        inputs.append(h)
        h = module(h, weights[f"trunk/{k}"], k, modules)
        if k == modules - 1:
            yield cross_entropy(h, b.y)
            return
        w = weights[f"objectives/{k}"]
        z = head(h, w)
        label = cross_entropy(z, b.y) if mode == "softmax" else contrastive(z, b.y)
        if lambdas is None:
            yield label
        else:
            made = decoder(h, w)
            yield (
                weight(lambdas[0], k, modules) * reconstruction(made, b.image)
                + weight(lambdas[1], k, modules) * label
            )


def compare(
    method: Method, lambdas: tuple[tuple[float, float], ...] | None, mode: str, context: str
) -> None:
    """Loss by loss: the value, and the gradient of every parameter of every group."""
    b, groups = batch(), method.groups()
    copies = {name: [p.detach().clone().requires_grad_() for p in g] for name, g in groups.items()}
    flat = [p for params in copies.values() for p in params]
    iterators = {name: iter(params) for name, params in copies.items()}
    expected = oracle(iterators, b, method.k, mode, lambdas, context)
    count = 0
    for k, (loss, value) in enumerate(zip(method.losses(b), expected, strict=True)):
        torch.testing.assert_close(loss.value, value, rtol=1e-9, atol=0)
        method.zero_grad(set_to_none=True)
        loss.value.backward()
        grads = dict(
            zip(map(id, flat), torch.autograd.grad(value, flat, allow_unused=True), strict=True)
        )
        for name, g in groups.items():
            mine = [p.grad for p in g]
            its = [grads[id(p)] for p in copies[name]]
            assert [m is None for m in mine] == [i is None for i in its], (
                f"{name} in the loss of module {k}"
            )
            assert all(i is not None for i in its) == (name.endswith(f"/{k}")), (
                "the oracle's own isolation"
            )
            scale = max((i.abs().max() for i in its if i is not None), default=torch.tensor(1.0))
            for m, i in zip(mine, its, strict=True):
                if m is not None and i is not None:
                    torch.testing.assert_close(m, i, rtol=1e-9, atol=1e-9 * float(scale))
                    count += 1
    assert count == len(flat)
    assert all(next(i, None) is None for i in iterators.values()), "the oracle used every weight"


LAMBDAS = ((5.0, 0.5), (0.25, 1.5))


@pytest.mark.parametrize("modules", [2, 3, 5])
@pytest.mark.parametrize("mode", ["softmax", "contrast"])
def test_infopro(mode: str, modules: int) -> None:
    method = build("infopro", modules, mode=mode, lambda1=LAMBDAS[0], lambda2=LAMBDAS[1])
    compare(method, LAMBDAS, mode, "R0")


@pytest.mark.parametrize("context", ["R0", "E", "R1", "R1E", "R2", "R4"])
@pytest.mark.parametrize(
    ("mode", "decoder"),
    [("softmax", False), ("contrast", False), ("softmax", True), ("contrast", True)],
)
def test_contsup(context: str, mode: str, decoder: bool) -> None:
    more = {"lambda1": LAMBDAS[0], "lambda2": LAMBDAS[1]} if decoder else {}
    method = build("contsup", 5, context=context, mode=mode, decoder=decoder, **more)
    compare(method, LAMBDAS if decoder else None, mode, context)


@pytest.mark.parametrize("context", ["E", "R1", "R1E", "R2"])
@pytest.mark.parametrize("modules", [2, 3, 4])
def test_contsup_of_fewer_modules(context: str, modules: int) -> None:
    compare(build("contsup", modules, context=context, mode="softmax"), None, "softmax", context)


def test_dgl_is_the_label_term_alone() -> None:
    method, b = build("dgl", 4), batch()
    weights = {name.replace("heads", "objectives"): iter(g) for name, g in method.groups().items()}
    for loss, value in zip(
        method.losses(b), oracle(weights, b, 4, "softmax", None, "R0"), strict=True
    ):
        torch.testing.assert_close(loss.value, value, rtol=1e-9, atol=0)


def test_an_encoder_learns_from_the_next_module_only_and_the_local_loss_does_not_see_it() -> None:
    method, b = build("contsup", 3, context="E", mode="softmax"), batch()
    values = []
    for k, loss in enumerate(method.losses(b)):
        method.zero_grad(set_to_none=True)
        loss.value.backward()
        values.append(loss.value.item())
        learning = [
            j
            for j, e in enumerate(method.encoders)
            if any(p.grad is not None for p in e.parameters())
        ]
        assert learning == ([k] if k else [])
    with torch.no_grad():
        for p in method.encoders[1].parameters():
            p.mul_(2.0)
    changed = [loss.value.item() for loss in method.losses(b)]
    assert changed[0] == values[0], "module 0's loss looks at h before context is added"
    assert changed[1] != values[1]


@pytest.mark.parametrize("context", ["E", "R1E", "R2"])
def test_context_stays_at_inference(context: str) -> None:
    """`predict` is the same forward pass: in train mode its cross-entropy is the last module's
    loss."""
    method, b = build("contsup", 4, context=context, mode="softmax"), batch()
    *_, last = method.losses(b)
    torch.testing.assert_close(
        cross_entropy(method.predict(b.x), b.y), last.value, rtol=1e-9, atol=0
    )
    with torch.no_grad():
        for p in method.encoders.parameters():
            p.zero_()
    assert not torch.allclose(cross_entropy(method.predict(b.x), b.y), last.value)
