"""What sites do differently: words around sbatch's, names with `%`, homes that nodes may not write,
no requeue from the nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_toys import SLEEPERS, Toy, until

from cluster import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def toy(tmp_path: Path, slurm: Cluster) -> Callable[[str, str], Toy]:
    """Makes a toy in a folder of some name."""

    def make(snakefile: str, name: str = "toy") -> Toy:
        (tmp_path / name).mkdir()
        return Toy(tmp_path / name, slurm, snakefile)

    return make


QUICK = SLEEPERS.replace("PACK", "1").replace("SECONDS", "0")


@pytest.mark.parametrize("options", [[], ["--submitit-no-arrays"]])
def test_the_submitted_jobs_are_followed_whatever_sbatch_prints(
    toy: Callable[..., Toy], options: list[str]
) -> None:
    flow = toy(QUICK)
    flow.wraps("sbatch", 'echo "Welcome. For job 77 see the wiki"; $real "$@"; echo "job 78: bye"')
    flow.run(*options)
    assert flow.states() == ["COMPLETED"] * 3


def test_in_a_folder_with_percent_signs_nothing_lies_outside(toy: Callable[..., Toy]) -> None:
    flow = toy(QUICK, "100%u_%j_%A")
    flow.run()
    assert flow.states() == ["COMPLETED"] * 3
    assert list(flow.folder.parent.iterdir()) == [flow.folder]
    assert len(list(flow.folder.glob("logs/one/*/*_0_log.out"))) == 3


def test_without_a_home_on_the_nodes_jobs_run(toy: Callable[..., Toy]) -> None:
    flow = toy(QUICK)
    flow.wraps("sbatch", 'unset XDG_CACHE_HOME; HOME=/proc/none exec $real "$@"')
    flow.run()
    assert flow.states() == ["COMPLETED"] * 3 and not (flow.folder / "logs" / ".cache").exists()


RESUMES = """
rule one:
    output: "out"
    resources: resumable=1
    shell: "python3 resumes.py && touch {output}"
"""
PROGRAM = """
import pathlib, signal, sys, time

saved = pathlib.Path("saved")
if saved.exists():
    sys.exit()
signal.signal(signal.SIGUSR2, lambda *_: (saved.touch(), sys.exit(75)))
pathlib.Path("ready").touch()
time.sleep(300)
"""


def test_where_nodes_may_not_requeue_it_goes_on_as_another_job(toy: Callable[..., Toy]) -> None:
    """Without a retry, of which there are none."""
    flow = toy(RESUMES)
    (flow.folder / "resumes.py").write_text(PROGRAM)
    denied = 'echo "Access/permission denied" >&2; exit 1'
    flow.wraps("scontrol", f'[ "$1" = requeue ] && {{ {denied}; }}; exec $real "$@"')
    controller = flow.start()
    until((flow.folder / "ready").exists)
    flow.cluster.run("scancel", "--signal=USR2", "--name=smk-one")
    assert controller.wait(120) == 0, flow.said()
    assert flow.states() == ["COMPLETED"] * 2 and (flow.folder / "out").exists()
    assert "Slurm refuses to requeue jobs here" in flow.said()
    assert "rror" not in flow.said()


HELD = """
rule one:
    output: "out"
    shell: "touch {output}"
"""


def test_a_held_job_is_named_with_what_to_do(toy: Callable[..., Toy]) -> None:
    flow = toy(HELD)
    flow.wraps("sbatch", 'exec $real --hold "$@"')
    controller = flow.start()
    until(lambda: "JobHeldUser" in flow.said())
    (waiting,) = [line for line in flow.said().splitlines() if "jobs are pending" in line]
    assert "scontrol release" in waiting
    flow.cluster.run("scontrol", "release", waiting.partition("such as ")[2].partition(":")[0])
    assert controller.wait(60) == 0, flow.said()


def test_a_partitions_limit_is_asked_for_where_a_job_can_go_on(toy: Callable[..., Toy]) -> None:
    """The partition of the cluster allows two hours."""
    flow = toy(RESUMES.replace("resumable=1", "resumable=1, runtime=500"))
    (flow.folder / "saved").touch()
    (flow.folder / "resumes.py").write_text(PROGRAM)
    flow.run()
    assert flow.states() == ["COMPLETED"]


LONG = """
rule one:
    output: "out"
    resources: slurm_requeue=REQUEUE
    shell: "echo $SLURMD_NODENAME >> ran; [ $(wc -l < ran) = 2 ] || sleep 300; touch {output}"
