"""What submitit runs inside an allocation: the command of one Snakemake job, or of several that
share it.

Slurm's warning (USR2: the time limit is near, or somebody with more right wants the node) must
reach the training program only. So the commands start with USR2 ignored, which bash, Snakemake and
all their children inherit; only a program with its own handler reacts to it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import submitit

from .cache import environment
from .ledger import AGAIN

PACK = "SNAKEMAKE_SUBMITIT_PACK"
"""Environment variable of the commands: how many share the allocation."""

LEAVE = 0.8
"""Share of the time between warning and limit that the commands have; the rest is for the
requeue."""


@dataclass
class Allocation:
    """A callable for submitit.

    Args:
        commands: shell commands, run side by side.
        folder: of the submission; exit statuses and, of several commands, their logs go there.
        workdir: where they run.
        resumable: after a time limit they can go on where they were.
        limit_s: time limit in seconds.
        leave_s: seconds they have after the warning, `LEAVE` of those until the limit.
        cache: folder for Snakemake's cache where the user's own cannot be written.
    """

    commands: list[str]
    folder: Path
    workdir: str
    resumable: bool
    limit_s: float
    leave_s: float
    cache: str
    _running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict, repr=False)
    _begun: float = 0.0
    _warned: bool = False
    _terminated: bool = False
    _saved: bool = False

    def __call__(self) -> None:
        self._begun = time.time()
        self._base = self.folder / submitit.JobEnvironment().job_id
        if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            signal.signal(signal.SIGTERM, self._terminate)
            with Path(f"{self._base}.node").open("a") as file:
                file.write(f"{os.environ.get('SLURMD_NODENAME', '')}\n")
        if len(self.commands) > 1:
            refuse_exclusive()
        try:
            for i, command in enumerate(self.commands):
                # An earlier allocation of this job may have brought the command to its end.
                if not self._exit(i).exists():
                    self._running[i] = self._start(i, command)
            while self._running:
                time.sleep(0.1)
                for i, process in list(self._running.items()):
                    if _ended(process):
                        self._note(i, process)
            # Slurm kills, and requeues if it was preemption; were we first, it would take the job
            # for failed
            if self._terminated:
                time.sleep(900)
        except (OSError, subprocess.SubprocessError) as error:
            if not self._saved:
                raise
            self._hand_back(error)
        finally:
            self._kill()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """On the warning: let the commands save and leave; what to run after the requeue.

        Raises:
            RuntimeError: the time limit is reached, and the job cannot resume.
            SystemExit: every command has come to its end meanwhile.
        """
        self._warn()
        # The warning comes leave_s / 0.8 before the limit, or up to a minute earlier; another
        # minute may have passed before we began.
        at_limit = time.time() - self._begun >= self.limit_s - self.leave_s / LEAVE - 120
        end = time.monotonic() + self.leave_s
        while time.monotonic() < end and not all(map(_ended, self._running.values())):
            time.sleep(0.1)
        for i, process in self._running.items():
            if _succeeded(process):
                self._leave(i, 0)
        if all(self._exit(i).exists() for i in range(len(self.commands))):
            sys.exit()
        if at_limit and not self.resumable:
            raise RuntimeError(
                f"reached its time limit of {self.limit_s / 60:.0f} min and cannot resume: give it "
                f"more runtime"
            )
        self._kill()
        self._saved = True
        return submitit.helpers.DelayedSubmission(
            replace(self, _running={}, _begun=0.0, _warned=False, _terminated=False)
        )

    def _hand_back(self, error: Exception) -> None:
        """Leave it to the controller to go on: after the checkpoint, submitit could not requeue.

        Raises:
            SystemExit: always.
        """
        print(f"not requeued, the controller submits again: {error}", flush=True)
        for i in range(len(self.commands)):
            if not self._exit(i).exists():
                self._leave(i, AGAIN)
        sys.exit()

    def _start(self, i: int, command: str) -> "subprocess.Popen[bytes]":
        variables = {**os.environ, PACK: str(len(self.commands))}
        variables |= environment(Path(self.cache))
        output = None
        if len(self.commands) > 1:
            output = Path(f"{self._base}_{i}.log").open("ab")  # noqa: SIM115
        try:
            return subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.workdir,
                env=variables,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ignore_warning,
            )
        finally:
            if output:
                output.close()

    def _exit(self, i: int) -> Path:
        return Path(f"{self._base}_{i}.exit")

    def _note(self, i: int, process: "subprocess.Popen[bytes]") -> None:
        """Leave the exit status of an ended command, unless it left because it was asked to."""
        status = process.wait()
        if status and not self._warned:
            time.sleep(1)  # a warning that reached the command first is about to reach us
        del self._running[i]
        if status == 0 or not self._warned:
            self._leave(i, status)

    def _leave(self, i: int, status: int | str) -> None:
        tmp = self._exit(i).with_suffix(".tmp")
        tmp.write_text(str(status))
        tmp.replace(self._exit(i))

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            self._signal(signal.SIGUSR2)

    def _terminate(self, *_: Any) -> None:
        """Preemption without a warning, or cancelled."""
        self._terminated = True
        self._warn()

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for process in self._running.values():
            try:
                os.killpg(process.pid, number)
            except (ProcessLookupError, PermissionError):
                continue


def _ignore_warning() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process has ended, without reaping it: a handler may interrupt `Popen.poll` while
    that holds its lock."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _succeeded(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a process has ended with status 0, without reaping it."""
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return process.returncode == 0
    return ended is not None and (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0)


def refuse_exclusive() -> None:
    """Refuse to pack jobs on a GPU that lets in one process only.

    Raises:
        RuntimeError: its compute mode is exclusive.
    """
    if not shutil.which("nvidia-smi"):
        return
    ask = ["nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader"]
    said = subprocess.run(ask, capture_output=True, text=True, timeout=60).stdout
    if "Exclusive" in said or "Prohibited" in said:
        raise RuntimeError(
            "several jobs were packed on a GPU whose compute mode is exclusive: remove pack from "
            "the profile"
        )
