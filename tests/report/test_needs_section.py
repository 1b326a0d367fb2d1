"""What the recipes need, as their runs recorded it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from modulewise.report.needs import COLUMNS, words
from modulewise.runs.result import Needs


def needs(**changes: Any) -> Needs:
    """Those of a method with local heads."""
    given: dict[str, Any] = {
        "supervision": "class",
        "feedback": "none",
        "locked": "input",
        "passes": 1,
        "views": 1,
        "alive": 1,
        "history": 0,
        "joint_only": False,
        "helpers": {"heads": 12_000},
        "kept": {},
    }
    return Needs.model_validate(given | changes)


def said(of: Needs, horizon: int = 1, modules: int = 4, share: float | None = 0.25) -> list[str]:
    return list(words(of, horizon, modules, share))


def test_a_local_method_in_words() -> None:
    assert dict(zip(COLUMNS, said(needs()), strict=True)) == {
        "Passes": "1",
        "Horizon": "1",
        "Labels": "class",
        "Feedback": "nothing",
        "Waits for": "its input",
        "Extra networks": "heads 12 k",
        "Helpers’ FLOPs": "25.0 %",
        "Alive": "1",
        "Kept": "nothing",
        "Schedules": "any",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"feedback": "fixed", "locked": "scores"}, ["error, fixed weights", "the scores"]),
        ({"feedback": "later", "locked": "later"}, ["of later modules", "later modules"]),
        ({"passes": 2, "views": 2}, ["2, two views"]),
        ({"alive": 4, "helpers": {}, "joint_only": True}, ["none", "all", "joint"]),
        ({"kept": {"old_inputs": 2048}, "history": 3}, ["old inputs 2 KiB, of 3 steps"]),
        ({"supervision": "pair"}, ["same or not"]),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], expected: list[str]) -> None:
    plain, other = said(needs()), said(needs(**changes))
    assert [b for a, b in zip(plain, other, strict=True) if a != b] == expected


def test_the_whole_net_is_all_and_alive_in_part_where_it_is_computed_again() -> None:
    whole = [said(needs(alive=4, passes=passes), horizon=4) for passes in (1, 2)]
    assert [(told[1], told[7]) for told in whole] == [("all", "all"), ("all", "in part")]


def test_a_row_has_the_least_and_the_most_of_k(site: Callable[..., Any]) -> None:
    made = site()
    for modules, size in ((2, 12_000), (4, 36_000)):
        cell = made.cell("greedy", modules, 0)
        made.run(cell, 10.0, needs=needs(helpers={"heads": size}))
    assert "What the recipes need" in made.report()
    (row,) = pd.read_csv(made.root / "out/tables/needs.csv").to_dict("records")
    assert (row["K"], row["Extra networks"]) == ("2 – 4", "heads 12 k – heads 36 k")
    assert row["Helpers’ FLOPs"] == "25.0 % – 50.0 %"


def test_without_a_recorded_need_there_is_no_table(site: Callable[..., Any]) -> None:
    made = site()
    made.run(made.cell("greedy", 2, 0), 10.0)
    assert "What the recipes need" not in made.report()