"""


def ran(flow: Toy) -> list[str]:
    """The nodes on which the job has begun, in turn."""
    path = flow.folder / "ran"
    return path.read_text().split() if path.exists() else []


def test_the_next_attempt_avoids_a_node_that_failed(toy: Callable[..., Toy]) -> None:
    """Though the node is back when the job is submitted again."""
    flow = toy(LONG.replace("REQUEUE", "0"))
    controller = flow.start("--retries", "1")
    until(lambda: ran(flow))
    (node,) = ran(flow)
    flow.cluster.lose_node(node)
    flow.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    flow.cluster.start(node)
    assert controller.wait(90) == 0, flow.said()
    assert flow.states() == ["COMPLETED", "NODE_FAIL"] and "NODE_FAIL" in flow.said()
    assert ran(flow)[0] == node != ran(flow)[1]
    assert f"ExcNodeList={node}" in flow.cluster.run("scontrol", "show", "job")


def test_requeued_by_slurm_a_job_avoids_the_node_that_failed(toy: Callable[..., Toy]) -> None:
    """While no other node is free, it waits, though the node is back."""
    flow = toy(LONG.replace("REQUEUE", "1"))
    controller = flow.start()
    until(lambda: ran(flow))
    (node,) = ran(flow)
    nodes = flow.cluster.run("sinfo", "--noheader", "--Node", "--format=%N").split()
    others = ",".join(sorted(set(nodes) - {node}))
    drain = ("scontrol", "update", f"nodename={others}")
    flow.cluster.run(*drain, "state=drain", "reason=test")
    try:
        flow.cluster.lose_node(node)
        flow.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
        until(lambda: f"node {node} failed" in flow.said())
        flow.cluster.start(node)
        (shown,) = flow.cluster.run("scontrol", "show", "job", "--oneliner").splitlines()[-1:]
        assert f"ExcNodeList={node} " in shown
    finally:
        flow.cluster.run(*drain, "state=resume")
    assert controller.wait(150) == 0, flow.said()
    assert flow.states() == ["COMPLETED"] and ran(flow)[1] != node


def test_where_there_is_no_other_node_the_one_that_failed_is_taken(toy: Callable[..., Toy]) -> None:
    flow = toy(LONG.replace("REQUEUE", "0"))
    refuses = '[[ $(cat ${!#}) == *--exclude=* ]] || exec $real "$@"'
    error = "Batch job submission failed: Requested node configuration is not available"
    flow.wraps("sbatch", f'{refuses}\necho "sbatch: error: {error}" >&2; touch refused; exit 1')
    controller = flow.start("--retries", "1")
    until(lambda: ran(flow))
    flow.cluster.lose_node(ran(flow)[0])
    down = (f"nodename={ran(flow)[0]}", "state=down", "reason=lost")
    flow.cluster.run("scontrol", "update", *down)
    flow.cluster.start(ran(flow)[0])
    assert controller.wait(90) == 0, flow.said()
    assert (flow.folder / "refused").exists() and flow.states() == ["COMPLETED", "NODE_FAIL"]


def test_a_partition_is_chosen_by_the_sites_file(toy: Callable[..., Toy]) -> None:
    flow = toy(QUICK)
    names = flow.cluster.run("sinfo", "--noheader", "--format=%R").split()
    small, large = names[0], names[-1]
    (flow.folder / "partitions.yaml").write_text(
        f"partitions: {{{small}: {{max_mem_mb: 100}}, {large}: {{max_mem_mb: 1000}}}}"
    )
    flow.run("--submitit-partition-config", "partitions.yaml")
    said = flow.cluster.run("squeue", "--noheader", "--states=all", "--format=%P|%Z")
    used = {row.split("|")[0] for row in said.split() if row.endswith(f"|{flow.folder}")}
    assert used == {large} != {small}
    flow.run("--submitit-partition-config", "none.yaml", "--forceall", status=1)
    assert "submitit-partition-config: none.yaml: No such file" in flow.said()
