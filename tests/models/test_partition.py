"""Laws of partitions: even, cheapest, explicit, and by measured memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from modulewise import models
from modulewise.errors import InvalidInput
from modulewise.models.network import Network
from modulewise.models.partition import (
    activation_bytes,
    by_cost,
    cheapest,
    even,
    explicit,
    resolve,
    smallest,
)


def modules(cuts: list[int], costs: list[int]) -> list[int]:
    """Cost of every module."""
    ends = [0, *cuts, len(costs)]
    return [sum(costs[a:b]) for a, b in pairwise(ends)]


def increasing(cuts: list[int], n: int) -> bool:
    ends = [0, *cuts, n]
    return all(a < b for a, b in pairwise(ends))


N_AND_K = st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@given(N_AND_K)
def test_even_modules_differ_by_at_most_one_stage(nk: tuple[int, int]) -> None:
    n, k = nk
    cuts = even(n, k)
    sizes = modules(cuts, [1] * n)
    assert len(sizes) == k
    assert increasing(cuts, n)
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 60))
def test_even_at_its_ends(n: int) -> None:
    assert even(n, 1) == []
    assert even(n, n) == list(range(1, n))


COSTS = st.lists(st.integers(0, 9), min_size=1, max_size=9)
COSTS_AND_K = COSTS.flatmap(lambda c: st.tuples(st.just(c), st.integers(1, len(c))))


@given(COSTS_AND_K)
def test_by_cost_makes_the_most_expensive_module_as_cheap_as_possible(
    ck: tuple[list[int], int],
) -> None:
    costs, k = ck
    cuts = by_cost(costs, k)
    assert increasing(cuts, len(costs))
    every = [list(c) for c in combinations(range(1, len(costs)), k - 1)]
    assert max(modules(cuts, costs)) == min(max(modules(c, costs)) for c in every)


@given(COSTS)
def test_by_cost_at_its_ends(costs: list[int]) -> None:
    assert by_cost(costs, 1) == []
    assert by_cost(costs, len(costs)) == list(range(1, len(costs)))


@given(N_AND_K)
def test_by_equal_costs_is_as_even_as_even(nk: tuple[int, int]) -> None:
    n, k = nk
    assert sorted(modules(by_cost([1] * n, k), [1] * n)) == sorted(modules(even(n, k), [1] * n))


def test_by_cost_of_fractions() -> None:
    assert by_cost([0.1, 0.2, 0.3, 0.6], 2) == [3]


@pytest.mark.parametrize(
    "make", [lambda n, k: even(n, k), lambda n, k: by_cost([1] * n, k)], ids=["even", "by_cost"]
)
@pytest.mark.parametrize(("n", "k"), [(3, 0), (3, 4), (0, 1)])
def test_impossible_partitions_are_refused(make: object, n: int, k: int) -> None:
    with pytest.raises(
        InvalidInput, match=f"cannot cut {n} stages into {k} modules; valid: 1 to {n}"
    ):
        make(n, k)  # type: ignore[operator]


NAMES = ["0.0", "1.0", "1.1", "2.0"]


@given(st.sets(st.integers(1, 3)))
def test_explicit_cuts_come_back_as_names(cuts: set[int]) -> None:
    assert explicit(NAMES, [NAMES[c - 1] for c in sorted(cuts)]) == sorted(cuts)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (["1.2"], "here: unknown stage to cut after '1.2'; .*valid: 0.0, 1.0, 1.1$"),
        (["2.0"], "unknown stage to cut after '2.0'"),
        (["1.1", "1.0"], "here: cuts must be in the order of the stages, each once: 1.1, 1.0"),
        (["1.0", "1.0"], "each once: 1.0, 1.0"),
    ],
    ids=["unknown", "after-the-last", "out-of-order", "twice"],
)
def test_wrong_explicit_cuts_are_refused(after: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        explicit(NAMES, after, "here")


# Memory.


@cache
def network(name: str, size: int = 32) -> Network:
    return models.build(name, (3, size, size), 10)


@cache
def measured(name: str, size: int = 32) -> list[int]:
    return activation_bytes(network(name, size))


def test_an_identity_block_keeps_four_feature_maps() -> None:
    """What reproduces InfoPro's table 3: four fp32 tensors a basic block (two convolutions'
    outputs, two activations)."""
    net = network("resnet32")
    for name, cost in zip(net.names, measured("resnet32"), strict=True):
        stage, block = name.split(".")
        if stage == "0" or (block == "0" and stage != "1"):
            continue
        c, size = {"1": (16, 32), "2": (32, 16), "3": (64, 8)}[stage]
        maps = 4 * 4 * c * size**2
        statistics = 2 * 2 * 4 * c  # of two normalisations, per batch
        assert maps <= cost <= maps + statistics, name


def test_the_stem_keeps_the_image_and_two_maps() -> None:
    """Its input is counted once, where it is first kept; the activation is what the next stage
    reads."""
    expected = 4 * (3 + 2 * 16) * 32**2
    assert expected <= measured("resnet32")[0] <= expected + 2 * 4 * 16


def test_activations_of_an_mlp() -> None:
    """Linear keeps its input, BatchNorm the linear output, ReLU its result."""
    costs = activation_bytes(models.build("mlp2x64", (3, 4, 4), 10))
    assert costs[0] - 4 * (48 + 64 + 64) in range(0, 4 * 2 * 64 + 1)
    assert costs[1] - 4 * (64 + 64) in range(0, 4 * 2 * 64 + 1)


class Square(nn.Module):
    """Keeps its input and a view of it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.view_as(x)


