"""ResNets for ImageNet (He et al., arXiv 1512.03385, table 1) and ResNeXt-101 32x8d (Xie et al.,
arXiv 1611.05431), made of torchvision's modules: `imagenet-resnet18`, `-resnet34`, `-resnet50`,
`-resnet101`, `-resnet152`, `imagenet-resnext101-32x8d`.

A 7x7 convolution at stride 2, BatchNorm, ReLU and 3x3 max-pooling at stride 2; four groups of basic
or bottleneck blocks, the last three of which start at stride 2 (in a bottleneck's 3x3 convolution);
the mean over pixels and a linear classifier. Convolutions start from N(0, 2 / (k k C_out)),
BatchNorm from 1 and 0, also at the end of a branch, the classifier from the library's default.

Stages are the stem, `0.0`, and the blocks, `group.block`: `1.0`, ..., `4.2`. Images have any size.
"""

from __future__ import annotations

import math
import re

from torch import nn

from modulewise.models.network import Network, Shape
from modulewise.models.start import draw_convolutions
from modulewise.models.torchvision_block import TorchvisionBlock

PATTERN = r"imagenet-(resnet(?:18|34|50|101|152)|resnext101-32x8d)"
EXAMPLES = [
    "imagenet-resnet18",
    "imagenet-resnet34",
    "imagenet-resnet50",
    "imagenet-resnet101",
    "imagenet-resnet152",
    "imagenet-resnext101-32x8d",
]


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A network of torchvision, without pretrained weights."""
    import torchvision

    if image[0] != 3:
        raise ValueError(f"images of 3 channels, got {image[0]}")
    net = getattr(torchvision.models, match[1].replace("-", "_"))(weights=None, num_classes=outputs)
    stages: list[tuple[str, nn.Module]] = [
        ("0.0", nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool))
    ]
    group_of = [0]  # of every stage
    for g, blocks in enumerate((net.layer1, net.layer2, net.layer3, net.layer4)):
        stages += [(f"{g + 1}.{b}", TorchvisionBlock(block)) for b, block in enumerate(blocks)]
        group_of += [g] * len(blocks)
    head = nn.Sequential(net.avgpool, nn.Flatten(), net.fc)
    kind, width = type(net.layer1[0]), (net.groups, net.base_width)

    def layer(feature: Shape, i: int) -> nn.Module:
        c, planes, sides = feature[0], 64 * 2 ** group_of[i], 2 ** (group_of[i] + 2)
        larger = any(a > math.ceil(b / sides) for a, b in zip(feature[1:], image[1:], strict=True))
        stride, out = 2 if larger else 1, planes * kind.expansion
        shortcut = None
        if larger or c != out:
            shortcut = nn.Sequential(nn.Conv2d(c, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        block = kind(c, planes, stride, shortcut, *width)
        return draw_convolutions(TorchvisionBlock(block))

    return Network(stages, head, image, layer)
