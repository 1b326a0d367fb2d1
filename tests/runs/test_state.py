"""The state of a run, from what lies in its folder and in the logs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from modulewise.config.cell import Cell
from modulewise.runs import result
from modulewise.runs.result import PrimaryMetric
from modulewise.runs.state import RunState, run_state
from run_folders import T, end, finish, gone, metric, start, sweep, write


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    return sweep(tmp_path)[1][0]


def test_a_cell_that_has_not_begun_waits(cell: Cell, tmp_path: Path) -> None:
    assert run_state(cell, tmp_path / "runs") == RunState("waiting")
    write(tmp_path / "runs", cell, workflow="a line of the system's\n")
    assert run_state(cell, tmp_path / "runs").state == "waiting"


@pytest.mark.parametrize("status", ["done", "diverged", "out_of_memory"])
def test_a_result_says_how_it_ended(status: Any, cell: Cell, tmp_path: Path) -> None:
    made = finish(tmp_path, cell, status, reason="because", epochs=4)
    found = run_state(cell, tmp_path)
    assert found == RunState(status, 4, 9, 12.5, None, "because") and found.result == made


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "\xff", '{"status": "odd"}', '{"status": "done"}', "[" * 10**5]
)
def test_a_result_that_cannot_be_read_is_damaged(text: str, cell: Cell, tmp_path: Path) -> None:
    folder = write(tmp_path, cell, start(cell), metric(3, T, 40.0), end(T))
    (folder / "result.json").write_bytes(text.encode("latin-1"))
    found = run_state(cell, tmp_path)
    assert (found.state, found.epoch, found.value, found.result) == ("damaged", 3, 40.0, None)
    assert str(folder / "result.json") in found.why and "\n" not in found.why


@pytest.mark.parametrize(
    "change",
    [{"seed": 7}, {"options": {"head": "0c1f"}}, {"network": "resnet14"}, {"training": None}],
)
def test_a_result_whose_cell_is_not_the_planned_one_is_read_by_itself(
    change: dict[str, Any], cell: Cell, tmp_path: Path
) -> None:
    """A cell that is as planned is not validated anew; any other is."""
    file = tmp_path / cell.path / "result.json"
    made = finish(tmp_path, cell)
    assert result.load(file, cell) == result.load(file) == made
    content = json.loads(file.read_text())
    content["cell"] |= change
    file.write_text(json.dumps(content))
    found = run_state(cell, tmp_path)
    assert found.state == "damaged"
    assert ("training" in found.why) == ("training" in change)
    del content["cell"]["data"]["flip"]  # of a version that did not have it
    content["cell"] |= json.loads(cell.model_dump_json(include=set(change)))
    file.write_text(json.dumps(content))
    assert run_state(cell, tmp_path).result == made


def test_the_result_of_another_cell_is_damaged(tmp_path: Path) -> None:
    mine, other = sweep(tmp_path)[1]
    finish(tmp_path, mine, cell=other)
    found = run_state(mine, tmp_path)
    assert found.state == "damaged" and other.id in found.why


def test_a_running_cell_has_an_epoch_a_value_and_time_left(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    values = [metric(e, now + 6 + 4 * e, 90 - 10 * e) for e in (1, 2, 3)]
    write(tmp_path, cell, start(cell, now), *values)
    assert run_state(cell, tmp_path) == RunState("running", 3, 9, 60, 24.0)


def test_the_primary_metric_is_the_records(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    miou = {"name": "miou", "label": "test mIoU", "unit": "%", "direction": "higher"}
    write(tmp_path, cell, start(cell, now, metric=miou), metric(1, now + 1, 61.25, "miou"))
    found = run_state(cell, tmp_path)
    assert (found.value, found.metric) == (61.25, PrimaryMetric.model_validate(miou))
    assert found.metric.text(found.value) == "mIoU 61.25 %"


def test_the_time_before_a_resumption_is_no_epochs(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    old, new = start(cell, now - 5000), start(cell, now, epoch=2)
    write(tmp_path, cell, old, metric(1, now - 4996), new, metric(2, now + 4), metric(3, now + 8))
    assert run_state(cell, tmp_path).left == 24.0


def test_a_budget_of_seconds_says_what_is_left_of_it(tmp_path: Path) -> None:
    cell, now = sweep(tmp_path, training={"seconds": 100})[1][0], time.time()
    write(tmp_path, cell, start(cell, now, epochs=160), metric(1, now + 1), metric(2, now + 2))
    found = run_state(cell, tmp_path)
    assert (found.state, found.epoch, found.epochs, found.left) == ("running", 2, None, 96.0)


def test_a_run_whose_process_is_gone_has_stopped(cell: Cell, tmp_path: Path) -> None:
    now = time.time()
    write(tmp_path, cell, start(cell, now, pid=gone()), metric(1, now), log="x  epoch 1/9\n")
    cut = run_state(cell, tmp_path)
    assert (cut.state, cut.epoch, cut.left) == ("stopped", 1, None) and "checkpoint" in cut.why
    write(tmp_path, cell, log="x  asked to stop; saved, resumes when started again\n")
    asked = run_state(cell, tmp_path)
    assert asked.state == "stopped" and "asked to stop" in asked.why


def test_another_process_of_the_same_number_is_not_the_run(cell: Cell, tmp_path: Path) -> None:
    write(tmp_path, cell, start(cell, time.time() - 10 * 86400))
    assert run_state(cell, tmp_path).state == "stopped"


@pytest.mark.parametrize("origin", [{"host": "elsewhere"}, {"pid": "x"}, {"pid": True}, {"pid": 0}])
def test_without_a_process_to_look_up_the_record_must_grow(
    origin: dict[str, Any], cell: Cell, tmp_path: Path
) -> None:
    """It may be silent for five epochs, here of ten minutes each."""
    events = [start(cell, T, **origin), metric(1, T + 600), metric(2, T + 1200)]
    folder = write(tmp_path, cell, *events)
    os.utime(folder / "record.jsonl", (T + 1200, T + 1200))
    assert run_state(cell, tmp_path, now=T + 1200 + 2900).state == "running"
    assert run_state(cell, tmp_path, now=T + 1200 + 3100).state == "stopped"


def test_a_record_that_has_ended_without_a_result_has_stopped(cell: Cell, tmp_path: Path) -> None:
    write(tmp_path, cell, start(cell, time.time(), host="elsewhere"), end(time.time(), "diverged"))
    found = run_state(cell, tmp_path)
    assert found.state == "stopped" and "diverged" in found.why and "result.json" in found.why


def test_a_log_without_a_record_is_a_run_that_starts_or_has_stopped(
    cell: Cell, tmp_path: Path
) -> None:
    log = write(tmp_path, cell, log="loading\nfetching weights\n\n") / "train.log"
    assert run_state(cell, tmp_path).state == "running"
    os.utime(log, (T, T))
    found = run_state(cell, tmp_path, now=T + 130)
    assert found.state == "stopped" and found.why.endswith("fetching weights")


@pytest.mark.parametrize(
    "said",
    [
        "error: data: no such file",
        "Traceback\n  x\nRuntimeError: broken",
        "torch.AcceleratorError: broken",
        "Killed",
    ],
)
def test_a_failed_run_says_why(said: str, cell: Cell, tmp_path: Path) -> None:
    runs, now = tmp_path / "runs", time.time()
    why = said.splitlines()[-1].removeprefix("error: ")
    write(runs, cell, workflow=f"a line\n{said}\n\n")
    assert run_state(cell, runs) == RunState("failed", why=why)
    write(runs, cell, start(cell, now, pid=gone()), metric(1, now), log="x\n", workflow=said)
    assert (run_state(cell, runs).state, run_state(cell, runs).why) == ("failed", why)


def test_the_error_of_an_earlier_try_does_not_count(cell: Cell, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    events = start(cell, time.time(), pid=gone())
    folder = write(runs, cell, events, log="x  asked to stop; saved\n", workflow="error: old\n")
    os.utime(folder / "train.log", (time.time() + 60,) * 2)
    assert run_state(cell, runs).state == "stopped"


@pytest.mark.parametrize(
    "torn",
    [
        b'\xff\x00\n{"ev":"metrics","t":1,"epo',
        b'{"ev":"start","t":"x"}\n{"ev":"start","t":1,"epoch":"x"}\n',
        b'{"ev":"metrics","t":1,"epoch":null,"values":{}}\n',
    ],
)
def test_a_damaged_record_is_read_as_far_as_it_goes(
    torn: bytes, cell: Cell, tmp_path: Path
) -> None:
    folder = write(tmp_path, cell, start(cell, time.time()), metric(1, time.time()))
    with (folder / "record.jsonl").open("ab") as f:
        f.write(torn)
    assert (run_state(cell, tmp_path).state, run_state(cell, tmp_path).epoch) == ("running", 1)


@pytest.mark.parametrize(
    "strange", [{"cell": 3}, {"epochs": "x"}, {"metric": 5}, {"epoch": None}, {"pid": 10**30}]
)
def test_strange_values_in_a_start_break_nothing(
    strange: dict[str, Any], cell: Cell, tmp_path: Path
) -> None:
    write(tmp_path, cell, start(cell, time.time(), **strange), metric(1, time.time() + 4))
    found = run_state(cell, tmp_path)
    assert found.state == ("stopped" if "pid" in strange else "running") and found.value == 50.0
