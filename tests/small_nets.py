"""Small networks in double precision, and their gradients, for methods that are written a second
time in a test."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from torch import Tensor, nn

from modulewise import models
from modulewise.method import Batch, Method
from modulewise.models import partition
from modulewise.models.network import CutNetwork, cut
from modulewise.tasks.classification import Classification

CLASSES, IMAGE, SIZES = 3, (1, 4, 4), (5, 4, 6, 3)


class Squares(Classification):
    """Half the squared distance of scores to vectors, mean over images."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1/2 |outputs - targets|^2 / B."""
        return (outputs - targets).square().sum() / 2 / len(outputs)


def trunk(network: str, k: int) -> CutNetwork:
    """An MLP or a ResNet on small images, in K modules."""
    torch.manual_seed(0)
    net = models.build(network, IMAGE, CLASSES)
    return cut(net, partition.even(len(net.stages), k), Classification(CLASSES))


def linear_trunk(sizes: tuple[int, ...] = SIZES) -> CutNetwork:
    """Linear modules, squared distances."""
    torch.manual_seed(0)
    modules = [nn.Sequential(nn.Linear(a, b)) for a, b in itertools.pairwise(sizes)]
    shapes = [(n,) for n in sizes[1:]]
    return CutNetwork(modules, list(range(len(modules))), shapes, (sizes[0],), Squares(sizes[-1]))


def batch(size: int = 6) -> Batch:
    x = torch.randn(size, *IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.arange(size) % CLASSES, x, torch.arange(size))


def vectors(sizes: tuple[int, ...] = SIZES, size: int = 7) -> Batch:
    """Inputs and targets of linear modules."""
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(size, n, dtype=torch.float64, generator=g) for n in (sizes[0], sizes[-1]))
    return Batch(x, y, x, torch.arange(size))


def gradients(method: Method, given: Batch) -> list[Tensor]:
    """Of each module, flat."""
    method.zero_grad()
    for loss in method.losses(given):
        loss.value.backward()
    return [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in method.trunk]


def backpropagated(method: Method, given: Batch) -> list[Tensor]:
    """Of each module, by backpropagation."""
    other = copy.deepcopy(method)
    h = given.x
    for module in other.trunk:
        h = module(h)
    other.task.loss(h, given.y).backward()
    return [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in other.trunk]


def weights(method: Method) -> list[tuple[np.ndarray, np.ndarray]]:
    """W and b of linear modules."""
    return [
        (m[0].weight.detach().numpy(), m[0].bias.detach().numpy())  # type: ignore[index]
        for m in method.trunk
    ]
