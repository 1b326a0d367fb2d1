"""DeepLabV3 (Chen et al., arXiv 1706.05587) on a ResNet v1c, as mmsegmentation 0.10 builds it and
InfoPro (arXiv 2101.10832, table 5) trains it: `deeplabv3-resnet101` and its kin. Behind the name,
`-w128` narrows the heads to 128 channels instead of 512, `-s16` has the trunk start with 16 instead
of 64; with basic blocks (resnet18, resnet34) all 3x3 convolutions of a dilated block are dilated.

The stem is three 3x3 convolutions, the first at stride 2, and 3x3 max-pooling at stride 2. Groups
of blocks have strides 1 2 1 1 and dilations 1 1 2 4, the first block of a dilated group half of its
dilation: maps end at an eighth of the image, rounded up. The head holds

- group 4, which reads group 3's output;
- atrous spatial pyramid pooling on group 4: the mean over pixels and a 1x1 convolution; a 1x1
  convolution; 3x3 convolutions of dilation 12, 24 and 36; all side by side into a 3x3 convolution,
  dropout of channels, and the classifier: the scores;
- a fully convolutional head on group 3: the auxiliary scores, in training alone, behind the others.

Convolutions start from N(0, 2 / (k k C_out)), BatchNorm from 1 and 0, classifiers from N(0, 0.01^2)
with bias 0. The papers' trunk starts from ImageNet weights, ours does not.

Stages are the stem, `0.0`, the blocks of groups 1 to 3, `1.0`, `1.1`, ..., and `4`, which does
nothing: behind the last cut, `3.<n-1>`, a module has the head alone, for both parts read group 3.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from modulewise.models.network import Network, Shape
from modulewise.models.start import draw_convolutions
from modulewise.models.torchvision_block import TorchvisionBlock

PATTERN = r"deeplabv3-resnet(18|34|50|101|152)(?:-w(\d+))?(?:-s(\d+))?"
EXAMPLES = ["deeplabv3-resnet101", "deeplabv3-resnet50", "deeplabv3-resnet18-w128"]
DENSE = 8
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
RATES = (12, 24, 36)
"""Dilations of the pyramid."""
DROPOUT = 0.1


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling and the classifier behind it.

    Args:
        c: channels of the feature.
        width: channels of every branch.
        outputs: number of scores.
    """

    def __init__(self, c: int, width: int, outputs: int) -> None:
        super().__init__()
        self.mean = _conv(c, width, kernel=1)
        branches = [_conv(c, width, kernel=1), *(_conv(c, width, dilation=d) for d in RATES)]
        self.branches = nn.ModuleList(branches)
        self.classifier = _classifier(width * (len(branches) + 1), width, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """B C h w -> scores (B outputs h w)."""
        mean = self.mean(h.mean((2, 3), keepdim=True)).expand(-1, -1, *h.shape[2:])
        return self.classifier(torch.cat([mean, *(branch(h) for branch in self.branches)], 1))


class Head(nn.Module):
    """Group 4, the pyramid on it, and the auxiliary head beside it.

    Args:
        group: the blocks of group 4.
        pyramid: gives the scores of their output.
        auxiliary: gives the auxiliary scores of their input.
    """

    def __init__(self, group: nn.Module, pyramid: nn.Module, auxiliary: nn.Module) -> None:
        super().__init__()
        self.group, self.pyramid, self.auxiliary = group, pyramid, auxiliary

    def forward(self, h: Tensor) -> Tensor:
        """B C h w -> scores, and in train mode auxiliary ones behind them (B 2 outputs h w)."""
        scores = self.pyramid(self.group(h))
        return torch.cat([scores, self.auxiliary(h)], 1) if self.training else scores


def build(match: re.Match[str], image: Shape, outputs: int) -> Network:
    """A DeepLabV3."""
    width, start = int(match[2] or 512), int(match[3] or 64)
    if not 2 <= width <= 4096 or not 2 <= start <= 4096:
        raise ValueError("2 to 4096 channels of the heads (-w) and at the trunk's start (-s)")
    stem = nn.Sequential(
        _conv(image[0], start // 2, stride=2),
        _conv(start // 2, start // 2),
        _conv(start // 2, start),
        nn.MaxPool2d(3, 2, 1),
    )
    groups, c = _groups(int(match[1]), start)
    stages: list[tuple[str, nn.Module]] = [("0.0", stem)]
    for g, blocks in enumerate(groups[:3], start=1):
        stages += [(f"{g}.{b}", block) for b, block in enumerate(blocks)]
    stages.append(("4", nn.Identity()))
    pyramid, auxiliary = Pyramid(c, width, outputs), _classifier(c // 2, width // 2, outputs)
    net = Network(stages, Head(nn.Sequential(*groups[3]), pyramid, auxiliary), image)
    draw_convolutions(net)
    for last in (pyramid.classifier[-1], auxiliary[-1]):
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(last.weight, 0.0, 0.01)
        nn.init.zeros_(last.bias)
    return net


def _groups(depth: int, start: int) -> tuple[list[list[nn.Module]], int]:
    """The four groups of blocks, and the channels they end with."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    kind = BasicBlock if depth < 50 else Bottleneck
    groups, c, before = list[list[nn.Module]](), start, 1
    for g, n in enumerate(BLOCKS[depth]):
        planes, group = start * 2**g, list[nn.Module]()
        for b in range(n):
            stride, c_out = STRIDES[g] if b == 0 else 1, planes * kind.expansion
            shortcut = None
            if stride != 1 or c != c_out:
                convolution = nn.Conv2d(c, c_out, 1, stride, bias=False)
                shortcut = nn.Sequential(convolution, nn.BatchNorm2d(c_out))
            block = kind(c, planes, stride, shortcut)
            _dilate(block, before if b == 0 else DILATIONS[g])
            group.append(TorchvisionBlock(block))
            c = c_out
        groups.append(group)
        before = DILATIONS[g]
    return groups, c


def _dilate(block: nn.Module, dilation: int) -> None:
    """Dilate a block's 3x3 convolutions, at the same size of maps."""
    for m in block.modules():
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3):
            m.dilation = m.padding = (dilation, dilation)


def _conv(
    c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


def _classifier(c: int, width: int, outputs: int) -> nn.Sequential:
    """3x3 convolution, dropout of channels, 1x1 convolution with a bias."""
    last = nn.Conv2d(width, outputs, 1)
    return nn.Sequential(_conv(c, width), nn.Dropout2d(DROPOUT), last)
