"""What a throw-away Slurm cluster needs of the machine: installed programs, a user with a name,
free ports, folders of the right kind."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import socket
import tempfile
from pathlib import Path

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
TOOLS = (
    "munged",
    "slurmctld",
    "slurmd",
    "sbatch",
    "srun",
    "squeue",
    "sinfo",
    "scontrol",
    "scancel",
    "sacct",
)
ACCOUNTING_TOOLS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
INSTALL = (
    "apt-get install --no-install-recommends slurm-wlm munge slurmdbd slurm-wlm-mysql-plugin "
    "mariadb-server"
    " (as .ci/run does: with a policy-rc.d that starts no service)"
)


class ClusterError(RuntimeError):
    """The cluster did not do what was asked of it; one message for people."""


def path() -> str:
    """Ours, and where daemons are."""
    return f"{os.environ.get('PATH', os.defpath)}:{SBIN}"


def missing(accounting: bool) -> str | None:
    """One line on what is not installed and how to get it; `None` if all is there."""
    names = TOOLS + (ACCOUNTING_TOOLS if accounting else ())
    absent = [name for name in names if not shutil.which(name, path=path())]
    return f"Slurm is not installed ({', '.join(absent)}): {INSTALL}" if absent else None


def user() -> str:
    """Our name: Slurm and MariaDB know users by it.

    Raises:
        ClusterError: we have none.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise ClusterError(
            f"user {os.getuid()} has no name; Slurm needs one: add it to /etc/passwd"
        ) from None


def short(folder: Path) -> Path:
    """The folder, or a link to it if its name is too long for the sockets in it."""
    if len(os.fsencode(folder)) <= 60:
        return folder
    link = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")) / "c"
    link.symlink_to(folder)
    return link


def quick_folder(folder: Path) -> str:
    """A new folder in memory, or else in the folder."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 512 * 2**20
    return tempfile.mkdtemp(prefix="slurm-", dir=memory if roomy else folder)


def free_ports(names: list[str]) -> dict[str, int]:
    """Ports below those the kernel hands out itself, so that a daemon finds its own free when it is
    started again.

    Raises:
        ClusterError: there are not enough.
    """
    with contextlib.ExitStack() as held:
        ports: dict[str, int] = {}
        for number in random.SystemRandom().sample(range(12000, 32000), 2000):
            taker = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                taker.bind(("127.0.0.1", number))
                ports[names[len(ports)]] = number
            if len(ports) == len(names):
                return ports
    raise ClusterError("no free ports")


def answers(path: Path) -> bool:
    """Whether someone listens on a socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False
