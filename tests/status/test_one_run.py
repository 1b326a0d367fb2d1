"""`modulewise show` and `modulewise diff`: one run on a screen, and what differs between two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forked
import run_folders
from modulewise.config.cell import Cell
from modulewise.runs.result import Cost, PrimaryMetric, Result, Secondary
from modulewise.status.curves import BLOCKS, blocks

T = run_folders.T


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return run_folders.sweep(tmp_path, seeds=2)[1]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "results" / "runs"


def finished(runs: Path, cell: Cell, errors: list[float], **values: Any) -> Result:
    """A run with a record of these test errors, and its result."""
    told = [run_folders.metric(n, T + n, error) for n, error in enumerate(errors, 1)]
    run_folders.write(runs, cell, run_folders.start(cell), *told, run_folders.end(T + 99))
    return run_folders.finish(runs, cell, test_last=errors[-1], **values)


def verb(*words: object) -> str:
    done = forked.run(*map(str, words))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "/" not in line)
    return done.stdout


def refused(*words: object) -> str:
    done = forked.run(*map(str, words))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("error: ").strip()


def test_a_finished_run_on_a_screen(cells: list[Cell], runs: Path) -> None:
    cost = Cost(peak_memory_bytes=3 * 2**20, step_seconds=0.0123)
    top5 = Secondary(metric=PrimaryMetric(name="top5_error", label="top-5 error"), last=5, best=4)
    once = Secondary(metric=PrimaryMetric(name="ms", label="counted once"), last=5, best=5)
    finished(
        runs,
        cells[0],
        [90.0, 50.0, 12.5],
        test_best_epoch=11.0,
        cost=cost,
        secondary=[top5, once],
    )
    said = verb("show", cells[0].id, "--runs", runs)
    assert said.startswith(f"{cells[0]}  {cells[0].id}\n")
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in said.splitlines()}
    assert rows["state"] == "state done, epoch 9 of 9, error 12.50 %"
    assert rows["training"].startswith("training epochs 9")
    assert rows["test error"] == "test error 12.50 % after the last epoch; best epoch 11.00 %"
    assert rows["top-5 error"] == "top-5 error 5.00 % after the last epoch; best epoch 4.00 %"
    assert rows["counted once"] == "counted once 5.00 % after the last epoch"
    assert rows["memory"] == "memory 3 MiB at the peak of a step"
    assert rows["time"] == "time 12.3 ms a step"
    assert f"\n{runs / cells[0].path}\n  record.jsonl " in said
    assert "no weights.pt: `modulewise train --keep-weights` leaves them" in said
    curve = said.partition("test error, %\n")[2].splitlines()
    assert curve[0].startswith("  90 █") and curve[5].startswith("12.5 ██")
    assert curve[6].split() == ["epoch", "1", "3"]


@pytest.mark.parametrize("state", ["running", "stopped", "failed", "diverged"])
def test_a_run_in_any_state(state: str, cells: list[Cell], runs: Path) -> None:
    run_folders.make(state, runs, cells[0])
    said = verb("show", runs / cells[0].path)
    assert f"state       {state}, epoch " in said


def test_a_run_is_found_by_folder_result_or_beginning(cells: list[Cell], runs: Path) -> None:
    for cell in cells:
        finished(runs, cell, [20.0, 12.5])
    cell, folder = cells[0], runs / cells[0].path
    ways = [folder, folder / "result.json", cell.path, cell.path[:-3], cell.id, cell.id[:6], folder]
    assert len({verb("show", way, "--runs", runs) for way in ways}) == 1


def test_an_unclear_run_is_told_with_the_candidates(cells: list[Cell], runs: Path) -> None:
    for cell in cells:
        finished(runs, cell, [20.0, 12.5])
    said = refused("show", "dataset~fake", "--runs", runs)
    assert said.startswith(f"'dataset~fake' is {len(cells)} runs: ")
    assert all(f"{cell.id} ({cell})" in said for cell in cells)
    said = refused("show", "zzz", "--runs", runs)
    assert said.startswith("no run 'zzz': ") and str(runs) in said
    assert refused("show", runs.parent, "--runs", runs).startswith(f"{runs.parent}: no run: ")


def tables(said: str) -> dict[str, list[str]]:
    """Key of every row of a comparison -> its other words."""
    lines = [line.split("  ") for line in said.splitlines()[2:]]
    return {words[0]: [w.strip() for w in words[1:] if w.strip()] for words in lines}


def test_two_runs_of_one_cell_that_are_equal(cells: list[Cell], runs: Path, tmp_path: Path) -> None:
    finished(runs, cells[0], [20.0, 12.5])
    finished(tmp_path / "again", cells[0], [20.0, 12.5])
    said = verb("diff", runs / cells[0].path, tmp_path / "again" / cells[0].path)
    name = f"{cells[0]}  {cells[0].id}"
    assert said == f"a  {name}\nb  {name}\n\nnothing differs\n"


def test_what_differs_is_listed_and_nothing_else(cells: list[Cell], runs: Path) -> None:
    a, b = cells[0], next(c for c in cells if c.modules != cells[0].modules)
    finished(runs, a, [20.0, 12.5], cost=Cost(peak_memory_bytes=2**20, step_seconds=0.01))
    cost = Cost(peak_memory_bytes=3 * 2**19, step_seconds=0.02)
    finished(runs, b, [20.0, 10.0], cost=cost, device="another CPU")
    said = verb("diff", a.id, b.id, "--runs", runs)
    rows = tables(said)
    assert rows["modules"] == [str(a.modules), str(b.modules)]
    assert rows["device"] == ["a CPU", "another CPU"]
    assert rows["test error"] == ["12.5", "10", "-2.5"]
    assert rows["peak_memory"] == ["1 MiB", "1.5 MiB", "1.50"]
    assert rows["step"] == ["10 ms", "20 ms", "2.00"]
    assert "curves differ from epoch 2 on" in said
    heads = {"", "settings", "made with", "result", "cost", "curves differ from epoch 2 on"}
    assert rows.keys() - heads == {"modules", "device", "test error", "peak_memory", "step"}


def test_options_that_a_method_has_by_default_are_compared(tmp_path: Path, runs: Path) -> None:
    _, (dgl,) = run_folders.sweep(tmp_path, modules=[2])
    _, (greedy,) = run_folders.sweep(tmp_path, modules=[2], recipes=["greedy"])
    for cell in (dgl, greedy):
        finished(runs, cell, [20.0, 12.5])
    rows = tables(verb("diff", dgl.id, greedy.id, "--runs", runs))
    assert rows["method"] == ["dgl", "greedy"]
    assert rows["options.feature_dim"][0] == "128"


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200),
    st.integers(1, 60),
    st.integers(1, 5),
)
def test_blocks_are_as_high_as_the_values(values: list[float], width: int, height: int) -> None:
    drawn = blocks(values, width, height)
    assert len(drawn) == height and {len(line) for line in drawn} <= {*range(1, width + 1)}
    levels = [sum(BLOCKS.index(line[i]) for line in drawn) for i in range(len(drawn[0]))]
    assert min(levels) == 1 and max(levels) in (1, 8 * height)
    if len(values) <= width:
        each = np.array(values).repeat(width // len(values))
        order = np.argsort(each, kind="stable")
        assert (np.diff(np.array(levels)[order]) >= 0).all()


def test_a_value_that_is_no_number_leaves_a_gap() -> None:
    assert blocks([1.0, float("nan"), 2.0], 3) == ["▁ █"]
    assert blocks([float("inf")], 2) == ["  "]
