"""The numbers of the report, against closed forms: Student's t has them for one and two degrees of
freedom."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from modulewise.report import stats

T1 = math.tan(math.pi * 0.475)  # 97.5 % quantile, one degree of freedom
T2 = 0.95 / math.sqrt(2 * 0.975 * 0.025)  # two degrees of freedom


def test_two_values() -> None:
    m = stats.mean(pd.Series([5.0, 7.0, float("nan")]))
    assert (m.n, m.mean) == (2, 6.0)
    assert m.std == pytest.approx(math.sqrt(2))
    assert (m.low, m.high) == (pytest.approx(6 - T1), pytest.approx(6 + T1))  # std / sqrt(2) = 1


def test_three_values_at_another_level() -> None:
    m = stats.mean(pd.Series([1.0, 2.0, 6.0]), level=0.9)
    half = 0.9 / math.sqrt(2 * 0.95 * 0.05) * math.sqrt(7 / 3)
    assert m.std == pytest.approx(math.sqrt(7))
    assert (m.low, m.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


@pytest.mark.parametrize(("values", "centre"), [([4.0], 4.0), ([], math.nan)])
def test_too_few_values_have_no_spread(values: list[float], centre: float) -> None:
    m = stats.mean(pd.Series(values, dtype=float))
    assert m.n == len(values)
    assert m.mean == pytest.approx(centre, nan_ok=True)
    assert all(math.isnan(v) for v in (m.std, m.low, m.high))


def test_pairs_are_made_by_seed_not_by_place() -> None:
    mine = pd.DataFrame({"seed": [3, 1, 0, 7], "value": [13.0, 12.0, 11.0, 99.0]})
    base = pd.DataFrame({"seed": [0, 1, 3, 8], "value": [10.0, 10.0, 10.0, 1.0]})
    gap = stats.paired(mine, base)
    assert (gap.n, gap.mean, gap.std) == (3, 2.0, 1.0)
    assert gap.high - gap.mean == pytest.approx(T2 / math.sqrt(3))


def test_a_cost_is_compared_on_the_same_device_only() -> None:
    mine = pd.DataFrame({"device": ["A", "A", "B", "C"], "cost": [6.0, 10.0, 60.0, 1.0]})
    base = pd.DataFrame({"device": ["A", "A", "A", "B"], "cost": [2.0, 2.0, 200.0, 20.0]})
    lacking = ("none of ours", "none of theirs")
    ratio = stats.relative(mine, base, "cost", ["device"], lacking)
    assert ratio == (3, 3.0, "")  # 6/2, 10/2 and 60/20; C has no partner
    unmatched = stats.relative(mine[3:], base, "cost", ["device"], lacking)
    assert (unmatched.n, unmatched.reason) == (0, "none of theirs")
    assert stats.relative(mine[:0], base, "cost", ["device"], lacking).reason == "none of ours"


def test_headline(site: Any) -> None:
    s = site()
    base, dgl = [10.0, 12.0, 11.0, 13.0], [11.0, 14.0, 14.0]
    for seed, error in enumerate(base):
        s.run(s.cell("backprop", 1, seed), error)
    for seed, error in enumerate(dgl):
        s.run(
            s.cell("dgl", 2, seed),
            error,
            peak_memory_bytes=600,
            step_seconds=0.15,
            inference_macs=550.0,
        )
    s.report()
    row = s.row("dgl", 2)
    assert (row["n"], row["planned"], row["waiting"], row["provisional"]) == (3, 4, 1, False)
    assert (row["error_mean"], row["error_std"]) == (
        pytest.approx(13.0),
        pytest.approx(math.sqrt(3)),
    )
    assert (row["gap_n"], row["gap_mean"], row["gap_std"]) == (
        3,
        pytest.approx(2.0),
        pytest.approx(1.0),
    )
    assert row["gap_low"] == pytest.approx(2 - T2 / math.sqrt(3))
    assert row["gap_high"] == pytest.approx(2 + T2 / math.sqrt(3))
    assert (row["memory_ratio"], row["time_ratio"]) == (pytest.approx(0.6), pytest.approx(1.5))
    assert (row["macs_ratio"], row["helper_flops_share"]) == (
        pytest.approx(1.1),
        pytest.approx(0.25),
    )
    assert (row["horizon"], row["helper_parameters"]) == (1, 10)
    backprop = s.row("backprop", 1)
    assert (backprop["gap_n"], backprop["memory_ratio"], backprop["time_ratio"]) == (0, 1.0, 1.0)
    assert list(s.table()["recipe"]) == ["backprop", "dgl", "dgl", "greedy", "greedy"]
    assert list(s.table()["modules"]) == [1, 2, 4, 2, 4]


def test_horizon_and_helpers_stand_beside_k(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0])
    s.fill("dgl", 2, [10.0], horizon=2)
    s.fill("dgl", 4, [10.0], horizon=2)
    words = s.words()
    words = words.replace("\u00a0", " ")
    assert (
        "Recipe K Test error, % n Gap to Backprop, points [95 %] Memory Step time Horizon "
        "Helpers’ parameters Helpers’ FLOPs Parameters Inference MACs Remarks"
    ) in words
    assert "Backprop 1 ★ 10.00 1 of 4 – ★ 1000 B ★ 100 ms all 0 0.0 % 1 k 500" in words
    assert "DGL & co_1 2 ★ 10.00 1 of 4 +0.00 ★ 1.00× ★ 1.00× all 10 25.0 % 1 k" in words
    assert " 4 ★ 10.00 1 of 4 +0.00 ★ 1.00× ★ 1.00× 2 30 50.0 % 1 k" in words
    assert "Greedy 2 – 0 of 4 – – – – – – –" in words
    assert "Horizon : number of modules that a loss’s gradient reaches back through" in words


def test_one_common_seed_gives_a_gap_without_interval(site: Any) -> None:
    s = site()
    s.run(s.cell("backprop", 1, 1), 10.0)
    for seed in (1, 2, 3):
        s.run(s.cell("dgl", 2, seed), 10.5 + seed)
    s.run(s.cell("greedy", 2, 0), 9.0)
    page = s.report()
    row = s.row("dgl", 2)
    assert (row["gap_n"], row["gap_mean"]) == (1, pytest.approx(1.5))
    assert math.isnan(row["gap_low"])
    assert row["gap_reason"] == "over the one seed in common with the baseline"
    assert ">+1.50<sup>" in page
    assert s.row("greedy", 2)["gap_reason"] == "no seed in common with the baseline"
    assert s.row("greedy", 2)["provisional"]


def test_time_needs_an_exclusive_device_and_memory_the_same_model(site: Any) -> None:
    s = site()
    for seed in (0, 1, 2):
        s.run(
            s.cell("backprop", 1, seed),
            10.0,
            step_seconds=0.1 if seed else 99.0,
            exclusive=seed > 0,
        )
        s.run(s.cell("dgl", 2, seed), 11.0, step_seconds=0.3 if seed else 0.001, exclusive=seed > 0)
        s.run(s.cell("dgl", 4, seed), 11.0, exclusive=False)
        s.run(s.cell("greedy", 2, seed), 11.0, device="GPU B", step_seconds=0.5)
        s.run(s.cell("greedy", 4, seed), 11.0, memory_source="cpu allocator", step_seconds=0.5)
    s.report()
    two, shared, other, source = (
        s.row("dgl", 2),
        s.row("dgl", 4),
        s.row("greedy", 2),
        s.row("greedy", 4),
    )
    assert (two["time_ratio"], two["time_n"], two["memory_n"]) == (pytest.approx(3.0), 2, 3)
    assert math.isnan(shared["time_ratio"])
    assert shared["time_reason"] == "no run had its device to itself"
    assert shared["memory_ratio"] == 1.0
    assert math.isnan(other["time_ratio"])
    assert math.isnan(other["memory_ratio"])
    assert "same kind and number of devices" in other["time_reason"]
    assert math.isnan(source["memory_ratio"])
    assert source["time_ratio"] == pytest.approx(5.0)


@pytest.mark.parametrize("recipe", ["large", "shared"])
def test_costs_of_other_batch_sizes_or_numbers_of_devices_are_not_compared(
    recipe: str, site: Any
) -> None:
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["backprop", recipe],
        "modules": [2],
        "seeds": 1,
    }
    s = site({"sweep": "sizes", "grids": [grid]})
    s.run(s.cell("backprop", 1, 0), 10.0)
    s.run(s.cell(recipe, 2, 0), 12.0)
    s.report()
    row = s.row(recipe, 2)
    assert row["gap_mean"] == pytest.approx(2.0)
    assert math.isnan(row["memory_ratio"])
    assert math.isnan(row["time_ratio"])


def test_grids_with_other_training_settings_are_not_compared(site: Any, sketched: None) -> None:
    grid = {
        "datasets": ["fake"],
        "networks": ["resnet8"],
        "recipes": ["backprop", "dgl"],
        "modules": [2],
        "seeds": 2,
    }
    s = site({"sweep": "two", "grids": [grid, grid | {"training": {"epochs": 9}}]})
    for seed in (0, 1):
        s.run(s.cell("backprop", 1, seed, epochs=3), 10.0)
        s.run(s.cell("dgl", 2, seed, epochs=3), 12.0 + seed)
        s.run(s.cell("dgl", 2, seed, epochs=9), 5.0)
    page = s.report()
    rows = s.table().fillna("").set_index(["settings", "recipe"])
    assert rows.loc[("", "dgl"), "error_mean"] == pytest.approx(12.5)
    assert rows.loc[("", "dgl"), "gap_mean"] == pytest.approx(2.5)
    assert rows.loc[("epochs=9", "dgl"), "error_mean"] == pytest.approx(5.0)
    assert rows.loc[("epochs=9", "dgl"), "gap_n"] == 0
    assert rows.loc[("epochs=9", "backprop"), "n"] == 0
    assert "no finished baseline run with the same training settings" in page
    assert ">Settings<" in page
    assert {p.name for p in (s.root / "out/figures").glob("error-against-modules*.svg")} == {
        "error-against-modules_fake_resnet8_1.svg",
        "error-against-modules_fake_resnet8_2.svg",
    }
