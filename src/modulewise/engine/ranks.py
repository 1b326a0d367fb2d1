"""Start a process for each device, pass signals on to them, and end all when one dies.

The processes are told their numbers as `torchrun` tells them, so that a training may be started by
either. What `torchrun` does not do: their exit status is passed on, for a run that was asked to
stop saves and leaves with a status of its own.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from modulewise.engine.distributed import LOST
from modulewise.errors import InvalidInput

LEAVE = 10.0
"""Seconds that the others have to end by themselves when one has failed, or rank 0 has ended."""
HOST = "127.0.0.1"


def check_devices(name: str, devices: int) -> None:
    """Refuse more devices than this host has.

    Args:
        name: `auto`, `cpu` or `cuda`.
        devices: their number.

    Raises:
        InvalidInput: there are fewer GPUs, or one is named.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidInput(
            f"device {name!r}: devices: {devices} are asked for; valid: auto, cpu, cuda"
        )
    here = torch.cuda.device_count()
    if name != "cpu" and here and here < devices:
        raise InvalidInput(
            f"devices: {devices} are asked for, {here} GPU{'s' * (here > 1)} visible; all must be "
            f"on one host"
        )


class Ranks:
    """The processes of a run, one a device; they end with the block.

    Args:
        command: that each of them runs.
        devices: their number.
    """

    def __init__(self, command: Sequence[str], devices: int) -> None:
        self.asked = 0
        self._store = torch.distributed.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        self._folder = tempfile.TemporaryDirectory()
        self.processes = [self._begin(command, n, devices) for n in range(devices)]

    def _begin(self, command: Sequence[str], n: int, devices: int) -> subprocess.Popen[bytes]:
        """Rank 0 speaks for all; what another one says is shown if it has failed alone."""
        env = os.environ | self._variables(n, devices)
        if n == 0:
            return subprocess.Popen(command, env=env)
        with self._said(n).open("wb") as file:
            return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=file)

    def _said(self, n: int) -> Path:
        return Path(self._folder.name) / str(n)

    def _variables(self, n: int, devices: int) -> dict[str, str]:
        """As `torchrun` sets them; what the processes say to one another stays on the host."""
        numbers = {"RANK": n, "LOCAL_RANK": n, "WORLD_SIZE": devices, "LOCAL_WORLD_SIZE": devices}
        found = {name: str(value) for name, value in numbers.items()}
        found |= {"MASTER_ADDR": HOST, "MASTER_PORT": str(self._store.port)}
        found["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        if sys.platform == "linux":
            names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
            found |= {name: os.environ.get(name, "lo") for name in names}
        return found

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self._send(signal.SIGKILL)
        for process in self.processes:
            process.wait()
        self._folder.cleanup()

    def ask(self, number: int, _: Any = None) -> None:
        """Pass a signal on: they are to save and leave."""
        self.asked = number
        self._send(number)

    def _send(self, number: int) -> None:
        for process in self.processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)

    def wait(self, saved: int) -> tuple[int, str]:
        """Wait for their end.

        Args:
            saved: status of one that has saved its state because it was asked to stop.

        Returns:
            The exit status of the run; and where a rank died without a word, a line on it.
        """
        fine, first, end = (None, 0, saved, LOST), 0, math.inf
        while time.monotonic() < end:
            statuses = [process.poll() for process in self.processes]
            failed = [n for n, status in enumerate(statuses) if status not in fine]
            if None not in statuses:
                break
            if end == math.inf and (failed or statuses[0] is not None):
                first, end = min(failed, default=0), time.monotonic() + LEAVE
            time.sleep(0.05)
        if statuses[0] in (0, saved):
            return int(statuses[0]), ""
        guilty = first if first in failed else min(failed, default=0)
        status = statuses[guilty] or LOST
        if self.asked and -status == self.asked:
            return saved, ""  # it was asked before it listened: nothing is lost
        if status < 0:
            name = signal.Signals(-status).name
            return 1, f"rank {guilty} of {len(statuses)} died of {name}, and the others were ended"
        if status == LOST:
            return 1, "the ranks lost one another"
        if guilty:
            sys.stderr.write(self._said(guilty).read_text())
        return status, ""
