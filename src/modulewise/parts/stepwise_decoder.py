"""InfoPro's decoder for large images (arXiv 2101.10832, released code for ImageNet and Cityscapes):
from a local feature back to the image, doubling the maps step by step.

A step is a convolution with bias, BatchNorm, ReLU, and a bilinear resize with aligned corners; a
3x3 convolution to the image and a sigmoid follow. At an eighth of the image's size, C channels:

    1x1 C -> 128, to 1/4;  3x3 -> 32, to 1/2;  3x3 -> 12, to the image's size;  3x3 -> image

and at a sixteenth 1x1 C -> 192, to 1/8; 1x1 -> 64, to 1/4; then as above. What the paper does not
decode follows suit: a feature at a quarter or a half begins with the 3x3 convolution that leads on
from there, one at a 32nd has a second step of 64 channels, and so on; a 1x1 convolution never gives
more channels than the feature has.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.network import Shape
from modulewise.models.start import draw_convolutions
from modulewise.parts.layers import AsMap, conv

LAST = (32, 12)
"""Channels of the last two steps, to a half and to the whole: convolutions 3x3."""


class StepwiseDecoder(nn.Module):
    """Convolutions and resizes, the maps doubling at every step.

    Args:
        feature: shape of one local feature, (C, H, W) or (C,).
        image: shape of one image (C, H, W).

    Example:
        >>> decoder = StepwiseDecoder((512, 28, 28), (3, 224, 224))
        >>> sum(p.numel() for p in decoder.parameters()), decoder.sizes
        (106699, [(56, 56), (112, 112), (224, 224)])
    """

    def __init__(self, feature: Shape, image: Shape) -> None:
        super().__init__()
        own, size = feature[1:] or (1, 1), image[1:]
        steps = max(1, round(math.log2(max(size) / max(own))))
        self.sizes = [
            tuple(math.ceil(side / 2**n) for side in size) for n in reversed(range(steps))
        ]
        c, layers = feature[0], list[nn.Module]()
        first = squeezed(c, steps - len(LAST))
        for width in [*first, *LAST[-steps:]]:
            layers.append(conv(c, width, kernel=1 if len(layers) < len(first) else 3, bias=True))
            c = width
        self.as_map = AsMap()
        self.layers = nn.ModuleList(layers)
        self.out = draw_convolutions(nn.Conv2d(c, image[0], 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        """B C H W -> logits of the image, B c h w; their sigmoid is the reconstruction."""
        h = self.as_map(h)
        for layer, size in zip(self.layers, self.sizes, strict=True):
            h = layer(h)
            if h.shape[2:] != size:
                h = F.interpolate(h, size=size, mode="bilinear", align_corners=True)
        return self.out(h)


def squeezed(c: int, steps: int) -> list[int]:
    """Channels of the steps before the last two: convolutions 1x1.

    Example:
        >>> squeezed(512, 1), squeezed(1024, 2), squeezed(64, 0)
        ([128], [192, 64], [])
    """
    widths = [128] if steps == 1 else [192, *[64] * (steps - 1)]
    return [min(c, width) for width in widths[: max(0, steps)]]
