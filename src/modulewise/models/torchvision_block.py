"""torchvision's residual blocks, basic and bottleneck, as stages that say what they add."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from modulewise.models.network import Residual
from modulewise.models.normed import Normed


class TorchvisionBlock(Normed, Residual):
    """A block's own convolutions, normalisations and shortcut, under the names they have there; a
    ReLU after the sum.

    Args:
        block: `BasicBlock` or `Bottleneck` of `torchvision.models.resnet`; its parts are taken, not
            copied.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        parts = {name: part for name, part in block.named_children() if name != "relu"}
        for name, part in parts.items():
            self.add_module(name, part)
        self._depth = sum(name.startswith("conv") for name in parts)

    def branch(self, x: Tensor) -> Tensor:
        """Convolutions and BatchNorms with ReLUs between them (B C' H' W')."""
        convs, norms = (
            [self.get_submodule(f"{kind}{n + 1}") for n in range(self._depth)]
            for kind in ("conv", "bn")
        )
        x = convs[0](x)
        for norm, conv in zip(norms, convs[1:], strict=False):
            x = self.normed(norm, conv, x)
        return norms[-1](x)

    def join(self, x: Tensor, added: Tensor) -> Tensor:
        """Add the shortcut."""
        downsample = self._modules.get("downsample")
        return F.relu(added + (downsample(x) if downsample else x), inplace=True)
