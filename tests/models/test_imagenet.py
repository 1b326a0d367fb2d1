"""ImageNet's networks: torchvision's functions, whole or cut, published sizes, and how weights
start."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn

from counting import macs
from modulewise import models
from modulewise.engine.flops import parameters
from modulewise.errors import InvalidInput
from modulewise.models import partition
from modulewise.models.network import Network, Residual, cut
from modulewise.tasks.classification import Classification

SIZES = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnext101-32x8d": (88_791_336, 16_414_015_488),
}
"""Parameters and multiply-accumulates at 224 pixels, as torchvision documents them."""
CUTS = {
    ("resnet101", "2.0"): ([604_736, 43_944_424], [1.158, 6.643]),
    ("resnet101", "2.2 3.8 3.16"): (
        [1_164_864, 10_729_984, 8_937_472, 23_716_840],
        [1.595, 2.338, 1.747, 2.121],
    ),
    ("resnet152", "2.5"): ([2_005_056, 58_187_752], [2.250, 9.263]),
    ("resnet152", "2.6 3.13 3.25"): (
        [2_285_120, 16_315_904, 13_406_208, 28_185_576],
        [2.469, 3.430, 2.620, 2.995],
    ),
    ("resnext101-32x8d", "2.2"): ([2_234_688, 86_556_648], [3.137, 13.277]),
    ("resnext101-32x8d", "2.2 3.8 3.16"): (
        [2_234_688, 22_187_008, 19_185_664, 45_183_976],
        [3.137, 4.997, 3.751, 4.530],
    ),
}
"""Published cuts -> parameters and 10^9 multiply-accumulates of the modules."""
HPFF = "3.0 3.9 3.17"
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}


@cache
def without_weights(name: str) -> Network:
    with torch.device("meta"):
        return models.build(f"imagenet-{name}", (3, 224, 224), 1000)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_operations(name: str) -> None:
    net = without_weights(name)
    assert (parameters([net]), macs(net, (3, 224, 224))) == SIZES[name]


@pytest.mark.parametrize(("name", "after"), CUTS)
def test_parameters_and_operations_of_modules(name: str, after: str) -> None:
    net = without_weights(name)
    trunk = cut(net, partition.explicit(net.names, after.split()), Classification(1000))
    shapes = [(3, 224, 224), *trunk.cut_shapes]
    counts, operations = CUTS[name, after]
    assert [parameters([module]) for module in trunk.modules] == counts
    found = [macs(m, shape) / 1e9 for m, shape in zip(trunk.modules, shapes, strict=True)]
    assert found == pytest.approx(operations, abs=5e-4)


def test_stages_are_the_stem_and_the_blocks() -> None:
    for name, blocks in BLOCKS.items():
        expected = [f"{g}.{b}" for g, n in enumerate(blocks, start=1) for b in range(n)]
        assert without_weights(name).names == ["0.0", *expected]
    shapes = dict(
        zip(
            without_weights("resnet101").names,
            without_weights("resnet101").stage_shapes,
            strict=True,
        )
    )
    assert shapes["2.0"] == (512, 28, 28)
    assert shapes["3.8"] == (1024, 14, 14)


def both(name: str, size: int, classes: int = 7) -> tuple[Network, nn.Module]:
    """Our net and torchvision's, of the same weights, none of which is as it starts."""
    torch.manual_seed(0)
    with torch.device("meta"):
        ours = models.build(f"imagenet-{name}", (3, size, size), classes)
        theirs = getattr(torchvision.models, name.replace("-", "_"))(
            weights=None, num_classes=classes
        )
    theirs.to_empty(device="cpu")
    for key, value in theirs.state_dict().items():
        if value.is_floating_point():
            near = 1.0 if "bn" in key or "downsample.1" in key or "var" in key else 0.0
            spread = 0.2 if value.dim() == 1 else (3 / value[0].numel()) ** 0.5
            value.uniform_(near - spread, near + spread)
    weights = theirs.state_dict()
    renamed = {}
    for i, stage in enumerate(ours.names):
        group, _, block = stage.partition(".")
        prefix = f"layer{group}.{block}." if i else ""
        for key in ours.stages[i].state_dict():
            part, _, rest = key.partition(".")
            its = prefix + key if i else ("conv1." if part == "0" else "bn1.") + rest
            renamed[f"stages.{i}.{key}"] = weights[its]
    renamed |= {f"head.2.{key}": weights[f"fc.{key}"] for key in ("weight", "bias")}
    ours.to_empty(device="cpu").load_state_dict(renamed)
    return ours, theirs


