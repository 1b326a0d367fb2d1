"""How a throw-away Slurm cluster is configured: `slurm.conf`, `gres.conf`, `cgroup.conf`,
`slurmdbd.conf`, and the daemons' commands.

Every path lies in one folder, every port on the loopback interface, every daemon runs as one user.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""Character devices that stand in for GPUs: Slurm counts links to them, nothing ever opens them."""

PARTITIONS = {
    "main": "Default=YES PriorityTier=10 PreemptMode=OFF DefaultTime=10 MaxTime=120",
    "low": "PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 DefaultTime=10 MaxTime=120",
}
"""`main` may preempt `low`, whose jobs are then requeued. Times in minutes, grace in seconds."""


@dataclass(frozen=True)
class Layout:
    """What the files depend on; `folder` must be short, as Slurm's sockets (at most 107 bytes) lie
    in it."""

    folder: Path
    user: str
    ports: Mapping[str, int]
    """Of `slurmctld`, every node and, for accounting, `slurmdbd`."""
    nodes: Sequence[str]
    cpus: int
    memory: int
    """MB per node."""
    gpus: int
    accounting: bool
    proctrack: str
    settings: Mapping[str, str | int]
    partitions: Mapping[str, str]

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


def write(layout: Layout) -> None:
    """Make the folders, the key of munge and all configuration files; `settings` win over what is
    set here."""
    for name in ("etc", "log", "run", "spool", "state", "dev"):
        (layout / name).mkdir(exist_ok=True)
    etc = layout / "etc"
    _private(etc / "munge.key", os.urandom(128))
    (etc / "slurm.conf").write_text(_slurm(layout))
    (etc / "gres.conf").write_text(_gres(layout))
    (etc / "cgroup.conf").write_text("CgroupMountpoint=/sys/fs/cgroup\n")
    if layout.accounting:
        _private(etc / "slurmdbd.conf", _lines(_database(layout)).encode())
        name = f"'{layout.user}'@'localhost'"
        (etc / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS {name}; GRANT ALL ON slurm.* TO {name};\n"
        )


_FAST = [
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-log-file-size=4M",
    "--innodb-doublewrite=0",
]


def command(name: str, folder: Path, user: str) -> list[str]:
    """The command line of a daemon in the foreground."""
    run, etc, log = (folder / part for part in ("run", "etc", "log"))
    if name == "munged":
        files = [
            f"--pid-file={run}/munged.pid",
            f"--log-file={log}/munged.log",
            f"--seed-file={run}/munged.seed",
        ]
        return [
            "munged",
            "--foreground",
            "--force",
            f"--socket={run}/munge.sock",
            f"--key-file={etc}/munge.key",
            *files,
        ]
    if name == "mariadbd":
        files = [
            f"--datadir={folder}/mysql",
            f"--socket={run}/mysql.sock",
            f"--pid-file={run}/mysql.pid",
        ]
        words = [
            "--skip-networking",
            f"--init-file={etc}/init.sql",
            "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900",
        ]
        return ["mariadbd", "--no-defaults", f"--user={user}", *files, *words, *_FAST]
    return {"slurmctld": ["slurmctld", "-D", "-i"], "slurmdbd": ["slurmdbd", "-D"]}.get(
        name, ["slurmd", "-D", "-N", name]
    )


def database_command(folder: Path, user: str) -> list[str]:
    """The command line that makes an empty MariaDB."""
    words = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
    return [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={folder}/mysql",
        f"--user={user}",
        *words,
        *_FAST,
    ]


