"""Parameters and operations of networks, heads, decoders and encoders against closed forms and
published figures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cases import BACKPROP, images
from counting import macs
from modulewise import methods, models
from modulewise.config.resolve import Catalog
from modulewise.engine import flops
from modulewise.engine.build import build
from modulewise.engine.flops import parameters
from modulewise.method import Method
from modulewise.methods.contsup import Encoder
from modulewise.models import partition
from modulewise.models.network import Network, cut
from modulewise.parts.decoders import Decoder
from modulewise.parts.heads import label_head
from modulewise.tasks.classification import Classification

MEGA = 1e6


@cache
def network(name: str, image: tuple[int, int, int] = (3, 32, 32)) -> Network:
    return models.build(name, image, 10)


def resnet(depth: int, classes: int = 10, size: int = 32) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one image: stem, three stages of n blocks,
    classifier."""
    n = (depth - 2) // 6
    count, macs = 3 * 16 * 9 + 2 * 16, 3 * 16 * 9 * size**2
    before = 16
    for width in (16, 32, 64):
        size = size if width == 16 else size // 2
        for b in range(n):
            weights = 9 * before * width + 9 * width**2
            count += weights + 4 * width
            if before != width:
                assert b == 0
                weights += before * width
                count += before * width + 2 * width
            macs += weights * size**2
            before = width
    return count + 64 * classes + classes, macs + 64 * classes


@pytest.mark.parametrize("depth", range(8, 111, 6))
def test_parameters_of_every_resnet(depth: int) -> None:
    with torch.device("meta"):
        made = models.build(f"resnet{depth}", (3, 32, 32), 10)
    assert parameters([made]) == resnet(depth)[0]
    assert len(made.stages) == 1 + (depth - 2) // 2


def cost(method: Method) -> flops.Flops:
    return flops.flops(method, (3, 32, 32), 4)


def inference_macs(made: Method) -> float:
    """Multiply-accumulates of the deployed net; `measure.flops` counts training too, which takes
    longer."""
    return macs(made, (3, 32, 32), made.predict)


def method(name: str, net: str, k: int, cuts: list[int] | None = None, **options: Any) -> Method:
    with torch.device("meta"):
        made = models.build(net, (3, 32, 32), 10)
        cuts = partition.even(len(made.stages), k) if cuts is None else cuts
        return methods.build(name, cut(made, cuts, Classification(10)), options)


@pytest.mark.parametrize(("depth", "count", "macs"), [(32, 0.467, 69.1), (110, 1.731, 253.2)])
def test_published_size_of_resnets(depth: int, count: float, macs: float) -> None:
    assert round(parameters([network(f"resnet{depth}")]) / MEGA, 3) == count
    assert cost(method("backprop", f"resnet{depth}", 1)).inference_macs / MEGA == pytest.approx(
        macs, abs=0.051
    )


def test_resnet_32_has_466906_parameters() -> None:
    assert parameters([network("resnet32")]) == 466_906


@pytest.mark.parametrize("depth", [8, 20, 32])
def test_multiply_accumulates_of_resnets(depth: int) -> None:
    assert cost(method("backprop", f"resnet{depth}", 1)).inference_macs == resnet(depth)[1]


def densenet(depth: int, k: int, classes: int = 10, size: int = 32) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one image: layer i of a block that starts at c
    channels is given c + i k."""
    n, c = (depth - 4) // 6, 2 * k
    count, macs = 3 * c * 9, 3 * c * 9 * size**2
    for block in range(3):
        norms = sum(2 * (c + i * k) + 2 * 4 * k for i in range(n))
        weights = sum((c + i * k) * 4 * k + 9 * 4 * k * k for i in range(n))
        c += n * k
        if block < 2:
            norms, weights, c = norms + 2 * c, weights + c * (c // 2), c // 2
        count += norms + weights
        macs += weights * (size // 2**block) ** 2
    return count + 2 * c + c * classes + classes, macs + c * classes


@pytest.mark.parametrize(("depth", "k"), [(10, 2), (40, 12), (100, 12), (190, 40)])
def test_densenets(depth: int, k: int) -> None:
    """The paper's table 2 gives 0.8 M for L=100, k=12 and 25.6 M for L=190, k=40."""
    with torch.device("meta"):
        made = models.build(f"densenet{depth}-{k}", (3, 32, 32), 10)
    assert (parameters([made]), macs(made, (3, 32, 32))) == densenet(depth, k)
    assert len(made.stages) == 1 + (depth - 4) // 2 + 2


