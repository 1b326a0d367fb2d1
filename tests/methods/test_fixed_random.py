"""Fixed random classifiers: their loss by hand, their size, and that nothing moves them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from modulewise import methods, models
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5


def build(network: str, k: int, **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 8, 8), CLASSES)
    trunk = cut(net, partition.even(len(net.stages), k), Classification(CLASSES))
    return methods.build("fixed_random", trunk, dict(options)).double().train()


def batch() -> Batch:
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(6) % CLASSES, x, torch.arange(6))


def test_loss_and_gradient_by_hand() -> None:
    """dCE / dh = R^T (softmax(R h) - onehot(y)) / B."""
    made, given = build("mlp2x9", 2), batch()
    h = made.trunk[0](given.x).detach().requires_grad_()
    matrix = made.heads[0].matrix
    loss = F.cross_entropy(made.heads[0](h), given.y)
    (found,) = torch.autograd.grad(loss, h)
    error = (h.detach() @ matrix.T).softmax(1) - F.one_hot(given.y, CLASSES)
    torch.testing.assert_close(found, error @ matrix / 6, rtol=1e-12, atol=0)
    first = next(made.losses(given))
    torch.testing.assert_close(first.value, loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("options", "sizes"), [({}, [16 * 8 * 8, 32 * 4 * 4]), ({"features": 64}, [64, 64])]
)
def test_a_matrix_has_a_row_a_class_and_a_column_a_number(
    options: dict[str, int], sizes: list[int]
) -> None:
    made = build("resnet8", 3, **options)
    assert [tuple(head.matrix.shape) for head in made.heads] == [(CLASSES, n) for n in sizes]
    for head, n in zip(made.heads, sizes, strict=True):
        drawn = float(head.matrix.square().mean()) * n
        assert abs(drawn - 1) < 4 * (2 / (CLASSES * n)) ** 0.5


def test_no_step_moves_a_matrix_and_a_checkpoint_holds_it() -> None:
    made, given = build("resnet8", 3), batch()
    before = [head.matrix.clone() for head in made.heads]
    assert not list(made.heads.parameters())
    optimizer = torch.optim.AdamW(made.parameters(), 0.1)
    for loss in made.losses(given):
        loss.value.backward()
    optimizer.step()
    assert all(torch.equal(a, b.matrix) for a, b in zip(before, made.heads, strict=True))
    assert {"heads.0.matrix", "heads.1.matrix"} <= set(made.state_dict())


def test_fixed_heads_report_scores() -> None:
    made = build("resnet8", 3).eval()
    h = made.trunk[0](batch().x)
    torch.testing.assert_close(
        made.outputs(batch().x)[0], h.flatten(1) @ made.heads[0].matrix.T, rtol=1e-12, atol=1e-14
    )
