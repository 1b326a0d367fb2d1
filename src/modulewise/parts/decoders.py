"""InfoPro's decoder: from a local feature back to the image (arXiv 2101.10832)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.network import Shape
from modulewise.parts.layers import AsMap, conv


class Decoder(nn.Module):
    """Bilinear resize to the image's size, 3x3 convolution to 12 channels, 3x3 convolution to the
    image, sigmoid.

    Args:
        feature: shape of one local feature, (C, H, W) or (C,).
        image: shape of one image (C, H, W).
        width: channels in between.
    """

    def __init__(self, feature: Shape, image: Shape, width: int = 12) -> None:
        super().__init__()
        self.size = image[1:]
        self.as_map = AsMap()
        self.hidden = conv(feature[0], width, bias=True)
        self.out = nn.Conv2d(width, image[0], 3, 1, 1)
        nn.init.normal_(self.out.weight, 0.0, (2 / (9 * image[0])) ** 0.5)

    def forward(self, h: Tensor) -> Tensor:
        """B C H W -> logits of the image, B c h w; their sigmoid is the reconstruction."""
        h = self.as_map(h)
        if h.shape[2:] != self.size:
            h = F.interpolate(h, size=self.size, mode="bilinear", align_corners=True)
        return self.out(self.hidden(h))
