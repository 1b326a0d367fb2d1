"""The rates of error that the page prints: simulated anew, smaller; and the table of
docs/report.md."""

from __future__ import annotations

import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from modulewise.report.rates import WRONG

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs/verdict_rates.py"))
exhibits, reproduced, added = SCRIPT["exhibits"], SCRIPT["reproduced"], SCRIPT["added"]
probabilities, gaps, skewed = SCRIPT["probabilities"], SCRIPT["gaps"], SCRIPT["skewed"]
SIMULATED: dict[str, tuple[int, Callable[[int], float]]] = {
    "two_seeds": (400, lambda n: exhibits(2, n)),
    "two_seeds_reproduced": (800, lambda n: reproduced(2, n)),
    "adding": (200, lambda n: added(0.0, 1e-9, SCRIPT["STD"], n)),
    "adding_reproduced": (300, lambda n: added(0.5, 0.5, SCRIPT["WIDE"], n)),
    "probability_3": (100, lambda n: probabilities(3, n)),
    "probability_5": (100, lambda n: probabilities(5, n)),
    "skewed_3": (1000, lambda n: gaps(skewed, 3, n)),
    "skewed_5": (1000, lambda n: gaps(skewed, 5, n)),
}
"""Name of a rate -> number of draws, and the simulation."""


def test_every_rate_is_simulated() -> None:
    assert SIMULATED.keys() == WRONG.keys()


@pytest.mark.parametrize("name", SIMULATED)
def test_rates_hold_in_a_simulation(name: str) -> None:
    """Within three standard errors of the printed share; and beyond the level."""
    draws, simulate = SIMULATED[name]
    share = WRONG[name] / 100
    assert simulate(draws) == pytest.approx(share, abs=3 * math.sqrt(share * (1 - share) / draws))
    assert share > 0.05


def test_the_document_has_the_page_s_rates() -> None:
    table = (ROOT / "docs/report.md").read_text().split("python docs/verdict_rates.py")[1]
    found = {float(x) for x in re.findall(r"\| (\d+\.\d) % \|\n", table)}
    assert set(WRONG.values()) <= found
