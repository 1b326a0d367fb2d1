"""Training settings of layer-wise methods, as their authors' released code has them."""

from __future__ import annotations

import itertools

import pytest

from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.config.resolve import Catalog
from modulewise.optim import learning_rate


def changes(cell: Cell, epochs: int) -> dict[int, float]:
    """Epoch, counted from 1 -> by what the rate is multiplied there, where it changes."""
    rates = [learning_rate(cell.training, e, epochs) for e in range(1, epochs + 1)]
    assert rates[0] == cell.training.lr
    return {
        e: round(b / a, 12) for e, (a, b) in enumerate(itertools.pairwise(rates), start=2) if a != b
    }


@pytest.mark.parametrize(
    ("dataset", "epochs", "milestones"),
    [
        ("mnist", 100, (50, 75, 89, 94)),
        ("fashion-mnist", 200, (100, 150, 175, 188)),
        ("cifar10", 400, (200, 300, 350, 375)),
        ("cifar100", 400, (200, 300, 350, 375)),
    ],
)
@pytest.mark.parametrize(
    "recipe", ["predsim", "predsim-pred", "predsim-sim", "backprop-local-loss"]
)
def test_predsim(
    catalog: Catalog, recipe: str, dataset: str, epochs: int, milestones: tuple[int, ...]
) -> None:
    """A milestone is the number of epochs before the change."""
    k = 1 if recipe.startswith("backprop") else 7
    cell = catalog.cell(dataset, "vgg8b-d20", recipe, k, 0)
    t = cell.training
    assert (t.epochs, t.batch_size, t.optimizer, t.weight_decay) == (epochs, 128, "adam", 0)
    assert (t.schedule, t.warmup_epochs) == ("joint", 0)
    assert changes(cell, epochs) == dict.fromkeys((m + 1 for m in milestones), 0.25)


@pytest.mark.parametrize(
    ("network", "rate"),
    [
        ("vgg8b-d20", 5e-4),
        ("vgg11b-d20", 5e-4),
        ("vgg11b-w256-d25", 3e-4),
        ("vgg11b-w384-d30", 3e-4),
    ],
)
def test_wider_nets_learn_slower(catalog: Catalog, network: str, rate: float) -> None:
    assert catalog.cell("cifar10", network, "predsim", 7, 0).training.lr == rate


def phases(cell: Cell) -> list[int]:
    """Epochs of every phase."""
    made = schedules.build(cell.training, cell.modules, 391, 0)
    return [phase.epochs for phase in made.phases(cell.training.epochs)]


@pytest.mark.parametrize("recipe", ["layerwise-1", "layerwise-2", "layerwise-3", "dgl-sequential"])
def test_layer_wise(catalog: Catalog, recipe: str) -> None:
    """Fifty epochs a layer, a fifth of the rate after every fifteen."""
    cell = catalog.cell("cifar10", "cnn4x128-d3", recipe, 4, 0)
    t = cell.training
    assert (t.batch_size, t.optimizer, t.lr, t.weight_decay) == (128, "sgd", 0.1, 5e-4)
    assert (t.momentum, t.nesterov, t.warmup_epochs) == (0.9, False, 0)
    assert phases(cell) == [50] * 4
    assert changes(cell, 50) == dict.fromkeys((16, 31, 46), 0.2)


def test_dgl(catalog: Catalog) -> None:
    """The same settings, on every batch."""
    cell = catalog.cell("cifar10", "cnn4x64-d2.4", "dgl-authors", 4, 0)
    assert cell.training.schedule == "joint"
    assert changes(cell, cell.training.epochs) == dict.fromkeys((16, 31, 46), 0.2)


@pytest.mark.parametrize("recipe", ["ddg", "features-replay", "backprop-delayed"])
def test_delayed_gradients(catalog: Catalog, recipe: str) -> None:
    """150 epochs at 0.01, 75 at 0.001, 75 at 0.0001."""
    k = 1 if recipe.startswith("backprop") else 2
    cell = catalog.cell("cifar10", "resnet110", recipe, k, 0)
    t = cell.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr) == (300, 128, "sgd", 0.01)
    assert (t.momentum, t.nesterov, t.weight_decay) == (0.9, True, 5e-4)
    assert changes(cell, 300) == dict.fromkeys((151, 226), 0.1)


@pytest.mark.parametrize(("recipe", "k"), [("backprop-dni", 1), ("dni", 4), ("cdni", 4)])
def test_synthetic_gradients(catalog: Catalog, recipe: str, k: int) -> None:
    """Each layer and the classifier are a module; one rate throughout."""
    cell = catalog.cell("cifar10", "cnn3x128-pool3", recipe, k, 0)
    t = cell.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr) == (2000, 256, "adam", 3e-5)
    assert (t.weight_decay, t.schedule) == (0, "joint")
    assert changes(cell, 2000) == {}


