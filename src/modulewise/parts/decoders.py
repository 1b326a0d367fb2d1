"""InfoPro's decoder: from a local feature back to the image (arXiv 2101.10832).

Its first layer resizes the feature h (C h w) to the image's H x W, bilinearly with aligned corners,
and convolves the result by 3x3. Both are linear, so that for every output channel

    conv(resize(h)) = sum over taps (a, b) of  Y_a (W_ab h) X_b^T  + bias

where W_ab is the tap's row of weights, a product over channels at the feature's own size; Y is the
H x h matrix of the interpolation, Y_a the same with rows moved by the tap and zeros where the
padding is; X_b likewise for columns. That is one 1x1 convolution and one matrix product per axis,
and no map of C channels at the image's size, which is what the plain way keeps for the backward
pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.config.types import Resize
from modulewise.models.network import Shape
from modulewise.parts.layers import AsMap, conv

Size = tuple[int, int]
TAPS = 3
"""Of the convolution, per axis."""


class Decoder(nn.Module):
    """Bilinear resize to the image's size, 3x3 convolution to 12 channels, 3x3 convolution to the
    image, sigmoid.

    Args:
        feature: shape of one local feature, (C, H, W) or (C,).
        image: shape of one image (C, H, W).
        width: channels in between.
        resize: how the first two are computed where the sizes differ: `plain`, one after the other
            as in the released code and in the layout of the feature; `factored`, as above, equal
            but for rounding; `auto`, the one of fewer multiply-accumulates.
    """

    y: Tensor
    x: Tensor

    def __init__(
        self, feature: Shape, image: Shape, width: int = 12, resize: Resize = "auto"
    ) -> None:
        super().__init__()
        own, self.size = _size(feature), _size(image)
        self.as_map = AsMap()
        self.hidden = conv(feature[0], width, bias=True)
        self.out = nn.Conv2d(width, image[0], TAPS, 1, 1)
        nn.init.normal_(self.out.weight, 0.0, (2 / (TAPS**2 * image[0])) ** 0.5)
        self.plain, self.factored = resize == "plain", False
        if own != self.size and not self.plain:
            shapes = feature[0], own, self.size, width
            self.factored = resize == "factored" or factored_macs(*shapes) < plain_macs(*shapes)
        if self.factored:
            for axis, n, size in zip("yx", own, self.size, strict=True):
                self.register_buffer(axis, interpolation(n, size), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """B C H W -> logits of the image, B c h w; their sigmoid is the reconstruction."""
        h = self.as_map(h)
        first, norm, relu = self.hidden
        if self.factored:
            maps = resized_conv(h, first, self.y, self.x)
        else:
            if h.shape[2:] != self.size:
                h = F.interpolate(h, size=self.size, mode="bilinear", align_corners=True)
            maps = self._convolve(first, h)
        return self._convolve(self.out, relu(norm(maps)))

    def _convolve(self, layer: nn.Module, h: Tensor) -> Tensor:
        """A 3x3 convolution; on a CPU channels last, whatever the layout of its input (B C H W),
        which is faster for few channels."""
        assert isinstance(layer, nn.Conv2d)
        if self.plain or h.device.type != "cpu":
            return layer(h)
        weight = layer.weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(h, weight, layer.bias, padding=1)


def resized_conv(h: Tensor, layer: nn.Module, y: Tensor, x: Tensor) -> Tensor:
    """What a 3x3 convolution, padding 1, makes of a resized feature.

    Args:
        h: feature (B C h w).
        layer: the convolution, to O channels, with a bias.
        y: interpolation of rows with its taps (3 H h).
        x: of columns (3 W w).

    Returns:
        B O H W, channels last on a CPU.
    """
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    (b, c, rows, columns), o = h.shape, layer.out_channels
    kernel = layer.weight.permute(0, 2, 3, 1).reshape(-1, c)  # o a b, C
    # One operation a line: what the one before gave is freed.
    maps = torch.bmm(kernel.expand(b, -1, -1), h.flatten(2))  # o a b, h w
    maps = maps.view(b, o * TAPS, TAPS, rows, columns).transpose(2, 3).reshape(-1, TAPS * columns)
    maps = maps @ _beside(x).T.to(h.dtype)  # o a h, W
    maps = _beside(y).to(h.dtype) @ maps.view(b * o, TAPS * rows, -1)  # o, H, W
    maps = maps.view(b, o, *maps.shape[1:])
    if h.device.type == "cpu":
        maps = maps.contiguous(memory_format=torch.channels_last)
    return maps + layer.bias[:, None, None].to(maps.dtype)


def _beside(taps: Tensor) -> Tensor:
    """Matrices of taps (3 size n) side by side (size 3n)."""
    return taps.transpose(0, 1).flatten(1)


def interpolation(n: int, size: int) -> Tensor:
    """Matrices (3 size n, float64) that interpolate n values to `size` linearly with aligned ends,
    then move by one tap of a convolution: row i of matrix a gives value i + a - 1, zero beyond the
    ends."""
    at = torch.arange(size, dtype=torch.float64) * ((n - 1) / max(1, size - 1))
    nodes = torch.arange(n, dtype=torch.float64)
    inner = (1 - (at[:, None] - nodes).abs()).clamp(min=0)
    padded = F.pad(inner, (0, 0, 1, 1))
    return torch.stack([padded[a : a + size] for a in range(TAPS)])


def plain_macs(channels: int, own: Size, size: Size, width: int) -> int:
    """Multiply-accumulates of resizing an image's feature of size `own` to `size` and convolving
    it."""
    return (TAPS**2 * width + 4) * channels * size[0] * size[1]


def factored_macs(channels: int, own: Size, size: Size, width: int) -> int:
    """The same of `resized_conv`."""
    maps = TAPS**2 * width * own[0] * own[1]
    return maps * channels + maps * size[1] + TAPS * width * own[0] * size[0] * size[1]


def _size(shape: Shape) -> Size:
    """Height and width of a feature or an image."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