@pytest.mark.parametrize(("classes", "count"), [(10, 769_162), (100, 800_032)])
def test_published_size_of_densenet_100(classes: int, count: int) -> None:
    """DenseNet-BC-100-12 for CIFAR-10 and CIFAR-100 as the model tables of imgclsmob print it."""
    with torch.device("meta"):
        assert parameters([models.build("densenet100-12", (3, 32, 32), classes)]) == count


def test_what_enters_a_layer_of_a_densenet_leaves_it_first() -> None:
    made = models.build("densenet16-4", (3, 8, 8), 10).eval()
    x = torch.rand(2, 8, 8, 8)
    out = made.stages[1](x)
    assert out.shape == (2, 8 + 4, 8, 8)
    assert torch.equal(out[:, :8], x)


@pytest.mark.parametrize(("depth", "width"), [(1, 256), (3, 256), (4, 512)])
def test_mlps(depth: int, width: int) -> None:
    made = models.build(f"mlp{depth}x{width}" if width != 256 else f"mlp{depth}", (3, 8, 8), 10)
    inner = [192] + [width] * depth
    hidden = sum(a * b + 2 * b for a, b in pairwise(inner))
    assert parameters([made]) == hidden + width * 10 + 10
    assert macs(made, (3, 8, 8)) == sum(a * b for a, b in pairwise([*inner, 10]))


@pytest.mark.parametrize(("name", "layer"), [("relu", torch.nn.ReLU), ("tanh", torch.nn.Tanh)])
def test_plain_mlps_have_biases_and_no_batchnorm(name: str, layer: type[torch.nn.Module]) -> None:
    """784-500-500, the net of forward-forward's demonstration."""
    made = models.build(f"mlp2x500-{name}", (1, 28, 28), 10)
    assert parameters([made]) == 784 * 500 + 500 + 500 * 500 + 500 + 500 * 10 + 10
    linear, flat = torch.nn.Linear, torch.nn.Flatten
    assert [type(m) for s in made.stages for m in s] == [flat, linear, layer, linear, layer]


VGG = {
    "vgg8b": ((1, 2, 2, 4, 4, 4), (32, 32, 16, 16, 8, 4)),
    "vgg11b": ((1, 1, 1, 2, 2, 4, 4, 4, 4), (32, 32, 32, 32, 16, 16, 8, 8, 4)),
}
"""Channels as multiples of the first, and the side of what every convolution gives, before its
pooling."""


@pytest.mark.parametrize(
    ("name", "base"),
    [("vgg8b", 128), ("vgg8b-w32", 32), ("vgg8b-w4", 4), ("vgg11b", 128), ("vgg11b-w6-d25", 6)],
)
def test_vggs(name: str, base: int) -> None:
    """Convolutions with biases; 32 pixels after four poolings: 2x2; a hidden layer of 8 times the
    base."""
    with torch.device("meta"):
        made = models.build(name, (3, 32, 32), 10)
    multiples, sides = VGG[name.split("-")[0]]
    channels = [3, *(base * m for m in multiples)]
    convolutions = sum(9 * a * b + 3 * b for a, b in pairwise(channels))
    hidden = 4 * base * 4 * 8 * base + 3 * 8 * base
    assert parameters([made]) == convolutions + hidden + 8 * base * 10 + 10
    products = sum(
        9 * a * b * side**2 for (a, b), side in zip(pairwise(channels), sides, strict=True)
    )
    assert macs(made, (3, 32, 32)) == products + 4 * base * 4 * 8 * base + 8 * base * 10


