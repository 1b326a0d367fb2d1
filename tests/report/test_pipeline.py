"""Modules on devices of their own: critical paths by hand, of runs written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modulewise.report.frame import read
from modulewise.report.pipeline import numbers, path, show

GRID: dict[str, Any] = {
    "datasets": ["fake"], "networks": ["resnet8"], "recipes": ["backprop", "dgl"],
    "modules": [2, 5], "seeds": 3,
}  # fmt: skip
BOTH = {
    "sweep": "both",
    "grids": [GRID | {"training": {"schedule": s}} for s in ("joint", "parallel")],
}
BOTH["grids"][1] |= {"recipes": ["dgl"]}  # type: ignore[index]


def walk(seconds: list[float], batches: int) -> float:
    """When the last module has made its last step, every step beginning as early as it can."""
    ends = [0.0] * len(seconds)
    for _ in range(batches):
        given = 0.0
        for k, s in enumerate(seconds):
            ends[k] = given = max(ends[k], given) + s
    return ends[-1]


@pytest.mark.parametrize("seconds", [[0.2, 0.2], [0.1, 0.4, 0.2], [3.0, 1.0, 2.0, 2.5, 0.5]])
@pytest.mark.parametrize("batches", [1, 2, 7])
def test_an_epoch_is_as_long_as_its_critical_path(seconds: list[float], batches: int) -> None:
    found = path(seconds, batches)
    assert found.epoch == pytest.approx(batches * sum(seconds) / walk(seconds, batches))
    assert path(seconds, 10**9).epoch == pytest.approx(found.speedup)


def test_equal_modules_are_k_times_as_fast_and_none_waits() -> None:
    found = path([0.25] * 4)
    assert (found.one, found.step, found.speedup) == (1.0, 0.25, 4.0)
    assert found.idle == (0.0,) * 4


def fill(made: Any, schedule: str, step: float, seconds: list[list[float]], **values: Any) -> None:
    """A run of DGL, K = 2, of ten batches an epoch for each list of module's seconds."""
    for seed, each in enumerate(seconds):
        cell = made.cell("dgl", len(each), seed, schedule=schedule)
        times = {"step_seconds": step, "epoch_seconds": 10 * step}
        made.run(cell, 10.0, module_seconds=each, **times | values)


def test_the_page_has_what_the_runs_measured(site: Callable[..., Any]) -> None:
    made = site(BOTH)
    made.run(made.cell("backprop", 1, 0), 9.0)
    assert "Modules on devices of their own" not in made.words()
    fill(made, "joint", 0.4, [[0.3, 0.1], [0.2, 0.1], [0.3, 0.2]])
    fill(made, "parallel", 0.25, [[0.3, 0.2], [0.3, 0.2]])
    words = made.words()
    assert "Modules on devices of their own" in words
    joint, _, parallel, last = made.table("pipeline").to_dict("records")
    assert (joint["schedule"], joint["runs"], joint["module"]) == ("joint", 3, 1)
    # medians 0.3 and 0.1; ten batches: 10 * 0.4 beside 0.4 + 9 * 0.3
    assert (joint["one"], joint["step"]) == pytest.approx((0.4, 0.3))
    assert (joint["speedup"], joint["epoch"]) == pytest.approx((4 / 3, 4 / 3.1))
    assert joint["measured"] != joint["measured"]
    assert (parallel["schedule"], parallel["runs"]) == ("parallel", 2)
    assert (parallel["speedup"], parallel["measured"]) == pytest.approx((5 / 3, 1.6))
    assert (last["module"], last["module_seconds"]) == (2, 0.2)
    assert last["module_idle"] == pytest.approx(1 / 3)
    for text in ("300 ms, 100 ms", "0, 67 %", "1.33×", "1.29×", "1.60×"):
        assert text in words


@pytest.mark.parametrize("values", [{"device": "GPU B"}, {"exclusive": False}])
def test_clocks_of_other_or_shared_devices_are_not_compared(
    values: dict[str, Any], site: Callable[..., Any]
) -> None:
    made = site(BOTH)
    fill(made, "joint", 0.4, [[0.3, 0.1]], **values)
    fill(made, "parallel", 0.25, [[0.3, 0.2]])
    assert numbers(made.plan, read(made.plan, made.runs))["measured"].isna().all()


def test_of_many_modules_the_least_and_the_largest_are_shown(site: Callable[..., Any]) -> None:
    made = site(BOTH)
    fill(made, "joint", 0.4, [[0.1, 0.3, 0.2, 0.05, 0.15]])
    (row,) = show(numbers(made.plan, read(made.plan, made.runs))).rows
    shown = ["DGL & co_1", "5", "50 ms – 300 ms", "0 – 83 %", "800 ms", "300 ms", "2.67×"]
    assert [item.text for item in row][:7] == shown
