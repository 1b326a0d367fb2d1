"""The rule of the verdicts: against formulas written another way, and its error rates by
simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate
from scipy import stats as scipy_stats

from modulewise.report.verdicts import (
    LEVEL,
    MOST_SEEDS,
    Difference,
    Sample,
    holm,
    inside,
    seeds_needed,
    to_std,
    verdict,
    welch,
)


def student_tail(t: float, freedom: float) -> float:
    """P(T > t), by integrating the density."""
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    return float(
        integrate.quad(
            lambda x: scale * (1 + x * x / freedom) ** (-(freedom + 1) / 2), t, math.inf
        )[0]
    )


def test_welch_in_closed_form() -> None:
    d = welch(
        Sample(2, 8.0, 1.0), Sample(2, 7.0, 1.0)
    )  # equal variances, two each: two degrees of freedom, standard error 1
    assert d == (1.0, pytest.approx(1.0), pytest.approx(2.0))
    assert d.half(0.9) == pytest.approx(0.9 / math.sqrt(2 * 0.95 * 0.05))
    assert d.p == pytest.approx(1 - 1 / math.sqrt(3))  # P(|T| > 1) = 1 - 1 / sqrt(1 + 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Sample(5, 8.2, 0.1), Sample(5, 7.9, 0.4)), (Sample(3, 7.0, 0.02), Sample(10, 7.4, 1.0))],
)
def test_welch_against_raw_moments(ours: Sample, theirs: Sample) -> None:
    d = welch(ours, theirs)
    a, b = ours.std**2 / ours.n, theirs.std**2 / theirs.n
    share = a / (a + b)
    assert d.freedom == pytest.approx(
        1 / (share**2 / (ours.n - 1) + (1 - share) ** 2 / (theirs.n - 1))
    )
    assert d.p == pytest.approx(
        2 * student_tail(abs(ours.mean - theirs.mean) / math.hypot(a**0.5, b**0.5), d.freedom),
        rel=1e-6,
    )
    other = scipy_stats.ttest_ind_from_stats(
        ours.mean, ours.std, ours.n, theirs.mean, theirs.std, theirs.n, equal_var=False
    )
    assert d.p == pytest.approx(other.pvalue)
    assert student_tail(d.half(0.9) / d.error, d.freedom) == pytest.approx(0.05, rel=1e-6)


def test_inside_is_two_one_sided_tests() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        d, tolerance = (
            Difference(rng.normal(0, 0.3), rng.uniform(0.01, 0.4), rng.uniform(2, 9)),
            rng.uniform(0.2, 1),
        )
        lower, upper = (
            student_tail((tolerance + sign * d.value) / d.error, d.freedom) for sign in (1, -1)
        )
        assert inside(d, tolerance) == (max(lower, upper) < 0.05)
        seen.add(inside(d, tolerance))
    assert seen == {True, False}


def test_no_spread_at_all() -> None:
    same, other = (welch(Sample(3, m, 0.0), Sample(5, 7.0, 0.0)) for m in (7.0, 7.6))
    assert (same.p, other.p) == (1.0, 0.0)
    assert verdict(same, same.p, 0.5) == "reproduced"
    assert verdict(other, other.p, 0.5) == "worse"


def test_holm_by_stepping_down() -> None:
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = list(rng.uniform(0, 0.06, size=rng.integers(1, 7)))
        rejected: set[int] = set()
        while len(rejected) < len(p):
            place = min(set(range(len(p))) - rejected, key=lambda i: p[i])
            if p[place] >= 0.05 / (len(p) - len(rejected)):
                break
            rejected.add(place)
        assert {i for i, value in enumerate(holm(p)) if value < 0.05} == rejected


def test_kinds_of_spread() -> None:
    assert to_std(0.3, "sd", 5) == 0.3
    assert to_std(0.3, "se", 9) == pytest.approx(0.9)
    half_of_two = math.tan(math.pi * 0.475)  # 97.5 % quantile of one degree of freedom
    assert to_std(half_of_two, "ci95", 2) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("value", "error", "p", "said"),
    [
        (0.1, 0.1, 0.3, "reproduced"),
        (0.3, 0.01, 0.0, "reproduced"),  # not zero, yet inside: reproduced comes first
        (-0.3, 0.01, 0.0, "reproduced"),
        (0.6, 0.01, 0.0, "worse"),
        (-0.6, 0.01, 0.0, "better"),
        (0.45, 0.1, 0.001, "worse"),  # inside by its mean, not by its interval
        (0.45, 0.1, 0.06, "inconclusive"),
        (0.0, 1.0, 1.0, "inconclusive"),
    ],
)
def test_order_of_the_verdicts(value: float, error: float, p: float, said: str) -> None:
    assert verdict(Difference(value, error, 8.0), p, 0.5) == said
    turned = {"better": "worse", "worse": "better"}.get(said, said)
    assert verdict(Difference(value, error, 8.0), p, 0.5, "higher") == turned


@pytest.mark.parametrize(
    ("ours", "comparisons"),
    [(Sample(3, 7.5, 0.4), 1), (Sample(3, 8.4, 0.6), 1), (Sample(3, 8.4, 0.6), 20)],
)
def test_seeds_needed_end_in_a_verdict_four_times_of_five(ours: Sample, comparisons: int) -> None:
    """By drawing our seeds from the mean and spread that were found, the published as it is."""
    theirs, rng = Sample(5, 7.4, 0.2), np.random.default_rng(4)
    needed = seeds_needed(ours, theirs, 0.5, comparisons)
    assert needed
    chances = []
    for n in (needed - 1, needed):
        ended = 0
        for draw in rng.normal(ours.mean, ours.std, (1500, n)):
            found = welch(Sample(n, draw.mean(), draw.std(ddof=1)), theirs)
            ended += inside(found, 0.5) or found.p < LEVEL / comparisons
        chances.append(ended / 1500)
    assert chances[0] < 0.8 + 0.03
    assert chances[1] > 0.8 - 0.03


def test_seeds_needed_with_many_comparisons_and_where_none_do() -> None:
    ours, theirs, far = Sample(3, 7.5, 0.4), Sample(5, 7.4, 0.2), Sample(3, 8.4, 0.6)
    alone, among_many = (seeds_needed(far, theirs, 0.5, m) for m in (1, 20))
    assert alone and among_many and 3 < alone < among_many
    assert (
        seeds_needed(ours, Sample(5, 7.4, 1.6), 0.5) is None
    )  # the published interval alone is wider than the tolerance
    assert seeds_needed(Sample(MOST_SEEDS, 7.5, 0.4), Sample(5, 7.4, 1.6), 0.5) is None


def rates(
    shift: float,
    tolerance: float,
    *,
    rows: int = 4,
    n: int = 5,
    std: float = 0.15,
    repeats: int = 1500,
    seed: int = 0,
) -> list[float]:
    """Of simulated exhibits of four numbers: the shares of numbers `reproduced`, and of exhibits
    with any `better` or `worse`."""
    rng, rows = np.random.default_rng(0), 4
    draws = rng.normal(size=(repeats, rows, 2, n)) * std + np.array([shift, 0.0])[:, None]
    counts = np.zeros(2)
    for exhibit in draws:
        samples = [[Sample(n, x.mean(), x.std(ddof=1)) for x in row] for row in exhibit]
        differences = [welch(*pair) for pair in samples]
        said = [
            verdict(d, p, tolerance)
            for d, p in zip(differences, holm([d.p for d in differences]), strict=True)
        ]
        counts += [said.count("reproduced") / rows, bool({"better", "worse"} & set(said))]
    return list(counts / repeats)


NOISE = 3 * math.sqrt(0.05 * 0.95 / 1500)
"""Three standard errors of a simulated rate of 5 %."""


@pytest.mark.parametrize(("n", "std"), [(5, 0.15), (3, 0.4)])
def test_simulated_without_a_difference(n: int, std: float) -> None:
    """No true difference, no tolerance to hide behind: any better or worse in an exhibit of four
    stays below 5 %."""
    _, differ = rates(0.0, 1e-9, n=n, std=std)
    assert 0.01 < differ < 0.05 + NOISE


def test_simulated_at_the_tolerance() -> None:
    """A true difference just as large as the tolerance: reproduced stays below 5 % per number."""
    for n, std in ((5, 0.15), (3, 0.2)):
        reproduced, _ = rates(0.5, 0.5, n=n, std=std, repeats=800)
        assert 0.02 < reproduced < 0.05 + NOISE


def test_simulated_power() -> None:
    """Five seeds at a spread of 0.15 are enough to reproduce within half a point, and to find two
    points."""
    reproduced, differ = rates(0.0, 0.5, repeats=400)
    assert reproduced > 0.95 and differ < 0.01
    reproduced, differ = rates(2.0, 0.5, repeats=400)
    assert reproduced == 0 and differ == 1
