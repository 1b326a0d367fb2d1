"""`modulewise status`: every state a cell can be in, one screen for 1,000 of them, and seconds to
read them."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.cli import app
from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.runs.state import RunState, run_state
from modulewise.status.tables import screen

GRID = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [2, 3],
    "seeds": 1,
    "training": {"epochs": 9},
}
ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0


def sweep(folder: Path, **changes: Any) -> tuple[Path, list[Cell]]:
    """A sweep's file and its cells."""
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"sweep": "s", "grids": [GRID | changes]}))
    return path, list(load_plan(path, ROOT).cells)


def start(cell: Cell, t: float = NOW, **changes: Any) -> dict[str, Any]:
    base = {
        "ev": "start",
        "t": int(t * 1000),
        "cell": cell.model_dump(mode="json", exclude_defaults=True),
        "id": cell.id,
    }
    return (
        base
        | {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "epochs": cell.training.epochs,
            "epoch": 1,
        }
        | changes
    )


def metric(epoch: int, t: float, error: float = 50.0) -> dict[str, Any]:
    return {
        "ev": "metrics",
        "t": int(t * 1000),
        "epoch": epoch,
        "values": {"test_error/overall": error, "time/train_s": 2.0 * epoch},
    }


def write(
    runs: Path, cell: Cell, *events: dict[str, Any], log: str = "", job: str | None = None
) -> Path:
    folder = runs / cell.path
    folder.mkdir(parents=True, exist_ok=True)
    if events:
        (folder / "record.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    if log:
        (folder / "train.log").write_text(log)
    if job is not None:
        path = runs.parent / "logs" / "runs" / f"{cell.path}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(job)
    return folder


def finish(runs: Path, cell: Cell, status: str = "done", **values: Any) -> None:
    folder = write(runs, cell)
    content = {
        "cell": {},
        "status": status,
        "reason": None,
        "epochs": 9,
        "planned_epochs": 9,
        "test_last": 12.5,
    } | values
    (folder / "result.json").write_text(json.dumps(content))


def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return sweep(tmp_path)[1][0]


def test_a_cell_that_has_not_begun_waits(cell: Cell, tmp_path: Path) -> None:
    assert run_state(cell, tmp_path / "runs") == RunState(cell, "waiting")
    write(tmp_path / "runs", cell, job="a word of the system's\n")
    assert run_state(cell, tmp_path / "runs").state == "waiting"


@pytest.mark.parametrize("status", ["done", "diverged", "out_of_memory"])
def test_a_result_says_how_it_ended(status: str, cell: Cell, tmp_path: Path) -> None:
    finish(tmp_path, cell, status, reason="because", epochs=4)
    assert run_state(cell, tmp_path) == RunState(cell, status, 4, 9, 12.5, None, "because")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"status": "odd", "epochs": 1, "planned_epochs": 1}', '{"status": "done"}'],
)
def test_a_damaged_result_needs_a_look(text: str, cell: Cell, tmp_path: Path) -> None:
    (write(tmp_path, cell) / "result.json").write_text(text)
    found = run_state(cell, tmp_path)
    assert found.state == "failed" and "result.json: damaged; remove it" in found.why