# Heads: kind, then channels -> (first convolution's channels, stride) of the papers' nets.

FIRST = {16: (32, 2), 32: (64, 2), 64: (64, 1)}
D, CLASSES = 128, 10


def head_parameters(kind: str, c: int) -> int:
    convs, fcs = int(kind[0]), int(kind[2])
    count = 0
    if convs:
        count, c = 9 * c * FIRST[c][0] + 2 * FIRST[c][0], FIRST[c][0]
        count += (convs - 1) * (9 * c * c + 2 * c)
    for _ in range(fcs - 1):
        count, c = count + c * D + D, D
    return count + c * CLASSES + CLASSES


def head_macs(kind: str, c: int, size: int) -> int:
    convs, fcs = int(kind[0]), int(kind[2])
    count = 0
    if convs:
        channels, stride = FIRST[c]
        size //= stride
        count, c = (9 * c * channels + (convs - 1) * 9 * channels**2) * size**2, channels
    for _ in range(fcs - 1):
        count, c = count + c * D, D
    return count + c * CLASSES


@pytest.mark.parametrize("kind", ["0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f"])
@pytest.mark.parametrize(("c", "size"), [(16, 32), (32, 16), (64, 8)])
def test_label_heads(kind: str, c: int, size: int) -> None:
    made = label_head(kind, (c, size, size), CLASSES, 64)
    assert parameters([made]) == head_parameters(kind, c)
    convolutions = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.stride[0]) for m in convolutions[:1]] == (
        [FIRST[c]] if kind[0] != "0" else []
    )
    assert all(m.stride == (1, 1) and m.out_channels == FIRST[c][0] for m in convolutions[1:])
    assert all(
        m.kernel_size == (3, 3) and m.padding == (1, 1) and m.bias is None for m in convolutions
    )
    norms = [m for m in made.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == len(convolutions) == int(kind[0])
    assert made(torch.rand(2, c, size, size)).shape == (2, CLASSES)
    assert macs(made, (c, size, size)) == head_macs(kind, c, size)


def test_mlp_sr_head() -> None:
    """DGL: three 1x1 convolutions on a quarter of the size, 2x2 pooling, three layers of 4 C with
    BatchNorm, a linear one."""
    c = 16
    made = label_head("mlp-sr", (c, 32, 32), CLASSES, 64)
    assert (
        parameters([made])
        == 3 * (c * c + 2 * c) + 3 * (16 * c * c + 4 * c + 8 * c) + 4 * c * CLASSES + CLASSES
    )
    maps = []
    for m in made.modules():
        if isinstance(m, nn.Conv2d):
            m.register_forward_hook(lambda m, i, o: maps.append(tuple(o.shape[1:])))
    made(torch.rand(2, c, 32, 32))
    assert maps == [(c, 8, 8)] * 3
    assert macs(made, (c, 32, 32)) == 3 * c * c * 8**2 + 3 * 16 * c * c + 4 * c * CLASSES


@pytest.mark.parametrize("c", [16, 32, 64])
def test_decoder(c: int) -> None:
    made = Decoder((c, 8, 8), (3, 32, 32), resize="plain")
    assert parameters([made]) == (9 * c * 12 + 12) + 24 + (9 * 12 * 3 + 3)
    assert macs(made, (c, 8, 8)) == (9 * c * 12 + 9 * 12 * 3) * 32**2, "at the image's resolution"


@pytest.mark.parametrize(("c", "h", "w"), [(16, 8, 8), (32, 16, 16), (64, 8, 8), (5, 3, 7)])
def test_factored_decoder(c: int, h: int, w: int) -> None:
    """A 1x1 convolution to the nine taps of 12 maps, then columns, then rows."""
    made = Decoder((c, h, w), (3, 32, 24), resize="factored")
    assert parameters([made]) == (9 * c * 12 + 12) + 24 + (9 * 12 * 3 + 3)
    products = c * 108 * h * w + 36 * h * 3 * w * 24 + 12 * 3 * h * 32 * 24
    assert macs(made, (c, h, w)) == products + 9 * 12 * 3 * 32 * 24


RESIZES = {
    ((64, 8, 8), (3, 32, 32)): "factored",
    ((32, 16, 16), (3, 32, 32)): "factored",
    ((16, 32, 32), (3, 32, 32)): "plain",
    ((64, 24, 24), (3, 96, 96)): "factored",
    ((32, 48, 48), (3, 96, 96)): "plain",  # 2.0 and 1.0 times 10^7 products
    ((500,), (1, 28, 28)): "factored",
}


@pytest.mark.parametrize(("feature", "image"), RESIZES)
def test_a_decoder_computes_the_cheaper_way(
    feature: tuple[int, ...], image: tuple[int, ...]
) -> None:
    """The papers' features of 32 and 96 pixels, and an MLP's."""
    counts = {
        way: macs(Decoder(feature, image, resize=way), feature)
        for way in ("auto", "plain", "factored")
    }
    assert counts["auto"] == counts[RESIZES[feature, image]]
    assert counts["auto"] == min(counts.values())


@pytest.mark.parametrize("c", [16, 32, 64])
def test_encoders(c: int) -> None:
    image = Encoder((3, 32, 32), (c, 8, 8), image=True)
    assert parameters([image]) == (9 * 3 * 12 + 12 + 24) + (9 * 12 * c + c + 2 * c)
    inputs = Encoder((16, 32, 32), (c, 8, 8), image=False)
    assert parameters([inputs]) == 16 * c + c + 2 * c
    assert macs(image, (3, 32, 32)) == (9 * 3 * 12 + 9 * 12 * c) * 32**2, (
        "pooled after the convolutions"
    )
    assert macs(inputs, (16, 32, 32)) == 16 * c * 32**2


# ContSup at inference: percent of the bare net's multiply-accumulates and parameters, equal cuts
# (derived from the released code).

KS = (2, 4, 8, 16)
PRECISION = 0.06
"""The tables have one decimal; some of them were rounded twice."""
CUTS_110 = {
    2: [28],
    4: [13, 27, 41],
    8: [6, 13, 20, 27, 34, 41, 48],
    16: [3, 6, 9, 12, 15, 18, 21, 24, 27, 31, 35, 39, 43, 47, 51],
}
"""The published stages [s, b] of ResNet-110 as numbers of stages before the cut, 18 (s - 1) + b +
2."""
MACS = {
    ("resnet32", "E"): (5.6, 19.4, 41.8, 89.1),
    ("resnet32", "R1"): (0.1, 1.6, 3.1, 6.1),
    ("resnet32", "R1E"): (5.6, 20.9, 44.8, 95.2),
    ("resnet110", "E"): (1.5, 5.3, 12.1, 24.3),
    ("resnet110", "R1"): (0.0, 0.4, 0.9, 1.7),
    ("resnet110", "R1E"): (1.5, 5.7, 12.9, 26.0),
}
PARAMETERS = {("resnet32", "E"): (0.8, 2.9, 6.3, 13.3), ("resnet32", "R1E"): (0.9, 3.5, 8.2, 18.0)}
PARAMETERS |= {("resnet110", "E"): (0.2, 0.8, 1.8, 3.6), ("resnet110", "R1E"): (0.2, 1.0, 2.4, 4.9)}


def contsup(net: str, context: str, k: int) -> Method:
    cuts = CUTS_110[k] if net == "resnet110" else None
    return method("contsup", net, k, cuts, context=context, mode="softmax")


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(("net", "context"), MACS)
def test_inference_cost_of_contsup(net: str, context: str, k: int) -> None:
    bare = resnet(int(net.removeprefix("resnet")))[1]
    added = inference_macs(contsup(net, context, k)) - bare
    assert 100 * added / bare == pytest.approx(MACS[net, context][KS.index(k)], abs=PRECISION)


def test_the_measured_inference_cost_is_that_of_the_deployed_net() -> None:
    for context in ("R0", "R1E"):
        made = contsup("resnet8", context, 4)
        assert cost(made).inference_macs == inference_macs(made)
    assert cost(method("infopro", "resnet8", 4)).inference_macs == resnet(8)[1]


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize(("net", "context"), PARAMETERS)
def test_inference_parameters_of_contsup(net: str, context: str, k: int) -> None:
    """The published count of R1E holds a Res-net at the first cut that is never used, 3 C + C + 2
    C; we build none."""
    made = contsup(net, context, k)
    bare = resnet(int(net.removeprefix("resnet")))[0]
    channels = made.trunk[0](torch.empty(2, 3, 32, 32, device="meta")).shape[1]
    unused = 6 * channels if context == "R1E" else 0
    added = parameters(made.deployed()) - bare + unused
    assert 100 * added / bare == pytest.approx(PARAMETERS[net, context][KS.index(k)], abs=PRECISION)


def test_contsup_without_context_deploys_the_bare_net() -> None:
    assert parameters(contsup("resnet32", "R0", 4).deployed()) == resnet(32)[0]


BALANCED_110 = {2: [16], 3: [11, 22], 4: [8, 16, 28]}


@pytest.mark.parametrize(("k", "percent"), [(2, 0.8), (3, 2.4), (4, 3.2)])
def test_inference_cost_of_contsup_with_balanced_cuts(k: int, percent: float) -> None:
    bare = resnet(110)[1]
    made = method("contsup", "resnet110", k, BALANCED_110[k], context="E", mode="softmax")
    assert 100 * (inference_macs(made) - bare) / bare == pytest.approx(percent, abs=PRECISION)


def auxiliary_macs(made: Method) -> float:
    """Forward multiply-accumulates of heads and decoders for one image."""
    total = 0
    ghost = made.to("meta").eval()
    h = torch.empty(1, 3, 32, 32, device="meta")
    for trunk, objective in zip(ghost.trunk, ghost.objectives, strict=False):
        h = trunk(h)
        with FlopCounterMode(display=False) as counter:
            objective.head(h)
            objective.decoder(h)
        total += counter.get_total_flops() / 2
    return total


@pytest.mark.parametrize(
    ("net", "k", "cuts", "percent"),
    [("resnet32", k, None, p) for k, p in zip(KS, (7.3, 26.3, 57.4, 122), strict=True)]
    + [("resnet110", k, CUTS_110[k], p) for k, p in zip(KS, (2.0, 7.2, 16.4, 33.3), strict=True)]
    + [("resnet110", k, BALANCED_110[k], p) for k, p in ((2, 1.30), (3, 3.31), (4, 4.61))],
)
def test_training_cost_of_infopro(net: str, k: int, cuts: list[int] | None, percent: float) -> None:
    """The auxiliary nets' forward pass in percent of the trunk's (contrast mode: 128 outputs),
    derived from the released code."""
    bare = resnet(int(net.removeprefix("resnet")))[1]
    slack = 0.5 if percent == 122 else 0.006 if cuts and cuts == BALANCED_110.get(k) else PRECISION
    assert 100 * auxiliary_macs(
        method("infopro", net, k, cuts, resize="plain")
    ) / bare == pytest.approx(percent, abs=slack)


@pytest.mark.parametrize(("mode", "products"), [("softmax", 0), ("contrast", D)])
def test_helpers_of_infopro_are_three_of_their_forward_passes(mode: str, products: int) -> None:
    """Forward, gradient of the weights, gradient of the input; and the similarities of four
    embeddings, of 4 D products an image."""
    made = method("infopro", "resnet8", 3, mode=mode, resize="plain")
    assert cost(made).helpers == 3 * 2 * (auxiliary_macs(made) + 2 * 4 * products)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "percent"), [(2, 1.3), (3, 3.3)])
