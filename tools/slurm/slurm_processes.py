"""Processes by what /proc says of them: which still live, and which belong to a cluster or to one
of its nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def started(pid: int) -> int | None:
    """When the process began, in clock ticks since boot: with the pid it names a process for good.
    `None` if it has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else None


def _stat(pid: int) -> list[str] | None:
    """Fields of `/proc/<pid>/stat` from the third (the state) on; the name before it may hold
    anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def ended(pid: int, since: int, timeout: float) -> bool:
    """Wait until the process that began at `since` has ended; whether it did within `timeout`
    seconds."""
    deadline = time.monotonic() + timeout
    while started(pid) == since:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def send(pid: int, sig: int) -> None:
    """Send a signal, if the process is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sig)


def extinguish(find: Callable[[], set[int]]) -> None:
    """Kill everything `find` finds and all that descends from it: frozen first, so that nothing
    forks meanwhile."""
    frozen: set[int] = set()
    while new := _with_descendants(find()) - frozen - {os.getpid()}:
        for pid in new:
            send(pid, signal.SIGSTOP)
        frozen |= new
    births = {pid: started(pid) for pid in frozen}
    for pid in frozen:
        send(pid, signal.SIGKILL)
    for pid, since in births.items():
        if since is not None:
            ended(pid, since, timeout=10)


def _with_descendants(pids: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found, todo = set(), list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return {pid for pid in found if started(pid) is not None}


def of_node(conf: Path, log: Path, name: str) -> set[int]:
    """A node's slurmd and slurmstepds (they hold its log open) and the processes of its jobs (their
    environment names it)."""
    words = {f"SLURM_CONF={conf}".encode(), f"SLURMD_NODENAME={name}".encode()}
    return {pid for pid in _pids() if words <= _environment(pid) or log in _open_files(pid)}


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return set()


def _open_files(pid: int) -> set[Path]:
    with contextlib.suppress(OSError):
        return {entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return set()
