"""A run knows whether it had its device to itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cases import Case, Row, images
from modulewise import device
from modulewise.errors import InvalidInput
from modulewise.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of this test alone: other runs on the host do not disturb it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_as_many_runs_as_cores_are_exclusive_and_one_more_is_not() -> None:
    cores = len(os.sched_getaffinity(0))
    held = [device.claim(CPU) for _ in range(cores + 1)]
    assert [h.__enter__() for h in held] == [True] * cores + [False]
    held[0].__exit__(None, None, None)
    with device.claim(CPU) as again:
        assert again
    for h in held[1:]:
        h.__exit__(None, None, None)


def test_who_packs_runs_on_purpose_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.SHARED, "1")
    with device.claim(CPU) as alone:
        assert not alone


def test_a_run_that_waited_for_its_core_is_not_exclusive(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")

    def waiting(trainer: Trainer) -> bool:
        inner = trainer._step
        trainer._step = lambda batch: (time.sleep(0.2), inner(batch))[1]  # type: ignore[method-assign, assignment]
        return trainer.fit().origin.exclusive

    assert not waiting(Trainer(row.cell(epochs=1), images(), tmp_path, CPU, say=lambda _: None))


@pytest.mark.parametrize("name", ["gpu", "cuda:x"])
def test_an_unknown_device_is_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match="valid: auto, cpu, cuda, cuda:N"):
        device.pick(name)


def test_locks_end_with_their_process(tmp_path: Path) -> None:
    code = "import torch; torch.set_num_threads(1); from modulewise import device; device.claim(torch.device('cpu')).__enter__()"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    with device.claim(CPU) as alone:
        assert alone
