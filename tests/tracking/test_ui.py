"""`modulewise ui` as a user meets it: started in a terminal, looked at, ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mirrored_runs import whole

from modulewise.cli import ui
from modulewise.config.cell import Cell
from modulewise.tracking import mirror

pytest.importorskip("mlflow")


class Terminal:
    """The command in a session of its own, as in a terminal, and what it has printed so far."""

    def __init__(self, *words: str) -> None:
        self.text = ""
        command = [
            sys.executable,
            "-c",
            "from modulewise.cli.app import main; main()",
            "ui",
            *words,
        ]
        pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        self.process = subprocess.Popen(
            command, start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **pipe
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.text += line

    def until(self, there: Callable[[], Any], seconds: float = 90) -> Any:
        """What `there` gives as soon as it is something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := there():
                return found
            assert self.process.poll() is None, self.text
            time.sleep(0.1)
        raise AssertionError(self.text)

    def children(self) -> set[int]:
        """Processes begun by the command, the server's workers too."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
        found, more = set(), {self.process.pid}
        while more:
            more = {pid for pid, parent in parents.items() if parent in more} - found
            found |= more
        return found

    def end(self, name: signal.Signals) -> int:
        """Send a signal as a terminal does, to the foreground group; the exit status once all is
        gone."""
        os.killpg(self.process.pid, name)
        status = self.process.wait(timeout=40)
        self._reader.join(timeout=5)
        return status


def cell_of(seed: int) -> Cell:
    names = {
        "dataset": "toy",
        "network": "resnet20",
        "recipe": "greedy-sgd",
        "method": "dgl",
        "modules": 2,
        "seed": seed,
    }
    return Cell.model_validate(names | {"training": {"epochs": 4}, "data": {"source": "digits"}})


def get(url: str, content: Any = None) -> tuple[int, str]:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, answer.read().decode()


def alive(pids: set[int]) -> set[int]:
    return {
        pid
        for pid in pids
        if Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    }


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run: making its tables takes seconds."""
    runs = tmp_path_factory.mktemp("tables") / "runs"
    uri, artifacts = mirror.address(runs)
    mirror.open_store(uri, artifacts)
    return runs.parent / "mlflow" / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, tables: Path) -> Path:
    (tmp_path / "mlflow").mkdir()
    shutil.copy(tables, tmp_path / "mlflow")
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Callable[..., Terminal]:
    """A function that starts the command; whatever is left of it is ended with the test."""

    def start(*words: str) -> Terminal:
        it = Terminal(*words)

        def clear() -> None:
            for pid in it.children() | ({it.process.pid} if it.process.poll() is None else set()):
                os.kill(pid, signal.SIGKILL)

        request.addfinalizer(clear)
        return it

    return start


def test_started_looked_at_and_interrupted(runs: Path, terminal: Callable[..., Terminal]) -> None:
    """Port taken, link and report printed, page there, a new run appears, Ctrl-C ends all."""
    page = runs.parent / "reports" / "first" / "report.html"
    whole(cell_of(seed=0), runs)
    page.parent.mkdir(parents=True)
    page.write_text("<h1>compared</h1>")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        it = terminal("--runs", str(runs), "--port", str(port), "--every", "0.5")
        it.until(lambda: "From another machine" in it.text)
    assert f"port {port} is taken; using " in it.text and "tracked 1 runs: 1 new" in it.text
    links = dict(
        line.strip().split(": ", 1) for line in it.text.splitlines() if line.startswith("  ")
    )
    assert set(links) == {"modulewise-toy, runs", "modulewise-toy, charts", "report of first"}
    assert links["modulewise-toy, runs"].endswith("viewStateShareKey=modulewise-list")
    base, _, place = links["modulewise-toy, charts"].partition("/#/experiments/")
    experiment = place.partition("/")[0]
    assert (
        not base.endswith(f":{port}")
        and base.startswith("http://127.0.0.1:")
        and place.endswith("compareRunsMode=CHART")
    )
    status, html = get(base)
    assert status == 200 and "MLflow" in html
    run = links["report of first"].split("/runs/")[1].partition("/")[0]
    assert get(f"{base}/get-artifact?run_uuid={run}&path=report/report.html") == (
        200,
        "<h1>compared</h1>",
    )

    def names() -> set[str]:
        _, text = get(f"{base}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]})
        return {r["info"]["run_name"] for r in json.loads(text)["runs"]}

    assert names() == {"greedy-sgd-K2-s0"}
    whole(cell_of(seed=1), runs)
    it.until(lambda: len(names()) == 2, 20)
    children = it.children()
    assert len(children) >= 2
    assert it.end(signal.SIGINT) == 0
    assert it.text.endswith("stopped; everything is kept\n") and "Traceback" not in it.text
    assert not alive(children)
    with pytest.raises(OSError):
        http.client.HTTPConnection(base.removeprefix("http://"), timeout=2).request(
            "GET", "/health"
        )


@pytest.mark.parametrize(
    "name", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_ended_while_the_server_starts(
    runs: Path, terminal: Callable[..., Terminal], name: signal.Signals
) -> None:
    """By a `kill`, or because the terminal was closed; with no run yet."""
    it = terminal("--runs", str(runs))
    it.until(lambda: "starting the server" in it.text)
    children = it.children()
    assert children
    assert it.end(name) == 0
    assert it.text.endswith("stopped; everything is kept\n") and not alive(children)


def test_an_interrupt_that_is_swallowed_ends_it_all_the_same(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python drops an exception that a signal raises while an object is being deleted."""
    before = {
        name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    def busy(*_: Any) -> mirror.Counts:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return mirror.Counts()

    monkeypatch.setattr(mirror, "mirror", busy)
    monkeypatch.setattr(ui, "_serve", lambda *_: None)
    try:
        ui.ui(port=5000, runs=runs, every=1.0)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert capsys.readouterr().out.endswith("stopped; everything is kept\n")


def test_a_folder_that_is_not_there(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    it = terminal("--runs", str(tmp_path / "runs"))
    assert it.process.wait(timeout=30) == 2
    it._reader.join(timeout=5)
    assert (
        it.text
        == f"error: {tmp_path / 'runs'}: no such folder; --runs names the one that run folders lie "
        f"in\n"
    )


def test_only_a_server_answers() -> None:
    """A connection that has met itself sends back what is asked."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]

        def answer(words: bytes | None) -> None:
            connection, _ = there.accept()
            with connection:
                asked = connection.recv(65536)
                connection.sendall(words or asked)

        for words, is_one in ((None, False), (b"HTTP/1.0 200 OK\r\n\r\nOK", True)):
            thread = threading.Thread(target=answer, args=(words,), daemon=True)
            thread.start()
            assert ui.answers(port) is is_one
            thread.join()
    assert not ui.answers(port)


def test_an_interrupt_while_an_object_is_deleted_is_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Deleted:
        def __init__(self, error: type[BaseException]) -> None:
            self.error = error

        def __del__(self) -> None:
            raise self.error("lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", ui._lost)
        Deleted(KeyboardInterrupt)
        assert capsys.readouterr().err == ""
        Deleted(ValueError)
        assert "ValueError: lost" in capsys.readouterr().err
