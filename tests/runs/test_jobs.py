"""The executor's ledger and what it adds to a run's state: Slurm's number, the queue, waiting and
running time, device-hours, reasons."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modulewise.config.cell import Cell
from modulewise.runs import jobs
from modulewise.runs.state import RunState, run_state
from run_folders import (
    T,
    end,
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


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return sweep(tmp_path, seeds=2)[1]


def how(cell: Cell, folder: Path, known: dict[str, jobs.Job], now: float = T) -> RunState:
    return run_state(cell, folder / "runs", now=now, job=known.get(cell.path))


def test_a_submitted_run_is_queued_with_its_number_and_waits(
    cells: list[Cell], tmp_path: Path
) -> None:
    known = ledger(tmp_path / "runs", submitting("a", cells[:2]), submitted("a", "12_0", "12_1"))
    for cell, number in zip(cells[:2], ("12_0", "12_1"), strict=True):
        found = how(cell, tmp_path, known, T + 90)
        assert (found.state, found.cost.job, found.cost.waited, found.cost.starts) == (
            "queued",
            number,
            90.0,
            0,
        )
    assert how(cells[2], tmp_path, known).state == "waiting"


def test_a_batch_that_slurm_has_not_answered_is_queued_without_a_number(
    cells: list[Cell], tmp_path: Path
) -> None:
    known = ledger(tmp_path / "runs", submitting("a", cells[:1]), torn='{"ev":"submitted","t":1')
    assert (how(cells[0], tmp_path, known).state, how(cells[0], tmp_path, known).cost.job) == (
        "queued",
        "",
    )


def test_a_batch_that_slurm_refused_was_not_submitted(cells: list[Cell], tmp_path: Path) -> None:
    first, second = cells[:2]
    refused = {"ev": "refused", "t": int(T * 1000), "token": "b"}
    tries = [
        submitting("a", [first]),
        submitted("a", "12"),
        ended(first, "12", "NODE_FAIL"),
        submitting("b", [first, second], T + 60),
        refused,
    ]
    known = ledger(tmp_path / "runs", *tries)
    assert (known[first.path].state, known[first.path].submissions) == (
        "NODE_FAIL",
        1,
    ) and second.path not in known
    known = ledger(
        tmp_path / "runs",
        *tries,
        submitting("c", [first, second], T + 90),
        submitted("c", "13", "14", t=T + 90),
    )
    assert [(known[c.path].id, known[c.path].submissions) for c in (first, second)] == [
        ("13", 2),
        ("14", 1),
    ]


def test_a_run_that_began_has_waited_and_runs(cells: list[Cell], tmp_path: Path) -> None:
    cell = cells[0]
    known = ledger(tmp_path / "runs", submitting("a", [cell]), submitted("a", "12_0"))
    write(
        tmp_path / "runs",
        cell,
        start(cell, T + 60, host="elsewhere", devices=2, slurm_job="12_0"),
        metric(1, T + 100),
    )
    os.utime(tmp_path / "runs" / cell.path / "record.jsonl", (T + 100, T + 100))
    found = how(cell, tmp_path, known, T + 160)
    assert (found.state, found.cost.job, found.cost.waited, found.cost.ran) == (
        "running",
        "12_0",
        60.0,
        100.0,
    )
    assert found.cost.device_hours == pytest.approx(100 * 2 / 3600)


def test_packed_runs_share_the_device_hours(cells: list[Cell], tmp_path: Path) -> None:
    known = ledger(tmp_path / "runs", submitting("a", cells), submitted("a", "7", "7", "7", "9"))
    assert [known[c.path].pack for c in cells] == [3, 3, 3, 1]
    for cell in cells:
        finish(tmp_path / "runs", cell)
        number = known[cell.path].id
        write(
            tmp_path / "runs",
            cell,
            start(cell, T, slurm_job=number),
            end(T + 3600),
        )
    hours = [how(c, tmp_path, known, T + 9999).cost.device_hours for c in cells]
    assert hours == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    write(tmp_path / "runs", cells[3], start(cells[3], T, pack=4), metric(1, T + 3600))
    assert how(cells[3], tmp_path, known, T + 9999).cost.device_hours == pytest.approx(1 / 4)


def test_the_time_between_two_starts_is_not_running_time(cells: list[Cell], tmp_path: Path) -> None:
    cell = cells[0]
    finish(tmp_path / "runs", cell)
    first, second = start(cell, T), start(cell, T + 1000, epoch=2)
    write(
        tmp_path / "runs",
        cell,
        first,
        metric(1, T + 10),
        metric(2, T + 20),
        second,
        metric(2, T + 1030),
    )
    found = how(cell, tmp_path, {})
    assert (found.cost.starts, found.cost.ran) == (2, 50.0)
    assert found.cost.device_hours == pytest.approx(50 / 3600)


@pytest.mark.parametrize("begun", [False, True])
def test_a_failed_job_says_why_and_where_its_log_is(
    begun: bool, cells: list[Cell], tmp_path: Path
) -> None:
    cell = cells[0]
    over = ended(cell, "12_0", "TIMEOUT", "Slurm: time limit", "results/logs/slurm/12_0.out")
    known = ledger(tmp_path / "runs", submitting("a", [cell]), submitted("a", "12_0"), over)
    if begun:
        write(tmp_path / "runs", cell, start(cell, T + 1, pid=gone()), metric(1, T + 2), log="x\n")
    found = how(cell, tmp_path, known)
    assert found.state == "failed" and found.why == "Slurm: time limit  results/logs/slurm/12_0.out"


def test_without_a_word_of_why_the_runs_own_or_slurms_state_stands(
    cells: list[Cell], tmp_path: Path
) -> None:
    cell = cells[0]
    known = ledger(
        tmp_path / "runs",
        submitting("a", [cell]),
        submitted("a", "12_0"),
        ended(cell, "12_0", "NODE_FAIL"),
    )
    assert how(cell, tmp_path, known).why == "NODE_FAIL"
    write(tmp_path / "runs", cell, workflow="error: data: no such file\n")
    assert how(cell, tmp_path, known).why == "data: no such file"


def test_a_resubmitted_run_is_queued_again_and_counts_its_submissions(
    cells: list[Cell], tmp_path: Path
) -> None:
    cell = cells[0]
    write(tmp_path / "runs", cell, start(cell, T + 1, pid=gone()), metric(1, T + 2), log="x\n")
    first = [submitting("a", [cell]), submitted("a", "12_0"), ended(cell, "12_0", "FAILED", "x")]
    known = ledger(
        tmp_path / "runs", *first, submitting("b", [cell], T + 50), submitted("b", "13", t=T + 50)
    )
    found = how(cell, tmp_path, known, T + 60)
    assert (found.state, found.cost.job, found.cost.waited, known[cell.path].submissions) == (
        "queued",
        "13",
        10.0,
        2,
    )
    late = ledger(
        tmp_path / "runs",
        *first,
        submitting("b", [cell], T + 50),
        submitted("b", "13", t=T + 50),
        ended(cell, "12_0", "FAILED", "late"),
    )
    assert late[cell.path].state == ""


def test_a_run_that_was_asked_to_stop_and_whose_job_goes_on_is_queued(
    cells: list[Cell], tmp_path: Path
) -> None:
    cell = cells[0]
    known = ledger(tmp_path / "runs", submitting("a", [cell]), submitted("a", "12_0"))
    write(
        tmp_path / "runs",
        cell,
        start(cell, T + 1, pid=gone()),
        metric(1, T + 2),
        log="x  asked to stop; saved\n",
    )
    assert how(cell, tmp_path, known, T + 9999).state == "queued"
    write(tmp_path / "runs", cell, log="x  epoch 3\n")
    assert how(cell, tmp_path, known, T + 9999).state == "stopped"


def test_a_result_counts_whatever_the_ledger_says(cells: list[Cell], tmp_path: Path) -> None:
    cell = cells[0]
    finish(tmp_path / "runs", cell)
    known = ledger(
        tmp_path / "runs",
        submitting("a", [cell]),
        submitted("a", "12_0"),
        ended(cell, "12_0", "FAILED", "x"),
    )
    assert how(cell, tmp_path, known) == run_state(cell, tmp_path / "runs")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]\n",
        '{"ev":"submitted","t":1,"token":"none","ids":["1"]}\n',
        '{"ev":"ended","t":1,"key":"x"}\n',
        "\xff\n",
    ],
)
def test_a_damaged_ledger_is_read_as_far_as_it_goes(
    text: str, cells: list[Cell], tmp_path: Path
) -> None:
    (tmp_path / "l").write_bytes(
        text.encode("latin-1") + json.dumps(submitting("a", cells[:1])).encode() + b"\n"
    )
    assert set(jobs.read(tmp_path / "l")) <= {cells[0].path}
    assert jobs.read(tmp_path / "none") == {}


def test_records_of_before_say_nothing_of_devices_and_still_add_up(
    cells: list[Cell], tmp_path: Path
) -> None:
    write(
        tmp_path / "runs",
        cells[0],
        start(cells[0], T, pid=gone(), slurm_job="88"),
        metric(1, T + 36),
    )
    found = how(cells[0], tmp_path, {})
    assert (found.cost.device_hours, found.cost.job) == (pytest.approx(0.01), "88")
