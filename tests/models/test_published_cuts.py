"""The cut points that InfoPro and ContSup published, as every recipe resolves them on the real
networks."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from modulewise import models
from modulewise.config.resolve import Catalog
from modulewise.models import partition
from modulewise.models.network import Network

R32 = {
    2: "2.1",
    3: "1.4 2.4",
    4: "1.2 2.1 3.0",
    8: "1.0 1.2 1.4 2.1 2.3 3.0 3.2",
    16: "0.0 1.0 1.1 1.2 1.3 1.4 2.0 2.1 2.2 2.3 2.4 3.0 3.1 3.2 3.3",
}
R110 = {
    2: "2.8",
    3: "1.17 2.17",
    4: "1.11 2.7 3.3",
    8: "1.4 1.11 2.0 2.7 2.14 3.3 3.10",
    16: "1.1 1.4 1.7 1.10 1.13 1.16 2.1 2.4 2.7 2.11 2.15 3.1 3.5 3.9 3.13",
}
TRGL = {
    2: "2.8",
    4: "1.13 2.9 3.4",
    8: "1.6 1.13 2.2 2.9 2.17 3.5 3.11",
    16: "1.3 1.7 1.11 1.15 2.1 2.5 2.8 2.11 2.14 2.17 3.2 3.5 3.8 3.11 3.14",
}
"""Of ResNet-110: 27, 27 blocks; 14, 14, 13, 13; four times 7, then 8, and three times 6; six times
4 and ten times 3."""
PAIRWISE = {
    ("resnet18-pre", 2): "4.1",
    ("resnet18-pre", 3): "3.1 4.1",
    ("resnet18-pre", 4): "2.1 3.1 4.1",
    ("resnet18-pre", 5): "1.1 2.1 3.1 4.1",
    ("resnet18-pre", 6): "0.0 1.1 2.1 3.1 4.1",
    ("resnet18-pre-w8", 4): "2.1 3.1 4.1",
    ("lenet5", 2): "4",
    ("lenet5-tanh", 3): "3 4",
}
EQUAL = {("resnet32", k): cuts for k, cuts in R32.items()} | {
    ("resnet110", k): cuts for k, cuts in R110.items()
}
BALANCED = {
    ("cifar10", "resnet110", 2): "1.14",
    ("cifar10", "resnet110", 3): "1.9 2.2",
    ("cifar10", "resnet110", 4): "1.6 1.14 2.8",
    ("stl10", "resnet110", 2): "1.14",
    ("stl10", "resnet110", 3): "1.8 2.1",
    ("stl10", "resnet110", 4): "1.6 1.14 2.8",
    ("cifar10", "resnet32", 2): "1.3",
    ("cifar10", "resnet32", 4): "1.2 1.4 2.2",
    ("cifar10", "resnet32", 8): "1.1 1.2 1.3 2.1 2.2 3.1 3.2",
    ("cifar10", "resnet32", 16): R32[16],
}


@cache
def network(name: str, size: int) -> Network:
    return models.build(name, (3, size, size), 10)


def resolved(catalog: Catalog, dataset: str, name: str, recipe: str, k: int) -> str:
    """Names of the stages that a recipe cuts after."""
    net = network(name, 96 if dataset == "stl10" else 32)
    cell = catalog.cell(dataset, name, recipe, k, 0)
    return " ".join(net.names[c - 1] for c in partition.resolve(net, cell.partition, k))


@pytest.mark.parametrize(("name", "k"), EQUAL)
def test_equal_layers(catalog: Catalog, name: str, k: int) -> None:
    recipes = [n for n, r in catalog.recipes.recipes.items() if "equal-cuts" in r.overrides]
    assert {
        "greedy",
        "dgl",
        "infopro",
        "infopro-softmax",
        "contsup-e",
        "contsup-r1e-decoder",
    } <= set(recipes)
    for recipe in recipes:
        for dataset in ("cifar10", "svhn", "stl10"):
            assert resolved(catalog, dataset, name, recipe, k) == EQUAL[name, k], recipe


@pytest.mark.parametrize("k", TRGL)
def test_the_authors_of_trgl_cut_elsewhere(catalog: Catalog, k: int) -> None:
    assert resolved(catalog, "stl10", "resnet110", "trgl-authors", k) == TRGL[k]
    ends = [
        1,
        *(network("resnet110", 96).names.index(name) + 1 for name in TRGL[k].split()),
        55,
    ]  # the stem is no block
    sizes = [b - a for a, b in pairwise(ends)]
    assert (
        sizes
        == {
            2: [27] * 2,
            4: [14] * 2 + [13] * 2,
            8: [7] * 4 + [8] + [6] * 3,
            16: [4] * 6 + [3] * 10,
        }[k]
    )


@pytest.mark.parametrize(("dataset", "name", "k"), BALANCED)
@pytest.mark.parametrize("recipe", ["infopro-balanced", "contsup-e-balanced"])
def test_equal_memory(catalog: Catalog, recipe: str, dataset: str, name: str, k: int) -> None:
    assert resolved(catalog, dataset, name, recipe, k) == BALANCED[dataset, name, k]


@pytest.mark.parametrize(("name", "k"), PAIRWISE)
def test_modules_on_pairs_end_with_a_group_and_the_last_is_linear(
    catalog: Catalog, name: str, k: int
) -> None:
    recipes = [n for n, r in catalog.recipes.recipes.items() if r.method == "pairwise"]
    assert len(recipes) == 12
    for recipe in recipes:
        assert resolved(catalog, "cifar10", name, recipe, k) == PAIRWISE[name, k]
    stages = network(name, 32).stages[
        network(name, 32).names.index(PAIRWISE[name, k].split()[-1]) + 1 :
    ]
    assert not any(list(stage.parameters()) for stage in stages)


def test_without_a_published_table_memory_is_measured(catalog: Catalog) -> None:
    assert catalog.cell("svhn", "resnet110", "infopro-balanced", 4, 0).partition == "memory"
    assert catalog.cell("cifar10", "resnet110", "infopro-balanced", 8, 0).partition == "memory"


def test_every_published_override_names_its_source(catalog: Catalog) -> None:
    for table in catalog.recipes.tables.values():
        assert all("released code" in o.source for o in table)
