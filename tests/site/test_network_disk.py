"""A network disk that fails for a moment costs a training nothing; one that stays away costs no
more than the way back to the last checkpoint."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

import forked
from modulewise.config.cell import Cell
from modulewise.runs import record, result

CELL = Cell.model_validate(
    {
        "dataset": "fake",
        "network": "mlp2",
        "recipe": "plain",
        "modules": 1,
        "seed": 0,
        "method": "backprop",
        "training": {"epochs": 2, "batch_size": 32, "lr": 0.01, "warmup_epochs": 0},
        "data": {"source": "fake", "shape": [1, 4, 4], "classes": 4, "train_size": 64},
    }
)
MOMENTS = ("ESTALE", "EBUSY", "EREMOTEIO", "EAGAIN")
# `os.NAME` fails on a path or file that ends with a word, a number of times.
FAILING = """
import os, errno, modulewise.files as files
files.MOMENT = 0.05
left = [{times}]
call = os.{name}
def failing(first, *args, **kw):
    path = os.readlink(f'/proc/self/fd/{{first}}') if isinstance(first, int) else os.fspath(first)
    path = os.fspath(args[0]) if '{name}' == 'replace' else path
    if '{word}' in os.path.basename(path) and left[0]:
        left[0] -= 1
        raise OSError(errno.{error}, os.strerror(errno.{error}))
    return call(first, *args, **kw)
os.{name} = failing
"""


def train(folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Train the cell for real, saving after every step."""
    words = ["train", "--cell", CELL.to_json(), "--out", str(folder), "--device", "cpu"]
    return forked.run(*words, "--threads", "1", "--save-every", "0", before=before)


def values(folder: Path) -> dict[tuple[str, int], float]:
    found = record.read(folder)
    assert found.end is not None and found.torn == 0
    return {k: v for k, (v, _) in found.metrics.items() if k[0].startswith("test_error")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("error", "name", "word"),
    [
        *((error, "fsync", "checkpoint.pt") for error in MOMENTS),
        ("ESTALE", "write", "record.jsonl"),
        ("EAGAIN", "fsync", "record.jsonl"),
        ("EBUSY", "replace", "result.json"),
        ("ESTALE", "unlink", "checkpoint.pt"),
    ],
)
def test_a_moment_costs_a_warning(
    error: str, name: str, word: str, tmp_path: Path, whole: Path
) -> None:
    done = train(tmp_path, FAILING.format(error=error, name=name, word=word, times=1))
    assert done.returncode == 0, done.stderr
    text = os.strerror(getattr(errno, error))
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and word in warnings[0] and f"{text}; trying once more" in warnings[0]
    assert result.load(tmp_path / "result.json").status == "done"
    assert values(tmp_path) == values(whole)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in whole.iterdir()}


@pytest.mark.parametrize("word", ["result.json", "checkpoint.pt", "record.jsonl"])
def test_a_disk_that_stays_away_loses_nothing(word: str, tmp_path: Path, whole: Path) -> None:
    if word == "checkpoint.pt":  # there must be one to go on from
        asked = "import modulewise.engine.trainer as t; t.Stop.__init__.__defaults__ = (True,)\n"
        assert train(tmp_path, asked).returncode == 75
    name = "write" if word == "record.jsonl" else "replace"
    stopped = train(tmp_path, FAILING.format(error="ESTALE", name=name, word=word, times=99))
    last = stopped.stderr.splitlines()[-1]
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert last.startswith("error: ") and f"{tmp_path / word}: Stale file handle" in last
    resumes = (tmp_path / "checkpoint.pt").exists()
    assert resumes == (word != "record.jsonl")
    assert ("resumes from its last checkpoint" if resumes else "begins anew") in last
    assert not (tmp_path / "result.json").exists()
    assert train(tmp_path).returncode == 0
    assert values(tmp_path) == values(whole)


def test_the_log_of_a_training_is_opened_anew(tmp_path: Path, whole: Path) -> None:
    stale = """
import logging, errno
emit, left = logging.StreamHandler.flush, [1]
def flush(self):
    if left[0] and getattr(self, 'baseFilename', '').endswith('train.log'):
        left[0] = 0
        raise OSError(errno.ESTALE, 'Stale file handle')
    emit(self)
logging.StreamHandler.flush = flush
"""
    done = train(tmp_path, stale)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/2" in (tmp_path / "train.log").read_text()
    assert values(tmp_path) == values(whole)
