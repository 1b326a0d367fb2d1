"""Label heads: small nets from a local feature to class scores, or to an embedding for a
contrastive loss.

`AcBf` is A 3x3 convolutions (no bias, BatchNorm, ReLU), global average pooling, B fully connected
layers, as in InfoPro's released nets (arXiv 2101.10832). The first convolution doubles the channels
at stride 2 below the trunk's final width and keeps both at it. `mlp-sr` is DGL's head (arXiv
1901.08164): pooling to a quarter of the size, three 1x1 convolutions, pooling to 2x2, three fully
connected layers of four times the channels with BatchNorm, a linear layer. `imagenet` is InfoPro's
for ImageNet: with W channels in the trunk's last stage (there 2048) and C in the feature, a 1x1
convolution to C/4, two 3x3 at stride 2 to W/8 and W/4, a 1x1 to W, each without bias, BatchNorm,
ReLU; global average pooling, a linear layer. `shared` is the net's own classifier, read only.
Where targets are maps, heads are those of `parts/map_heads.py`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from modulewise.config.types import HeadNet, LabelHead
from modulewise.models.network import CutNetwork, Shape
from modulewise.parts.layers import AsMap, conv
from modulewise.parts.map_heads import map_head
from modulewise.parts.pooling import ToSize
from modulewise.parts.statistics import frozen_statistics
from modulewise.task import label_maps


def label_head(
    kind: HeadNet, feature: Shape, outputs: int, width: int, hidden: int = 128
) -> nn.Sequential:
    """Build a label head with weights of its own.

    Args:
        kind: architecture, as above.
        feature: shape of one local feature, (C, H, W) or (C,).
        outputs: number of classes, or embedding dimension.
        width: channels of the trunk's last stage.
        hidden: units of the hidden fully connected layers.

    Raises:
        ValueError: a head that gives maps.

    Example:
        >>> sum(p.numel() for p in label_head("0c1f", (16, 32, 32), 10, 64).parameters())
        170
    """
    if kind == "fcn":
        raise ValueError(
            "head fcn gives a map of scores, and targets are no maps; valid: 0c1f and its kin, "
            "mlp-sr, imagenet"
        )
    c, size = feature[0], feature[1:] or (1, 1)
    if kind == "mlp-sr":
        return _mlp_sr(c, size, outputs)
    if kind == "imagenet":
        return _imagenet(c, outputs, width)
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
    """A label head on every module but the last; arguments as of `head_of_module`."""
    return nn.ModuleList(
        head_of_module(trunk, k, kind, shape, hidden) for k, shape in enumerate(trunk.cut_shapes)
    )


def head_of_module(
    trunk: CutNetwork, k: int, kind: LabelHead, feature: Shape, hidden: int = 128
) -> nn.Module:
    """A label head for module k. A method that has one of kind `shared` declares `joint_only` and
    the feedback `later`.

    Args:
        trunk: the network, cut.
        k: the module, for the message.
        kind: architecture, or `shared`.
        feature: shape of one of the features that the head is given.
        hidden: units of the hidden fully connected layers.

    Raises:
        ValueError: the net's classifier does not fit the feature.
    """
    if kind != "shared" and label_maps(trunk.task, trunk.image):
        return map_head(kind, feature, trunk.task.outputs, hidden)
    if kind != "shared":
        return label_head(kind, feature, trunk.task.outputs, trunk.width, hidden)
    if not _fits(trunk, feature):
        raise ValueError(
            f"head shared: the net's classifier takes {_text(trunk.stage_shapes[-1])}, the head of "
            f"module {k} is given {_text(feature)}; take a partition with cuts only where features "
            f"are like the last, or a network of constant width such as mlp3"
        )
    return SharedReadout(trunk.head)


class SharedReadout(nn.Module):
    """The net's own classifier on a local feature, read only: no parameters of its own, and the
    classifier gets no gradient from it.

    The classifier learns from the last module's loss alone, on the last module's features.
    BatchNorm in it takes the batch's statistics of the local feature and does not count the pass.

    Args:
        head: the net's head; it stays a child of the last module only.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self._head = (head,)  # in a tuple: not registered a second time

    def forward(self, h: Tensor) -> Tensor:
        """Features of the last stage's kind -> scores (B outputs)."""
        (head,) = self._head
        weights = {name: p.detach() for name, p in head.named_parameters()}
        with frozen_statistics(head):
            return functional_call(head, weights, (h,))


def _fits(trunk: CutNetwork, feature: Shape) -> bool:
    """Whether the net's head gives scores of such a feature, tried without data."""
    head = copy.deepcopy(trunk.head).to("meta").eval()
    try:
        with torch.no_grad():
            given, own = (
                head(torch.empty(1, *shape, device="meta"))
                for shape in (feature, trunk.stage_shapes[-1])
            )
    except RuntimeError:
        return False
    return given.dim() == own.dim()


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _mlp_sr(c: int, size: Shape, outputs: int) -> nn.Sequential:
    quarter = (-(-size[0] // 4), -(-size[1] // 4))
    layers: list[nn.Module] = [
        AsMap(),
        ToSize(quarter),
        *(conv(c, c, kernel=1) for _ in range(3)),
    ]
    layers += [ToSize((2, 2)), nn.Flatten()]
    width = 4 * c
    for _ in range(3):
        layers += [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _imagenet(c: int, outputs: int, width: int) -> nn.Sequential:
    m, narrow, middle = (max(1, n) for n in (c // 4, width // 8, width // 4))
    return nn.Sequential(
        AsMap(),
        conv(c, m, kernel=1),
        conv(m, narrow, stride=2),
        conv(narrow, middle, stride=2),
        conv(middle, width, kernel=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, outputs),
    )
