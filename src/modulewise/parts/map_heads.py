"""Label heads for tasks whose targets are maps: from a local feature (C h w) to a map of scores of
the same size, which the task resizes.

`AcBf` is A 3x3 convolutions (no bias, BatchNorm, ReLU) that keep channels and size, then B 1x1
convolutions, ReLU between them: the heads of `parts/heads.py` without their strides and pooling.
`fcn` is the head of InfoPro's released segmentation code (arXiv 2101.10832): a 3x3 convolution with
bias to a given width (there 512), BatchNorm, ReLU, dropout of a tenth of the channels, and a 1x1
convolution; it starts from the library's default.
"""

from __future__ import annotations

from torch import nn

from modulewise.config.types import HeadNet
from modulewise.models.network import Shape
from modulewise.models.start import library_default
from modulewise.parts.layers import conv

DROPOUT = 0.1
"""Share of the channels that `fcn` drops."""


def map_head(kind: HeadNet, feature: Shape, outputs: int, hidden: int) -> nn.Sequential:
    """Build one, with weights of its own.

    Args:
        kind: architecture, as above.
        feature: shape of one local feature (C, h, w).
        outputs: number of scores of a pixel.
        hidden: channels between the 1x1 convolutions, and the width of `fcn`.

    Raises:
        ValueError: features without height and width, or a head that pools them away.

    Example:
        >>> sum(p.numel() for p in map_head("fcn", (1024, 64, 128), 19, 512).parameters())
        4729875
    """
    if len(feature) != 3:
        raise ValueError(
            f"targets are maps, and a module's output has {feature[0]} values without a place; "
            f"take a convolutional network"
        )
    c = feature[0]
    if kind == "fcn":
        head = nn.Sequential(
            conv(c, hidden, bias=True), nn.Dropout2d(DROPOUT), nn.Conv2d(hidden, outputs, 1)
        )
        return library_default(head)
    if kind[1:2] != "c":
        raise ValueError(
            f"head {kind} gives one score an image, and targets are maps; valid: "
            f"fcn, 0c1f and its kin"
        )
    convs, layers = int(kind[0]), int(kind[2])
    made: list[nn.Module] = [conv(c, c) for _ in range(convs)]
    for _ in range(layers - 1):
        made += [nn.Conv2d(c, hidden, 1), nn.ReLU(inplace=True)]
        c = hidden
    return nn.Sequential(*made, nn.Conv2d(c, outputs, 1))
