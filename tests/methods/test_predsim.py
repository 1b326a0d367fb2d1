"""PredSim against its formulas in numpy at float64, and at the places where they have no value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from modulewise import methods, models
from modulewise.config.resolve import Catalog
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.methods.predsim import similarity, unlikeness
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

CLASSES = 5
BATCH = 7


def build(network: str, k: int, **options: object) -> Method:
    torch.manual_seed(0)
    net = models.build(network, (3, 8, 8), CLASSES)
    trunk = cut(net, partition.even(len(net.stages), k), Classification(CLASSES))
    return methods.build("predsim", trunk, dict(options)).double().train()


def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, 3, 8, 8, dtype=torch.float64, generator=draw)
    return Batch(x, torch.tensor([0, 3, 1, 1, 0, 4, 0]), x, torch.arange(BATCH))


def cosines(rows: np.ndarray) -> np.ndarray:
    """Of rows from which their means are taken off, one pair after the other."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows])


def convolved(maps: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """3x3, zeros around, written out over the nine shifts."""
    n, _, h, w = maps.shape
    wide = np.zeros((n, maps.shape[1], h + 2, w + 2))
    wide[:, :, 1:-1, 1:-1] = maps
    out = np.zeros((n, len(kernel), h, w))
    for i in range(3):
        for j in range(3):
            window = wide[:, :, i : i + h, j : j + w]
            out += np.einsum("nchw,oc->nohw", window, kernel[:, :, i, j])
    return out


def averaged(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Over windows that divide the map."""
    n, c, h, w = maps.shape
    return maps.reshape(n, c, h // height, height, w // width, width).mean(axis=(3, 5))


def sim(seen: np.ndarray, y: np.ndarray) -> float:
    if seen.ndim == 4:
        seen = seen.reshape(*seen.shape[:2], -1).std(axis=2)
    return float(((cosines(seen) - cosines(np.eye(CLASSES)[y])) ** 2).mean())


def pred(flat: np.ndarray, weight: np.ndarray, bias: np.ndarray, y: np.ndarray) -> float:
    return float(-log_softmax(flat @ weight.T + bias, axis=1)[np.arange(len(y)), y].mean())


def disturbed(made: Method) -> Method:
    """With decoders that are not zero."""
    with torch.no_grad():
        for head in made.heads:
            head[-1].weight.normal_(generator=torch.Generator().manual_seed(2))
    return made


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().numpy()


@pytest.mark.parametrize(
    ("loss", "share"), [("predsim", 0.99), ("predsim", 0.3), ("pred", 0.0), ("sim", 1.0)]
)
def test_the_loss_of_maps_by_hand(loss: str, share: float) -> None:
    """ResNet-8: maps of 16 x 8 x 8, of which 256 numbers are left by 2 x 2, then 32 x 4 x 4, by 2 x
    1."""
    options = {"beta": share} if loss == "predsim" else {}
    made = disturbed(build("resnet8", 3, loss=loss, decoder_dim=256, **options))
    given = batch()
    y = given.y.numpy()
    losses = {one.name: float(one.value.detach()) for one in made.losses(given)}
    h = given.x
    for k, window in enumerate([(2, 2), (2, 1)]):
        h = made.trunk[k](h)
        value = 0.0
        if share < 1:
            linear = made.heads[k][-1]
            flat = averaged(array(h), *window).reshape(BATCH, -1)
            assert flat.shape[1] == 256
            value += (1 - share) * pred(flat, array(linear.weight), array(linear.bias), y)
        if share > 0:
            value += share * sim(convolved(array(h), array(made.views[k].weight)), y)
        assert losses[f"module_{k}"] == pytest.approx(value, rel=1e-10)
        h = h.detach()


def test_the_loss_of_flat_features_by_hand() -> None:
    """A linear layer for the convolution, no standard deviation, no pooling."""
    made, given = disturbed(build("mlp2x9", 2, beta=0.5, decoder_dim=4)), batch()
    first, _ = (float(one.value.detach()) for one in made.losses(given))
    h, y, linear = array(made.trunk[0](given.x)), given.y.numpy(), made.heads[0][-1]
    assert first == pytest.approx(
        0.5 * pred(h, array(linear.weight), array(linear.bias), y)
        + 0.5 * sim(h @ array(made.views[0].weight).T, y),
        rel=1e-10,
    )


@pytest.mark.parametrize("shape", [(6, 4, 3, 5), (6, 9)])
def test_gradients_of_the_similarity_are_those_of_finite_differences(
    shape: tuple[int, ...],
) -> None:
    h = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 1, 2, 0, 2])
    assert torch.autograd.gradcheck(lambda t: unlikeness(t, y, 4), h.requires_grad_())


@pytest.mark.parametrize("shape", [(6, 2, 3, 3), (6, 7, 1, 1)])
def test_maps_of_three_channels_or_one_pixel_are_compared_number_by_number(
    shape: tuple[int, ...],
) -> None:
    h = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(array(similarity(h)), cosines(array(h).reshape(6, -1)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5, 3, 3), (4, 5)])
def test_features_that_are_all_equal_are_alike_to_none_and_get_no_gradient(
    shape: tuple[int, ...],
) -> None:
    """A channel that is zero in every sample has a standard deviation without a slope, too."""
    h = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    h[2] = 0.0
    h[:, 1] = 0.0
    h.requires_grad_()
    found = similarity(h)
    assert torch.equal(found[2], torch.zeros(4)) and torch.equal(found[:, 2], torch.zeros(4))
    unlikeness(h, torch.tensor([0, 1, 1, 0]), 3).backward()
    assert h.grad is not None and torch.isfinite(h.grad).all()
    assert h.grad[2].abs().max() == 0
    assert all(h.grad[i].abs().max() > 0 for i in (0, 1, 3))


def test_decoders_start_at_zero_weights_and_each_loss_has_only_its_own() -> None:
    both, pred_only, sim_only = (build("resnet8", 3, loss=x) for x in ("predsim", "pred", "sim"))
    assert all(float(head[-1].weight.detach().abs().max()) == 0 for head in both.heads)
    assert {name.split("/")[0] for name in both.groups()} == {"trunk", "heads", "views"}
    assert {name.split("/")[0] for name in pred_only.groups()} == {"trunk", "heads"}
    assert {name.split("/")[0] for name in sim_only.groups()} == {"trunk", "views"}


def test_modules_without_a_decoder_report_no_scores() -> None:
    made = build("resnet8", 3, loss="sim").eval()
    assert [given is None for given in made.outputs(batch().x)] == [True, True, False]


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_share_that_leaves_dead_weights_is_refused(beta: float) -> None:
    with pytest.raises(InvalidInput, match="set loss: pred or loss: sim"):
        build("resnet8", 2, beta=beta)


@pytest.mark.parametrize(
    ("dataset", "network", "expected"),
    [
        ("cifar10", "vgg8b", 2048),
        ("cifar100", "vgg8b", None),
        ("mnist", "vgg8b", 1024),
        ("svhn", "vgg8b", 2048),
        ("mnist", "mlp3x1024", None),
    ],
)
def test_published_sizes_of_decoders(
    catalog: Catalog, dataset: str, network: str, expected: int | None
) -> None:
    for recipe in ("predsim", "predsim-pred"):
        options = catalog.cell(dataset, network, recipe, 3, 0).options
        assert options.get("decoder_dim") == expected


def test_decoders_of_a_cifar_vgg_have_2048_inputs(catalog: Catalog) -> None:
    """At most; the layer behind the last pooling has 512 maps of 2 x 2."""
    options = catalog.cell("cifar10", "vgg8b", "predsim-pred", 7, 0).options
    with torch.device("meta"):
        net = models.build("vgg8b", (3, 32, 32), 10)
        made = methods.build("predsim", cut(net, [1, 2, 3, 4, 5, 6], Classification(10)), options)
    assert [head[-1].in_features for head in made.heads] == [2048] * 6
