"""A sweep's controller and those that it asks: killed, interrupted, silent, refusing. The real
workflow and trainer on a real Slurm."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from collections import Counter
from collections.abc import Callable

import pytest

from cluster import Cluster
from workflow import LONG, TRAIN_ONLY, Workflow

Sweep = Callable[..., Workflow]


def test_a_killed_controller_comes_back_and_follows_its_jobs(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2, epochs=LONG)
    with flow.running(*TRAIN_ONLY) as controller, contextlib.ExitStack() as then:
        with flow.held(controller):
            os.killpg(controller.pid, signal.SIGKILL)
            controller.wait()
            flow.run("--unlock")
            second = then.enter_context(flow.running(*TRAIN_ONLY))
            flow.waits(
                "it follows them",
                lambda: "following 2 running job(s) of train" in flow.said(),
                second,
            )
        flow.ends(second)
    flow.complete()
    assert len(flow.jobs()) == 2 and set(flow.jobs().values()) == {"COMPLETED"}
    assert (
        flow.said().count("submitted 2 job(s) of train: ") == 1 and "submitted 1" not in flow.said()
    )
    assert "following 2 running job(s) of train, submitted by an earlier controller" in flow.said()
    assert all(len(flow.record(c).starts) == 1 for c in flow.cells)


@pytest.mark.slow
def test_a_submission_of_which_nobody_knows_is_made_once(sweep: Sweep, slurm: Cluster) -> None:
    """Killed between sbatch and its note of the ids: the jobs are found by their comment, and
    cancelled before others take their place."""
    flow = sweep(seeds=1)
    logs = flow.folder / "results/logs/slurm"
    logs.mkdir(parents=True)
    token = "feedc0ffee11"
    event = {"ev": "submitting", "t": 1, "token": token, "rule": "train", "folder": "x"}
    (logs / "jobs.jsonl").write_text(json.dumps(event | {"pack": 1, "jobs": []}) + "\n")
    slurm.run(
        "sbatch",
        f"--comment={token}",
        f"--job-name={flow.name}-train",
        "--time=5",
        "--wrap",
        "sleep 100",
        "--output=/dev/null",
    )
    flow.run(*TRAIN_ONLY)
    flow.complete()
    assert Counter(flow.jobs().values()) == {"COMPLETED": 1, "CANCELLED": 1}


def test_ctrl_c_cancels_what_runs_and_the_next_call_resumes(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(*TRAIN_ONLY) as controller, flow.held(controller):
        controller.send_signal(signal.SIGINT)
        flow.ends(controller, status=1, timeout=20)
    flow.waits("all cancelled", lambda: set(flow.jobs().values()) == {"CANCELLED"})
    flow.run(*TRAIN_ONLY)
    flow.complete()
    first, second = flow.record(flow.cells[0]).starts
    assert first["epoch"] == 1 and second["epoch"] > 5


@pytest.mark.slow
def test_a_controller_of_slurm_that_does_not_answer_changes_no_fate(
    sweep: Sweep, slurm: Cluster
) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(*TRAIN_ONLY) as controller:
        with flow.held(controller):
            slurm.kill("slurmctld", signal.SIGKILL)
            flow.waits(
                "the failed query is told",
                lambda: "squeue failed; assuming all jobs are still running" in flow.said(),
                controller,
            )
            slurm.start("slurmctld")
        flow.ends(controller)
    flow.complete()
    assert (
        set(flow.jobs().values()) == {"COMPLETED"} and len(flow.record(flow.cells[0]).starts) == 1
    )


def test_without_slurm_nothing_is_submitted(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1)
    slurm.kill("slurmctld", signal.SIGKILL)
    said = flow.run(*TRAIN_ONLY, status=1)
    slurm.start("slurmctld")
    assert "Slurm does not answer" in said and "scontrol: " in said
    assert not flow.jobs()


def test_refused_for_good_it_fails_in_slurms_words(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(recipes="backprop, greedy", seeds=1)
    said = flow.run(
        *TRAIN_ONLY, "--retries", "0", "--set-resources", "train:slurm_partition=nowhere", status=1
    )
    assert "train: 2 jobs: Slurm refused the job: invalid partition specified: nowhere" in said
    assert not flow.jobs()


def test_a_bad_resource_fails_before_anything_is_submitted(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2)
    said = flow.run(
        *TRAIN_ONLY, "--retries", "0", "--set-resources", "train:slurm_partitoin=main", status=1
    )
    assert (
        "train: 2 jobs: not submitted: resource 'slurm_partitoin' is unknown; did you mean "
        "slurm_partition? Valid: runtime, " in said
    )
    assert not flow.jobs()


@pytest.mark.slow
def test_refused_for_now_it_waits_and_fits_under_the_limit(sweep: Sweep, slurm_db: Cluster) -> None:
    flow = sweep(cluster=slurm_db, recipes="backprop, greedy, dgl", seeds=1)
    with slurm_db.limit(MaxSubmitJobs=2):
        flow.run(*TRAIN_ONLY)
    flow.complete()
    assert "not submitted yet" in flow.said() and "AssocMaxSubmitJobLimit" in flow.said()
    assert set(flow.jobs().values()) == {"COMPLETED"} and len(flow.jobs()) == 3


@pytest.mark.slow
def test_a_busy_controller_is_asked_again(sweep: Sweep, slurm: Cluster) -> None:
    """sbatch finds no controller, once; the next try goes through."""
    flow = sweep(seeds=1)
    tools = flow.folder / "bin"
    tools.mkdir()
    real = slurm.run("which", "sbatch").strip()
    first = 'if mkdir "$0.tried" 2> /dev/null; then SLURM_CONF="${SLURM_CONF%/*}/nobody.conf"; fi'
    conf = (slurm.conf).read_text()
    port = next(line for line in conf.splitlines() if line.startswith("SlurmctldPort"))
    (slurm.conf.parent / "nobody.conf").write_text(
        conf.replace(port, "SlurmctldPort=1") + "\nMessageTimeout=2\n"
    )
    (tools / "sbatch").write_text(f'#!/bin/bash\n{first}\nexport SLURM_CONF\nexec {real} "$@"\n')
    (tools / "sbatch").chmod((tools / "sbatch").stat().st_mode | stat.S_IXUSR)
    flow.run(*TRAIN_ONLY, PATH=f"{tools}:{slurm.env['PATH']}")
    flow.complete()
    assert (
        "1 job(s) not submitted yet, trying again later: " in flow.said()
        and "Unable to contact slurm controller" in flow.said()
    )
    assert list(flow.jobs().values()) == ["COMPLETED"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["while it runs", "after it has died"])
def test_a_dead_database_changes_no_fate(when: str, sweep: Sweep, slurm_db: Cluster) -> None:
    flow = sweep(cluster=slurm_db, seeds=1, epochs=LONG)
    with flow.running(*TRAIN_ONLY, "--retries", "1") as controller:
        with flow.held(controller):
            slurm_db.kill("slurmdbd", signal.SIGKILL)
            if when == "after it has died":
                slurm_db.run("scancel", next(iter(flow.jobs())))
        flow.ends(controller)
    slurm_db.start("slurmdbd")
    flow.complete()
    expected = {"COMPLETED": 1} if when == "while it runs" else {"COMPLETED": 1, "CANCELLED": 1}
    assert Counter(flow.jobs().values()) == expected


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_the_same_path_on_a_laptop(cluster: str, sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2)
    flow.run(*TRAIN_ONLY, "--submitit-cluster", cluster, "--jobs", "2")
    flow.complete()
    assert not flow.jobs()
