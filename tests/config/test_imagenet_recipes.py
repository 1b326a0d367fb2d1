"""The recipes for ImageNet: cuts, weights, helpers and training as published."""

from __future__ import annotations

import math

import pytest

from modulewise.config.cell import Cell
from modulewise.config.options import options_model
from modulewise.config.resolve import Catalog
from modulewise.optim import learning_rate

NETWORKS = ["resnet101", "resnet152", "resnext101-32x8d"]
CUTS = {
    ("resnet101", 2): ("2.0",),
    ("resnet152", 2): ("2.5",),
    ("resnext101-32x8d", 2): ("2.2",),
    ("resnet101", 4): ("2.2", "3.8", "3.16"),
    ("resnet152", 4): ("2.6", "3.13", "3.25"),
    ("resnext101-32x8d", 4): ("2.2", "3.8", "3.16"),
}
RATES = {0: 0.4, 1: 0.39988, 30: 0.3, 45: 0.2, 60: 0.1, 89: 0.000122}
LOCAL = ["greedy-imagenet", "dgl-imagenet", "infopro-imagenet", "infopro-man-imagenet"]


def cell(catalog: Catalog, network: str, recipe: str, k: int) -> Cell:
    return catalog.cell("fake", f"imagenet-{network}", recipe, k, 0)


@pytest.mark.parametrize(("network", "k"), CUTS)
@pytest.mark.parametrize("recipe", LOCAL)
def test_cuts(catalog: Catalog, recipe: str, network: str, k: int) -> None:
    assert cell(catalog, network, recipe, k).partition == CUTS[network, k]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("k", [2, 4])
def test_weights_and_helpers(catalog: Catalog, network: str, k: int) -> None:
    made = cell(catalog, network, "infopro-imagenet", k)
    options = options_model("methods", "infopro")(**made.options).model_dump()
    label = 1.0 if (network, k) == ("resnet152", 2) else 0.75
    assert options["lambda1"] == (5.0, 5.0)
    assert options["lambda2"] == (label, label)
    assert (options["mode"], options["head"], options["decoder"]) == (
        "softmax",
        "imagenet",
        "stepwise",
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("recipe", [*LOCAL, "backprop-imagenet", "checkpoint-imagenet"])
def test_training(catalog: Catalog, network: str, recipe: str) -> None:
    t = cell(catalog, network, recipe, 2 if recipe in LOCAL else 1).training
    half = network.startswith("resnext")
    assert (t.epochs, t.batch_size, t.optimizer) == (90, 512 if half else 1024, "sgd")
    assert (t.momentum, t.nesterov, t.weight_decay) == (0.9, True, 1e-4)
    for e, rate in RATES.items():
        assert math.isclose(
            learning_rate(t, e + 1, 90),
            rate / (2 if half else 1),
            rel_tol=4e-3 if e == 89 else 1e-5,
        )
