"""Planned contrasts: what may stand in a sweep, and what they can detect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from modulewise.config.plan import Plan, make_plan
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.errors import InvalidInput, parse
from modulewise.planning.power import detectable, found_effect, shown_margin

CONFIG = Path(__file__).parents[2] / "config"
SLOPE = {"name": "slope", "hypothesis": "above zero", "slope": {"recipe": "dgl"}}
TERMS = [{"recipe": "dgl", "modules": 4}, {"recipe": "greedy", "modules": 4}]
DIFFERENCE = {"name": "difference", "hypothesis": "below zero", "difference": TERMS}
SAME = {"name": "same", "hypothesis": "as good", "equivalence": TERMS, "margin": 1.0}


def plan(primary: list[dict[str, Any]], n: int = 6, **more: Any) -> Plan:
    """A small sweep with these contrasts."""
    grid = {
        "datasets": ["digits"],
        "networks": ["mlp8x32"],
        "recipes": ["backprop", "greedy", "dgl"],
        "modules": [2, 4, 8],
        "seeds": 6,
    }
    sweep = {"sweep": "s", "grids": [grid], "analysis": {"n": n, "primary": primary, **more}}
    catalog = Catalog(CONFIG / "recipes.yaml", CONFIG / "datasets.yaml")
    return make_plan(parse(Sweep, sweep, "s.yaml"), catalog, where="s.yaml")


@pytest.mark.parametrize(
    ("primary", "more", "message"),
    [
        ([SLOPE, SLOPE], {}, "duplicate contrast slope"),
        ([SLOPE | {"difference": TERMS}], {}, "give one of slope, difference, equivalence"),
        ([DIFFERENCE | {"margin": 1.0}], {}, "an equivalence has a margin"),
        ([{k: v for k, v in SAME.items() if k != "margin"}], {}, "an equivalence has a margin"),
        ([SLOPE], {"n": 5}, "dgl has 6 seeds, n is 5"),
        ([SLOPE | {"slope": {"recipe": "dgl", "modules": 2}}], {}, "leave modules out"),
        ([SLOPE | {"slope": {"recipe": "backprop"}}], {}, "three values of K, backprop has 1"),
        ([SLOPE | {"slope": {"recipe": "infopro"}}], {}, "no cell of this recipe"),
        (
            [DIFFERENCE | {"difference": [{"recipe": "dgl", "modules": 3}, TERMS[1]]}],
            {},
            r"no such cells; valid: grid 0 K=2, grid 0 K=4, grid 0 K=8",
        ),
        (
            [DIFFERENCE | {"difference": [{"recipe": "dgl"}, TERMS[1]]}],
            {},
            r"dgl has K = 2, 4, 8; give modules",
        ),
        ([SLOPE], {"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_cannot_be_planned(
    primary: list[dict[str, Any]], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan(primary, **more)


@pytest.mark.parametrize(
    ("change", "recipe", "message"),
    [
        ({"seeds": [6, 7, 8, 9, 10, 11]}, "greedy", "different seeds"),
        ({"datasets": ["mnist"]}, "greedy", "different data sets"),
        ({}, "hsic", "hsic is experimental: it gets no verdict"),
    ],
)
def test_cells_that_cannot_be_compared(change: dict[str, Any], recipe: str, message: str) -> None:
    grid = {"datasets": ["digits"], "networks": ["mlp8x32"], "modules": [2], "seeds": 6}
    grids = [grid | {"recipes": ["dgl"]}, grid | {"recipes": [recipe]} | change]
    terms = [{"recipe": "dgl"}, {"recipe": recipe}]
    analysis = {"n": 6, "primary": [DIFFERENCE | {"difference": terms}]}
    catalog = Catalog(CONFIG / "recipes.yaml", CONFIG / "datasets.yaml")
    sweep = parse(Sweep, {"sweep": "s", "grids": grids, "analysis": analysis}, "s.yaml")
    with pytest.raises(InvalidInput, match=message):
        make_plan(sweep, catalog, where="s.yaml")


def test_levels_and_errors_of_contrasts() -> None:
    made = plan([SLOPE, DIFFERENCE], secondary=[SAME], alpha=0.04)
    assert made.sweep.analysis
    slope, difference, same = detectable(made, made.sweep.analysis, 0.5)
    assert [it.level for it in (slope, difference, same)] == [0.02, 0.02, 0.04]
    assert slope.error == pytest.approx(0.5 / 2**0.5 / 6**0.5)  # log2 K = 1, 2, 3
    assert difference.error == same.error == pytest.approx(0.5 * 2**0.5 / 6**0.5)
    assert same.effect == shown_margin(same.error, 6, 0.04)


@pytest.mark.parametrize(("n", "level"), [(3, 0.05), (6, 0.0125), (20, 0.05)])
def test_eight_of_ten_repetitions_show_what_is_said(n: int, level: float) -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(200_000, n))
    error = n**-0.5
    found = noise + found_effect(error, n, level)
    t = stats.ttest_1samp(found, 0, axis=1)
    assert np.mean(t.pvalue < level) == pytest.approx(0.8, abs=0.005)
    half = stats.t.ppf(1 - level, n - 1) * noise.std(1, ddof=1) * error
    shown = np.abs(noise.mean(1)) + half < shown_margin(error, n, level)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.005)
