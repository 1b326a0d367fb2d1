"""A run has one trainer: a second one is refused, a dead one is in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import forked
from modulewise.config.cell import Cell
from modulewise.errors import InvalidInput
from modulewise.runs import lock, result

CELL = Cell.model_validate(
    {
        "dataset": "fake",
        "network": "mlp2",
        "recipe": "plain",
        "modules": 1,
        "seed": 0,
        "method": "backprop",
        "training": {"epochs": 10_000, "batch_size": 32, "lr": 0.01, "warmup_epochs": 0},
        "data": {"source": "fake", "shape": [1, 4, 4], "classes": 4, "train_size": 64},
    }
)


def words(folder: Path) -> list[str]:
    return ["train", "--cell", CELL.to_json(), "--out", str(folder), "--threads", "1"]


def until(path: Path, seconds: float = 60) -> None:
    """Wait for a file."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert path.exists()


def test_the_second_of_two_trainers_is_refused(tmp_path: Path) -> None:
    first = forked.Program(*words(tmp_path))
    until(tmp_path / "record.jsonl")
    kept = {n: (tmp_path / n).read_bytes() for n in ("lock.json", "cell.json")}
    second = forked.run(*words(tmp_path))
    pid = json.loads(kept["lock.json"])["pid"]
    assert (second.returncode, second.stderr) == (
        2,
        f"error: {tmp_path}: process {pid} on {socket.gethostname()} trains this run; wait for it, "
        f"or end it first\n",
    )
    assert first.poll() is None
    assert kept == {n: (tmp_path / n).read_bytes() for n in kept}
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 75
    assert not (tmp_path / "lock.json").exists()
    assert (tmp_path / "record.jsonl").read_text().count('"ev":"start"') == 1


def test_a_killed_trainer_does_not_hold_its_run(tmp_path: Path) -> None:
    first = forked.Program(*words(tmp_path), "--save-every", "0")
    until(tmp_path / "checkpoint.pt")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert (tmp_path / "lock.json").exists()
    asked = "import modulewise.engine.trainer as t; t.Stop.__init__.__defaults__ = (True,)\n"
    again = forked.run(*words(tmp_path), before=asked)
    assert again.returncode == 75 and "resumed in epoch" in again.stderr
    assert not (tmp_path / "lock.json").exists()


def test_a_result_made_in_the_meantime_is_kept(tmp_path: Path) -> None:
    made = "import modulewise.data.load as l, pathlib; whole = l.load\n"
    made += "def load(*args):\n    pathlib.Path({!r}).write_text('x'); return whole(*args)\n"
    done = forked.run(
        *words(tmp_path), before=made.format(str(tmp_path / result.FILE)) + "l.load = load\n"
    )
    assert done.returncode == 0 and (tmp_path / result.FILE).read_text() == "x"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become a fraction of one."""
    for name, value in {"BEAT": 0.1, "SILENT": 0.8, "SETTLE": 0.05}.items():
        monkeypatch.setattr(lock, name, value)
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def left(folder: Path, **changes: object) -> Path:
    """A lock that a trainer on another host left a moment ago."""
    holder = {"host": "node7", "pid": 4711, "begun": time.time()}
    holder |= {"slurm_job": None, "slurm_restart": None, **changes}
    (folder / lock.FILE).write_text(json.dumps(holder))
    return folder / lock.FILE


@pytest.mark.usefixtures("quick")
def test_a_lock_of_another_host_that_is_touched_holds(tmp_path: Path) -> None:
    path, ended = left(tmp_path), threading.Event()
    beats = threading.Thread(target=lock._beat, args=(path, ended))
    beats.start()
    before = path.read_text()
    try:
        with (
            pytest.raises(InvalidInput, match="process 4711 on node7 trains this run"),
            lock.held(tmp_path),
        ):
            pass
    finally:
        ended.set()
        beats.join()
    assert path.read_text() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("content", [None, "", "{}", "[1]", "no JSON"])
def test_one_that_nobody_touches_is_taken_after_a_while(
    content: str | None, tmp_path: Path
) -> None:
    path = left(tmp_path)
    if content is not None:
        path.write_text(content)
    begun = time.monotonic()
    with lock.held(tmp_path):
        assert time.monotonic() - begun >= 0.7
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("restart", "waits"), [("1", False), (None, True)])
def test_a_later_start_of_a_slurm_job_does_not_wait_for_the_one_before(
    restart: str | None, waits: bool, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainers of one job without a restart are two tasks of it."""
    left(tmp_path, slurm_job="77")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    if restart:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
    begun = time.monotonic()
    with lock.held(tmp_path):
        assert (time.monotonic() - begun > 0.7) == waits


@pytest.mark.usefixtures("quick")
def test_a_number_that_another_process_has_now_does_not_hold(tmp_path: Path) -> None:
    left(tmp_path, host=socket.gethostname(), pid=os.getpid(), begun=1.0)
    with lock.held(tmp_path):
        pass


@pytest.mark.usefixtures("quick")
def test_a_request_to_stop_ends_the_wait(tmp_path: Path) -> None:
    path = left(tmp_path)
    with pytest.raises(InvalidInput), lock.held(tmp_path, lambda: True):
        pass
    assert path.exists()


def test_of_many_that_take_a_dead_trainers_run_one_has_it(tmp_path: Path) -> None:
    left(tmp_path, host=socket.gethostname(), pid=2**22, begun=1.0)
    code = (
        "import sys, time; from pathlib import Path; from modulewise.runs import lock\n"
        "with lock.held(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(3)\n"
    )
    several = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    assert [p.communicate()[0] for p in several].count("mine\n") == 1
