"""A sweep in which nothing is trained end to end: costs as they are, and nobody speaks of a
baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modulewise.cli.app import app

GRID = {"datasets": ["fake"], "networks": ["resnet8"], "modules": [2, 4], "seeds": 3}
BARE = {"sweep": "bare", "grids": [GRID | {"recipes": ["dgl", "greedy"]}]}


def test_costs_are_absolute(site: Any, sketched: None) -> None:
    s = site(BARE)
    s.fill("dgl", 2, [11.0, 12.0, 13.0], peak_memory_bytes=3_000_000, step_seconds=0.25)
    s.fill("greedy", 2, [11.0, 12.0, 14.0], exclusive=False)
    words = s.words()
    assert "Test error, % n Memory Step time Horizon" in words
    assert "DGL & co_1 2 ★ 12.00 ± 1.00 3 2.86 MiB ★ 250 ms 1 10 25.0 % 1 k 500" in words
    assert "Greedy 2 ☆ 12.33 ± 1.53 3 ★ 1000 B – a 1 10 25.0 % 1 k 500" in words
    assert "a no run had its device to itself" in words


def test_captions_and_sections_do_not_speak_of_one(site: Any, sketched: None) -> None:
    s = site(BARE)
    s.fill("dgl", 2, [11.0, 12.0, 13.0])
    s.fill("dgl", 4, [11.0, 12.0, 13.0])
    page, reading = s.words().split("How to read this")
    assert "Test error of the last epoch against the number of modules K" in page
    page = page.replace("Nothing of this sweep is a baseline: there are no gaps.", "", 1)
    assert page.count("baseline") == page.count("this sweep has no baseline")
    assert "Is local learning worth it?" not in page
    assert "No recipe of this sweep is a baseline" in reading
    with_one = site({"sweep": "based", "grids": [GRID | {"recipes": ["backprop", "dgl"]}]})
    with_one.fill("backprop", 1, [10.0])
    assert "The baseline is the horizontal line, its interval the band." in with_one.words()


def test_a_section_without_the_baseline_of_another(site: Any) -> None:
    """The baseline of one network is none of the other."""
    grids = [
        GRID | {"recipes": ["backprop", "dgl"]},
        GRID | {"recipes": ["dgl"], "networks": ["resnet14"]},
    ]
    s = site({"sweep": "half", "grids": grids})
    for cell in s.cells:
        s.run(cell, 10.0 + cell.seed)
    words = s.words()
    assert words.count("Gap to Backprop, points [95 %]") == 1
    assert words.count("Gap to Backprop, points [90 %]") == 1  # the decision
    assert "DGL & co_1 2 ★ 11.00 ± 1.00 3 ★ 1000 B ★ 100 ms" in words


@pytest.mark.parametrize(
    ("recipes", "networks", "said"),
    [
        (["dgl"], ["resnet8"], "none: the report has no gaps"),
        (["whole", "dgl"], ["resnet8"], "none: the report has no gaps"),
        (["backprop", "dgl"], ["resnet8"], None),
        (["dgl"], ["resnet8", "resnet14"], "none for fake resnet14: the report has no gaps"),
    ],
)
def test_check_says_so(
    site: Any, recipes: list[str], networks: list[str], said: str | None, tmp_path: Path
) -> None:
    grids = [GRID | {"recipes": recipes, "networks": networks}]
    if len(networks) > 1:
        grids.append(GRID | {"recipes": ["backprop"], "networks": networks[:1]})
    site({"sweep": "bare", "grids": grids})
    words = ["check", "--sweep", str(tmp_path / "sweep.yaml"), "--root", str(tmp_path)]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    lines = [line for line in found.output.splitlines() if line.strip().startswith("baseline")]
    assert len(lines) == (said is not None)
    assert said is None or said in lines[0]
