"""Where a network is cut: increasing cut points, each the number of stages before it."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from modulewise.errors import InvalidInput, choose
from modulewise.models.network import Network

Size = Callable[[int, int], float]
"""(start, end) -> size of the module that holds stages start ... end - 1."""
Cost = Size
"""(start, end) -> what that module costs."""


def even(n: int, k: int) -> list[int]:
    """Cut n stages into k modules of as equal a number of stages as possible.

    The published equal-layer cuts of ResNet-32 (K = 2, 3, 4, 8, 16) and of ResNet-110 (K = 2, 3)
    are these.

    Example:
        >>> even(16, 4)
        [4, 8, 12]
    """
    _possible(n, k)
    return [-(-n * i // k) for i in range(1, k)]


def single(n: int, k: int) -> list[int]:
    """Cut n stages into k modules of one stage each, but for the last, which holds the rest.

    Example:
        >>> single(16, 4)
        [1, 2, 3]
    """
    _possible(n, k)
    return list(range(1, k))


def by_cost(costs: Sequence[float], k: int) -> list[int]:
    """Cut so that the most expensive module is as cheap as possible; of the best cuts, the most
    even one.

    Args:
        costs: non-negative cost of every stage.
        k: number of modules.

    Example:
        >>> by_cost([8, 4, 1, 1, 1, 1], 2)
        [1]
    """
    n = len(costs)
    _possible(n, k)
    total = [0.0, *itertools.accumulate(costs)]

    def module(start: int, end: int) -> float:
        return total[end] - total[start]

    least = _best(n, k, module, max, 0.0)[0]

    def square(start: int, end: int) -> float:
        return module(start, end) ** 2 if module(start, end) <= least else math.inf

    return _best(n, k, square, operator.add, 0.0)[1]


def smallest(n: int, k: int, size: Size, left: Callable[[int], float] = lambda cut: 0) -> list[int]:
    """The cuts whose largest module is smallest.

    Args:
        n: number of stages.
        k: number of modules.
        size: of the module that holds the stages from the first number up to the second.
        left: what a cut adds to the size of every module behind it.

    Example:
        >>> size = lambda start, end: sum([8, 4, 1, 1, 1, 1][start:end])
        >>> smallest(6, 2, size), smallest(6, 2, size, lambda cut: 6 - cut)
        ([1], [2])
    """
    _possible(n, k)
    best: dict[int, tuple[float, list[int]]] = {n: (-math.inf, [])}  # of all stages from here on
    for j in range(1, k + 1):
        best = {
            start: min(
                (max(size(start, end), after + (left(end) if end < n else 0)), [end, *ends])
                for end, (after, ends) in best.items()
                if start < end
            )
            for start in range(k - j, n - j + 1)
        }
    return best[0][1][:-1]


def cheapest(n: int, k: int, cost: Cost, size: Size, limit: float) -> list[int] | None:
    """The cuts of least cost among those whose modules all stay within a size; of equal ones those
    whose squared sizes have the least sum. `None` if there are none.

    Args:
        n: number of stages.
        k: number of modules.
        cost: of the module that holds the stages from the first number up to the second.
        size: of the same.
        limit: largest size of a module.

    Example:
        >>> size = lambda start, end: end - start
        >>> cheapest(6, 2, lambda start, end: -start, size, 4), cheapest(6, 2, size, size, 2)
        ([4], None)
    """
    _possible(n, k)

    def priced(start: int, end: int) -> tuple[float, float]:
        own = size(start, end)
        return (cost(start, end), own**2) if own <= limit else (math.inf, math.inf)

    def joined(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
        return a[0] + b[0], a[1] + b[1]

    value, cuts = _best(n, k, priced, joined, (0.0, 0.0))
    return cuts if value[0] < math.inf else None


V = TypeVar("V", bound=float | tuple[float, float])


def _best(
    n: int, k: int, cost: Callable[[int, int], V], joined: Callable[[V, V], V], nothing: V
) -> tuple[V, list[int]]:
    """The smallest joined cost of k modules of n stages, and the cuts that give it."""
    best: dict[int, tuple[V, list[int]]] = {0: (nothing, [0])}  # stages shared out -> (cost, cuts)
    for j in range(1, k + 1):
        best = {
            end: min(
                (joined(before, cost(start, end)), [*ends, end])
                for start, (before, ends) in best.items()
                if start < end
            )
            for end in range(j, n - (k - j) + 1)
        }
    value, cuts = best[n]
    return value, cuts[1:-1]


def explicit(names: Sequence[str], after: Sequence[str], where: str = "partition") -> list[int]:
    """Cut after the named stages.

    Raises:
        InvalidInput: an unknown stage, cuts out of order, or a cut after the last stage.

    Example:
        >>> explicit(["stem", "1.0", "1.1"], ["1.0"])
        [2]
    """
    for name in after:
        if name not in names[:-1]:
            raise choose(name, names[:-1], "stage to cut after", where)
    cuts = [names.index(name) + 1 for name in after]
    if any(b <= a for a, b in itertools.pairwise(cuts)):
        raise InvalidInput(
            f"{where}: cuts must be in the order of the stages, each once: {', '.join(after)}"
        )
    return cuts


def resolve(
    network: Network, partition: str | Sequence[str], k: int, where: str = "partition"
) -> list[int]:
    """The cut points a cell asks for.

    Raises:
        InvalidInput: K is larger than the network allows, or a stage is unknown.
    """
    n = len(network.stages)
    if k > n:
        raise InvalidInput(
            f"{where}: {k} modules asked for, the network has {n} stages; valid: 1 to {n}"
        )
    if not isinstance(partition, str):
        return explicit(network.names, partition, where)
    if partition == "memory":
        return by_cost(activation_bytes(network), k)
    return single(n, k) if partition == "single" else even(n, k)


def activation_bytes(network: Network, batch: int = 2) -> list[int]:
    """Bytes each stage keeps for its backward pass, per sample, measured in a training-mode forward
    pass on the CPU.

    Counted once per storage; parameters and buffers are not activations.
    """
    own = {t.untyped_storage().data_ptr() for t in [*network.parameters(), *network.buffers()]}
    state = {k: v.clone() for k, v in network.state_dict().items()}
    seen: dict[int, torch.Tensor] = {}  # kept alive, so that no address is used twice

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.untyped_storage().data_ptr() not in own:
            seen.setdefault(t.untyped_storage().data_ptr(), t)
        return t

    costs, counted = [], 0
    training = network.training
    network.train()
    x = torch.zeros(batch, *network.image)
    with (
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.random.fork_rng([]),
    ):
        for stage in network.stages:
            x = stage(x)
            total = sum(t.untyped_storage().nbytes() for t in seen.values())
            costs.append((total - counted) // batch)
            counted = total
    network.load_state_dict(state)
    network.train(training)
    return costs


def _possible(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise InvalidInput(f"cannot cut {n} stages into {k} modules; valid: 1 to {n}")
