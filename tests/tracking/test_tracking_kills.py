"""The mirror while its server, or the mirror itself, is killed at random points; afterwards
compared with the records, point by point."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from mirrored_runs import assert_equal, begin, cell_of, finish, runs_of, values_of

from modulewise.cli.ui import answers
from modulewise.config.cell import Cell
from modulewise.runs.record import Record
from modulewise.tracking import mirror

mlflow = pytest.importorskip("mlflow")

RUNS = 8
FORKED = """
import os, sys, uvicorn
from mlflow.server.fastapi_app import app
child = 0
for word in sys.stdin:
    if word == "start\\n":
        child = os.fork()
        if not child:
            uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
            os._exit(1)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
    print("done", flush=True)
"""
"""MLflow's server application, imported once: starting it after a kill takes tenths of a second
instead of 15 s."""


class Trainings:
    """Runs that go on epoch by epoch, commit now and then, and are killed and requeued now and
    then."""

    def __init__(self, runs: Path, dataset: str, random: Random, epochs: int) -> None:
        self.runs, self.random, self.epochs = runs, random, epochs
        self.open: dict[Path, tuple[Cell, Record, int, int]] = {}
        """Folder to cell, record, last epoch, last committed epoch."""
        for seed in range(RUNS):
            cell = cell_of(dataset, seed=seed, epochs=epochs)
            log, folder = begin(cell, runs, epoch=1)
            self.open[folder] = (cell, log, 0, 0)
        self.all = list(self.open)

    def step(self) -> None:
        """One more epoch of some runs."""
        for folder in self.random.sample(list(self.open), min(3, len(self.open))):
            cell, log, epoch, committed = self.open[folder]
            if self.random.random() < 0.15:
                log.close()
                epoch = committed
                log, _ = begin(cell, self.runs, epoch=epoch + 1)
            epoch += 1
            log.metrics(epoch, values_of(cell, epoch, shift=self.random.random()))
            if self.random.random() < 0.6:
                log.commit(epoch)
                committed = epoch
            self.open[folder] = (cell, log, epoch, committed)
            if epoch == self.epochs:
                self._finish(folder)

    def complete(self) -> None:
        while self.open:
            self.step()

    def _finish(self, folder: Path) -> None:
        cell, log, _, _ = self.open.pop(folder)
        finish(cell, log, folder)


def assert_complete(uri: str, dataset: str, trainings: Trainings) -> None:
    """Every run once, with every point of its record once, its end and its artifacts."""
    found = sorted(runs_of(uri, dataset), key=lambda r: int(r.data.tags["seed"]))
    assert len(found) == RUNS
    client = mlflow.MlflowClient(uri)
    for run, folder in zip(found, trainings.all, strict=True):
        assert_equal(uri, run, folder)
        assert run.info.status == "FINISHED" and run.data.metrics["test_error/last"] > 0
        assert {a.path for a in client.list_artifacts(run.info.run_id)} == {
            "cell.json",
            "result.json",
            "train.log",
            "plots",
        }
        assert [a.path for a in client.list_artifacts(run.info.run_id, "plots")] == [
            "plots/learning.png"
        ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serve(
    tmp_path: Path,
) -> Iterator[Callable[[bool], tuple[str, Callable[[], None], Callable[[], None]]]]:
    """A function that gives the address of a server and what starts and kills it; as `mlflow
    server` or forked."""
    port, store, processes = free_port(), f"sqlite:///{tmp_path / 'mlflow.db'}", []
    uri = f"http://127.0.0.1:{port}"
    env = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    env |= {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
    }
    env |= {
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(tmp_path / "served"),
    }
    words = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        store,
    ]
    words += ["--artifacts-destination", str(tmp_path / "served")]

    def spawn(words: list[str]) -> subprocess.Popen[str]:
        with (tmp_path / "server.log").open("a") as log:
            pipe: Any = {
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": log,
                "text": True,
            }
            processes.append(subprocess.Popen(words, env=env, start_new_session=True, **pipe))
        return processes[-1]

    def wait() -> None:
        for _ in range(1200):
            if answers(port):
                return
            time.sleep(0.05)
        raise AssertionError((tmp_path / "server.log").read_text())

    def tell(word: str) -> None:
        process = processes[0] if processes else spawn([sys.executable, "-c", FORKED, str(port)])
        process.stdin.write(f"{word}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n", (tmp_path / "server.log").read_text()

    def end() -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        processes.clear()

    def choose(forked: bool) -> tuple[str, Callable[[], None], Callable[[], None]]:
        start: Callable[[], Any] = (lambda: tell("start")) if forked else (lambda: spawn(words))
        return uri, lambda: (start(), wait())[1], (lambda: tell("kill")) if forked else end

    yield choose
    end()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forked", "kills", "seed"), [*((True, 30, seed) for seed in (1, 2, 3)), (False, 4, 4)]
)
def test_a_server_killed_at_random_points(
    tmp_path: Path, serve: Any, forked: bool, kills: int, seed: int
) -> None:
    uri, start, kill = serve(forked)
    random, runs, dataset = Random(seed), tmp_path / "runs", "killed"
    trainings, midway = Trainings(runs, dataset, random, epochs=6 * kills), 0
    for _ in range(kills):
        start()
        mirror.open_store(uri, None)  # the first answer takes long, seconds where tables are made
        killer = threading.Timer(random.uniform(0.05, 2.5), kill)
        killer.start()
        hit = False
        while killer.is_alive() or not hit:
            trainings.step()
            try:
                mirror.mirror(runs, uri, None)
            except mirror.Unreachable as error:
                hit = True
                midway += "went away" in str(error)
        killer.join()
    start()
    assert midway >= kills / 4, "most kills came between two passes"
    print(f"{midway} of {kills} kills in the middle of a run")
    trainings.complete()
    assert mirror.mirror(runs, uri, None).failed == 0
    assert_complete(uri, dataset, trainings)
    assert mirror.mirror(runs, uri, None).unchanged == RUNS


@pytest.mark.slow
def test_the_mirror_killed_at_random_points(tmp_path: Path) -> None:
    random, runs, dataset = Random(5), tmp_path / "runs", "slain"
    uri, artifacts = mirror.address(runs)
    trainings = Trainings(runs, dataset, random, epochs=60)
    mirror.mirror(runs, uri, artifacts)
    words = [
        sys.executable,
        "-c",
        "from modulewise.cli.app import main; main()",
        "track",
        "--runs",
        str(runs),
        "--follow",
        "--every",
        "0.1",
    ]
    for _ in range(12):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + random.uniform(3, 7)
        while time.monotonic() < until:
            trainings.step()
            time.sleep(0.2)
        process.kill()
        process.wait()
    trainings.complete()
    assert mirror.mirror(runs, uri, artifacts).failed == 0
    assert_complete(uri, dataset, trainings)
