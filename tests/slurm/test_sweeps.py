"""What clusters do to the jobs of sweeps, and what sweeps make of it: the real workflow and trainer
on a real Slurm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from cluster import Cluster
from workflow import LONG, TRAIN_ONLY, Workflow, told

Sweep = Callable[..., Workflow]
SHARED = 60
"""Epochs of a training on two devices, whose processes wait for one another at every step."""


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


@pytest.mark.slow
def test_preempted_by_a_higher_partition_it_goes_on_later(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=LONG)
    with flow.running(
        *TRAIN_ONLY, "--default-resources", "slurm_partition=low", "mem_mb=2500"
    ) as controller:
        with flow.held(controller) as (pid,):
            take_all_nodes(slurm)
            flow.waits("it is warned", lambda: told(pid), controller)
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    assert (state, flow.show(id)["Restarts"]) == ("COMPLETED", "1")
    first, second = flow.record(flow.cells[0]).starts
    assert first["epoch"] == 1 and second["epoch"] > 5


def take_all_nodes(slurm: Cluster) -> None:
    """Submit a job of the higher partition that wants every node for itself."""
    everywhere = ["--partition=main", f"--nodes={len(slurm.nodes)}", "--exclusive"]
    slurm.run("sbatch", *everywhere, "--time=5", "--wrap", "sleep 3", "--output=/dev/null")


@pytest.fixture
def patient(slurm: Cluster) -> Iterator[None]:
    """Preempted jobs have a minute to leave, however busy the machine is."""
    words = ("scontrol", "update", "partitionname=low")
    slurm.run(*words, "gracetime=60")
    yield
    slurm.run(*words, "gracetime=5")


@pytest.mark.slow
def test_a_training_on_two_devices_is_one_job_that_is_preempted_and_goes_on(
    sweep: Sweep, slurm: Cluster, patient: None
) -> None:
    flow = sweep(seeds=1, epochs=SHARED, devices=2)
    low = ["--default-resources", "slurm_partition=low", "mem_mb=2500"]
    with flow.running(*TRAIN_ONLY, *low, "--set-resources", "train:gpu=1") as controller:
        with flow.held(controller) as (pid,):
            take_all_nodes(slurm)
            flow.waits("it is warned", lambda: told(pid), controller)
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    job = flow.show(id)
    assert (state, job["Restarts"], job["NumCPUs"]) == ("COMPLETED", "1", "2")
    assert job["TresPerNode"] == "gres:gpu:2"
    first, second = flow.record(flow.cells[0]).starts
    assert first["epoch"] == 1 and second["epoch"] > 5


def test_a_lost_node_costs_what_was_not_saved(sweep: Sweep, slurm: Cluster) -> None:
    flow = sweep(seeds=1, epochs=SHARED, devices=2)
    with flow.running(*TRAIN_ONLY, "--set-resources", "train:gpu=1") as controller:
        with flow.held(controller):
            node = flow.show(next(iter(flow.jobs())))["NodeList"]
            slurm.lose_node(node)
        slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        flow.ends(controller)
    flow.complete()
    ((id, state),) = flow.jobs().items()
    assert (state, flow.show(id)["Restarts"]) == ("COMPLETED", "1")
    job = flow.show(id)
    assert job["NodeList"] != node
    assert (job["NumCPUs"], job["TresPerNode"]) == ("2", "gres:gpu:2")
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
