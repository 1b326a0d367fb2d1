"""One trainer in a run's folder, also where several hosts share a disk.

The trainer leaves a file with its host and its number and touches it every few seconds; a process
that ends by itself removes it. On the same host, the process table says whether the holder of a
lock is alive; on another host, whether the lock is still touched. Locks of the operating system
are not used: many network disks do not have them, or lose them.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from modulewise.errors import InvalidInput
from modulewise.files import write_atomic
from modulewise.runs.process import alive

log = logging.getLogger(__name__)
FILE = "lock.json"
BEAT = 20.0
"""Seconds between two touches of the lock."""
SILENT = 180.0
"""Seconds without a touch after which a trainer on another host counts as dead."""
KEYS = {"host", "pid", "begun", "slurm_job", "slurm_restart"}
"""What a lock says of its holder."""
SETTLE = 1.0
"""Seconds after which, of several that take a dead trainer's lock, one has it."""


@contextmanager
def held(folder: Path, asked: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Inside, this process is the only trainer in a run's folder.

    A lock whose holder is dead is taken over: at once on its own host, and where a later start of
    the same Slurm job finds it; on another host once it was not touched for `SILENT` seconds, which
    are waited for.

    Args:
        folder: of the run; it must exist.
        asked: whether to stop waiting.

    Raises:
        InvalidInput: another process trains the run.
    """
    path, mine = folder / FILE, _mine()
    if not _create(path, mine):
        dead = _wait_for_the_dead(path, mine, asked)
        if _read(path) not in (dead, {}):
            raise _refused(path)
        write_atomic(path, mine)
        time.sleep(SETTLE)
        if _read(path) != json.loads(mine):
            raise _refused(path)
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(OSError):
            if _read(path) == json.loads(mine):
                path.unlink()


def _mine() -> str:
    """What this process writes into a lock."""
    job, restart = (os.environ.get(f"SLURM_{n}") for n in ("JOB_ID", "RESTART_COUNT"))
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "begun": time.time()}
    return json.dumps({**holder, "slurm_job": job, "slurm_restart": restart}) + "\n"


def _create(path: Path, content: str) -> bool:
    """Make a lock; `False` if there is one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(file, content.encode())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True


def _read(path: Path) -> dict[str, Any]:
    """What a lock says; nothing if it is gone or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text())
        if isinstance(found, dict) and found.keys() >= KEYS:
            return found
    return {}


def _wait_for_the_dead(path: Path, mine: str, asked: Callable[[], bool]) -> dict[str, Any]:
    """What a lock says, as soon as its holder is known to be dead.

    Raises:
        InvalidInput: it is alive.
    """
    holder, me = _read(path), json.loads(mine)
    if holder.get("host") == me["host"]:
        if alive(holder["pid"], holder["begun"]):
            raise _refused(path)
        return holder
    job = me["slurm_job"]
    if job and job == holder.get("slurm_job") and me["slurm_restart"] != holder["slurm_restart"]:
        return holder  # Slurm ends a job before it starts it again
    touched = _touched(path)
    waited = _now(path) - touched
    if waited < SILENT:
        log.info(
            f"{path}: {_who(holder)} may have died; waiting {SILENT - waited:.0f} s for a sign"
        )
    end = time.monotonic() + SILENT - waited
    while time.monotonic() < end and _touched(path):
        time.sleep(min(1.0, BEAT / 4))
        if _touched(path) not in (touched, 0.0) or asked():
            raise _refused(path)
    return holder


def _touched(path: Path) -> float:
    """Time of a lock's last touch, by the clock of its disk; 0 if it is gone."""
    try:
        with path.open("rb") as file:  # a network disk asks its server when a file is opened
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0


def _now(path: Path) -> float:
    """The time by the clock of the lock's disk: clocks of two hosts differ."""
    probe = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        probe.write_text("")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _beat(path: Path, ended: threading.Event) -> None:
    """Touch a lock until it is not needed any more."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _who(holder: dict[str, Any]) -> str:
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def _refused(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path.parent}: {_who(_read(path))} trains this run; wait for it, or end it first"
    )
