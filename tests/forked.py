"""`modulewise` without the seconds that loading torch takes: forked from a process that has loaded
it.

Programs are processes of their own like any others: signals, limits, files and the way they end are
real. How an interpreter shuts down is the one thing they do not show.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from modulewise.cli.app import VERBS

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *(f"modulewise.cli.{verb}" for verb in VERBS),
        "modulewise.engine.trainer",
        "torch._dynamo",
    ]
)


def run(
    *words: str, before: str = "", env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end.

    Args:
        words: what follows `modulewise` on the command line.
        before: Python that the process runs first.
        env: variables besides ours.
        timeout: seconds.
    """
    program = Program(*words, before=before, env=env)
    status = program.wait(timeout)
    return subprocess.CompletedProcess(words, status, *program.said())


class Program:
    """A verb that runs; the arguments are those of `run`."""

    def __init__(self, *words: str, before: str = "", env: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name) / name for name in ("out", "err")]
        whole = dict(os.environ) | {"MLFLOW_DISABLE_TELEMETRY": "true"} | dict(env or {})
        self._process = _CONTEXT.Process(
            target=_begin, args=(words, before, whole, str(Path.cwd()), self._streams), daemon=True
        )
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, minus the signal that ended it, `None` while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float = 120) -> int:
        """The exit status, once it has ended."""
        self._process.join(timeout)
        if (status := self.poll()) is None:
            self._process.kill()
            raise TimeoutError(f"it runs after {timeout:g} s and has said: {' '.join(self.said())}")
        return status

    def send_signal(self, sig: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self._process.pid and self.poll() is None:
            os.kill(self._process.pid, sig)

    def said(self) -> tuple[str, str]:
        """What it wrote to its standard streams so far."""
        out, err = (path.read_text() if path.exists() else "" for path in self._streams)
        return out, err


def _begin(
    words: tuple[str, ...], before: str, env: dict[str, str], folder: str, streams: list[Path]
) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = ["modulewise", *words]
    exec(before, {})
    from modulewise.cli.app import main

    main()
