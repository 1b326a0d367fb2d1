"""Whoever shows the state of a run shows the same one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modulewise.cli import app
from modulewise.config.plan import load_plan
from modulewise.planning import estimate
from modulewise.report import frame
from modulewise.runs.state import ENDED, STATES, path_state, run_states, words
from modulewise.tracking.view import STATUS, wanted
from run_folders import ROOT, T, make, sweep


@pytest.mark.parametrize("state", STATES)
def test_status_report_and_mirror_agree(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cells = sweep(tmp_path, modules=[2])
    runs = tmp_path / "runs"
    make(state, runs, cells[0])

    arguments = ["--sweep", str(path), "--root", str(ROOT), "--runs", str(runs)]
    monkeypatch.setattr(sys, "argv", ["modulewise", "status", *arguments])
    with pytest.raises(SystemExit):
        app.main()
    assert f"1 cells: 1 {words(state)}\n" in capsys.readouterr().out

    (row,) = frame.read(load_plan(path, ROOT), runs).runs.itertuples()
    assert row.state == state
    assert (row.reason == "") == (state == "done")

    (found,) = run_states(cells, runs)
    for keep in ("primary", "none"):  # as the report and status read
        (same,) = run_states(cells, runs, now=T, keep=keep)  # type: ignore[arg-type]
        (whole,) = run_states(cells, runs, now=T)
        assert (same, same.cost, same.result) == (whole, whole.cost, whole.result)
    mirrored = wanted(runs / cells[0].path, found)
    if state == "waiting":
        assert mirrored is None
    else:
        assert mirrored and mirrored.tags["status"] == state
        assert mirrored.status == STATUS[found.state]
        assert (mirrored.ended is None) == (state not in ENDED)

    assert bool(estimate.finished(cells, runs)) == (state == "done")


def test_a_place_is_enough_to_tell_the_result_of_another_cell(tmp_path: Path) -> None:
    one, other = sweep(tmp_path)[1]
    for cell in (one, other):
        make("done", tmp_path, cell)
    (tmp_path / one.path / "result.json").replace(tmp_path / other.path / "result.json")
    assert path_state(tmp_path, other.path).state == run_states([other], tmp_path)[0].state
    assert path_state(tmp_path, other.path).state == "damaged"
