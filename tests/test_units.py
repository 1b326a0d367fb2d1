"""Durations and sizes at the edges of their units; the examples in the docstrings are run too."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modulewise import units

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (599.4, "9 min 59 s"),
        (599.6, "10 min"),
        (3569, "59 min"),
        (3599, "1 h 0 min"),
        (47.9 * HOUR, "47 h 54 min"),
        (48 * HOUR - 31, "47 h 59 min"),
        (48 * HOUR - 29, "2 d 0 h"),
        (3 * DAY - 1, "3 d 0 h"),
    ],
)
def test_a_duration_at_the_edges_of_its_units(seconds: float, said: str) -> None:
    assert units.duration(seconds) == said


@given(st.floats(0, 1e8))
def test_a_duration_means_what_it_says(seconds: float) -> None:
    """Read back, it is off by at most half of the smaller unit, and no count is a full larger
    unit."""
    worth = {"s": 1, "min": 60, "h": HOUR, "d": DAY}
    parts = re.findall(r"(\d+) (\w+)", units.duration(seconds))
    smallest = min(worth[unit] for _, unit in parts)
    assert abs(sum(int(n) * worth[unit] for n, unit in parts) - seconds) <= smallest / 2 + 1e-6
    assert all(int(n) < {"s": 60, "min": 60, "h": 48, "d": 10**6}[unit] for n, unit in parts)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59.6, "1:00"),
        (5999.4, "99:59"),
        (5999.6, "1h40"),
        (7199, "2h00"),
        (1000 * HOUR, "1000h00"),
    ],
)
def test_a_short_duration_at_the_edges_of_its_units(seconds: float, said: str) -> None:
    assert units.short_duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (59.94, "59.9 s"),
        (59.96, "60 s"),
        (59.99, "1 min"),
        (3599, "1 h"),
        (6 * 600, "1 h"),
        (14_580, "4.05 h"),
        (99.97 * HOUR, "100 h"),
        (7404 * HOUR, "7404 h"),
    ],
)
def test_a_time_in_one_unit(seconds: float, said: str) -> None:
    assert units.time(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (2**20 - 1, "1 MiB"),
        (1023.4 * 2**20, "1023 MiB"),
        (1023.6 * 2**20, "1 GiB"),
        (99.97 * 2**30, "100 GiB"),
        (1500 * 2**30, "1500 GiB"),
    ],
)
def test_memory_counts_in_powers_of_1024(count: float, said: str) -> None:
    assert units.memory(count) == said


@pytest.mark.parametrize(
    ("count", "said"), [(999, "999 B"), (999.6e3, "1 MB"), (999.4e6, "999 MB"), (1e9, "1 GB")]
)
def test_disk_counts_in_powers_of_1000(count: float, said: str) -> None:
    assert units.disk(count) == said


@given(st.integers(1, 2**50))
def test_enough_is_enough_and_not_much_more(count: int) -> None:
    assert count <= units.memory_bytes(units.enough(count)) <= 1.0101 * count + 1024
