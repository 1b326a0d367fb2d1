"""TRGL's penalty by hand: what stages add, squared, averaged, summed, divided by two tau."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from modulewise import methods, models
from modulewise.config.resolve import Catalog
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5


def build(
    network: str, k: int, image: tuple[int, int, int] = (3, 8, 8), **options: object
) -> Method:
    torch.manual_seed(0)
    net = models.build(network, image, CLASSES)
    return (
        methods.build(
            "trgl",
            cut(net, partition.even(len(net.stages), k), Classification(CLASSES)),
            dict(options),
        )
        .double()
        .train()
    )


def batch(image: tuple[int, int, int] = (3, 8, 8)) -> Batch:
    x = torch.randn(6, *image, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(6) % CLASSES, x, torch.arange(6))


def block_by_hand(block: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a ResNet's block adds, and its output."""
    y = block.bn1(block.conv1(x)).relu()
    added = block.bn2(block.conv2(y))
    return added, (added + block.shortcut(x)).relu()


def same_with_gradients(made: Method, value: torch.Tensor, expected: torch.Tensor) -> None:
    """Two losses agree, and what they ask of every parameter."""
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    mine, its = (
        torch.autograd.grad(loss, list(made.parameters()), allow_unused=True)
        for loss in (value, expected)
    )
    assert [g is None for g in mine] == [g is None for g in its]
    for a, b in ((a, b) for a, b in zip(mine, its, strict=True) if a is not None):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_loss_of_a_resnet_by_hand() -> None:
    """ResNet-14, three modules: stem and blocks; tau is halved in the first of them."""
    made, given = build("resnet14", 3, tau=0.25), batch()
    losses = {loss.name: loss.value for loss in made.losses(given)}
    x = given.x
    for k, tau in enumerate((0.125, 0.25, 0.25)):
        energy = torch.zeros((), dtype=torch.float64)
        parts = list(made.trunk[k])
        if k == 0:
            x = parts.pop(0)(x)
        head = parts.pop() if k == 2 else made.heads[k]
        for block in parts:
            added, x = block_by_hand(block, x)
            energy = energy + (added**2).sum() / added.numel()
        expected = F.cross_entropy(head(x), given.y) + energy / (2 * tau)
        same_with_gradients(made, losses[f"module_{k}"], expected)
        assert energy > 0.1
        x = x.detach()


def test_layers_without_a_shortcut_are_penalised_by_their_displacement() -> None:
    """mlp3x6 on flat images of 3 numbers: only the second and third layer keep their shape."""
    made, given = build("mlp3x6", 1, image=(3, 1, 1), tau=2.0), batch((3, 1, 1))
    (loss,) = made.losses(given)
    first, second, third, head = made.trunk[0]
    a = first(given.x)
    b = second(a)
    c = third(b)
    energy = ((b - a) ** 2).mean() + ((c - b) ** 2).mean()
    same_with_gradients(made, loss.value, F.cross_entropy(head(c), given.y) + energy / 4)


def test_the_net_head_is_no_stage() -> None:
    """Five units and five classes: the classifier keeps the shape, and is not penalised."""
    made, given = build("mlp2x5", 1, image=(3, 1, 1)), batch((3, 1, 1))
    (loss,) = made.losses(given)
    first, second, head = made.trunk[0]
    a = first(given.x)
    b = second(a)
    same_with_gradients(
        made, loss.value, F.cross_entropy(head(b), given.y) + ((b - a) ** 2).mean() / 2
    )


@pytest.mark.parametrize(
    ("k", "doubled", "taus"),
    [
        (1, True, [8]),
        (2, True, [4, 8]),
        (3, True, [4, 8, 8]),
        (4, True, [4, 4, 8, 8]),
        (4, False, [8] * 4),
    ],
)
def test_tau_doubles_for_the_second_half(k: int, doubled: bool, taus: list[float]) -> None:
    assert build("resnet8", k, tau=8.0, doubled=doubled).taus == taus


def test_without_the_penalty_it_is_dgl() -> None:
    made, given = build("resnet8", 2, tau=1e300), batch()
    torch.manual_seed(0)
    net = models.build("resnet8", (3, 8, 8), CLASSES)
    dgl = methods.build("dgl", cut(net, [2], Classification(CLASSES)), {}).double().train()
    for mine, its in zip(made.losses(given), dgl.losses(given), strict=True):
        mine.value.backward()
        its.value.backward()
    for p, q in zip(made.parameters(), dgl.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-12)


def test_a_network_in_which_nothing_can_be_penalised_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has none"):
        build("mlp1", 1)


@pytest.mark.parametrize(("k", "tau"), [(2, 100.0), (4, 1.0), (8, 1.0), (16, 1.0)])
def test_published_weights(catalog: Catalog, k: int, tau: float) -> None:
    for recipe in ("trgl", "trgl-authors"):
        assert catalog.cell("stl10", "resnet110", recipe, k, 0).options.get("tau", 1.0) == tau
