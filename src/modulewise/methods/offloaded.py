"""End-to-end backpropagation whose activations wait in the host's memory (vDNN, Rhu et al., arXiv
1602.08124): less memory of a GPU for the time of two copies.

    min L(net(x), y)

Every tensor that the forward pass saves is copied to pinned memory of the host, and back when the
backward pass comes to it. The weights are those of backpropagation, bit for bit.

On a CPU there is no other memory: tensors stay where they are, and the method costs what
backpropagation does. Only a GPU shows what it saves.

Deviations from the paper:

1. All saved tensors are moved, weights included; the paper chooses layers.
2. Copies do not overlap with computation: they are issued on the stream of the step, and the
   backward pass waits for each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modulewise.parts.end_to_end import EndToEnd


class Offloaded(EndToEnd):
    """Backpropagation that keeps its activations on the host."""

    graphable = False

    def forward_pass(self, x: Tensor) -> Tensor:
        """The net's, its saved tensors moved; without data there is nothing to move."""
        if x.is_meta:
            return self.predict(x)
        with torch.autograd.graph.save_on_cpu(pin_memory=x.is_cuda):
            return self.predict(x)