def test_a_storage_counts_once_however_often_it_is_kept() -> None:
    net = Network([("1", nn.Conv2d(3, 8, 1)), ("2", Square())], nn.Flatten(), (3, 4, 4))
    assert activation_bytes(net) == [4 * 3 * 16, 4 * 8 * 16]


HAND_MADE = {
    ("resnet110", 32, 2): "1.14",
    ("resnet110", 32, 3): "1.9 2.2",
    ("resnet110", 32, 4): "1.6 1.14 2.8",
    ("resnet110", 96, 2): "1.14",
    ("resnet110", 96, 3): "1.8 2.1",
    ("resnet110", 96, 4): "1.6 1.14 2.8",
    ("resnet32", 32, 2): "1.3",
    ("resnet32", 32, 4): "1.2 1.4 2.2",
    ("resnet32", 32, 8): "1.1 1.2 1.3 2.1 2.2 3.1 3.2",
    ("resnet32", 32, 16): "0.0 1.0 1.1 1.2 1.3 1.4 2.0 2.1 2.2 2.3 2.4 3.0 3.1 3.2 3.3",
}
"""Network, size of its images, K -> the cuts of InfoPro and ContSup at equal memory."""


def largest(name: str, size: int, after: str) -> int:
    """Activation bytes of the largest module, for one image."""
    return max(modules(explicit(network(name, size).names, after.split()), measured(name, size)))


@pytest.mark.parametrize(("name", "size", "k"), HAND_MADE)
def test_the_largest_module_is_no_larger_than_the_authors(name: str, size: int, k: int) -> None:
    ours = max(modules(resolve(network(name, size), "memory", k), measured(name, size)))
    assert ours <= largest(name, size, HAND_MADE[name, size, k])


# InfoPro, table 3, ResNet-110: GB on the GPU; the constants hold all else, and the auxiliary nets
# (K = 1 has none).
TABLE_3 = [(32, 1024, 0.9, (9.40, 5.38, 4.22, 3.52)), (96, 128, 1.2, (10.77, 6.15, 4.96, 4.08))]


@pytest.mark.parametrize(
    ("size", "batch", "constant", "published"), TABLE_3, ids=["cifar10", "stl10"]
)
def test_activations_of_the_largest_module_explain_the_published_memory(
    size: int, batch: int, constant: float, published: tuple[float, ...]
) -> None:
    for k, gigabytes in enumerate(published, start=1):
        model = (
            batch * largest("resnet110", size, HAND_MADE.get(("resnet110", size, k), "")) / 1e9
            + constant
        )
        assert model == pytest.approx(gigabytes, rel=0.06), k


