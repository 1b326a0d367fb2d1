"""CPU time and memory of this process and of those that it began: workers that decode pictures, a
module's process under the parallel schedule."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds() -> float:
    """CPU time of this process, of those that it began, and of those that they have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = sum(r.ru_utime + r.ru_stime for r in both)
    for process in _begun():
        with suppress(psutil.Error):
            t = process.cpu_times()
            total += t.user + t.system + t.children_user + t.children_system
    return total


def resident() -> tuple[int, int]:
    """Bytes of memory that this process and those that it began hold; and the most so far, as far
    as the system keeps it: of this process alone. What processes share counts once for each share
    of it, but fully for this process."""
    now, most = _own()
    for process in _begun():
        with suppress(psutil.Error):
            held = process.memory_full_info()
            now += getattr(held, "pss", held.rss)
    return now, max(now, most)


def _begun() -> Iterator[psutil.Process]:
    """The processes below this one that are alive."""
    with suppress(psutil.Error):
        yield from psutil.Process().children(recursive=True)


def _own() -> tuple[int, int]:
    """Bytes of memory that this process holds, and the most that it ever held."""
    with suppress(OSError, KeyError, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        said = dict(line.split(":", 1) for line in lines if line.startswith("Vm"))
        now, peak = (1024 * int(said[name].split()[0]) for name in ("VmRSS", "VmHWM"))
        return now, peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    return peak, peak
