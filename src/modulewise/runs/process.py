"""Whether the process that began a run is still running."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import psutil

from modulewise.runs import record

SILENT = 600.0
"""Seconds without a new event after which a run on another host counts as ended; five epochs if
that is longer."""
TOLERANCE = 5.0
"""Seconds by which a process may seem to have begun after its run did: clocks are rounded."""


def running(start: dict[str, Any], folder: Path, now: float, epoch_seconds: float | None) -> bool:
    """Whether the process of a `start` event is still running.

    On this host the process is looked up: it must have begun before the run did, since numbers of
    processes are used again. On another host, or without a number, the record must have grown
    lately.

    Args:
        start: event that the process wrote when it began the run.
        folder: the run's folder.
        now: seconds since 1970.
        epoch_seconds: seconds an epoch takes; `None` if that is not known yet.
    """
    pid = start.get("pid")
    if start.get("host") != socket.gethostname() or type(pid) is not int or pid <= 0:
        return now - written(folder / record.FILE) < max(SILENT, 5 * (epoch_seconds or 0))
    return alive(pid, start["t"] / 1000)


def alive(pid: int, since: float) -> bool:
    """Whether a process of this host, which had begun at a time in seconds since 1970, still
    runs."""
    try:
        process = psutil.Process(pid)
        begun_before = process.create_time() <= since + TOLERANCE
        return begun_before and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OverflowError):
        return False


def written(path: Path) -> float:
    """Time of the last change of a file in seconds since 1970; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
