"""A real Slurm cluster on this one machine, thrown away after use: for the tests, and for people
who want to try the workflow (`make cluster`).

Root or an ordinary user; loopback only; nothing outside one temporary folder; no service manager. A
guard process ends the cluster when the process that started it is gone, however it went.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import slurm_conf
import slurm_machine as machine
import slurm_processes as processes
from slurm_machine import ClusterError


class Cluster:
    """Daemons of Slurm under one folder, started by `up` or on entering a `with` block, ended by
    `down` or on leaving it.

    Daemons are named `munged`, `mariadbd`, `slurmdbd`, `slurmctld` and, one for every node, `n1`,
    `n2`, ...

    Args:
        folder: Where everything lies; a temporary folder, removed by `down`, if not given.
        nodes: Number of nodes; each is a slurmd.
        cpus: Per node, as counted by Slurm; more than the machine has will do.
        memory: MB per node, as counted by Slurm.
        gpus: Per node, counted only.
        accounting: With slurmdbd and MariaDB, limits enforced, the user in account `lab`. Without,
            `sacct` says that it is disabled.
        proctrack: Plugin that finds a job's processes. `cgroup` needs root, one cluster at a time,
            and leaves empty groups `slurm_n1`, ...
        settings: Lines of `slurm.conf` to add or to replace.
        partitions: Partitions besides `main` and `low`, or in their place.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        nodes: int = 3,
        cpus: int = 8,
        memory: int = 8000,
        gpus: int = 2,
        accounting: bool = False,
        proctrack: str = "linuxproc",
        settings: Mapping[str, str | int] | None = None,
        partitions: Mapping[str, str] | None = None,
    ) -> None:
        self.given = folder.resolve() if folder else None
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self.accounting = accounting
        self.daemons: dict[str, tuple[int, int]] = {}
        """Name -> pid and time of birth."""
        self._options: dict[str, Any] = {
            "cpus": cpus,
            "memory": memory,
            "gpus": gpus,
            "proctrack": proctrack,
            "settings": settings or {},
            "partitions": partitions or {},
        }
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def missing(accounting: bool = False) -> str | None:
        """One line on what is not installed and how to get it; `None` if all is there."""
        return machine.missing(accounting)

    @classmethod
    def left(cls, folder: Path) -> Cluster:
        """What the state file in a folder says of a cluster; good for `down` alone.

        Raises:
            ClusterError: no cluster was started there.
        """
        try:
            state = json.loads((folder / "state.json").read_text())
        except OSError:
            raise ClusterError(f"{folder}: no cluster was started here") from None
        self = cls(Path(state["folder"]), accounting=state["accounting"])
        self.given = self.given if state["given"] else None
        self.nodes = state["nodes"]
        self.daemons = {name: (pid, since) for name, (pid, since) in state["daemons"].items()}
        self._locate(Path(state["folder"]), Path(state["short"]))
        return self

    # -- the whole cluster

    def up(self) -> Cluster:
        """Start everything; when it returns, every node is idle.

        Raises:
            ClusterError: Slurm is not installed, or a daemon does not start; nothing is left
                behind.
        """
        if reason := self.missing(self.accounting):
            raise ClusterError(reason)
        folder = self.given or Path(tempfile.mkdtemp(prefix="slurm-")).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._locate(folder, machine.short(folder))
        try:
            self._save()
            self._children["guard"] = _guard(folder)
            self._configure()
            self._start_all()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Kill every daemon and every process of every job; remove the folder, if it was not
        given."""
        for node in self.nodes:
            self.lose_node(node)
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.kill(name, signal.SIGKILL)
        if guard := self._children.pop("guard", None):
            guard.communicate(b"all is done")
        shutil.rmtree((self.folder / "mysql").resolve(), ignore_errors=True)
        if self.short != self.folder:
            shutil.rmtree(self.short.parent, ignore_errors=True)
        if self.given is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    # -- for whoever uses it

    @property
    def env(self) -> dict[str, str]:
        """Our environment, with this cluster in place of any other."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("SLURM", "SBATCH_", "SQUEUE_", "SINFO_", "SACCT_", "SRUN_"))
        }
        return kept | {"SLURM_CONF": str(self.conf), "PATH": machine.path()}

    def run(self, *command: str, timeout: float = 60) -> str:
        """What a command on this cluster prints.

        Raises:
            ClusterError: it failed; with all it said.
        """
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout
        )
        if done.returncode:
            raise ClusterError(
                f"{' '.join(command)} ended with {done.returncode}: "
                f"{(done.stdout + done.stderr).strip()}"
            )
        return done.stdout

    def clear(self, timeout: float = 60) -> None:
        """Bring back what was stopped or killed, cancel every job, and wait until every node can be
        used."""
        for name in self._names():
            if self.lives(name):
                self.resume(name)
            else:
                self.start(name)
        self.run("scancel", "--user", machine.user())
        self._register()
        _wait("empty queue", lambda: not self.run("squeue", "--noheader"), timeout)
        _wait("usable nodes", lambda: all(self._is_usable(node) for node in self.nodes), timeout)

    @contextlib.contextmanager
    def limit(self, **limits: int) -> Iterator[None]:
        """Limits on the user's jobs while the block runs, by their names in sacctmgr, such as
        `MaxSubmitJobs=2`."""
        self._limit(limits)
        try:
            yield
        finally:
            self._limit(dict.fromkeys(limits, -1))

    def _limit(self, limits: Mapping[str, int]) -> None:
        who = f"name={machine.user()}"
        settings = [f"{name}={value}" for name, value in limits.items()]
        self.run("sacctmgr", "-i", "modify", "user", "where", who, "set", *settings)

    # -- single daemons

    def lives(self, name: str) -> bool:
        """Whether a daemon runs, stopped or not."""
        pid, since = self.daemons.get(name, (0, 0))
        return pid > 0 and processes.started(pid) == since

    def kill(self, name: str, sig: int = signal.SIGTERM, timeout: float = 20) -> None:
        """Send a daemon a signal; wait until it has ended, if the signal is one to end it. Steps
        outlive their slurmd.

        Raises:
            ClusterError: it is still there after `timeout` seconds.
        """
        if not self.lives(name):
            return
        pid, since = self.daemons[name]
        processes.send(pid, sig)
        if sig in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            if not processes.ended(pid, since, timeout):
                raise ClusterError(f"{name} still runs {timeout:g} s after signal {sig}")
            self._forget(name)

    def stop(self, name: str) -> None:
        """Freeze a daemon: it takes connections and answers none."""
        self.kill(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen daemon go on."""
        self.kill(name, signal.SIGCONT)

    def start(self, name: str) -> None:
        """Start a daemon that has ended; when it returns, it answers.

        Raises:
            ClusterError: it ends at once, or does not answer.
        """
        self._spawn(name)
        self._wait_ready(name)
        if name == "slurmctld":
            self._register()

    def lose_node(self, name: str) -> None:
        """A node without power: SIGKILL to its slurmd, its slurmstepds and all processes of its
        jobs."""
        log = self.folder / "log" / f"{name}.log"
        processes.extinguish(lambda: processes.of_node(self.conf, log, name))
        self._forget(name)

    def _register(self) -> None:
        """Have every node report to a new controller, which would otherwise ask them in its own
        time, up to a minute later."""
        for node in self.nodes:
            self.kill(node, signal.SIGHUP)

    # -- how it is done

    def _locate(self, folder: Path, short: Path) -> None:
        self.folder, self.short = folder, short
        self.conf = short / "etc" / "slurm.conf"

    def _save(self) -> None:
        state = {
            "folder": str(self.folder),
            "short": str(self.short),
            "given": bool(self.given),
            "accounting": self.accounting,
            "nodes": self.nodes,
            "daemons": self.daemons,
        }
        path = self.folder / "state.json"
        path.with_suffix(".tmp").write_text(json.dumps(state))
        path.with_suffix(".tmp").replace(path)

    def _configure(self) -> None:
        ports = machine.free_ports(["slurmctld", "slurmdbd", *self.nodes])
        layout = slurm_conf.Layout(
            self.short,
            machine.user(),
            ports,
            self.nodes,
            accounting=self.accounting,
            **self._options,
        )
        slurm_conf.write(layout)

    def _names(self) -> list[str]:
        """All daemons, in the order in which they start."""
        database = ["mariadbd", "slurmdbd"] if self.accounting else []
        return ["munged", *database, "slurmctld", *self.nodes]

    def _start_all(self) -> None:
        self._spawn("munged")
        if self.accounting:
            self._create_database()
            self.start("mariadbd")
        self._wait_ready("munged")
        if self.accounting:
            self.start("slurmdbd")
            self._create_account()
        self.start("slurmctld")
        for node in self.nodes:
            self._spawn(node)
        for node in self.nodes:
            self._wait_ready(node)

    def _create_database(self) -> None:
        """An empty MariaDB, in memory where there is room: it waits for the disk a thousand times,
        and nobody needs it tomorrow."""
        (self.short / "mysql").symlink_to(machine.quick_folder(self.folder))
        self.run(*slurm_conf.database_command(self.short, machine.user()))

    def _create_account(self) -> None:
        self.run("sacctmgr", "-i", "add", "cluster", "throwaway")
        self.run("sacctmgr", "-i", "add", "account", "lab", "cluster=throwaway")
        self.run(
            "sacctmgr", "-i", "add", "user", machine.user(), "account=lab", "defaultaccount=lab"
        )

    def _spawn(self, name: str) -> None:
        command = slurm_conf.command(name, self.short, machine.user())
        env = self.env | {"MYSQL_UNIX_PORT": str(self.short / "run" / "mysql.sock")}
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            child = subprocess.Popen(
                command,
                executable=shutil.which(command[0], path=env["PATH"]),
                env=env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._children[name] = child
        self.daemons[name] = (child.pid, processes.started(child.pid) or 0)
        self._save()

    def _forget(self, name: str) -> None:
        if child := self._children.pop(name, None):
            child.wait()
        if self.daemons.pop(name, None) and self.folder.exists():
            self._save()

    def _wait_ready(self, name: str, timeout: float = 60) -> None:
        _wait(name, lambda: self._ended_at_once(name) or self._is_ready(name), timeout)

    def _ended_at_once(self, name: str) -> bool:
        if not self.lives(name):
            text = "".join(
                p.read_text(errors="replace") for p in (self.folder / "log").glob(f"{name}.*")
            )
            raise ClusterError(
                f"{name} ended at once; the last it said: {' | '.join(text.splitlines()[-3:])}"
            )
        return False

    def _is_ready(self, name: str) -> bool:
        if name == "munged":
            return machine.answers(self.short / "run" / "munge.sock")
        if name == "mariadbd":
            return machine.answers(self.short / "run" / "mysql.sock")
        if name == "slurmdbd":
            return bool(self.run("sacctmgr", "--noheader", "list", "tres"))
        if name == "slurmctld":
            return "is UP" in self.run("scontrol", "ping")
        return self._is_usable(name)

    def _is_usable(self, node: str) -> bool:
        """Up and answering. Not `idle`: the controller may call a node `mixed` for a minute after
        its last job."""
        states = set(self.run("sinfo", "--noheader", "--nodes", node, "--format", "%T").split())
        return bool(states) and states <= {"idle", "mixed", "allocated"}


def _wait(what: str, ready: Callable[[], bool], timeout: float) -> None:
    """Ask until it is so; an unanswered question is a no."""
    deadline, reason = time.monotonic() + timeout, ""
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except ClusterError as error:
            if "at once" in str(error):
                raise
            reason = f": {error}"
        time.sleep(0.02)
    raise ClusterError(f"{what}: not there after {timeout:g} s{reason}")


def _guard(folder: Path) -> subprocess.Popen[bytes]:
    """A process that waits for the end of this one."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).parent), "guard", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
