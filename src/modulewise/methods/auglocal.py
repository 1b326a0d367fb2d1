"""AugLocal (Ma et al., ICLR 2024, arXiv 2402.17318): the head of a module is a small copy of the
network that follows it.

    L_k = CE( a_k(h_k), y ),   a_k = d_k layers, then a linear classifier,
    layer j = 1 ... d_k like the stage at round( l + j (L - 1 - l) / d_k )

l is the index of module k's last stage, L the number of stages; the layers have weights of their
own. If L - 1 - l <= d_k, all stages that follow are taken. Heads get shallower towards the end of
the network (the pyramid):

    d_k = max( 1, round( d (1 - p k / (K - 2)) + p k / (K - 2) ) ),   k = 0 ... K - 2

A layer halves the height and width at most once; where a sampled stage is smaller still, the next
layer goes on. Maps are pooled to one pixel before the classifier; heads of a single layer have
BatchNorm before it, both as in the released code.

Deviations from the paper:

1. Modules may hold several stages; in the paper every module is one layer. The rules are then those
   of the module's last stage.
2. Other networks than ResNets give layers of their own kind: VGGs a convolution with BatchNorm,
   ReLU and pooling, or their hidden layer, before which maps are pooled to the size it has in the
   network; MLPs a hidden layer.
3. With K = 2, where the pyramid has no slope, d_0 = d.
4. One optimiser step for all modules at the end of a batch; the updates are the same.
5. K counts the modules. The released code makes K - d of the K that its commands name: the first
   K - d - 1 stages are a module each, the last d + 1 train jointly, and the pyramid falls over
   K - d. "K = 55, d = 6" of ResNet-110 is 48 single blocks and a module of seven: K = 49 of recipe
   `auglocal-released` (`partition: single`). Ours of K = 55 isolates every block.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from modulewise.config.types import Count, Fraction
from modulewise.method import LocalMethod
from modulewise.models.network import CutNetwork


class Auglocal(LocalMethod):
    """Heads of the network's own kind of layers.

    Args:
        trunk: the network, cut.
        depth: d, layers of the first head.
        pyramid: p, how far the depth falls towards 1 until the last head; 0 keeps it.

    Raises:
        ValueError: the network does not say how to build a layer like its stages.
    """

    def __init__(self, trunk: CutNetwork, *, depth: Count = 6, pyramid: Fraction = 0.5) -> None:
        super().__init__(trunk)
        if trunk.layer is None:
            raise ValueError(
                "auglocal needs a network that builds layers like its own stages; this one does not"
            )
        depths = pyramidal(depth, pyramid, self.k)
        self.heads = nn.ModuleList([_head(trunk, k, d) for k, d in enumerate(depths)])


def pyramidal(depth: int, pyramid: float, modules: int) -> list[int]:
    """Layers of the heads of modules 0 ... K-2.

    Example:
        >>> pyramidal(5, 0.5, 16)
        [5, 5, 5, 5, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3]
    """
    falls = [pyramid * k / (modules - 2) if modules > 2 else 0.0 for k in range(modules - 1)]
    return [max(1, round(depth * (1 - f) + f)) for f in falls]


def sampled(stage: int, depth: int, stages: int) -> list[int]:
    """The stages that a head of so many layers is made like, behind a module that ends with
    `stage`, of 0 ... stages-1.

    Example:
        >>> sampled(3, 3, 16)
        [7, 11, 15]
    """
    left = stages - 1 - stage
    if depth >= left:
        return list(range(stage + 1, stages))
    return [round(stage + left / depth * j) for j in range(1, depth + 1)]


def _head(trunk: CutNetwork, k: int, depth: int) -> nn.Sequential:
    assert trunk.layer
    layers: list[nn.Module] = []
    shape = trunk.cut_shapes[k]
    for i in sampled(trunk.ends[k], depth, len(trunk.stage_shapes)):
        layers.append(trunk.layer(shape, i))
        with torch.no_grad():
            shape = tuple(
                copy.deepcopy(layers[-1])
                .to("meta")(torch.empty(2, *shape, device="meta"))
                .shape[1:]
            )
    if len(shape) > 1:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if depth == 1:
        layers.append(nn.BatchNorm1d(shape[0]))
    return nn.Sequential(*layers, nn.Linear(shape[0], trunk.task.outputs))
