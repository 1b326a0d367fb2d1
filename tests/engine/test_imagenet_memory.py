"""Memory of ImageNet's networks by our counter, without data, beside a model of it and InfoPro's
table 4 (arXiv 2101.10832), and where it cuts for least memory.

The model: 4 bytes for every image and every element that a convolution, BatchNorm, max-pooling or
resize of the largest module and its helpers gives, and 12 bytes a parameter. Ours also counts the
batch and the feature at the cut, not what BatchNorm gives in a shortcut, which nothing needs again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import nn

from modulewise import methods, models
from modulewise.config.resolve import Catalog
from modulewise.engine import dry, pieces
from modulewise.engine.build import Planned
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.tasks.classification import Classification

IMAGE, TASK = (3, 224, 224), Classification(1000)


@dataclass(frozen=True)
class Published:
    """A row of table 4."""

    batch: int
    """Images on a GPU."""
    model: tuple[float, float]
    """10^9 bytes by the model: end to end, and K = 2."""
    saved: float
    """Percent, as printed."""
    counted: tuple[float, float]
    """10^9 bytes by our counter, as docs/large.md has them."""
    least: str
    """The stage behind which our counter finds the least memory."""


TABLE = {
    "resnet101": Published(128, (17.26, 10.53), 38.8, (16.78, 10.65), "2.2"),
    "resnet152": Published(128, (23.92, 14.11), 40.9, (23.38, 14.17), "2.7"),
    "resnext101-32x8d": Published(64, (17.10, 9.91), 39.9, (16.60, 9.70), "2.3"),
}
"""`least` is the model's too but for ResNet-101, where the model has 2.1: 9.92 GB against 10.12
behind 2.2; ours 10.04 against 9.90, for module 1 does not keep its two shortcuts' BatchNorms."""


@cache
def planned(catalog: Catalog, network: str, recipe: str) -> Planned:
    """A recipe's cell on a published batch."""
    k = 1 if recipe.startswith("backprop") else 2
    cell = catalog.cell("fake", f"imagenet-{network}", recipe, k, 0)
    training = cell.training.model_copy(update={"batch_size": TABLE[network].batch})
    return Planned(cell.model_copy(update={"training": training}), IMAGE, TASK)


def peak(catalog: Catalog, network: str, recipe: str) -> float:
    """Peak at the recipe's own cuts, 10^9 bytes."""
    run = planned(catalog, network, recipe)
    after = run.cell.partition if run.cell.modules > 1 else ()
    assert isinstance(after, tuple)
    cuts = partition.explicit(run.network.names, after)
    return dry.peak_bytes(run.method(cuts), run.training, IMAGE) / 1e9


@pytest.mark.slow
@pytest.mark.parametrize("network", TABLE)
def test_peaks_and_what_two_modules_save(catalog: Catalog, network: str) -> None:
    """Within 10 % of the model. The share saved is within two points of the printed one, of
    ResNet-101's 2.3: ours saves less there, for of what the first module keeps it counts less."""
    row = TABLE[network]
    whole, two = (
        peak(catalog, network, recipe) for recipe in ("backprop-imagenet", "infopro-imagenet")
    )
    assert (whole, two) == pytest.approx(row.model, rel=0.1)
    assert (whole, two) == pytest.approx(row.counted, abs=0.006)
    saved = 100 * (1 - two / whole)
    assert saved == pytest.approx(row.saved, abs=2.4 if network == "resnet101" else 2.0)


@pytest.mark.slow
@pytest.mark.parametrize("network", TABLE)
def test_the_cut_of_least_memory(catalog: Catalog, network: str) -> None:
    """What a budget finds that no other cut keeps: the helpers are counted."""
    run = planned(catalog, network, "infopro-imagenet")
    names = run.network.names
    at = names.index(TABLE[network].least) + 1
    peaks = {c: run.peak([c]) for c in (at - 1, at, at + 1)}
    assert min(peaks, key=peaks.__getitem__) == at
    found, predicted = pieces.within(run.pieces, 2, peaks[at], run.peak)
    assert (found, predicted) == ([at], peaks[at])


def elements(net: nn.Module, image: tuple[int, ...]) -> dict[str, int]:
    """Elements that layers give for one image: of those that the model counts, of shortcuts'
    BatchNorms, and of poolings."""
    counted = {"all": 0, "shortcuts": 0, "poolings": 0}

    def count(name: str, out: torch.Tensor) -> None:
        counted["all"] += out.numel()
        counted["shortcuts"] += out.numel() * name.endswith("downsample.1")
        counted["poolings"] += out.numel() * isinstance(layers[name], nn.MaxPool2d)

    layers = dict(net.named_modules())
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda layer, given, out, name=name: count(name, out))
    net.eval()(torch.empty(1, *image, device="meta"))
    return counted


@pytest.mark.parametrize(
    ("network", "millions"), [("resnet101", 32.7), ("resnet152", 45.3), ("resnext101-32x8d", 62.6)]
)
def test_published_activations(network: str, millions: float) -> None:
    with torch.device("meta"):
        net = models.build(f"imagenet-{network}", IMAGE, 1000)
    assert elements(net, IMAGE)["all"] / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("method", "after"), [("backprop", []), ("greedy", ["2.1"])])
def test_the_counter_finds_what_is_kept(catalog: Catalog, method: str, after: list[str]) -> None:
    """ResNet-18: the model without shortcuts' BatchNorms and gradients, with the places of maxima
    (8 bytes each), the batch before and after normalisation, and the feature at the cut."""
    batch, image = 256, (3, 64, 64)
    with torch.device("meta"):
        net = models.build("imagenet-resnet18", image, 10)
        trunk = cut(net, partition.explicit(net.names, after), Classification(10))
        made = methods.build(method, trunk, {})
    training = catalog.cell("fake", "imagenet-resnet18", "backprop-imagenet", 1, 0).training
    counted = dry.peak_bytes(made, training.model_copy(update={"batch_size": batch}), image)
    sizes = []
    given = [image, *trunk.cut_shapes]
    for k, (module, shape) in enumerate(zip(made.trunk, given, strict=True)):
        kept = elements(module, shape)
        entered = math.prod(shape) if k else 0
        sizes.append(4 * (kept["all"] - kept["shortcuts"] + entered) + 8 * kept["poolings"])
    parameters = sum(p.numel() for p in made.parameters())
    expected = batch * (max(sizes) + 8 * math.prod(image)) + 8 * parameters
    assert counted == pytest.approx(expected, rel=0.05)
