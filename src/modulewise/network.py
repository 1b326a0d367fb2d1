"""A network is an ordered list of stages, the smallest pieces that can be cut apart, and a head. It knows no loss and no K."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .task import Classification

Shape = tuple[int, ...]


class Network(nn.Module):
    """Stages and a head; calling it composes them.

    Args:
        stages: the pieces, with the names that partitions use for them, in order.
        head: maps the last stage's output to scores.
        image: shape of one input (C, H, W).
    """

    def __init__(self, stages: Sequence[tuple[str, nn.Module]], head: nn.Module, image: Shape) -> None:
        super().__init__()
        self.names = [name for name, _ in stages]
        self.stages = nn.ModuleList([stage for _, stage in stages])
        self.head = head
        self.image = image

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B outputs) of images (B C H W)."""
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

    def shapes(self) -> list[Shape]:
        """Shape of one sample after every stage, found by a forward pass without data."""
        x = torch.empty(2, *self.image, device="meta")
        out: list[Shape] = []
        for stage in self.stages:
            x = copy.deepcopy(stage).to("meta")(x)
            out.append(tuple(x.shape[1:]))
        return out


@dataclass(frozen=True)
class Trunk:
    """A network cut into K modules: what a method is given to train."""

    modules: list[nn.Module]
    """The K modules; the last one holds the head and gives scores."""
    shapes: list[Shape]
    """Shape of one sample where each of the K - 1 cuts is."""
    image: Shape
    """Shape of one input image (C, H, W)."""
    width: int
    """Channels of the last stage."""
    task: Classification


def cut(network: Network, cuts: Sequence[int], task: Classification) -> Trunk:
    """Cut a network into modules.

    Args:
        network: the network; its stages are shared, not copied.
        cuts: increasing cut points, each the number of stages before it.
        task: what the net is trained for.
    """
    shapes = network.shapes()
    ends = [0, *cuts, len(network.stages)]
    modules: list[nn.Module] = [nn.Sequential(*network.stages[a:b]) for a, b in itertools.pairwise(ends)]
    modules[-1].append(network.head)  # type: ignore[operator]
    return Trunk(modules, [shapes[c - 1] for c in cuts], network.image, shapes[-1][0], task)
