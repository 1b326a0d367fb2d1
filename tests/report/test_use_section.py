"""Use against request: a table of the sweep, a sentence where much more was asked for than used."""

from __future__ import annotations

from typing import Any

import pytest

from modulewise.report.use import much_more, show, total
from modulewise.runs.result import Asked, Use
from modulewise.runs.use import compare

GIB = 2**30


def use(seconds: float = 100.0, **changes: Any) -> Use:
    """A run of two CPUs' worth of work and a GiB."""
    asked = Asked.model_validate({"cpus": 4, "memory_bytes": 8 * GIB, "seconds": 3600.0})
    given = {
        "asked": asked.model_copy(update=changes.pop("asked", {})),
        "seconds": seconds,
        "cpu_seconds": 2 * seconds,
        "peak_bytes": GIB,
    }
    return Use.model_validate(given | changes)


def said(*uses: Use) -> dict[str, str]:
    return {c.kind: much_more(c) for c in compare(uses)}


def test_means_of_rates_are_over_time_and_others_over_runs() -> None:
    one = use(100, cpu_seconds=100, gpu_percent=90.0, gpu_watts=300.0)
    other = use(300, cpu_seconds=600, peak_bytes=3 * GIB, gpu_percent=50.0, gpu_watts=100.0)
    found = {c.kind: (c.mean, c.most) for c in compare([one, other])}
    assert found == {
        "cpus": ((100 + 600) / 400, 2.0),
        "memory": (2 * GIB, 3 * GIB),
        "gpu": ((90 * 100 + 50 * 300) / 400, 90.0),
        "power": (150.0, 300.0),
        "time": (200.0, 300.0),
    }
    assert total([one, other]) == (
        "2 runs together: 11.7 min of CPU time in 6.67 min of running; 0.0167 kWh of GPUs."
    )


def test_the_table_shows_what_was_asked_beside_what_was_used() -> None:
    rows = [[i.text for i in row] for row in show(compare([use(), use(asked={"cpus": 2})])).rows]
    assert (
        rows
        == [
            ["CPUs kept busy", "2 – 4", "2", "2", "2"],
            ["Memory of the process", "8 GiB", "1 GiB", "1 GiB", "2"],
            ["Time of a run", "1 h 0 min", "2 min", "2 min", "2"],
        ]
        or rows[2][2] == "1 min 40 s"
    )


@pytest.mark.parametrize(
    ("uses", "kind", "expected"),
    [
        ([use(cpu_seconds=120)], "cpus", "No run kept more than 1.2 of the 4 CPUs busy"),
        ([use(cpu_seconds=120)], "cpus", "2 would do (set-threads: train=2)"),
        ([use(cpu_seconds=120), use(cpu_seconds=250)], "cpus", ""),
        ([use(cpu_seconds=40, asked={"cpus": 1})], "cpus", ""),
        ([use()], "memory", "No run held more than 1 GiB of the 8 GiB of memory"),
        ([use()], "memory", "mem_mb=1600 leaves half as much again"),
        ([use(peak_bytes=4 * GIB)], "memory", ""),
        ([use(peak_bytes=GIB // 4, asked={"memory_bytes": GIB})], "memory", ""),
        ([use(asked={"memory_bytes": None})], "memory", ""),
        ([use(600)], "time", "No run took longer than 10 min of the 1 h 0 min"),
        ([use(600)], "time", "runtime=17 leaves"),
        ([use(60)], "time", "runtime=5 leaves"),
        ([use(60, asked={"seconds": 900})], "time", ""),
        ([use(gpu_percent=31.0)], "gpu", "at work for more than 31 % of the time"),
        ([use(gpu_percent=31.0), use(gpu_percent=51.0)], "gpu", ""),
    ],
)
def test_much_more_is_where_no_run_used_half(uses: list[Use], kind: str, expected: str) -> None:
    found = said(*uses)[kind]
    assert expected in found and bool(expected) == bool(found)


def test_the_page_has_it_where_results_say_it(site: Any) -> None:
    s = site()
    s.fill("backprop", 1, [9.0, 9.5])
    assert "Use against request" not in s.words()
    assert not (s.root / "out/tables/use.csv").exists()
    s.fill("dgl", 2, [10.0], use=use())
    words = s.words()
    assert "Use against request" in words and "mem_mb=1600 leaves half as much again." in words
    (row,) = s.table("use").to_dict("records")
    assert row["path"] == s.cell("dgl", 2, 0).path
    assert (row["cpu_seconds"], row["asked_cpus"]) == (200, 4)
