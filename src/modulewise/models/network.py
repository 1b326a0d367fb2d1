"""A network is an ordered list of stages, the smallest pieces that can be cut apart, and a head. It
knows no loss and no K."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from modulewise.task import Task

Shape = tuple[int, ...]
Layer = Callable[[Shape, int], nn.Module]
"""(feature, i) -> a fresh layer of the kind of stage i, for features of that shape."""


class Residual(nn.Module):
    """A stage that adds a branch to a shortcut: x -> join(x, branch(x))."""

    def branch(self, x: Tensor) -> Tensor:
        """What the stage adds (B C' H' W')."""
        raise NotImplementedError  # abstract

    def join(self, x: Tensor, added: Tensor) -> Tensor:
        """The stage's output, given its input and what its branch adds to it; both are left as they
        are."""
        raise NotImplementedError  # abstract

    def forward(self, x: Tensor) -> Tensor:
        """B C H W -> B C' H' W'."""
        return self.join(x, self.branch(x))


class Network(nn.Module):
    """Stages and a head; calling it composes them.

    Args:
        stages: the pieces, with the names that partitions use for them, in order.
        head: maps the last stage's output to scores.
        image: shape of one input (C, H, W).
        layer: builds layers like the stages, for helpers made of the network's own kind of layers;
            it halves the height and width at most once, and only towards those of the stage.
    """

    def __init__(
        self,
        stages: Sequence[tuple[str, nn.Module]],
        head: nn.Module,
        image: Shape,
        layer: Layer | None = None,
    ) -> None:
        super().__init__()
        self.names = [name for name, _ in stages]
        self.stages = nn.ModuleList([stage for _, stage in stages])
        self.head = head
        self.image = image
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B outputs) of images (B C H W)."""
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

    @cached_property
    def stage_shapes(self) -> list[Shape]:
        """Shape of one sample after every stage, found by a forward pass without data."""
        x = torch.empty(1, *self.image, device="meta")
        out: list[Shape] = []
        with torch.no_grad():
            for stage in self.stages:
                x = copy.deepcopy(stage).to("meta").eval()(x)
                out.append(tuple(x.shape[1:]))
        return out


@dataclass(frozen=True)
class CutNetwork:
    """A network cut into K modules: what a method is given to train."""

    modules: list[nn.Sequential]
    """The K modules, each a row of stages; the last one ends with the head and gives scores."""
    ends: list[int]
    """Index of the last stage of every module."""
    stage_shapes: list[Shape]
    """Shape of one sample after every stage of the network."""
    image: Shape
    """Shape of one input image (C, H, W)."""
    task: Task
    layer: Layer | None = None
    """Builder of layers like its stages, if it has one."""

    @property
    def cut_shapes(self) -> list[Shape]:
        """Shape of one sample where each of the K - 1 cuts is."""
        return [self.stage_shapes[end] for end in self.ends[:-1]]

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.stage_shapes[-1][0]

    @property
    def head(self) -> nn.Module:
        """The net's own head, with which the last module ends."""
        return self.modules[-1][-1]


def cut(network: Network, cuts: Sequence[int], task: Task) -> CutNetwork:
    """Cut a network into modules.

    Args:
        network: the network; its stages are shared, not copied.
        cuts: increasing cut points, each the number of stages before it.
        task: what the net is trained for.
    """
    ends = [0, *cuts, len(network.stages)]
    modules = [nn.Sequential(*network.stages[a:b]) for a, b in itertools.pairwise(ends)]
    modules[-1].append(network.head)
    return CutNetwork(
        modules,
        [end - 1 for end in ends[1:]],
        network.stage_shapes,
        network.image,
        task,
        network.layer,
    )
