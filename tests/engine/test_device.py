"""A run knows whether it had its device to itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cases import Case, Row, heard, trainer_of
from modulewise.engine import device
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput
from modulewise.runs import record

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of this test alone: other runs on the host do not disturb it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_as_many_runs_as_cores_are_exclusive_and_one_more_is_not() -> None:
    cores = len(os.sched_getaffinity(0))
    held = [device.claim(CPU) for _ in range(cores + 1)]
    alone = [h.__enter__() for h in held[:-1]]
    assert [a() for a in alone] == [True] * cores
    late = held[-1].__enter__()
    assert not late()
    held[0].__exit__(None, None, None)
    with device.claim(CPU) as again:
        assert again()
    for h in held[1:]:
        h.__exit__(None, None, None)


def test_runs_that_are_bound_to_other_cores_do_not_disturb_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Slurm binds the jobs of one node."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def bound(*cores: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cores))

    bound(0, 1)
    with device.claim(CPU) as one:
        bound(2, 3)
        with device.claim(CPU) as other:
            assert one() and other()
            bound(1, 2)
            with device.claim(CPU) as late:
                assert not (one() or other() or late())


def test_a_run_of_several_processes_holds_the_cores_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    with device.claim(CPU, CPU) as two, device.claim(CPU) as third:
        assert two() and third()
        with device.claim(CPU) as late:
            assert not (two() or third() or late())
    with device.claim(*[CPU] * 4) as more_than_there_are:
        assert not more_than_there_are()


def test_who_packs_runs_on_purpose_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.SHARED, "1")
    with device.claim(CPU) as alone:
        assert not alone()


@pytest.mark.parametrize(("given", "alone"), [("1", True), ("2", False), ("", True)])
def test_runs_that_an_executor_packs_are_not_exclusive(
    given: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device.PACK, given)
    with device.claim(CPU) as found:
        assert found() is alone
    assert device.pack() == (int(given) if given else 1)


def test_the_first_run_is_told_of_one_that_comes_later() -> None:
    cores = len(os.sched_getaffinity(0))
    held = [device.claim(CPU) for _ in range(cores)]
    alone = [h.__enter__() for h in held]
    assert all(a() for a in alone)
    with device.claim(CPU) as late:
        assert not late()
    assert not any(a() for a in alone)
    for h in held:
        h.__exit__(None, None, None)
    with device.claim(CPU) as next_one:
        assert next_one()


def test_a_run_that_was_joined_midway_says_so(tmp_path: Path) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    row, claims = Row(Case("greedy"), "resnet8"), []

    def joined(line: str) -> None:
        if not claims:
            assert trainer.progress.exclusive
            with device.claim(CPU) as late:
                claims.append(late())

    try:
        trainer = trainer_of(row.cell(epochs=1), tmp_path)
        with heard(joined):
            trainer.fit()
    finally:
        torch.set_num_threads(1)
    assert claims == [False] and not trainer.progress.exclusive


def test_a_run_that_waited_for_its_core_is_not_exclusive(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")

    def waiting(trainer: Trainer) -> bool:
        inner = trainer.step
        trainer.step = lambda batch: (time.sleep(0.2), inner(batch))[1]  # type: ignore[method-assign, assignment]
        return trainer.fit().origin.exclusive

    assert not waiting(trainer_of(row.cell(epochs=1), tmp_path))


@pytest.mark.parametrize("name", ["gpu", "cuda:x"])
def test_an_unknown_device_is_one_line(name: str) -> None:
    with pytest.raises(InvalidInput, match="valid: auto, cpu, cuda, cuda:N"):
        device.pick(name)


def test_locks_end_with_their_process(tmp_path: Path) -> None:
    code = (
        "import torch; torch.set_num_threads(1); from modulewise.engine import device\n"
        "device.claim(torch.device('cpu')).__enter__()"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    with device.claim(CPU) as alone:
        assert alone()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, "12_0"),
    ],
)
def test_a_record_names_the_job_as_slurm_lists_it(
    env: dict[str, str], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    made = trainer_of(Row(Case("greedy"), "resnet8").cell(epochs=1), tmp_path).fit()
    begun = record.read(tmp_path).starts[0]
    assert (begun["slurm_job"], begun["devices"], begun["pack"], made.origin.slurm_job) == (
        said,
        1,
        1,
        said,
    )
