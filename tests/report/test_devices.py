"""Runs of one table that were made on different devices are named, and so are gaps across them."""

from __future__ import annotations

import math
from typing import Any

from modulewise.report import devices
from modulewise.report.frame import read

GRID: dict[str, Any] = {"datasets": ["fake"], "networks": ["resnet8"]}
OLD, NEW = "CPU, AVX2, 1 thread", "CPU, AVX-512, 1 thread"


def test_two_instruction_sets_are_named_with_their_rows(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [9.0, 9.5, 9.2, 9.1], device=NEW)
    s.fill("dgl", 2, [10.0, 10.5], device=OLD)
    for seed, value in ((2, 10.1), (3, 10.2)):
        s.run(s.cell("dgl", 2, seed), value, device=NEW)
    s.fill("dgl", 4, [11.0, 11.5], device=OLD)
    s.fill("greedy", 2, [11.0, 11.4], device=NEW)
    found = devices.mixed(read(s.plan, s.runs), "fake", "resnet8")
    assert [(d.name, d.runs) for d in found] == [(NEW, 8), (OLD, 4)]
    assert found[0].rows == "all others"
    assert found[1].rows == "DGL & co_1 K = 2, seeds 0, 1; DGL & co_1 K = 4"
    text = s.words()
    assert f"These runs were made on 2 devices, whose digits differ: {NEW} (8 runs)" in text
    notes = f"of two devices: {OLD}, the baseline on {NEW}"
    assert f"2 of 4 pairs {notes}" in text and f"every pair {notes}" in text
    assert s.row("dgl", 2)["gap_n"] == 4, "the gap itself stands"
    assert s.row("dgl", 2)["gap_reason"].startswith("2 of 4 pairs of two devices")
    assert math.isnan(s.row("greedy", 2)["gap_reason"]), "nothing to say"
    assert "no baseline run on the same kind and number of devices" in text, (
        "nor is memory compared"
    )


def test_one_device_is_no_remark(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [9.0, 9.5], device=NEW)
    s.fill("dgl", 2, [10.0, 10.5], device=NEW)
    assert devices.mixed(read(s.plan, s.runs), "fake", "resnet8") == []
    assert "whose digits differ" not in s.words()


def test_a_planned_analysis_names_seeds_that_are_split(site: Any) -> None:
    terms = [{"recipe": "dgl", "modules": 2}, {"recipe": "backprop"}]
    contrast = {"name": "a", "hypothesis": "b", "difference": terms}
    grid = GRID | {"recipes": ["backprop", "dgl"], "modules": [2], "seeds": 4}
    s = site({"sweep": "s", "grids": [grid], "analysis": {"n": 4, "primary": [contrast]}})
    s.fill("backprop", 1, [9.0, 9.5, 9.2], device=NEW)
    for seed, device in enumerate((NEW, OLD, NEW)):
        s.run(s.cell("dgl", 2, seed), 10.0 + seed, device=device)
    assert "Seed 1 has runs on several devices: what contrasts of it show" in s.words()


def test_devices_of_two_sections_are_not_mixed(site: Any) -> None:
    grid = GRID | {"datasets": ["fake", "pixels"], "recipes": ["backprop"], "seeds": 2}
    s = site({"sweep": "small", "grids": [grid | {"modules": [2]}]})
    s.fill("backprop", 1, [9.0, 9.5], "fake", device=NEW)
    s.fill("backprop", 1, [9.0, 9.5], "pixels", device=OLD)
    frame = read(s.plan, s.runs)
    assert not any(devices.mixed(frame, d, "resnet8") for d in ("fake", "pixels"))


def test_a_long_list_is_cut(site: Any) -> None:
    grid = GRID | {"recipes": ["backprop", "dgl"], "modules": list(range(2, 17)), "seeds": 15}
    s = site({"sweep": "small", "grids": [grid]})
    s.fill("backprop", 1, [9.0] * 15, device=NEW)
    for k in range(2, 17):  # another seed of every row
        s.run(s.cell("dgl", k, k - 2), 9.0, device=OLD)
        s.run(s.cell("dgl", k, (k - 1) % 15), 9.0, device=NEW)
    (_, listed) = devices.mixed(read(s.plan, s.runs), "fake", "resnet8")
    *named, last = listed.rows.split("; ")
    assert (listed.runs, len(named), last) == (15, devices.MOST, "and 3 more")