def test_published_overhead_of_infopro(k: int, percent: float) -> None:
    """InfoPro, table 3, as runs record it: helpers against end-to-end training. Isolated modules
    pass no gradient to their inputs, which the paper's figure leaves out; recorded with the
    helpers, the whole comes to less."""
    end_to_end = cost(method("backprop", "resnet110", 1))
    made = cost(method("infopro", "resnet110", k, BALANCED_110[k], resize="plain"))
    assert round(100 * made.helpers / end_to_end.trunk, 1) == percent
    assert 0.7 * percent < 100 * ((made.helpers + made.trunk) / end_to_end.trunk - 1) < percent


@pytest.mark.parametrize(("resize", "mega"), [("plain", 427.4), ("auto", 326.9)])
def test_multiply_accumulates_of_a_step_of_infopro(resize: str, mega: float) -> None:
    """ResNet-32 in sixteen modules, an image of a batch of 128; end to end it is 206.9."""
    count = flops.flops(method("infopro", "resnet32", 16, resize=resize), (3, 32, 32), 128)
    assert (count.trunk + count.helpers) / 2 / MEGA == pytest.approx(mega, abs=0.05)
    end_to_end = flops.flops(method("backprop", "resnet32", 1), (3, 32, 32), 128)
    assert (end_to_end.trunk + end_to_end.helpers) / 2 / MEGA == pytest.approx(206.9, abs=0.05)


