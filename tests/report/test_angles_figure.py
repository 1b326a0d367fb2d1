"""Angles of gradients in the report: as the runs recorded them, in the figure and in the table, and
nothing where none were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest
from matplotlib.figure import Figure

from modulewise.config.cell import Cell
from modulewise.report.angles import over_epochs
from modulewise.report.frame import read
from modulewise.runs.record import Record

TRAINING = {"gradient_angles": True}
ANGLES = {1: [90.0, 60.0, 30.0], 2: [0.0, 0.0, 0.0]}
"""Module -> its angles before the first epoch, and after two; more by ten degrees a seed."""


def recorded(site: Any, cell: Cell, more: float = 0.0) -> None:
    """Add angles to the record of a finished run."""
    record = Record(site.runs / cell.path)
    for epoch in range(3):
        values = {}
        for module, angles in ANGLES.items():
            shift = more if angles[epoch] else 0.0
            values[f"gradient_angle/module_{module - 1}"] = angles[epoch] + shift
            values[f"gradient_norm_ratio/module_{module - 1}"] = 0.5 * module
        record.metrics(epoch, values)
    record.write("end", status="done")


@pytest.fixture
def filled(site: Any) -> Any:
    """Two seeds of DGL that recorded angles, one of Greedy that did not; K = 2."""
    made = site().other(training=TRAINING)
    made.fill("dgl", 2, [12.0, 13.0])
    made.fill("greedy", 2, [14.0])
    for seed in range(2):
        recorded(made, made.cell("dgl", 2, seed), 10.0 * seed)
    return made


def panels(fig: Figure) -> dict[str, dict[str, list[float]]]:
    """Title of a panel -> colour of a thick line -> its heights."""
    return {
        ax.get_title(): {
            str(line.get_color()): [float(y) for y in line.get_ydata()]
            for line in ax.lines
            if line.get_marker() == "o"
        }
        for ax in fig.axes
    }


def test_the_figure_has_the_mean_of_every_module(filled: Any) -> None:
    frame = read(filled.plan, filled.runs)
    fig = over_epochs(frame.done, frame, ["dgl", "greedy"])
    ((title, lines),) = panels(fig).items()
    assert title == "DGL & co_1, K = 2, 2 seeds"
    assert sorted(lines.values()) == [[0.0, 0.0, 0.0], [95.0, 65.0, 35.0]]
    (ax,) = fig.axes
    low, high = ax.get_ylim()
    assert low <= 0 and high >= 100
    assert [90.0, 90.0] in [list(line.get_ydata()) for line in ax.lines], "the orthogonal"


def test_the_table_has_every_number_that_was_recorded(filled: Any) -> None:
    filled.report()
    table = filled.table("gradient-angles")
    assert len(table) == 2 * 3 * 2
    mine = table[(table["seed"] == 1) & (table["module"] == 1)]
    assert list(mine["epoch"]) == [0, 1, 2]
    assert list(mine["angle"]) == [100.0, 70.0, 40.0]
    assert set(mine["ratio"]) == {0.5} and set(mine["recipe"]) == {"dgl"}


def test_the_page_shows_the_figure_and_its_marks_say_the_numbers(filled: Any, drawn: None) -> None:
    page = filled.report()
    assert (filled.root / "out/figures/gradient-angles_fake_resnet8.svg").exists()
    assert "gradient-angles" in page
    for words in ("module 1 of 2, before training: 95.0°", "module 1 of 2, epoch 2: 35.0°"):
        assert f"<title>{words}, length 0.5×</title>" in page
    assert re.search(r"Angle between the gradient .* with its number of seeds", page)


def test_a_report_of_runs_without_angles_does_not_speak_of_them(site: Any, sketched: None) -> None:
    made = site()
    made.fill("backprop", 1, [10.0])
    made.fill("dgl", 2, [12.0])
    page = made.report()
    assert "learning-curves" in page and "gradient-angles" not in page
    assert not (made.root / "out/tables/gradient-angles.csv").exists()
