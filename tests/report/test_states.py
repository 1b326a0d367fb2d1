"""What is said of runs that have begun and left no result, and how the page lets rows be chosen."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
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


def test_cells_that_are_not_done_are_counted_and_explained(site: Any, dead: int) -> None:
    """Which state a run is in is tested with `run_state`; here, what the page says of it."""
    s = site()
    for seed, pid in enumerate((os.getpid(), dead)):
        record = Record(s.runs / s.cell("dgl", 2, seed).path)
        record.write("start", epochs=9, host=socket.gethostname(), pid=pid)
        record.metrics(4, {"test_error/overall": 50.0})
        record.close()
    s.fill("backprop", 1, [10.0])
    words = s.words()
    assert "1 of 20 cells done · 1 running · 17 waiting · 1 stopped" in words
    assert (s.row("dgl", 2)["stopped"], s.row("dgl", 2)["waiting"]) == (1, 2)
    assert "1 stopped, 2 waiting, 1 running" in words
    runs = frame.read(s.plan, s.runs).runs.set_index("path")
    reasons = [runs.loc[s.cell("dgl", 2, seed).path, "reason"] for seed in range(3)]
    assert re.fullmatch(r"epoch 4 of 9, last entry .* UTC", reasons[0])
    assert re.fullmatch(r"epoch 4 of 9, last entry .* UTC; cut off; .*", reasons[1])
    assert reasons[2] == "not begun"


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
