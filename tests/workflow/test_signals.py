"""Stopped by any signal at any moment and started again, a run on the CPU ends with the weights of
one that was never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import forked
from modulewise.runs import record, result

REPO = Path(__file__).parents[2]
SAVED = 75


def words(folder: Path, epochs: int = 6) -> list[str]:
    """A small run in a folder; it checkpoints after every step."""
    cell = f"--dataset fake --network mlp3x16 --recipe contsup-r1e --modules 3 --epochs {epochs}"
    places = ["--config", str(REPO / "config"), "--out", str(folder)]
    return f"train {cell} --threads 1 --keep-weights --save-every 0".split() + places


def trained(folder: Path, more_than: int) -> None:
    """Wait until the run has committed more epochs than that."""
    deadline = time.monotonic() + 90
    while record.read(folder).committed <= more_than:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stops."""
    folder = tmp_path_factory.mktemp("straight")
    done = forked.run(*words(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGKILL, signal.SIGUSR2]], ids=["term-kill-usr2"]
)
def test_stopped_and_continued(
    signals: list[signal.Signals], straight: Path, tmp_path: Path
) -> None:
    moment = random.Random(0)
    for sig in signals:
        before = record.read(tmp_path).committed
        run = forked.Program(*words(tmp_path))
        trained(tmp_path, before)
        time.sleep(moment.random() * 0.1)
        run.send_signal(sig)
        assert run.wait() == (-sig if sig == signal.SIGKILL else SAVED), run.said()
        assert not (tmp_path / "result.json").exists()
        assert ("resumes when started again" in "".join(run.said())) == (sig != signal.SIGKILL)
    done = forked.run(*words(tmp_path))
    assert done.returncode == 0, done.stderr
    mine, its = (
        torch.load(f / "weights.pt", weights_only=True)["method"] for f in (tmp_path, straight)
    )
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in its)
    assert result.load(tmp_path / "result.json").origin.starts == len(signals) + 1
    assert numbers(tmp_path) == numbers(straight)
    assert {p.name for p in tmp_path.iterdir()} == {
        "cell.json",
        "record.jsonl",
        "train.log",
        "result.json",
        "weights.pt",
    }


def numbers(folder: Path) -> dict[tuple[str, int], float]:
    """Everything the record says that does not depend on the clock."""
    folded = record.read(folder)
    assert folded.torn == 0 and folded.end is not None
    return {
        k: v
        for k, (v, _) in folded.metrics.items()
        if not k[0].startswith(("time/", "throughput/", "memory/", "system/"))
    }


def test_the_folder_holds_the_resolved_cell(straight: Path) -> None:
    cell = json.loads((straight / "cell.json").read_text())
    assert cell == json.loads((straight / "result.json").read_text())["cell"]
    assert (cell["recipe"], cell["training"]["momentum"], cell["options"]["context"]) == (
        "contsup-r1e",
        0.9,
        "R1E",
    )


@pytest.mark.parametrize(
    "sig",
    [signal.SIGTERM, pytest.param(signal.SIGUSR2, marks=pytest.mark.slow)],
    ids=["term", "usr2"],
)
def test_a_request_that_comes_when_all_is_done_spoils_nothing(
    sig: signal.Signals, tmp_path: Path
) -> None:
    """Python gives up its handlers on the way out: a late signal must not make a finished run look
    failed."""
    with subprocess.Popen([sys.executable, "-m", "modulewise", *words(tmp_path, epochs=1)]) as run:
        while not (tmp_path / "result.json").exists():
            assert run.poll() is None
            time.sleep(0.001)
        while run.poll() is None:
            run.send_signal(sig)
            time.sleep(0.0005)
    assert run.returncode == 0
