"""The weights of InfoPro's and ContSup's local losses, as published, cell by cell."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.config.resolve import Catalog
from modulewise.data.sources import shape_and_classes
from modulewise.optim import learning_rate

Pair = tuple[float, float]
# K: lambda1 first, lambda2 first, lambda1 last, lambda2 last; of K = 2 only the first pair is
# published.
R32 = {2: (5, 1), 4: (6, 0, 1, 2), 8: (5, 0, 0, 2), 16: (5, 0.05, 0.2, 0.5)}
R110 = {2: (5, 0.5), 4: (1, 0, 0, 1), 8: (5, 0, 0, 1), 16: (5, 0, 0.5, 1)}
R110_STL10 = {2: (10, 1), 4: (20, 0.2, 5, 2), 8: (20, 0.2, 5, 1), 16: (20, 0.5, 10, 0.1)}
R110_SVHN = {2: (1, 0.1), 4: (5, 0, 0.5, 1), 8: (5, 0, 0.5, 2), 16: (5, 0.2, 0.5, 1)}
EQUAL = {
    (dataset, network, k): values
    for dataset, network, table in (
        ("cifar10", "resnet32", R32),
        ("cifar10", "resnet110", R110),
        ("stl10", "resnet110", R110_STL10),
        ("svhn", "resnet110", R110_SVHN),
    )
    for k, values in table.items()
}
BALANCED = {
    ("cifar10", "resnet110", 2): (5, 0.1),
    ("cifar10", "resnet110", 3): (5, 0, 5, 0.1),
    ("cifar10", "resnet110", 4): (5, 0, 5, 0.1),
    ("stl10", "resnet110", 2): (20, 1),
    ("stl10", "resnet110", 3): (20, 0.5, 5, 2),
    ("stl10", "resnet110", 4): (20, 0.5, 10, 1),
    # ContSup's table; InfoPro has no balanced ResNet-32.
    ("cifar10", "resnet32", 2): (5, 0.1),
    ("cifar10", "resnet32", 3): (5, 0, 5, 0.1),
    ("cifar10", "resnet32", 4): (5, 0, 0, 0.1),
    ("cifar10", "resnet32", 8): (5, 0, 0, 2),
}


def weights(cell: Cell) -> tuple[float, ...]:
    """lambda1 first, lambda2 first, and for more than two modules the last pair."""
    options = options_model("methods", cell.method)(**cell.options)
    pairs = zip(options.lambda1, options.lambda2, strict=True)  # type: ignore[attr-defined]
    return tuple(v for pair in list(pairs)[: 1 if cell.modules == 2 else 2] for v in pair)


@pytest.mark.parametrize(("dataset", "network", "k"), EQUAL)
@pytest.mark.parametrize("recipe", ["infopro", "infopro-softmax", "contsup-r1e-decoder"])
def test_equal_layers(catalog: Catalog, recipe: str, dataset: str, network: str, k: int) -> None:
    assert weights(catalog.cell(dataset, network, recipe, k, 0)) == EQUAL[dataset, network, k]


@pytest.mark.parametrize(("dataset", "network", "k"), BALANCED)
def test_equal_memory(catalog: Catalog, dataset: str, network: str, k: int) -> None:
    assert (
        weights(catalog.cell(dataset, network, "infopro-balanced", k, 0))
        == BALANCED[dataset, network, k]
    )


@pytest.mark.parametrize(
    ("network", "k"), [("resnet32", 8), ("resnet32", 16), ("resnet110", 32), ("resnet110", 55)]
)
def test_weights_of_man_end_where_the_last_part_of_the_resnet_has_them(
    catalog: Catalog, network: str, k: int
) -> None:
    """From 5 and 0.5 towards zero, part p of 0 to 3 at p / (K - 2) of the way."""
    left = 1 - 3 / (k - 2)
    found = weights(catalog.cell("cifar10", network, "infopro-man", k, 0))
    assert found == pytest.approx((5, 0.5, 5 * left, 0.5 * left), abs=2e-3)


CONTSUP = {
    ("svhn", "contsup-r1e-decoder", "contsup-weights"): (5, 0, 0.5, 0),
    ("cifar10", "infopro-balanced", "contsup-balanced-weights"): (5, 0, 0, 0.1),
}


@pytest.mark.parametrize(("dataset", "recipe", "table"), CONTSUP)
def test_contsups_own_weights_are_a_table_away(
    catalog: Catalog, dataset: str, recipe: str, table: str
) -> None:
    theirs = copy.copy(catalog)
    changed = catalog.recipes.recipes[recipe]
    changed = changed.model_copy(update={"overrides": (*changed.overrides, table)})
    theirs.recipes = catalog.recipes.model_copy(
        update={"recipes": catalog.recipes.recipes | {recipe: changed}}
    )
    assert (
        weights(theirs.cell(dataset, "resnet110", recipe, 4, 0)) == CONTSUP[dataset, recipe, table]
    )
    assert (
        weights(catalog.cell(dataset, "resnet110", recipe, 4, 0)) != CONTSUP[dataset, recipe, table]
    )
    other = "stl10" if dataset == "svhn" else "svhn"
    assert weights(theirs.cell(other, "resnet110", recipe, 4, 0)) == weights(
        catalog.cell(other, "resnet110", recipe, 4, 0)
    )


def test_the_released_slip_of_stl10_is_one_value_away(catalog: Catalog) -> None:
    entry = catalog.datasets["stl10"]
    assert shape_and_classes(entry, Path("unused")) == ((3, 96, 96), 10)
    assert shape_and_classes(entry.model_copy(update={"classes": 100}), Path("unused"))[1] == 100


@pytest.mark.parametrize(
    ("recipe", "mode"), [("infopro", "contrast"), ("infopro-softmax", "softmax")]
)
def test_modes(catalog: Catalog, recipe: str, mode: str) -> None:
    cell = catalog.cell("cifar10", "resnet32", recipe, 4, 0)
    options = options_model("methods", cell.method)(**cell.options).model_dump()
    assert options["mode"] == mode
    assert (options["head"], options["feature_dim"], options["temperature"]) == ("1c2f", 128, 0.07)


@pytest.mark.parametrize(
    ("recipe", "context", "decoder"),
    [
        ("contsup-r0", "R0", False),
        ("contsup-e", "E", False),
        ("contsup-r1", "R1", False),
        ("contsup-r1e", "R1E", False),
    ]
    + [(f"contsup-r{n}", f"R{n}", False) for n in (2, 4, 8, 16)]
    + [("contsup-r1e-decoder", "R1E", True), ("contsup-e-balanced", "E", False)],
)
def test_contexts(catalog: Catalog, recipe: str, context: str, decoder: bool) -> None:
    cell = catalog.cell("cifar10", "resnet32", recipe, 4, 0)
    options = options_model("methods", cell.method)(**cell.options).model_dump()
    assert (options["context"], options["decoder"]) == (context, decoder)


@pytest.mark.parametrize("recipe", ["backprop", "greedy", "infopro", "contsup-e"])
def test_training_recipe(catalog: Catalog, recipe: str) -> None:
    for dataset, batch, rate in (("cifar10", 1024, 0.8), ("svhn", 1024, 0.8), ("stl10", 128, 0.1)):
        t = catalog.cell(dataset, "resnet110", recipe, 1, 0).training
        assert (t.epochs, t.batch_size, t.lr, t.momentum, t.nesterov, t.weight_decay) == (
            160,
            batch,
            rate,
            0.9,
            True,
            1e-4,
        )
        assert (t.optimizer, t.lr_schedule, t.warmup_epochs, t.warmup_lr) == (
            "sgd",
            "cosine",
            10,
            0.01,
        )
        assert (t.precision, t.tf32, t.channels_last, t.schedule) == ("fp32", False, False, "joint")


@pytest.mark.parametrize(
    ("dataset", "pad", "padding", "flip", "mean", "std"),
    [
        ("cifar10", 4, "reflect", True, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)),
        ("svhn", 2, "zeros", False, (127.5,) * 3, (127.5,) * 3),
        ("stl10", 4, "zeros", True, (127.5,) * 3, (127.5,) * 3),
    ],
)
def test_augmentation(
    catalog: Catalog, dataset: str, pad: int, padding: str, flip: bool, mean: Pair, std: Pair
) -> None:
    entry = catalog.datasets[dataset]
    assert (entry.pad, entry.padding, entry.flip) == (pad, padding, flip)
    assert entry.mean == pytest.approx([m / 255 for m in mean], abs=1e-5)
    assert entry.std == pytest.approx([s / 255 for s in std], abs=1e-5)
    assert entry.shape == (3, *((96, 96) if dataset == "stl10" else (32, 32)))
    assert entry.classes == 10


def test_kernets_training(catalog: Catalog) -> None:
    """200 epochs at 0.1, 100 at 0.01, 50 at 0.001, for every module but the last; 20 at 0.1 for
    that; end to end as one such module."""
    decay = {"cifar10": 6.25e-5, "svhn": 1.25e-4, "fashion-mnist": 1e-4, "mnist": 2e-4}
    for dataset, weight_decay in decay.items():
        alone = catalog.cell(dataset, "resnet18-pre", "backprop-kernet", 1, 0).training
        parts = catalog.cell(dataset, "resnet18-pre", "pairwise", 3, 0).training
        for t in (alone, parts):
            assert (t.batch_size, t.momentum, t.nesterov, t.weight_decay) == (
                128,
                0.9,
                False,
                weight_decay,
            )
        assert (alone.schedule, parts.schedule) == ("joint", "sequential")
        for training, k, last in ((alone, 1, []), (parts, 3, [[0.1] * 20])):
            rates = [
                [learning_rate(p.training, e, p.epochs) for e in range(1, p.epochs + 1)]
                for p in schedules.build(training, k, 391, 0).phases(training.epochs)
            ]
            stages = [0.1] * 200 + [0.01] * 100 + [0.001] * 50
            expected = [stages] * (k - len(last)) + last
            assert [len(r) for r in rates] == [len(r) for r in expected]
            for r, e in zip(rates, expected, strict=True):
                assert r == pytest.approx(e)
