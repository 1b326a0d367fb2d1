"""HSIC bottleneck (Ma, Lewis and Kleijn, AAAI 2020, arXiv 1908.01580): every module makes its
output depend on the class and forget the image, both measured by kernels.

    L_k = nHSIC( h_k, x ) - lambda_y nHSIC( h_k, y )
    nHSIC( a, b ) = tr( R_a R_b )      R = C (C + epsilon B I)^-1      C = H K H,  H = I - 1/B
    K_ij = exp( - |u_i - u_j|^2 / (2 sigma^2 d) )                      d numbers u of each image

x are the images, y one-hot labels, B the number of images, epsilon 1e-5. Of two labels K knows only
whether they are the same. No gradient crosses a cut, and there are no helpers. The stages of the
last module learn by L_K like all others; the net's own classifier learns by the task's loss from
their output, which it does not shape.

The released code (choasma/HSIC-bottleneck) has K H for H K H, which changes no trace.

Deviations from the paper, of which we know its formulas and the released code:

1. Modules learn at once; there one after the other within a step, each given what the updated ones
   before it make. The classifier learns beside them; there by itself, afterwards.
2. Terms stand on modules, where those of the paper stand on layers; the last layer, of as many
   units as there are classes, is the classifier, and has no term.
3. BatchNorm in our networks learns its scale and shift.
4. One width of the kernel: no ensemble of nets of several sigmas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from modulewise.config.types import NonNegative, Positive
from modulewise.method import Batch, Local, Loss, State
from modulewise.models.network import CutNetwork
from modulewise.parts import pairs
from modulewise.parts.readout import Readout
from modulewise.task import need_class_labels

EPSILON = 1e-5


def of_features(u: Tensor, sigma: float) -> Tensor:
    """K (B B) of features or images (B ...), never computed in bf16."""
    return pairs.kernel("gaussian", u, sigma * math.sqrt(u[0].numel()))


def of_labels(y: Tensor, classes: int, sigma: float, like: Tensor) -> Tensor:
    """K (B B) of one-hot labels (B), in the type of another kernel: two that differ are at a
    squared distance of 2."""
    same, far = y[:, None] == y[None, :], math.exp(-1 / (sigma**2 * classes))
    return far + (1 - far) * same.to(like.dtype)


def nhsic(k: Tensor, other: Tensor) -> Tensor:
    """Normalised dependence, a scalar from 0 to B - 1, of what two kernels (B B) are of."""
    return (_r(k) * _r(other).T).sum()


def _r(k: Tensor) -> Tensor:
    """R of a kernel (B B)."""
    c = k - k.mean(0)
    c = c - c.mean(1, keepdim=True)
    shifted = c + EPSILON * len(c) * torch.eye(len(c), dtype=c.dtype, device=c.device)
    return torch.cholesky_solve(c, torch.linalg.cholesky_ex(shifted)[0])  # never asks for success


class Hsic(Readout):
    """Modules that keep of images what tells of the class.

    Args:
        trunk: the network, cut.
        sigma: width of the kernels.
        lambda_y: weight of the dependence on the class.

    Raises:
        ValueError: the task has not one class label per image.
    """

    supervision = "pair"

    def __init__(
        self, trunk: CutNetwork, *, sigma: Positive = 5.0, lambda_y: NonNegative = 50.0
    ) -> None:
        super().__init__(trunk)
        need_class_labels(trunk.task, trunk.image, "hsic")
        self.sigma, self.lambda_y, self.classes = sigma, lambda_y, trunk.task.outputs

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """The bottleneck's loss of the module's stages; behind the last, the classifier's."""
        h = self.stages(k)(state[0])
        mine, images = of_features(h, self.sigma), of_features(batch.x, self.sigma)
        labels = of_labels(batch.y, self.classes, self.sigma, mine)
        value = nhsic(mine, images) - self.lambda_y * nhsic(mine, labels)
        last = k == self.k - 1
        yield Loss(value, (f"trunk/{k}",), f"bottleneck_{k}" if last else f"module_{k}")
        h = h.detach()
        if last:
            yield Loss(self.task.loss(self.classifier(h), batch.y), self.readout, f"module_{k}")
        return (h,)
