"""Feedback alignment (Lillicrap et al., arXiv 1411.0247) and sign-symmetry (Liao, Leibo & Poggio,
arXiv 1510.05067): end-to-end learning whose errors come back through other weights than those they
answer for.

    y = W x + b,   dW = d x^T,   db = d,   dx := B^T d   in place of W^T d;   d = dL / dy

in every linear and convolutional layer, and nowhere else: nonlinearities, normalisations and
poolings are differentiated as always.

    random:  B drawn once, N(0, s^2)
    sign:    B = s sign(W), W being that of the step
    s        root mean square of W at the start

With s, errors have the size at first that backpropagation's have. A random B is a buffer, one the
size of W for every layer, that no step moves; of `sign` only s is kept.

Deviations from the papers, of which only later code was read:

1. How a random B is drawn is our own choice: as W is, its distribution taken to be normal.
2. Xiao et al. (arXiv 1811.03567) have for s in convolutions sqrt(2 / (k k C_out)), which is that of
   our ResNets; in linear layers 1 / sqrt(n_in), here 1 / sqrt(3 n_in), and by default
   backpropagation in the last one. Liao et al. have no s, but steps of the gradient's sign.
3. The first layer has a B, too, which carries nothing: images need no gradient.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from modulewise.models.network import CutNetwork
from modulewise.parts.end_to_end import EndToEnd

Layer = nn.Linear | nn.Conv2d


class FeedbackAlignment(EndToEnd):
    """Errors through other weights.

    Args:
        trunk: the network.
        weights: that carry errors back: fixed `random` ones, or the `sign` of the layer's own.
    """

    equals_backprop = False

    def __init__(self, trunk: CutNetwork, *, weights: Literal["random", "sign"] = "random") -> None:
        super().__init__(trunk)
        kind = Random if weights == "random" else Sign
        self.feedback_weights = nn.ModuleList(
            nn.ModuleList(kind(m) for m in module.modules() if isinstance(m, Layer))
            for module in self.trunk
        )


class FeedbackWeights(nn.Module):
    """Takes the place of a layer's forward pass: it gives what the layer does, and in train mode
    another way back to what the layer was given. The mode is its own, not the layer's.

    Args:
        layer: the layer; it keeps its weights and their names.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple: not registered a second time
        cast(Any, layer).forward = self.forward

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        (layer,) = self._layer
        plain = cast(Any, type(layer)).forward
        if not self.training:
            return plain(layer, x)
        y = plain(layer, x.detach())
        conv = (
            (layer.stride, layer.padding, layer.dilation, layer.groups)
            if isinstance(layer, nn.Conv2d)
            else None
        )
        return FeedbackPath.apply(y, x, *self.weight_back(layer.weight), conv)

    def weight_back(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """What B is made of: itself; or the weight whose signs it has, and its size."""
        raise NotImplementedError  # abstract


class Random(FeedbackWeights):
    """B drawn once."""

    matrix: Tensor

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.register_buffer("matrix", torch.randn_like(layer.weight) * size(layer.weight))

    def weight_back(self, w: Tensor) -> tuple[Tensor, None]:
        """B."""
        return self.matrix, None


class Sign(FeedbackWeights):
    """B of the signs of W."""

    size: Tensor

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.register_buffer("size", size(layer.weight))

    def weight_back(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """W and s."""
        return w, self.size


def size(w: Tensor) -> Tensor:
    """Root mean square."""
    return w.detach().square().mean().sqrt()


class FeedbackPath(torch.autograd.Function):
    """The identity of y, whose gradient also goes to x, by B."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, b: Tensor, size: Tensor | None, conv: tuple[Any, ...] | None
    ) -> Tensor:
        ctx.save_for_backward(b, size)
        ctx.shape, ctx.conv = x.shape, conv
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.needs_input_grad[1]:
            return d, None, None, None, None
        b, size = ctx.saved_tensors
        b = (b if size is None else size * b.sign()).to(d.dtype)
        x = d @ b if ctx.conv is None else conv2d_input(ctx.shape, b, d, *ctx.conv)
        return d, x, None, None, None
