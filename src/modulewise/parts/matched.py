"""Label heads that cost as much as InfoPro's helpers: what InfoPro's "Greedy SL+" (arXiv
2101.10832, table 2) needs.

The paper says only that greedy learning is given deeper local nets until it computes as much as
InfoPro; nets and depths were never published. Here a head is d 3x3 convolutions (no bias,
BatchNorm, ReLU) of w channels at the feature's own size, global average pooling and a linear
classifier. With B the multiply-accumulates of InfoPro's decoder, as released, and contrastive
`1c2f` head on the same feature (C H W),

    d = max(1, round( B / (9 C^2 H W) )),    w: 9 H W (C w + (d-1) w^2) + w outputs = B, rounded

so that the depth is what keeps the width close to C.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modulewise.models.network import Shape
from modulewise.parts.decoders import Decoder
from modulewise.parts.heads import label_head
from modulewise.parts.layers import AsMap, conv

EMBEDDING = 128
"""InfoPro's feature dimension: hidden units and outputs of its contrastive head."""


def infopro_macs(feature: Shape, image: Shape, width: int) -> float:
    """Forward multiply-accumulates, for one image, of InfoPro's decoder and head on a local feature
    (C, H, W) or (C,).

    Args:
        feature: shape of one local feature.
        image: shape of one image (C, H, W).
        width: channels of the trunk's last stage.

    Example:
        >>> round(infopro_macs((16, 32, 32), (3, 32, 32), 64))
        3301376
    """
    with torch.device("meta"), torch.no_grad():
        nets = [
            Decoder(feature, image, resize="plain").eval(),
            label_head("1c2f", feature, EMBEDDING, width, EMBEDDING).eval(),
        ]
        with FlopCounterMode(display=False) as counter:
            for net in nets:
                net(torch.empty(1, *feature))
    return counter.get_total_flops() / 2


def depth_and_width(feature: Shape, outputs: int, budget: float) -> tuple[int, int]:
    """Number of convolutions and their channels for a budget in multiply-accumulates (d and w
    above)."""
    c, pixels = feature[0], math.prod(feature[1:])
    depth = max(1, round(budget / (9 * c * c * pixels)))
    linear, square = 9 * pixels * c + outputs, 9 * pixels * (depth - 1)
    root = math.sqrt(linear**2 + 4 * square * budget)
    return depth, max(1, round(2 * budget / (linear + root)))


def matched_head(feature: Shape, image: Shape, outputs: int, width: int) -> nn.Sequential:
    """A label head with as many multiply-accumulates as InfoPro's helpers; arguments as above,
    `outputs` the number of classes."""
    depth, channels = depth_and_width(feature, outputs, infopro_macs(feature, image, width))
    sizes = [feature[0]] + [channels] * depth
    convs = [conv(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(
        AsMap(), *convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
    )
