"""What a run uses is read of its result, and while it has none of its record."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modulewise.runs.result import Asked, Cost, Use
from modulewise.runs.state import run_state
from modulewise.runs.use import use_of
from modulewise.status.tables import screen
from run_folders import finish, metric, start, sweep, write

ASKED = {"cpus": 2.0, "memory_bytes": 4 * 2**30, "gpus": 1.0}


def test_a_running_run_is_read_of_its_record(tmp_path: Path) -> None:
    cell, now = sweep(tmp_path)[1][0], time.time()
    events = [start(cell, now, asked=ASKED)]
    for epoch, (cpu, used, gpu) in enumerate([(40.0, 900.0, 60.0), (60.0, 800.0, 70.0)], 1):
        event = metric(epoch, now + 40 * epoch)
        event["values"] |= {
            "system/cpu_utilization_percentage": cpu,
            "system/system_memory_usage_megabytes": used,
            "system/gpu_0_utilization_percentage": gpu,
            "system/gpu_0_memory_usage_megabytes": 10 * used,
        }
        events.append(event)
    write(tmp_path / "runs", cell, *events)
    run = run_state(cell, tmp_path / "runs", now=now + 100)
    use = use_of(run)
    assert run.state == "running" and use
    assert use.seconds == pytest.approx(100, abs=0.01)
    assert use.cpu_seconds == pytest.approx(0.5 * 2 * 100, abs=0.01)
    assert (use.peak_bytes, use.gpu_percent, use.gpu_peak_bytes) == (9e8, 65.0, 9e9)
    assert (use.gpu_watts, use.asked) == (None, Asked(cpus=2, memory_bytes=4 * 2**30, gpus=1))


@pytest.mark.parametrize("asked", [None, {"cpus": "many"}, {}])
def test_a_record_that_does_not_say_it_is_no_use(asked: object, tmp_path: Path) -> None:
    cell = sweep(tmp_path)[1][0]
    write(tmp_path / "runs", cell, start(cell, time.time(), asked=asked), metric(1, time.time()))
    assert use_of(run_state(cell, tmp_path / "runs")) is None


def test_results_of_earlier_versions_say_nothing(tmp_path: Path) -> None:
    cell = sweep(tmp_path)[1][0]
    finish(tmp_path / "runs", cell)
    run = run_state(cell, tmp_path / "runs")
    assert use_of(run) is None
    assert not any("use of" in line for line in screen("s", [(cell, run)]))


def test_status_says_it_in_two_lines_of_80_columns(tmp_path: Path) -> None:
    cells = sweep(tmp_path)[1]
    for cell, gpu in zip(cells, (60.0, 66.0), strict=True):
        use = Use(
            asked=Asked(cpus=4, memory_bytes=4 * 2**30, gpus=1, seconds=3600),
            seconds=200,
            cpu_seconds=194,
            peak_bytes=966_367_642,
            gpu_percent=gpu,
            gpu_watts=210.0,
        )
        finish(tmp_path / "runs", cell, cost=Cost(use=use))
    found = [(cell, run_state(cell, tmp_path / "runs")) for cell in cells]
    lines = screen("s", found)
    assert lines[-2:] == [
        "use of 2 runs: cpu 0.97 of 4, memory at most 922 MiB of 4 GiB, GPU 63 %, 210 W,",
        "  time at most 3 min 20 s of 1 h 0 min",
    ]
    assert max(map(len, lines)) <= 80
