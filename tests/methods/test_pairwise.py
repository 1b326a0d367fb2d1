"""Modular training on pairs: what its losses see, what it refuses, and that a head on frozen
features learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cases import Case, Row, trainer_of
from modulewise import methods, models
from modulewise.config.dataset import Dataset
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.parts.pairs import value
from modulewise.tasks.classification import Classification

CLASSES, IMAGE = 4, (3, 8, 8)


def build(k: int, network: str = "resnet18-pre-w4", **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, IMAGE, CLASSES)
    cuts = partition.even(len(net.stages), k)
    return methods.build("pairwise", cut(net, cuts, Classification(CLASSES)), options).train()


def batch(y: list[int]) -> Batch:
    x = torch.randn(len(y), *IMAGE, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.tensor(y), x, torch.arange(len(y)))


def gradients(method: Method, given: Batch) -> dict[str, Tensor]:
    method.zero_grad()
    for loss in method.losses(given):
        loss.value.backward()
    return {name: p.grad.clone() for name, p in method.named_parameters()}


def test_the_loss_is_the_cosine_of_the_upper_triangle_in_float64() -> None:
    """Of a module's flat ReLUs, by numpy, from the module's own output."""
    made = build(3).double()
    given = batch([0, 1, 0, 2, 1, 3])
    given = Batch(given.x.double(), given.y, given.x.double(), given.index)
    z = made.trunk[0](given.x).detach().numpy().reshape(6, -1)
    v = np.maximum(z, 0)
    v = v / np.sqrt((v**2).sum(1, keepdims=True))
    y = given.y.numpy()
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    a = np.array([v[i] @ v[j] for i, j in pairs])
    b = np.array([float(y[i] == y[j]) for i, j in pairs])
    expected = -(a @ b) / np.sqrt((a @ a) * (b @ b))
    first = next(made.losses(given))
    assert first.value.item() == pytest.approx(expected, rel=1e-9)
    assert first.value.item() != -1.0


def test_only_the_last_module_learns_which_class_is_which() -> None:
    """Other names of the classes leave the pairs as they are."""
    made = build(3)
    mine, its = gradients(made, batch([0, 1, 0, 2, 1])), gradients(made, batch([3, 0, 3, 1, 0]))
    for name, g in mine.items():
        assert torch.equal(g, its[name]) == (not name.startswith("trunk.2."))


def test_modules_before_the_last_have_no_scores_and_no_helpers() -> None:
    made = build(3)
    x = batch([0, 1]).x
    assert [o is None for o in made.outputs(x)] == [True, True, False]
    assert set(made.groups()) == {"trunk/0", "trunk/1", "trunk/2"}


def test_a_projection_has_the_published_sizes() -> None:
    made = build(3, projection=True)
    shapes = [[tuple(p.shape) for p in projection.parameters()] for projection in made.projections]
    assert shapes == [
        [((n + 512) // 2, n), ((n + 512) // 2,), (512, (n + 512) // 2), (512,)]
        for n in (8 * 4 * 4, 16 * 2 * 2)
    ]


def test_a_projection_by_hand() -> None:
    """Of all numbers of a module's output, before phi, in float64."""
    made = build(3, projection=True).double()
    given = batch([0, 1, 0, 2, 1, 3])
    given = Batch(given.x.double(), given.y, given.x.double(), given.index)
    z = made.trunk[0](given.x).detach().numpy().reshape(6, -1)
    a, b, c, d = (p.detach().numpy() for p in made.projections[0].parameters())
    v = np.maximum(np.maximum(z @ a.T + b, 0) @ c.T + d, 0)
    v = v / np.sqrt((v**2).sum(1, keepdims=True))
    first, y = next(made.losses(given)), given.y
    expected = value("upper_tri_alignment", torch.from_numpy(v @ v.T), y, 0.0)
    torch.testing.assert_close(first.value, -expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("feature", ["relu", "sigmoid", "reapen", "gaussian"])
def test_an_objective_without_a_value_is_refused(feature: str) -> None:
    with pytest.raises(InvalidInput, match=r"alignment_neo.*valid features: tanh") as error:
        build(2, objective="alignment_neo", feature=feature)
    assert "\n" not in str(error.value)
    assert build(2, objective="alignment_neo", feature="tanh")


class Maps(Classification):
    """A task with a label a pixel."""

    def placeholder(self, n: int, image: tuple[int, ...], device: torch.device | str) -> Tensor:
        """n H W."""
        return torch.zeros(n, *image[1:], dtype=torch.long, device=device)


def test_a_task_without_a_class_per_image_is_refused() -> None:
    net = models.build("mlp3x16", IMAGE, CLASSES)
    with pytest.raises(InvalidInput, match="one class label per image") as error:
        methods.build("pairwise", cut(net, [1], Maps(CLASSES)), {})
    assert "\n" not in str(error.value)


def test_strictly_modular_training_learns(tmp_path: Path) -> None:
    """500 digits, two parts at the paper's cut: three epochs on pairs alone, then three of a linear
    classifier on frozen features; guessing is wrong on 90 % of them."""
    row = Row(Case("pairwise", {"feature": "reapen"}, modules=2), "resnet18-pre-w8")
    cell = row.cell(
        schedule="sequential", epochs=6, lr=0.1, batch_size=32, train_images=500
    ).model_copy(update={"partition": ("4.1",), "data": Dataset(source="digits")})
    trainer = trainer_of(cell, tmp_path)
    assert len(list(trainer.method.trunk[1].parameters())) == 2, "the linear classifier's"
    result = trainer.fit()
    assert result.test_last is not None and result.test_last < 30.0
