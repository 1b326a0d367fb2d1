"""`modulewise ui`: show the runs in MLflow while they go on."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from modulewise.cli.track import keep_tracking
from modulewise.errors import InvalidInput
from modulewise.tracking import mirror, reports, views

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
PATIENCE = 180
"""Seconds a server may take to start; 10 to 30 are usual."""


def ui(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="the next free one if it is taken")
    ] = 5000,
    runs: Annotated[Path, typer.Option(help="folder that run folders lie in")] = Path(
        "results/runs"
    ),
    every: Annotated[
        float, typer.Option(min=0.1, help="seconds between two looks for new results")
    ] = 15.0,
) -> None:
    """Browse the runs in MLflow while they go on.

    Keeps them up to date; Ctrl-C ends it.

    Examples:
        modulewise ui
        modulewise ui --port 8080
    """
    uri, artifacts = mirror.address(runs)
    asked: list[int] = []

    def interrupt(number: int, _: Any) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    def go_on() -> None:
        if asked:  # the exception was lost
            raise KeyboardInterrupt
        if server is not None:
            _alive(server, logfile)

    sys.unraisablehook = _lost
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last: the terminal was closed
        if signal.getsignal(name) is not signal.SIG_IGN:  # as under nohup
            signal.signal(name, interrupt)
    server, logfile = None, runs.resolve().parent / "mlflow" / "server.log"
    try:
        print(mirror.mirror(runs, uri, artifacts), flush=True)
        free = _free(port)
        if free != port:
            log.info(f"port {port} is taken; using {free}")
        server = _serve(uri, artifacts, free, logfile)
        _wait(go_on, free, logfile)
        print("\nOpen in a browser (Ctrl-C ends it):")
        for what, where in _links(uri, artifacts, free).items():
            print(f"  {what}: {where}")
        print(
            f"From another machine: ssh -L {free}:{HOST}:{free} {socket.gethostname()}\n",
            flush=True,
        )
        keep_tracking(runs, uri, artifacts, None, every, go_on)
    except KeyboardInterrupt:
        print("stopped; everything is kept")
    except mirror.Unreachable as error:
        log.error(error)
        sys.exit(1)
    finally:
        if server is not None:
            _stop(server)


def _lost(unraisable: sys.UnraisableHookArgs) -> None:
    """Report an exception that is lost because it came while an object was being deleted; of an
    interrupt there is nothing to say, the next look ends the program."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)


def _links(uri: str, artifacts: Path | None, port: int) -> dict[str, str]:
    """Addresses by name: list and charts of every experiment, and the sweeps' reports."""
    store, base = mirror.open_store(uri, artifacts), f"http://{HOST}:{port}"
    pages = {
        f"{name}, {what}": views.address(base, number, view)
        for name, number in sorted(store.experiments.items())
        if name != reports.EXPERIMENT
        for what, view in (("runs", views.LIST), ("charts", views.CHARTS))
    }
    pages |= {f"report of {sweep}": page for sweep, page in reports.link(store, base).items()}
    return pages or {"no runs yet": base}


def _serve(uri: str, artifacts: Path | None, port: int, logfile: Path) -> subprocess.Popen[bytes]:
    """Start `mlflow server`, in a process group of its own so that all of it can be stopped."""
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    env |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "2",
    ]
    command += ["--backend-store-uri", uri, "--artifacts-destination", str(artifacts)]
    with logfile.open("wb") as out:
        return subprocess.Popen(
            command,
            env=env,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _wait(go_on: Callable[[], None], port: int, logfile: Path) -> None:
    """Wait until the server answers.

    Raises:
        Unreachable: the server ended, or did not answer within `PATIENCE` seconds.
    """
    log.info("starting the server ...")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        go_on()
        if answers(port):
            return
        time.sleep(0.3)
    raise mirror.Unreachable(f"MLflow's server did not start within {PATIENCE} s; see {logfile}")


def answers(port: int) -> bool:
    """Whether an HTTP server of this machine says that it is well. On a port of those that Linux
    lends to clients a connection can meet itself, and reads its own request for an answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with (
        suppress(OSError, http.client.HTTPException),
        direct.open(f"http://{HOST}:{port}/health", timeout=5),
    ):
        return True
    return False


def _alive(server: subprocess.Popen[bytes], logfile: Path) -> None:
    if server.poll() is not None:
        raise mirror.Unreachable(
            f"MLflow's server ended with status {server.returncode}; see {logfile}"
        )


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: all processes of its group."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    for name in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + 10
        with suppress(ProcessLookupError):
            os.killpg(server.pid, name)
            while time.monotonic() < until:
                server.poll()
                os.killpg(server.pid, 0)
                time.sleep(0.1)
            continue
        return


def _free(port: int) -> int:
    """The port, or the next one that is free."""
    for candidate in range(port, min(port + 50, 65536)):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, candidate))
            return candidate
    raise InvalidInput(f"--port: no free port from {port} on")