@pytest.mark.parametrize(
    "name",
    [
        "resnet101",
        pytest.param("resnet152", marks=pytest.mark.slow),
        pytest.param("resnext101-32x8d", marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_modules_compose_to_the_uncut_net(name: str) -> None:
    """Bit for bit, for every published cut."""
    ours, theirs = both(name, 33)
    x = torch.rand(2, 3, 33, 33)
    expected = theirs.eval()(x)
    assert expected.std() > 0
    ours.eval()
    for after in [*(after for net, after in CUTS if net == name), HPFF]:
        h = x
        cuts = partition.explicit(ours.names, after.split())
        for module in cut(ours, cuts, Classification(7)).modules:
            h = module(h)
        assert torch.equal(h, expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_training_step_is_torchvisions(name: str) -> None:
    """Scores, gradients and BatchNorm's statistics, at a size that no stride divides."""
    ours, theirs = both(name, 34)
    x, target = torch.rand(3, 3, 34, 34), torch.randn(3, 7)
    scores = [net.train()(x) for net in (ours, theirs)]
    assert torch.equal(*scores)
    for s in scores:
        (s * target).sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None
        assert torch.equal(a.grad, b.grad)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(a, b)


def test_blocks_say_what_they_add() -> None:
    ours, _ = both("resnet50", 32)
    h = ours.stages[0](torch.rand(2, 3, 32, 32))
    for stage in ours.stages[1:]:
        assert isinstance(stage, Residual)
        stage.eval()
        added = stage.branch(h)
        kept = added.clone()
        out = stage.join(h, added)
        assert torch.equal(added, kept)
        assert torch.equal(out, stage(h))
        shortcut = stage.downsample(h) if hasattr(stage, "downsample") else h
        assert torch.equal(out, (added + shortcut).relu())
        h = out


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet18", 90), ("resnet50", 64)])
def test_layers_are_like_the_stages(name: str, size: int) -> None:
    """Given a stage's own input, the layer has its parameters and gives its shape; given larger
    maps, it halves them once."""
    with torch.device("meta"):
        net = models.build(f"imagenet-{name}", (3, size, size), 7)
        assert net.layer
        for i, (given, out) in enumerate(pairwise(net.stage_shapes), start=1):
            layer = net.layer(given, i)
            shapes = [
                {n: p.shape for n, p in part.named_parameters()} for part in (layer, net.stages[i])
            ]
            assert shapes[0] == shapes[1]
            assert layer(torch.empty(2, *given)).shape[1:] == out
        first, last = net.stage_shapes[1], net.stage_shapes[-1]
        made = net.layer(first, len(net.stages) - 1)(torch.empty(2, *first)).shape[1:]
        assert made == (last[0], -(-first[1] // 2), -(-first[2] // 2))


def test_weights_start_as_in_the_papers_code() -> None:
    """Convolutions Kaiming normal by outputs, BatchNorm 1 and 0, also at the end of a branch."""
    torch.manual_seed(0)
    net = models.build("imagenet-resnet50", (3, 64, 64), 10)
    assert net.layer
    for part in (*net.stages, net.layer((256, 16, 16), 4)):
        for m in part.modules():
            if isinstance(m, nn.Conv2d):
                deviation = (2 / (m.kernel_size[0] ** 2 * m.out_channels)) ** 0.5
                slack = 5 / (2 * m.weight.numel()) ** 0.5
                assert m.weight.std().item() == pytest.approx(deviation, rel=slack)
            elif isinstance(m, nn.BatchNorm2d):
                assert bool((m.weight == 1).all())
                assert bool((m.bias == 0).all())


def test_images_need_three_channels() -> None:
    with pytest.raises(InvalidInput, match="imagenet-resnet18: images of 3 channels, got 1"):
        models.build("imagenet-resnet18", (1, 28, 28), 10)


def test_a_depth_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match="did you mean 'imagenet-resnet10"):
        models.build("imagenet-resnet100", (3, 32, 32), 10)