def test_training_is_three_forward_passes_less_the_first_layers_input_gradient() -> None:
    f = cost(method("backprop", "resnet8", 1))
    forward, stem = 2 * resnet(8)[1], 2 * 3 * 16 * 9 * 32**2
    assert f.trunk == 3 * forward - stem
    assert f.helpers == 0


def test_helpers_are_what_isolated_modules_alone_do_not_compute() -> None:
    """Greedy's linear head: forward pass, gradient of its weights, gradient of its input."""
    f = cost(method("greedy", "resnet8", 2))
    saved = (
        2 * 32 * 16 * (9 + 1) * 16**2
    )  # the second module's first layers, 3x3 and 1x1, pass no gradient on
    assert f.helpers == 3 * 2 * 16 * 10
    assert f.trunk == cost(method("backprop", "resnet8", 1)).trunk - saved


def test_counting_leaves_the_method_alone() -> None:
    net = network("resnet8")
    made = methods.build("infopro", cut(net, [2], Classification(10)), {})
    before = {name: value.clone() for name, value in made.state_dict().items()}
    cost(made)
    assert all(torch.equal(v, before[n]) for n, v in made.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in made.parameters())


def test_recipes_of_the_papers_use_these_heads(catalog: Catalog) -> None:
    assert catalog.recipes.recipes["dgl"].options == {}
    made = method("dgl", "resnet32", 4)
    assert [parameters([h]) for h in made.heads] == [
        head_parameters("1c2f", c) for c in (16, 32, 64)
    ]


def test_a_convolution_is_not_run_again_for_its_own_input() -> None:
    """Recomputed norms cost no products; recomputed stages those of their forward pass, which count
    with the helpers."""
    count = {
        what: flops.flops(
            build(BACKPROP.cell(recompute=what), images().image, images().task)[0], (3, 8, 8), 8
        )
        for what in ("none", "norms", "stages")
    }
    assert count["norms"] == count["none"]
    assert count["none"].helpers == 0
    stem = 9 * 3 * 16 * 64
    first = 2 * 9 * 16 * 16 * 64
    second = (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) * 16
    assert count["stages"] == replace(count["none"], helpers=2 * (stem + first + second))
