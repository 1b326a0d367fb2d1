"""`modulewise status`: every state on one screen, also of 1,000 cells, and seconds to read them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modulewise.cli import app
from modulewise.config.cell import Cell
from modulewise.runs.cost import RunCost
from modulewise.runs.result import PrimaryMetric
from modulewise.runs.state import STATES, RunState
from modulewise.status.tables import screen
from run_folders import ROOT, finish, gone, metric, start, sweep, write

RECIPES = ["backprop", "greedy", "dgl", "infopro-softmax", "infopro", "contsup-e", "contsup-r1"]


def command(path: Path, runs: Path, *more: str) -> list[str]:
    words = ["--sweep", str(path), "--root", str(ROOT), "--runs", str(runs)]
    return ["modulewise", "status", *words, *more]


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return sweep(tmp_path)[1][0]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Cell]]:
    """A sweep of 1,000 cells in every state; half of them have a record of 160 epochs."""
    folder = tmp_path_factory.mktemp("thousand")
    path, cells = sweep(
        folder, recipes=RECIPES[1:], modules=[1, 2, 3, 4], seeds=42, training={"epochs": 200}
    )
    runs = folder / "results" / "runs"
    long = [metric(e, time.time() + e) for e in range(1, 161)]
    dead = gone()
    for i, cell in enumerate(cells):
        if i % 2:
            pid = os.getpid() if i % 20 == 1 else dead
            write(runs, cell, start(cell, time.time(), pid=pid), *long, log="x\n")
        elif i % 10:
            finish(runs, cell, ["done", "diverged", "out_of_memory"][i % 3])
    return path, cells


def test_a_thousand_cells_fit_one_screen(
    thousand: tuple[Path, list[Cell]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, cells = thousand
    assert len(cells) == 1008
    monkeypatch.setattr(sys, "argv", command(path, path.parent / "results" / "runs"))
    with pytest.raises(SystemExit) as left:
        app.main()
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert left.value.code == 0
    assert len(lines) <= 25 and max(map(len, lines)) <= 80, text
    assert "\x1b" not in text, "nobody reads colours in a log"
    assert "1008 cells: " in lines[0] and "running" in lines[0]
    for recipe in RECIPES[1:]:
        assert any(line.startswith(recipe) for line in lines)


def test_many_recipes_and_modules_still_fit(cell: Cell) -> None:
    made = [
        cell.model_copy(update={"recipe": f"a-recipe-with-a-long-name-{r}", "modules": k})
        for r in range(40)
        for k in range(1, 30)
    ]
    running, done = RunState("running", 1, 9, 50.0, 3.0), RunState("done", 9, 9, 50.0)
    found = [(c, running if c.recipe.endswith("7") else done) for c in made]
    lines = screen("s", found)
    assert len(lines) <= 25 and max(map(len, lines)) <= 80
    assert "32 others" in "\n".join(lines)
    assert len(screen("s", found, most=None)) > 100


def test_every_state_is_counted_marked_and_explained(cell: Cell) -> None:
    found = [(cell, RunState(s, why=f"why {s}")) for s in ("done", *STATES)]
    lines = screen("s", found)
    counted = " ".join(" ".join(lines[:2]).split())
    assert "10 cells: 2 done, 1 running, 1 queued, 1 waiting, 1 stopped" in counted
    (row,) = [line for line in lines if line.startswith("dgl")]
    assert row.split()[1:] == ["####......", "4/10", "r1", "q1", "s1", "f1", "x1", "d1", "m1"]
    whole = "\n".join(screen("s", found, most=None))
    for state in ("failed", "damaged", "stopped", "diverged", "out_of_memory"):
        assert f"{cell}  why {state}" in whole


def test_running_cells_show_their_metric_job_and_time_left(cell: Cell) -> None:
    miou = PrimaryMetric(name="miou", label="test mIoU", direction="higher")
    cost = RunCost(job="12_0", starts=1)
    found = [
        (cell, RunState("running", 3, 9, 61.2, 185.0, metric=miou, cost=cost)),
        (cell, RunState("running", 0, None, None, None, "starting")),
    ]
    one, two = screen("s", found)[-2:]
    assert " ".join(one.split()) == f"{cell} 12_0 3/9 mIoU 61.20 % 3 min 5 s"
    assert " ".join(two.split()) == f"{cell} - 0/? starting"


def test_watching_a_log_says_what_changed_until_it_is_interrupted(tmp_path: Path) -> None:
    path, cells = sweep(tmp_path)
    words = command(path, tmp_path / "runs", "--watch", "--every", "0.1")[1:]
    program = [sys.executable, "-c", "from modulewise.cli.app import main; main()", *words]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().endswith("  sweep s  2 cells: 2 waiting\n")
        finish(tmp_path / "runs", cells[0])
        assert process.stdout.readline().endswith("  sweep s  2 cells: 1 done, 1 waiting\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""


def test_watching_on_a_terminal_draws_the_screen(tmp_path: Path) -> None:
    path, cells = sweep(tmp_path)
    words = command(path, tmp_path / "runs", "--watch", "--every", "0.1")[1:]
    ours, its = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    program = [sys.executable, "-c", "from modulewise.cli.app import main; main()", *words]
    with subprocess.Popen(program, stdin=its, stdout=its, stderr=its, env=env) as process:
        seen = b""
        while b"0/1" not in seen:
            seen += os.read(ours, 4096)
        finish(tmp_path / "runs", cells[0])
        while b"1 done" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    os.close(its)
    os.close(ours)
    assert seen.count(b"recipe") >= 2 and b"\x1b[" in seen and b"Traceback" not in seen
