"""`modulewise status --jobs`: a line for every cell that was submitted or started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from test_screen import command

from modulewise.cli import app
from modulewise.runs.state import RunState
from modulewise.status.jobs import jobs
from modulewise.status.tables import screen
from run_folders import (
    T,
    ended,
    finish,
    gone,
    ledger,
    metric,
    start,
    submitted,
    submitting,
    sweep,
    write,
)


def test_more_than_a_hundred_jobs_fit_the_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cells = sweep(tmp_path, recipes=["dgl", "infopro-softmax"], seeds=40)
    assert len(cells) == 160
    ids = [f"1234567_{i}" for i in range(140)]
    events = [submitting("a", cells[:140]), submitted("a", *ids)]
    dead, runs = gone(), tmp_path / "runs"
    for i, cell in enumerate(cells[:120]):
        begun = start(cell, T + 60 * i, pid=dead, slurm_job=ids[i], devices=1)
        write(runs, cell, begun, metric(9, T + 60 * i + 4000), log="x\n")
        if i < 100:
            finish(runs, cell)
        else:
            log = f"results/logs/slurm/{ids[i]}_0_log.out"
            events.append(ended(cell, ids[i], "FAILED", "a reason of many words " * 5, log))
    ledger(runs, *events)
    said = []
    for more in ([], ["--jobs"]):
        monkeypatch.setattr(sys, "argv", command(path, runs, *more))
        with pytest.raises(SystemExit) as left:
            app.main()
        assert left.value.code == 0
        said.append(capsys.readouterr().out.splitlines())
        assert max(map(len, said[-1])) <= 80, max(said[-1], key=len)
    short, table = said
    assert len(short) <= 25
    assert short[0].endswith("160 cells: 100 done, 20 queued, 20 waiting, 20 failed")
    hours = f"{120 * 4000 / 3600:.2f}"
    assert hours in "\n".join(short)
    assert sum(x.startswith("1234567_") for x in table) == 140
    assert table[1].split()[:6] == ["1234567_0", "done", "1", "0:00", "66:40", "1.11"]
    assert sum(x.startswith("failed  ") for x in table) == 20
    assert sum(f"{ids[110]}_0_log.out" in x for x in table) == 1, "paths are not broken"
    assert table[-1].startswith("140 of 160 cells: ") and hours in table[-1]


def test_a_table_without_jobs_says_so(tmp_path: Path) -> None:
    found = [(c, RunState("waiting")) for c in sweep(tmp_path)[1]]
    assert jobs(found)[-1].startswith("0 of 2 cells: 0.00 GPU-hours")
    assert "hours" not in "\n".join(screen("s", found))
