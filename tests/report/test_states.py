"""What is said of runs that have begun and left no result, and how the page lets rows be chosen."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modulewise.report import frame
from modulewise.runs.record import Record


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def begin(folder: Path, **start: Any) -> Record:
    record = Record(folder)
    record.write("start", epochs=9, **start)
    record.metrics(4, {"test_error/overall": 50.0})
    return record


def state(s: Any, seed: int) -> tuple[str, str]:
    runs = frame.read(s.plan, s.runs).runs
    row = runs[runs["path"] == s.cell("dgl", 2, seed).path].iloc[0]
    return row["state"], row["reason"]


def test_cut_off_is_told_from_running(site: Any, dead: int) -> None:
    s = site()
    folders = [s.runs / s.cell("dgl", 2, seed).path for seed in range(4)]
    begin(folders[0], host=socket.gethostname(), pid=os.getpid()).close()
    begin(folders[1], host=socket.gethostname(), pid=dead).close()
    begin(folders[2], host="another", pid=dead).close()
    record = begin(folders[3], host="another", pid=1)
    record.write("end", status="failed")
    record.close()
    assert [state(s, seed)[0] for seed in range(4)] == ["running", "cut_off", "running", "cut_off"]
    assert re.fullmatch(
        r"epoch 4 of 9, last entry .* UTC; its process is gone; the same command continues it",
        state(s, 1)[1],
    )
    assert state(s, 3)[1].endswith("its record ends with status failed and there is no result")
    again = Record(folders[1])
    again.write("start", epochs=9, host=socket.gethostname(), pid=os.getpid())
    again.close()
    assert state(s, 1)[0] == "running"
    s.fill("backprop", 1, [10.0])
    words = s.words()
    assert "1 of 20 cells done · 3 running · 1 cut off · 15 missing" in words
    assert s.row("dgl", 2)["cut_off"] == 1
    assert "1 cut off, 3 running" in words


@pytest.mark.parametrize("pid", [-1, 0, "x", None, 10**30, True])
def test_a_strange_process_number_is_no_evidence(site: Any, pid: Any) -> None:
    s = site()
    begin(s.runs / s.cell("dgl", 2, 0).path, host=socket.gethostname(), pid=pid).close()
    assert state(s, 0)[0] in ("running", "cut_off" if pid == 10**30 else "running")


def test_a_log_without_a_record(site: Any) -> None:
    s = site()
    log = s.runs / s.cell("dgl", 2, 0).path / "train.log"
    log.parent.mkdir(parents=True)
    log.write_text("loading\nerror: data/x.npz: No such file\n\n")
    assert state(s, 0) == ("running", "starting: error: data/x.npz: No such file")
    os.utime(log, (0, 0))
    assert state(s, 0) == (
        "cut_off",
        "ended before its first epoch; train.log ends: error: data/x.npz: No such file",
    )
    log.write_bytes(b"")
    os.utime(log, (0, 0))
    assert state(s, 0)[1].endswith("train.log ends: empty")


def test_long_tables_offer_a_choice_of_rows(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [10.0])
    assert "<details class=" not in s.report()
    s = s.other(modules=[1, 2, 3, 4, 5], seeds=1)
    page = s.report()
    assert page.count('<details class="filter" hidden>') == 1
    assert re.findall(r'checked value="([^"]+)"', page) == [
        "Backprop",
        "DGL &amp; co_1",
        "Greedy",
        "1",
        "2",
        "3",
        "4",
        "5",
    ]
    assert page.count('data-f0="DGL &amp; co_1"') == 5
    assert page.count('<span class="again">Greedy</span>') == 4
    assert len(re.findall(r"<script>", page)) == 1
