"""Label heads: small nets from a local feature to class scores, or to an embedding for a
contrastive loss.

`AcBf` is A 3x3 convolutions (no bias, BatchNorm, ReLU), global average pooling, B fully connected
layers, as in InfoPro's released nets (arXiv 2101.10832). The first convolution doubles the channels
at stride 2 below the trunk's final width and keeps both at it. `mlp-sr` is DGL's head (arXiv
1901.08164): pooling to a quarter of the size, three 1x1 convolutions, pooling to 2x2, three fully
connected layers of four times the channels with BatchNorm, a linear layer.
"""

from __future__ import annotations

from torch import nn

from modulewise.config.types import LabelHead
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.layers import AsMap, conv


def label_head(
    kind: LabelHead, feature: Shape, outputs: int, width: int, hidden: int = 128
) -> nn.Sequential:
    """Build a label head.

    Args:
        kind: architecture, as above.
        feature: shape of one local feature, (C, H, W) or (C,).
        outputs: number of classes, or embedding dimension.
        width: channels of the trunk's last stage.
        hidden: units of the hidden fully connected layers.

    Example:
        >>> sum(p.numel() for p in label_head("0c1f", (16, 32, 32), 10, 64).parameters())
        170
    """
    c, size = feature[0], feature[1:] or (1, 1)
    if kind == "mlp-sr":
        return _mlp_sr(c, size, outputs)
    convs, fcs = int(kind[0]), int(kind[2])
    layers: list[nn.Module] = [AsMap()]
    for i in range(convs):
        grows = i == 0 and c < width
        layers.append(conv(c, min(2 * c, width) if grows else c, stride=2 if grows else 1))
        c = min(2 * c, width) if grows else c
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for _ in range(fcs - 1):
        layers += [nn.Linear(c, hidden), nn.ReLU(inplace=True)]
        c = hidden
    return nn.Sequential(*layers, nn.Linear(c, outputs))


def label_heads(trunk: CutNetwork, kind: LabelHead, hidden: int = 128) -> nn.ModuleList:
    """A label head on every module but the last; arguments as of `label_head`."""
    outputs = trunk.task.outputs
    return nn.ModuleList(
        label_head(kind, shape, outputs, trunk.width, hidden) for shape in trunk.cut_shapes
    )


def _mlp_sr(c: int, size: Shape, outputs: int) -> nn.Sequential:
    quarter = (-(-size[0] // 4), -(-size[1] // 4))
    layers: list[nn.Module] = [
        AsMap(),
        nn.AdaptiveAvgPool2d(quarter),
        *(conv(c, c, kernel=1) for _ in range(3)),
    ]
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    width = 4 * c
    for _ in range(3):
        layers += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