def test_cascade(catalog: Catalog) -> None:
    """Fifty epochs for the first layer and ten more for each that follows."""
    cell = catalog.cell("cifar10", "cnn6x128-d4", "cascade", 6, 0)
    t = cell.training
    assert (t.batch_size, t.optimizer, t.lr, t.momentum, t.weight_decay) == (
        128,
        "sgd",
        0.01,
        0.9,
        1e-3,
    )
    assert phases(cell) == [50, 60, 70, 80, 90, 100]
    assert changes(cell, 50) == {}


@pytest.mark.parametrize(
    ("network", "feature"),
    [
        ("resnet18-pre", "reapen"),
        ("lenet5", "relu"),
        ("lenet5-tanh", "tanh"),
        ("lenet5-sigmoid", "sigmoid"),
    ],
)
@pytest.mark.parametrize("recipe", ["pairwise", "pairwise-contrastive-neo", "pairwise-parallel"])
def test_pairs_are_compared_by_the_nets_own_feature_map(
    catalog: Catalog, recipe: str, network: str, feature: str
) -> None:
    options = catalog.cell("mnist", network, recipe, 2, 0).options
    assert options.get("feature", "relu") == feature


@pytest.mark.parametrize("recipe", ["layerwise-1", "dgl-sequential", "cascade", "pairwise-raw"])
def test_features_of_frozen_modules_are_kept_where_there_is_room(
    catalog: Catalog, recipe: str
) -> None:
    training = catalog.cell("mnist", "mlp3x256", recipe, 3, 0).training
    assert training.schedule_options["cache"] == "auto"


@pytest.mark.parametrize(
    "recipe", ["backprop-biotorch", "feedback-alignment", "sign-symmetry", "dfa", "drtp"]
)
def test_feedback_alignment(catalog: Catalog, recipe: str) -> None:
    """BioTorch's settings for Adam: milestones 100, 150 and 200 of 250."""
    cell = catalog.cell("cifar10", "resnet20", recipe, 10 if recipe in ("dfa", "drtp") else 1, 0)
    t = cell.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr) == (250, 128, "adam", 0.001)
    assert (t.weight_decay, t.schedule, t.warmup_epochs) == (1e-4, "joint", 0)
    assert changes(cell, 250) == {101: 0.1, 151: 0.1, 201: 0.1}


@pytest.mark.parametrize(
    ("recipe", "network", "k", "batch", "eta", "sigma"),
    [
        ("dtp", "mlp7x240-tanh", 7, 100, 0.328 / 100, 0.36),
        ("dtp-drl", "mlp3x1024-tanh", 3, 128, 0.02621 / 128, 0.099),
        ("ddtp-linear", "mlp3x1024-tanh", 3, 128, 0.0669 / 128, 0.00634),
        ("l-drl-dtp", "cnn6x128-d2.4", 6, 128, 0.7, 0.2),
    ],
)
def test_target_propagation(
    catalog: Catalog, recipe: str, network: str, k: int, batch: int, eta: float, sigma: float
) -> None:
    """Steps are of one image's loss; those of DTP and DRL are printed for the batch's mean."""
    cell = catalog.cell("cifar10", network, recipe, k, 0)
    options = options_model("methods", cell.method)(**cell.options).model_dump()
    assert (cell.training.batch_size, options["sigma"]) == (batch, sigma)
    assert options["eta"] == pytest.approx(eta, rel=2e-3)


@pytest.mark.parametrize(
    ("recipe", "trunk", "maps"),
    [
        ("dtp", 0.0149, 0.00501),
        ("dtp-drl", 1.4115e-5 / 0.02621, 1.518e-4),
        ("ddtp-linear", 5.854e-5 / 0.06693, 4.78e-5),
    ],
)
def test_maps_have_their_rate_beside_the_trunks(
    catalog: Catalog, recipe: str, trunk: float, maps: float
) -> None:
    cell = catalog.cell("mnist", "mlp7x240-tanh", recipe, 7, 0)
    assert cell.options["feedback_rate"] == pytest.approx(maps / trunk, rel=0.01)


def test_altmin(catalog: Catalog) -> None:
    """The scheduler's factor is 2^-(e // 8), e epochs being done."""
    cell = catalog.cell("mnist", "mlp2x500", "altmin", 2, 0)
    t = cell.training
    assert (t.epochs, t.batch_size, t.optimizer, t.lr, t.weight_decay) == (
        50,
        200,
        "adam",
        0.008,
        0,
    )
    assert changes(cell, 50) == dict.fromkeys((9, 17, 25, 33, 41, 49), 0.5)
