"""Which cell's modules a grid reuses, and what is refused before any run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modulewise.config.cell import Cell, configurations
from modulewise.config.plan import make_plan
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.errors import InvalidInput, parse

FIRST: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [2, 3],
    "seeds": 2,
    "training": {"epochs": 4},
}
REUSE: dict[str, Any] = {"recipe": "dgl", "modules": 1}
SECOND: dict[str, Any] = FIRST | {
    "recipes": ["greedy"],
    "training": {"epochs": 4, "schedule": "sequential"},
    "reuse": REUSE,
}


def plan(catalog: Catalog, *grids: dict[str, Any], **more: Any) -> Any:
    sweep = parse(Sweep, {"sweep": "s", "grids": list(grids), **more}, "s.yaml")
    return make_plan(sweep, catalog, tuned=Path("/nonexistent"), where="s.yaml")


def test_each_cell_reuses_the_one_of_its_place(catalog: Catalog) -> None:
    made = plan(catalog, FIRST, SECOND)
    first, second = made.cells[:4], made.cells[4:]
    assert [c.reuse.source for c in second] == [c.path for c in first]
    assert [c.reuse.id for c in second] == [c.id for c in first]
    assert all(c.reuse.modules == c.frozen == 1 for c in second)
    assert [made.keeps_weights(c) for c in made.cells] == [True] * 4 + [False] * 4
    assert len(configurations(second)) == 2, "seeds are one configuration"
    assert all(Cell.model_validate_json(c.to_json()) == c for c in second)


def test_what_is_reused_is_part_of_the_cell(catalog: Catalog) -> None:
    plain = plan(catalog, SECOND | {"reuse": None}).cells
    made = plan(catalog, FIRST, SECOND).cells[4:]
    other = plan(catalog, FIRST | {"training": {"epochs": 5}}, SECOND).cells[4:]
    assert len({c.id for c in (*plain, *made, *other)}) == 12


def test_the_source_may_be_of_another_data_set(catalog: Catalog) -> None:
    first, second = (
        FIRST | {"datasets": ["digits"]},
        SECOND | {"reuse": REUSE | {"dataset": "digits"}},
    )
    made = plan(catalog, first, second).cells
    assert [c.reuse.source for c in made[4:]] == [c.path for c in made[:4]]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([SECOND], r"grids\[0\]: reuse: no cells fake resnet8 dgl K=2 s0 in the grids before"),
        ([SECOND, FIRST], r"grids\[0\]: reuse: no cells fake resnet8 dgl K=2 s0"),
        (
            [FIRST, FIRST | {"training": {"epochs": 5}}, SECOND],
            r"grids\[2\]: reuse: 2 cells fake resnet8 dgl K=2 s0 in the grids before",
        ),
        ([FIRST, SECOND | {"seeds": 3}], "no cells fake resnet8 dgl K=2 s2"),
        (
            [FIRST, SECOND | {"training": {}}],
            "frozen modules need schedule sequential, got joint; set training.schedule, or frozen",
        ),
        (
            [FIRST, SECOND | {"reuse": REUSE | {"modules": 2}}],
            "reuse: 2 frozen modules of 2; valid: at most 1",
        ),
        (
            [FIRST, SECOND | {"reuse": REUSE | {"modules": 3, "frozen": False}}],
            "reuse: 3 modules of 2; valid: at most 2",
        ),
        ([FIRST, SECOND | {"reuse": {"recipe": "dgl"}}], "reuse.modules: missing"),
    ],
)
def test_what_cannot_be_reused_is_refused(
    grids: list[dict[str, Any]], message: str, catalog: Catalog
) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan(catalog, *grids)


def test_trials_reuse_nothing(catalog: Catalog) -> None:
    tune = {"trials": 2, "training": {"lr": [0.1, 0.2]}, "validation": 32, "seeds": [90]}
    with pytest.raises(InvalidInput, match=r"tune: grids\[1\] reuses modules"):
        plan(catalog, FIRST, SECOND, tune=tune)
