"""What clusters do to sweeps, and what sweeps make of it: the real workflow and trainer on a real
Slurm."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections import Counter
from collections.abc import Callable

import pytest

from cluster import Cluster
from workflow import TRAIN_ONLY, Workflow, told

Sweep = Callable[..., Workflow]
LONG = 300
"""Epochs of a training to which something happens."""


def test_a_sweep_goes_out_as_one_array_and_comes_back_as_a_report(
    sweep: Sweep, slurm: Cluster
) -> None:
    flow = sweep(recipes="backprop, greedy", seeds=1, measured=True)
    flow.run("--no-hooks")
    flow.complete()
    assert set(flow.jobs().values()) == {"COMPLETED"}
    assert {id.partition("_")[0] for id in flow.jobs()} == {
        next(iter(flow.jobs())).partition("_")[0]
    } and len(flow.jobs()) == 2
    assert flow.said().count("job(s) of train: ") == 1
    assert (flow.folder / "results/reports/tiny/report.html").exists()
    assert Counter((e["ev"], e.get("rule")) for e in flow.ledger() if e["ev"] == "submitting") == {
        ("submitting", "profile"): 1,
        ("submitting", "train"): 1,
    }
    assert {flow.show(id)["TimeLimit"] for id in flow.jobs()} == {"00:05:00"}, (
        "measured: seconds, so the least there is"
    )
    left = sorted(
        p.suffix for p in (flow.folder / "results/logs/slurm/train").rglob("*") if p.is_file()
    )
    assert left == [".out"] * 2


@pytest.mark.slow
def test_at_its_time_limit_a_training_is_requeued_and_goes_on(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(*TRAIN_ONLY, "--set-resources", "train:runtime=1") as controller:
        with flow.held(controller) as (pid,):
            flow.waits("it is warned", lambda: told(pid), controller)
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    assert (state, flow.show(id)["Restarts"]) == ("COMPLETED", "1")
    first, second = flow.record(flow.cells[0]).starts
    assert (first["epoch"], first["slurm_restart"]) == (1, None)
    assert second["epoch"] > 5 and second["slurm_restart"] == "1"
    assert flow.said().count("job(s) of train: ") == 1 and "ends:" not in flow.said()


@pytest.mark.slow
def test_a_job_that_cannot_resume_says_so_at_its_limit(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=20000)
    said = flow.run(
        *TRAIN_ONLY,
        "--retries",
        "0",
        "--set-resources",
        "train:runtime=1",
        "train:resumable=0",
        status=1,
    )
    assert "reached its time limit of 1 min and cannot resume: give it more runtime" in said
    assert len(flow.jobs()) == 1 and not flow.trained(flow.cells[0])


def test_preempted_by_a_higher_partition_it_goes_on_later(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(
        *TRAIN_ONLY, "--default-resources", "slurm_partition=low", "mem_mb=2500"
    ) as controller:
        with flow.held(controller) as (pid,):
            everywhere = ["--partition=main", f"--nodes={len(slurm.nodes)}", "--exclusive"]
            slurm.run("sbatch", *everywhere, "--time=5", "--wrap", "sleep 3", "--output=/dev/null")
            flow.waits("it is warned", lambda: told(pid), controller)
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    assert (state, flow.show(id)["Restarts"]) == ("COMPLETED", "1")
    first, second = flow.record(flow.cells[0]).starts
    assert first["epoch"] == 1 and second["epoch"] > 5


def test_a_lost_node_costs_what_was_not_saved(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(*TRAIN_ONLY) as controller:
        with flow.held(controller):
            node = flow.show(next(iter(flow.jobs())))["NodeList"]
            slurm.lose_node(node)
        slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    assert (state, flow.show(id)["Restarts"]) == ("COMPLETED", "1")
    assert flow.show(id)["NodeList"] != node
    assert flow.record(flow.cells[0]).starts[1]["epoch"] > 5


@pytest.mark.slow
def test_a_cancelled_task_is_submitted_again_and_resumes(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2, epochs=LONG)
    with flow.running(*TRAIN_ONLY, "--retries", "1") as controller:
        with flow.held(controller):
            victim = sorted(flow.jobs())[0]
            slurm.run("scancel", victim)
        flow.ends(controller)
    flow.complete()
    assert Counter(flow.jobs().values()) == {"COMPLETED": 2, "CANCELLED": 1}
    assert f"Slurm job {victim}: Slurm says CANCELLED" in flow.said()
    assert sorted(len(flow.record(c).starts) for c in flow.cells) == [1, 2]


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
    (logs / "jobs.jsonl").write_text(
        '{"ev":"submitting","t":1,"token":"feedc0ffee11","rule":"train","folder":"x","pack":1,"jobs":[]}\n'
    )
    slurm.run(
        "sbatch",
        "--comment=feedc0ffee11",
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
                lambda: "no word from Slurm, jobs are taken to run on" in flow.said(),
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
    assert "Slurm does not answer, so nothing was submitted: scontrol: " in said
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


def test_refused_for_now_it_waits_and_fits_under_the_limit(sweep: Sweep, slurm_db: Cluster) -> None:
    flow = sweep(cluster=slurm_db, recipes="backprop, greedy, dgl", seeds=1)
    with slurm_db.limit(MaxSubmitJobs=2):
        flow.run(*TRAIN_ONLY)
    flow.complete()
    assert "wait to be submitted" in flow.said() and "AssocMaxSubmitJobLimit" in flow.said()
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
        "1 job(s) wait to be submitted, again in some seconds: " in flow.said()
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


def test_packed_trainings_share_a_gpu_and_fail_alone(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2)
    bad = flow.folder / "results" / "runs" / flow.cells[1].path
    bad.parent.mkdir(parents=True)
    bad.write_text("a file where the run's folder should be")
    pack = ["--set-resources", "train:pack=2", "train:gpu=1", "train:mem_mb=2000"]
    said = flow.run(*TRAIN_ONLY, "--retries", "0", *pack, status=1)
    ((id, _),) = flow.jobs().items()
    assert flow.show(id)["TresPerNode"] == "gres:gpu:1"
    assert [flow.trained(c) for c in flow.cells] == [True, False]
    assert said.count("the command ended with status") == 1
    logs = sorted(p.name for p in (flow.folder / "results/logs/slurm/train").rglob("*.log"))
    assert logs == [f"{id}_{i}.log" for i in range(2)]
    bad.unlink()
    flow.run(*TRAIN_ONLY, *pack)
    flow.complete()
    (rest,) = flow.jobs().keys() - {id}
    assert [flow.show(i)["NumCPUs"] for i in (id, rest)] == ["2", "1"], (
        "one that is left over asks for itself alone"
    )
    assert not flow.result(flow.cells[0])["origin"]["exclusive"]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_the_same_path_on_a_laptop(cluster: str, sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=2)
    flow.run(*TRAIN_ONLY, "--submitit-cluster", cluster, "--jobs", "2")
    flow.complete()
    assert not flow.jobs()
