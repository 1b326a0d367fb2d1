"""The real workflow on the cluster of the tests: start it, watch it, and hold its run folders
against an undisturbed run."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forked
from cluster import Cluster
from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.runs import record

ROOT = Path(__file__).parents[2]
FAST = [
    "--seconds-between-status-checks",
    "1",
    "--latency-wait",
    "10",
    "--submitit-status-interval-s",
    "1",
    "--submitit-lost-job-grace-s",
    "6",
]
TRAIN_ONLY = ["--until", "train", "--no-hooks"]
LONG = 300
"""Epochs of a training to which something happens."""
SWEEP = """
sweep: tiny
grids:
  - datasets: [fake]
    networks: [mlp2x16]
    recipes: [{recipes}]
    modules: [2]
    seeds: {seeds}
    training: {{epochs: {epochs}, batch_size: 64, warmup_epochs: 1, devices: {devices}}}
"""


class Workflow:
    """One sweep in a folder of its own, run by the real Snakefile and profile.

    Args:
        folder: empty.
        cluster: where it runs.
        recipes: names, comma-separated.
        seeds: number of seeds.
        epochs: of every training.
        measured: run times are limited, and so measured first.
        devices: of every training.
    """

    def __init__(
        self,
        folder: Path,
        cluster: Cluster,
        recipes: str = "greedy",
        seeds: int = 2,
        epochs: int = 3,
        measured: bool = False,
        devices: int = 1,
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.measured = measured
        (folder / "sweep.yaml").write_text(
            SWEEP.format(recipes=recipes, seeds=seeds, epochs=epochs, devices=devices)
        )
        self.cells: list[Cell] = list(load_plan(folder / "sweep.yaml", ROOT).cells)
        self.log = folder / "controller.log"
        self.name = f"t{next(_NUMBER)}"

    def command(self, *options: str) -> list[str]:
        """Snakemake's command line."""
        fixed = [
            "-s",
            str(ROOT / "Snakefile"),
            "-d",
            str(self.folder),
            "--profile",
            str(ROOT / "slurm"),
        ]
        limited = ["runtime=60"] if self.measured else []
        memory = [
            "--default-resources",
            "slurm_partition=main",
            "mem_mb=2500",
            *limited,
            "--set-threads",
            "train=1",
            "profile=1",
        ]
        return [
            sys.executable,
            "-m",
            "snakemake",
            *fixed,
            "--configfile",
            str(self.folder / "sweep.yaml"),
            *memory,
            *FAST,
            "--submitit-name-prefix",
            self.name,
            *options,
        ]

    def start(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """The controller, in the background."""
        env = (
            self.cluster.env
            | {"MODULEWISE_SAVE_EVERY": "0.1", "MLFLOW_DISABLE_TELEMETRY": "true"}
            | environment
        )
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command(*options), env=env, stdout=log, stderr=log, start_new_session=True
            )

    @contextlib.contextmanager
    def running(self, *options: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """The controller, ended with the block if it has not ended by itself."""
        controller = self.start(*options, **environment)
        try:
            yield controller
        finally:
            if controller.poll() is None:
                os.killpg(controller.pid, signal.SIGKILL)
                controller.wait()

    def run(self, *options: str, status: int = 0, timeout: float = 600, **environment: str) -> str:
        """Run to the end; what the controller said."""
        with self.running(*options, **environment) as controller:
            self.ends(controller, status, timeout)
        return self.said()

    def ends(
        self, controller: subprocess.Popen[bytes], status: int = 0, timeout: float = 600
    ) -> None:
        """Wait for the controller's end."""
        try:
            ended = controller.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(
                f"the controller still runs after {timeout} "
                f"s:\n{self.said()[-3000:]}\n{self.queue()}"
            )
        assert ended == status, self.said()[-4000:]

    @contextlib.contextmanager
    def held(self, controller: subprocess.Popen[bytes]) -> Iterator[list[int]]:
        """Wait until every training has saved more than five epochs, and let it stand still from
        then on, until the block ends.

        What happens to them in the block happens in the middle of a training, however fast the
        machine is. Gives their pids.
        """
        pids: dict[str, int] = {}

        def stand_still() -> bool:
            for cell in self.cells:
                if cell.id not in pids and (said := self.record(cell)).committed > 5:
                    os.kill(said.starts[-1]["pid"], signal.SIGSTOP)
                    pids[cell.id] = said.starts[-1]["pid"]
            return len(pids) == len(self.cells)

        try:
            self.waits("all have saved more than five epochs", stand_still, controller)
            yield list(pids.values())
        finally:
            for pid in pids.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def said(self) -> str:
        """All that controllers said so far."""
        return self.log.read_text() if self.log.exists() else ""

    def queue(self) -> str:
        """Slurm's view of all jobs."""
        return self.cluster.run("squeue", "--array", "--states=all", "--format=%i %j %T %r %N %M")

    def waits(
        self,
        what: str,
        condition: Callable[[], object],
        controller: subprocess.Popen[bytes] | None = None,
        timeout: float = 120,
    ) -> None:
        """Wait until something is so."""
        end = time.monotonic() + timeout
        while not condition():
            ended = controller is not None and controller.poll() is not None
            if ended or time.monotonic() > end:
                when = "before the controller ended" if ended else f"within {timeout} s"
                pytest.fail(f"{what}: not {when}\n{self.said()[-3000:]}\n{self.queue()}")
            time.sleep(0.1)

    # Slurm's records

    def jobs(self) -> dict[str, str]:
        """State of every training that Slurm knows of this workflow, by id."""
        name = f"--name={self.name}-train"
        rows = self.cluster.run(
            "squeue", "--noheader", "--array", "--states=all", name, "--format=%i|%T"
        ).split()
        return dict(row.split("|") for row in rows)

    def show(self, id: str) -> dict[str, str]:
        """All that Slurm says of a job."""
        words = self.cluster.run("scontrol", "show", "job", "--oneliner", id).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    # run folders

    def record(self, cell: Cell) -> record.RunHistory:
        """The record of a cell's run."""
        return record.read(self.folder / "results" / "runs" / cell.path)

    def trained(self, cell: Cell) -> bool:
        """Whether a cell has its result."""
        return (self.folder / "results" / "runs" / cell.path / "result.json").exists()

    def result(self, cell: Cell) -> dict[str, Any]:
        """What a cell's run left."""
        return json.loads(
            (self.folder / "results" / "runs" / cell.path / "result.json").read_text()
        )  # type: ignore[no-any-return]

    def ledger(self) -> list[dict[str, Any]]:
        """Events of the plugin's ledger."""
        return [
            json.loads(line)
            for line in (self.folder / "results" / "logs" / "slurm" / "jobs.jsonl")
            .read_text()
            .splitlines()
        ]

    def complete(self) -> None:
        """Every cell has one result and one continuous record, both equal to those of a run that
        nothing disturbed."""
        assert len(list((self.folder / "results" / "runs").rglob("result.json"))) == len(self.cells)
        for cell in self.cells:
            folder = self.folder / "results" / "runs" / cell.path
            made, said = json.loads((folder / "result.json").read_text()), self.record(cell)
            calm = undisturbed(cell.to_json())
            assert made["status"] == "done" and said.end and said.torn == 0
            assert {epoch for _, epoch in said.metrics} == set(range(1, made["epochs"] + 1))
            assert {
                k: v for k, (v, _) in said.metrics.items() if not k[0].startswith(CLOCKS)
            } == calm["metrics"]
            assert {k: made[k] for k in SAME} == {k: calm["result"][k] for k in SAME}
            steps_of = [(start["epoch"], start["slurm_restart"]) for start in said.starts]
            assert steps_of == sorted(steps_of, key=lambda s: s[0]), (
                "a later start began at an earlier epoch"
            )
            assert not list(folder.glob("checkpoint*"))


_NUMBER = itertools.count()


def told(pid: int) -> bool:
    """Whether a process that stood still was sent a signal since; Slurm may wake it for that."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    masks = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)", status, re.MULTILINE)
    return "State:\tT" not in status or any(int(mask, 16) for mask in masks)


CLOCKS = ("time/", "throughput/", "memory/", "system/")
"""Metrics that no two runs share."""

SAME = (
    "test_last",
    "test_best_epoch",
    "module_metrics",
    "module_losses",
    "epochs",
    "planned_epochs",
    "cuts",
)
"""Parts of a result that do not depend on what happened to the run."""


@functools.cache
def undisturbed(cell: str) -> dict[str, Any]:
    """Metrics and result of a cell trained here, from its first step to its last."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        done = forked.run("train", "--cell", cell, "--out", name, "--threads", "1")
        assert done.returncode == 0, done.stderr
        metrics = {
            k: v
            for k, (v, _) in record.read(Path(name)).metrics.items()
            if not k[0].startswith(CLOCKS)
        }
        return {"metrics": metrics, "result": json.loads((Path(name) / "result.json").read_text())}
