"""MLflow equals the run folders although two mirrors write at once, or its server dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import (
    assert_equal,
    cell_of,
    runs_of,
    whole,
)

from modulewise.cli import track
from modulewise.cli.ui import answers
from modulewise.tracking import mirror

mlflow = pytest.importorskip("mlflow")


def test_two_mirrors_at_once(tmp_path: Path, store: tuple[str, Path], dataset: str) -> None:
    folders = [whole(cell_of(dataset, seed=s), tmp_path) for s in range(6)]
    both = [_track(tmp_path, store[0]) for _ in range(2)]
    texts = [p.communicate(timeout=120)[0] for p in both]
    assert [p.returncode for p in both] == [0, 0], texts
    assert sorted("6 new" in t for t in texts) == [False, True], texts
    runs = sorted(runs_of(store[0], dataset), key=lambda r: r.data.tags["seed"])
    for run, folder in zip(runs, folders, strict=True):
        assert_equal(store[0], run, folder)


@pytest.fixture
def server(tmp_path: Path, store: tuple[str, Path]) -> Iterator[Any]:
    """A function that starts `mlflow server` on the shared store, always at the same address, and
    one that kills it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri, running = f"http://127.0.0.1:{port}", []
    env = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", store[0], "--artifacts-destination", str(tmp_path / "served")]

    def start() -> str:
        with (tmp_path / "server.log").open("ab") as log:
            running.append(
                subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)
            )
        for _ in range(600):
            if answers(port):
                return uri
            assert running[-1].poll() is None, (tmp_path / "server.log").read_text()
            time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill() -> None:
        while running:
            process = running.pop()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    yield start, kill
    kill()


def test_no_proxy_is_asked_for_a_server_on_this_host(
    tmp_path: Path,
    store: tuple[str, Path],
    dataset: str,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, _ = server
    uri = start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nothing listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    folder = whole(cell_of(dataset), tmp_path)
    counts = mirror.mirror(tmp_path, uri, None)
    assert (counts.new, counts.failed) == (1, 0)
    (run,) = runs_of(uri, dataset)
    assert_equal(uri, run, folder)


def test_a_server_killed_in_the_middle_and_restarted(
    tmp_path: Path,
    store: tuple[str, Path],
    dataset: str,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start, kill = server
    uri = start()
    runs = tmp_path / "runs"
    folders = [whole(cell_of(dataset, seed=s), runs) for s in range(6)]
    send, calls = mlflow.MlflowClient.log_batch, count(1)

    def send_and_die(self: Any, *args: Any, **kwargs: Any) -> None:
        if next(calls) == 3:
            send(self, *args, **kwargs)  # arrives, but nobody hears that it did
            kill()
        send(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_batch", send_and_die)
        begun = time.monotonic()
        with pytest.raises(mirror.Unreachable, match="went away"):
            mirror.mirror(runs, uri, None)
    with pytest.raises(SystemExit) as left:
        track.track(runs, uri)
    assert left.value.code == 1 and caplog.messages[-1] == f"cannot use MLflow at {uri}: no answer"
    assert time.monotonic() - begun < 40, "a dead server must not be waited for"
    start()
    again = mirror.mirror(runs, uri, None)
    assert (again.runs, again.unchanged, again.failed) == (6, 2, 0)
    found = sorted(runs_of(uri, dataset), key=lambda r: r.data.tags["seed"])
    for run, folder in zip(found, folders, strict=True):
        assert_equal(uri, run, folder)
        assert run.info.status == "FINISHED"
    assert mirror.mirror(runs, uri, None).unchanged == 6


def _track(runs: Path, uri: str) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-c",
        "from modulewise.cli.app import main; main()",
        "track",
        "--runs",
        str(runs),
        "--uri",
        uri,
    ]
    env = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