def _private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _lines(settings: Mapping[str, str | int | Path]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _slurm(layout: Layout) -> str:
    settings = _daemons(layout) | _scheduling(layout) | _accounting(layout) | dict(layout.settings)
    return _lines(settings) + _nodes(layout)


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _daemons(layout: Layout) -> dict[str, str | int | Path]:
    """Who runs where and how they find each other."""
    return {
        "ClusterName": "throwaway",
        "SlurmctldHost": f"{_host()}(127.0.0.1)",
        "SlurmctldPort": layout.ports["slurmctld"],
        # Listen on the loopback interface alone
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "SlurmUser": layout.user,
        "SlurmdUser": layout.user,
        "AuthType": "auth/munge",
        # A requeued job waits for as long as a credential lives
        "AuthInfo": f"socket={layout / 'run/munge.sock'},cred_expire=5",
        "CredType": "cred/munge",
        "StateSaveLocation": layout / "state",
        "SlurmdSpoolDir": layout / "spool/%n",
        "SlurmctldPidFile": layout / "run/slurmctld.pid",
        "SlurmdPidFile": layout / "run/%n.pid",
        "SlurmctldLogFile": layout / "log/slurmctld.log",
        "SlurmdLogFile": layout / "log/%n.log",
        "SlurmdTimeout": 10,
        "ReturnToService": 2,
        "KillWait": 3,
    }


def _scheduling(layout: Layout) -> dict[str, str | int | Path]:
    """What a job gets, and how soon."""
    return {
        "ProctrackType": f"proctrack/{layout.proctrack}",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
        "JobAcctGatherParams": "OverMemoryKill",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": 100,
        "GresTypes": "gpu",
        "SlurmdParameters": "config_overrides",  # more CPUs and memory than the machine has
        "SlurmctldParameters": "preempt_send_user_signal",
        "SchedulerParameters": (
            "bf_interval=1,sched_interval=2,batch_sched_delay=0,max_array_tasks=5001"
        ),
        "MaxArraySize": 5001,
        "MinJobAge": 300,
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 1,
    }


def _accounting(layout: Layout) -> dict[str, str | int | Path]:
    if not layout.accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "localhost",
        "AccountingStoragePort": layout.ports["slurmdbd"],
        "AccountingStoragePass": layout / "run/munge.sock",  # AuthInfo is not asked for it
        "AccountingStorageTRES": "gres/gpu",
        "AccountingStorageEnforce": "limits",
    }


def _nodes(layout: Layout) -> str:
    """The lines that describe nodes and partitions."""
    gpus = f" Gres=gpu:{layout.gpus}" if layout.gpus else ""
    nodes = [
        f"NodeName={name} NodeHostname={_host()} NodeAddr=127.0.0.1 Port={layout.ports[name]}"
        f" CPUs={layout.cpus} RealMemory={layout.memory}{gpus} State=UNKNOWN\n"
        for name in layout.nodes
    ]
    partitions = PARTITIONS | dict(layout.partitions)
    return "".join(nodes) + "".join(
        f"PartitionName={name} Nodes=ALL State=UP {rest}\n" for name, rest in partitions.items()
    )


def _gres(layout: Layout) -> str:
    """GPUs are links to character devices: slurmd reports a bare count as none, and refuses plain
    files."""
    for number in range(layout.gpus):
        (layout / f"dev/nvidia{number}").symlink_to(f"/dev/{DEVICES[number % len(DEVICES)]}")
    files = f"Name=gpu File={layout / 'dev'}/nvidia[0-{layout.gpus - 1}]\n" if layout.gpus else ""
    return f"AutoDetect=off\n{files}"


def _database(layout: Layout) -> dict[str, str | int | Path]:
    """Of slurmdbd. `localhost` means the socket its environment names, in a folder no one else can
    enter: no password."""
    return {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout / 'run/munge.sock'}",
        "DbdHost": "localhost",
        "DbdAddr": "127.0.0.1",
        "DbdPort": layout.ports["slurmdbd"],
        "SlurmUser": layout.user,
        "CommunicationParameters": "NoInAddrAny",
        "LogFile": layout / "log/slurmdbd.log",
        "PidFile": layout / "run/slurmdbd.pid",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": layout.user,
        "StorageLoc": "slurm",
    }