def test_a_running_cell_has_an_epoch_an_error_and_time_left(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    write(
        tmp_path,
        cell,
        start(cell, now),
        metric(1, now + 10, 80),
        metric(2, now + 14, 70),
        metric(3, now + 18, 60),
    )
    assert run_state(cell, tmp_path) == RunState(cell, "running", 3, 9, 60, 24.0)


def test_the_time_before_a_resumption_is_no_epochs(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    old, new = start(cell, now - 5000), start(cell, now, epoch=2)
    write(tmp_path, cell, old, metric(1, now - 4996), new, metric(2, now + 4), metric(3, now + 8))
    assert run_state(cell, tmp_path).left == 24.0


def test_a_budget_of_seconds_says_what_is_left_of_it(tmp_path: Path) -> None:
    cell = sweep(tmp_path, training={"seconds": 100})[1][0]
    write(
        tmp_path,
        cell,
        start(cell, time.time(), epochs=160),
        metric(1, time.time() + 1),
        metric(2, time.time() + 2),
    )
    found = run_state(cell, tmp_path)
    assert (found.state, found.epoch, found.epochs, found.left) == ("running", 2, None, 96.0)


def test_a_run_whose_process_is_gone_is_cut_off(cell: Cell, tmp_path: Path) -> None:
    write(
        tmp_path,
        cell,
        start(cell, time.time(), pid=gone()),
        metric(1, time.time()),
        log="x  epoch 1/9\n",
    )
    found = run_state(cell, tmp_path)
    assert (found.state, found.epoch, found.left) == (
        "stopped",
        1,
        None,
    ) and "cut off; resumes" in found.why
    write(tmp_path, cell, log="x  asked to stop; saved, resumes when started again\n")
    assert run_state(cell, tmp_path).why == "asked to stop; resumes when started again"


def test_another_process_of_the_same_number_is_not_the_run(cell: Cell, tmp_path: Path) -> None:
    write(tmp_path, cell, start(cell, time.time() - 10 * 86400))
    assert run_state(cell, tmp_path).state == "stopped"


def test_a_run_elsewhere_goes_on_as_long_as_its_record_grows(cell: Cell, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        cell,
        start(cell, NOW, host="elsewhere"),
        metric(1, NOW + 600),
        metric(2, NOW + 1200),
    )
    os.utime(folder / "record.jsonl", (NOW + 1200, NOW + 1200))
    assert run_state(cell, tmp_path, now=NOW + 1200 + 2900).state == "running"
    assert run_state(cell, tmp_path, now=NOW + 1200 + 3100).state == "stopped"


@pytest.mark.parametrize(
    "said",
    [
        "error: data: no such file",
        "Traceback\n  x\nRuntimeError: broken",
        "torch.AcceleratorError: broken",
        "Killed",
    ],
)
def test_a_failed_job_says_why(said: str, cell: Cell, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    why = said.splitlines()[-1].removeprefix("error: ")
    write(runs, cell, job=f"a line\n{said}\n\n")
    assert run_state(cell, runs) == RunState(cell, "failed", why=why)
    write(
        runs,
        cell,
        start(cell, time.time(), pid=gone()),
        metric(1, time.time()),
        log="x\n",
        job=said,
    )
    assert (run_state(cell, runs).state, run_state(cell, runs).why) == ("failed", why)


def test_the_complaint_of_an_earlier_try_is_not_todays(cell: Cell, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folder = write(
        runs,
        cell,
        start(cell, time.time(), pid=gone()),
        log="x  asked to stop; saved\n",
        job="error: old\n",
    )
    os.utime(folder / "train.log", (time.time() + 60,) * 2)
    assert run_state(cell, runs).state == "stopped"


def test_a_torn_record_is_read_as_far_as_it_goes(cell: Cell, tmp_path: Path) -> None:
    folder = write(tmp_path, cell, start(cell, time.time()), metric(1, time.time()))
    with (folder / "record.jsonl").open("ab") as f:
        f.write(b'\xff\x00\n{"ev":"metrics","t":1,"epo')
    assert (run_state(cell, tmp_path).state, run_state(cell, tmp_path).epoch) == ("running", 1)


RECIPES = ["backprop", "greedy", "dgl", "infopro-softmax", "infopro", "contsup-e", "contsup-r1e"]


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
            write(
                runs,
                cell,
                start(cell, time.time(), pid=os.getpid() if i % 20 == 1 else dead),
                *long,
                log="x\n",
            )
        elif i % 10:
            finish(runs, cell, ["done", "diverged", "out_of_memory"][i % 3])
    return path, cells


def test_a_thousand_cells_fit_one_screen_and_take_seconds(
    thousand: tuple[Path, list[Cell]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, cells = thousand
    assert len(cells) == 1008
    words = [
        "status",
        "--sweep",
        str(path),
        "--root",
        str(ROOT),
        "--runs",
        str(path.parent / "results" / "runs"),
    ]
    monkeypatch.setattr(sys, "argv", ["modulewise", *words])
    begun = time.perf_counter()
    with pytest.raises(SystemExit) as left:
        app.main()
    took = time.perf_counter() - begun
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 0
    assert len(lines) <= 25 and max(map(len, lines)) <= 80, "\n".join(lines)
    assert took < 8, took
    assert lines[0].startswith("sweep s  1008 cells: ") and "running" in lines[0]
    for recipe in RECIPES[1:]:
        assert any(line.startswith(recipe) for line in lines)


def test_many_recipes_and_modules_still_fit(cell: Cell) -> None:
    made = [
        cell.model_copy(update={"recipe": f"a-recipe-with-a-long-name-{r}", "modules": k})
        for r in range(40)
        for k in range(1, 30)
    ]
    found = [
        RunState(c, "running" if c.recipe.endswith("7") else "done", 1, 9, 50.0, 3.0) for c in made
    ]
    lines = screen("s", found)
    assert len(lines) <= 25 and max(map(len, lines)) <= 80
    assert "32 others" in "\n".join(lines)
    assert len(screen("s", found, most=None)) > 100


def test_the_table_counts_every_state(cell: Cell) -> None:
    states = [
        "done",
        "done",
        "running",
        "stopped",
        "failed",
        "diverged",
        "out_of_memory",
        "waiting",
    ]
    lines = screen("s", [RunState(cell, s, why="why") for s in states])  # type: ignore[arg-type]
    assert lines[:2] == [
        "sweep s  8 cells: 2 done, 1 running, 1 waiting, 1 stopped, 1 failed, 1 diverged,",
        "  1 out of memory",
    ]
    assert lines[3] == "dgl    #####.....  4/8r1s1f1d1m1"
    text = "\n".join(lines)
    assert "failed  fake resnet8 dgl K=2 s0  why" in text and "out of memory  fake" in text


def test_watching_a_log_says_what_changed_until_it_is_interrupted(tmp_path: Path) -> None:
    path, cells = sweep(tmp_path)
    words = [
        "status",
        "--sweep",
        str(path),
        "--root",
        str(ROOT),
        "--runs",
        str(tmp_path / "runs"),
        "--watch",
        "--every",
        "0.1",
    ]
    command = [sys.executable, "-c", "from modulewise.cli.app import main; main()", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
    words = [
        "status",
        "--sweep",
        str(path),
        "--root",
        str(ROOT),
        "--runs",
        str(tmp_path / "runs"),
        "--watch",
        "--every",
        "0.1",
    ]
    ours, its = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "30"}
    command = [sys.executable, "-c", "from modulewise.cli.app import main; main()", *words]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env) as process:
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