@pytest.mark.parametrize(("k", "units"), [(2, 16.5), (3, 12.0), (4, 9.0)])
def test_the_largest_module_in_units_of_stage_1_blocks(k: int, units: float) -> None:
    """Blocks of the three stages cost 1, 1/2, 1/4; the authors' largest modules, with the stem as
    one half, cost this much."""
    net = network("resnet110")
    unit = {"0": 0.5, "1": 1.0, "2": 0.5, "3": 0.25}
    costs = [unit[name[0]] for name in net.names]
    cuts = resolve(net, "memory", k)
    ends = [0, *cuts, len(costs)]
    assert max(sum(costs[a:b]) for a, b in pairwise(ends)) <= units


def test_single_stages_and_the_rest() -> None:
    """AugLocal's "K = 55, d = 6" of ResNet-110 is 49 modules: its released code cuts behind the
    first K - d - 1 = 48 of stem and blocks."""
    net = network("resnet110")
    names = ["0.0", *(f"{part}.{i}" for part in (1, 2) for i in range(18))]
    names += [f"3.{i}" for i in range(11)]
    assert len(names) == 55 - 6 - 1
    assert resolve(net, "single", 49) == explicit(net.names, names)
    assert resolve(net, "single", 55) == resolve(net, "even", 55)
    assert resolve(net, "single", 1) == []


def test_memory_and_even_are_different_partitions() -> None:
    net = network("resnet110")
    assert resolve(net, "memory", 4) != resolve(net, "even", 4)
    assert resolve(net, "even", 4) == even(55, 4)
    assert resolve(net, ["1.6", "1.14", "2.8"], 4) == [8, 16, 28]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=8), st.data())
def test_of_the_best_cuts_by_cost_takes_the_most_even(
    costs: list[int], draw: st.DataObject
) -> None:
    k = draw.draw(st.integers(1, len(costs)))

    def modules(cuts: tuple[int, ...]) -> list[int]:
        return [sum(costs[a:b]) for a, b in pairwise([0, *cuts, len(costs)])]

    every = [modules(cuts) for cuts in combinations(range(1, len(costs)), k - 1)]
    smallest = min(max(m) for m in every)
    evenest = min(sum(c * c for c in m) for m in every if max(m) == smallest)
    found = modules(tuple(by_cost(costs, k)))
    assert (max(found), sum(c * c for c in found)) == (smallest, evenest)


def partitions(n: int, k: int) -> list[list[tuple[int, int]]]:
    """All ways to cut n stages into k modules, as (start, end) of every module."""
    return [list(pairwise([0, *cuts, n])) for cuts in combinations(range(1, n), k - 1)]


TRIANGLE = st.lists(st.integers(0, 9), min_size=28, max_size=28)
"""A number for every module that there can be of seven stages."""


def of_modules(numbers: list[int]) -> Callable[[int, int], int]:
    """(start, end) -> the number of that module."""
    every = dict(zip(combinations(range(8), 2), numbers, strict=True))
    return lambda start, end: every[start, end]


@given(TRIANGLE, TRIANGLE, st.integers(1, 7), st.integers(0, 9))
def test_cheapest_is_the_best_of_all_partitions(
    costs: list[int], sizes: list[int], k: int, limit: int
) -> None:
    """Whatever modules cost and hold; of equal costs the least sum of squared sizes."""
    cost, size = of_modules(costs), of_modules(sizes)
    fit = [p for p in partitions(7, k) if all(size(*module) <= limit for module in p)]
    found = cheapest(7, k, cost, size, limit)
    if not fit:
        assert found is None
        return

    def value(p: list[tuple[int, int]]) -> tuple[int, int]:
        return sum(cost(*m) for m in p), sum(size(*m) ** 2 for m in p)

    assert found is not None
    made = list(pairwise([0, *found, 7]))
    assert made in fit
    assert value(made) == min(map(value, fit))


@given(TRIANGLE, st.lists(st.integers(0, 3), min_size=8, max_size=8), st.integers(1, 7))
def test_smallest_is_the_best_of_all_partitions(sizes: list[int], lefts: list[int], k: int) -> None:
    """What cuts leave behind counts for every module behind them."""
    size = of_modules(sizes)

    def largest(p: list[tuple[int, int]]) -> int:
        return max(
            size(*module) + sum(lefts[start] for start, _ in p[1 : n + 1])
            for n, module in enumerate(p)
        )

    cuts = smallest(7, k, size, lefts.__getitem__)
    assert largest(list(pairwise([0, *cuts, 7]))) == min(map(largest, partitions(7, k)))
