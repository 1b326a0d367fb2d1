"""The throw-away cluster is what it says, by Slurm's own records and by /proc."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from cluster import Cluster, ClusterError
from slurm_jobs import record, submit, wait_for

TOOL = Path(__file__).parents[2] / "tools" / "slurm"


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes that have anything to do with a folder, ourselves apart."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            files = [os.fsencode(f.readlink()) for f in (entry / "fd").iterdir()]
        except OSError:
            continue
        if any(os.fsencode(folder) in text for text in (words, *files)) and entry.name != str(
            os.getpid()
        ):
            found.append((entry / "cmdline").read_text())
    return found


def emptied(folder: Path, timeout: float = 20) -> bool:
    """Wait until no process has anything to do with a folder."""
    deadline = time.monotonic() + timeout
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes_of(folder)


def ports(cluster: Cluster) -> list[int]:
    """Ports the cluster listens on, by the kernel's table."""
    links = [
        str(f.readlink())
        for pid, _ in cluster.daemons.values()
        for f in Path(f"/proc/{pid}/fd").iterdir()
    ]
    inodes = {link.removeprefix("socket:[").removesuffix("]") for link in links}
    return [int(port, 16) for port, inode in _listening("127.0.0.1") if inode in inodes]


def _listening(address: str | None = None) -> list[tuple[str, str]]:
    """(port in hex, inode) of listening sockets."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = socket.inet_aton(address)[::-1].hex().upper() if address else ""
    return [(r[1].split(":")[1], r[9]) for r in rows if r[3] == "0A" and r[1].startswith(wanted)]


def test_every_node_has_its_gpus(slurm: Cluster) -> None:
    rows = slurm.run(
        "sinfo", "--noheader", "--Node", "--partition", "main", "--format", "%N %c %G"
    ).splitlines()
    assert [row.split() for row in rows] == [[name, "8", "gpu:2"] for name in ("n1", "n2", "n3")]


def test_the_partitions_are_those_of_the_profile(slurm: Cluster) -> None:
    shown = {
        line.split()[0]: line
        for line in slurm.run("scontrol", "--oneliner", "show", "partition").splitlines()
    }
    assert shown.keys() == {"PartitionName=main", "PartitionName=low"}
    main, low = shown["PartitionName=main"], shown["PartitionName=low"]
    assert "Default=YES" in main and "PriorityTier=10" in main and "PreemptMode=OFF" in main
    assert "PriorityTier=1 " in low and "PreemptMode=REQUEUE" in low and "GraceTime=5" in low


def test_it_listens_on_the_loopback_interface_alone(slurm: Cluster) -> None:
    assert len(ports(slurm)) == 4  # slurmctld and three slurmds
    anywhere = {port for port, _ in _listening("0.0.0.0")}
    assert not anywhere & {f"{port:04X}" for port in ports(slurm)}


@pytest.mark.parametrize(("gpus", "seen"), [(1, {"0", "1"}), (2, {"0,1"})])
def test_a_job_sees_the_gpus_it_was_given(
    slurm: Cluster, tmp_path: Path, gpus: int, seen: set[str]
) -> None:
    job = submit(slurm, tmp_path, "srun sh -c 'echo $CUDA_VISIBLE_DEVICES'", f"--gres=gpu:{gpus}")
    wait_for(slurm, job, JobState="COMPLETED")
    assert (tmp_path / f"{job}.out").read_text().strip() in seen


def test_gpus_are_counted(slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="Requested node configuration is not available"):
        submit(slurm, tmp_path, "true", "--nodes=1", "--gres=gpu:3")


def test_a_requeued_job_keeps_its_id(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(
        slurm,
        tmp_path,
        "echo start $SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0}; [ $SLURM_RESTART_COUNT ] || sleep 100",
    )
    wait_for(slurm, job, JobState="RUNNING")
    wait_until_written(tmp_path / f"{job}.out")
    slurm.run("scontrol", "requeue", job)
    assert wait_for(slurm, job, JobState="COMPLETED")["Restarts"] == "1"
    assert (tmp_path / f"{job}.out").read_text().splitlines()[-1] == f"start {job} 1"


def wait_until_written(path: Path, timeout: float = 20) -> str:
    """The text of a file once it is there."""
    deadline = time.monotonic() + timeout
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} is not written"
        time.sleep(0.05)
    return path.read_text()


@pytest.mark.slow
def test_main_preempts_low(slurm: Cluster, tmp_path: Path) -> None:
    low = [
        submit(slurm, tmp_path, "sleep 100", "--partition=low", "--gres=gpu:2") for _ in range(3)
    ]
    for job in low:
        wait_for(slurm, job, JobState="RUNNING")
    wait_for(slurm, submit(slurm, tmp_path, "true", "--gres=gpu:2"), JobState="COMPLETED")
    assert sum(int(record(slurm, job)["Restarts"]) for job in low) == 1


ORPHAN = "(setsid sleep 300 & echo $! > $SLURM_JOB_ID.pid); "
RESTART = "[ $SLURM_RESTART_COUNT ] || { setsid sleep 301 & sleep 302; }"


@pytest.mark.parametrize(
    "noticed", ["by the operator", pytest.param("by Slurm", marks=pytest.mark.slow)]
)
def test_a_lost_nodes_job_runs_elsewhere(slurm: Cluster, tmp_path: Path, noticed: str) -> None:
    job = submit(slurm, tmp_path, f"echo $SLURMD_NODENAME; {RESTART}")
    node = wait_for(slurm, job, JobState="RUNNING")["NodeList"]
    wait_until_written(tmp_path / f"{job}.out")
    slurm.lose_node(node)
    assert not [
        line
        for line in processes_of(slurm.folder)
        if "sleep" in line or line.endswith(f"\0{node}\0")
    ]
    if noticed == "by the operator":
        slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
    now = wait_for(slurm, job, timeout=90, JobState="COMPLETED")
    assert now["Restarts"] == "1"
    first, last = (tmp_path / f"{job}.out").read_text().splitlines()
    assert first == node != last == now["NodeList"]
    slurm.start(node)
    assert slurm.run("srun", "--nodelist", node, "sh", "-c", "echo $SLURMD_NODENAME") == f"{node}\n"


def test_a_stopped_controller_answers_when_it_goes_on(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "sleep 100")
    slurm.stop("slurmctld")
    with pytest.raises(subprocess.TimeoutExpired):
        slurm.run("squeue", timeout=1)
    slurm.resume("slurmctld")
    assert record(slurm, job)["JobId"] == job


def test_a_controller_started_again_knows_its_jobs(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(slurm, tmp_path, "sleep 100")
    wait_for(slurm, job, JobState="RUNNING")
    slurm.kill("slurmctld")
    with pytest.raises(subprocess.TimeoutExpired):  # squeue keeps trying for ten seconds
        slurm.run("squeue", timeout=0.5)
    slurm.start("slurmctld")
    assert record(slurm, job)["JobState"] == "RUNNING"


def test_without_a_database_sacct_says_so(slurm: Cluster) -> None:
    with pytest.raises(ClusterError, match="Slurm accounting storage is disabled"):
        slurm.run("sacct")


def test_settings_partitions_and_nodes_can_be_chosen(tmp_path: Path) -> None:
    if reason := Cluster.missing():
        pytest.skip(reason)
    options = {
        "nodes": 1,
        "gpus": 8,
        "settings": {"MaxArraySize": 11},
        "partitions": {"tiny": "MaxTime=1", "low": "MaxNodes=1"},
    }
    with Cluster(tmp_path, **options) as cluster:
        assert cluster.run("sinfo", "-h", "-o", "%P %T %G").splitlines() == [
            f"{p} idle gpu:8" for p in ("main*", "low", "tiny")
        ]
        with pytest.raises(ClusterError, match="Invalid job array specification"):
            submit(cluster, tmp_path, "true", "--array=0-11")
        assert record(cluster, submit(cluster, tmp_path, "true", "--array=0-10"))["JobState"]


def test_the_database_remembers_jobs(slurm_db: Cluster, tmp_path: Path) -> None:
    job = submit(slurm_db, tmp_path, "exit 3")
    with pytest.raises(ClusterError, match="FAILED"):
        wait_for(slurm_db, job, JobState="COMPLETED")
    assert accounted(slurm_db, job, "FAILED") == f"{job}|FAILED|3:0|lab\n"


def accounted(cluster: Cluster, job: str, state: str) -> str:
    """The database's row of a job once it has reached a state: it lags behind the controller."""
    deadline = time.monotonic() + 30
    while state not in (
        row := cluster.run(
            "sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode,Account", "-j", job
        )
    ):
        assert time.monotonic() < deadline, row
        time.sleep(0.2)
    return row


def test_limits_are_enforced(slurm_db: Cluster, tmp_path: Path) -> None:
    with slurm_db.limit(MaxSubmitJobs=2):
        jobs = [submit(slurm_db, tmp_path, "sleep 100") for _ in range(2)]
        with pytest.raises(ClusterError, match="Job violates accounting/QOS policy"):
            submit(slurm_db, tmp_path, "true")
        slurm_db.run("scancel", *jobs)
    wait_for(slurm_db, submit(slurm_db, tmp_path, "true"), JobState="COMPLETED")


def test_without_its_database_daemon_sacct_fails_and_jobs_run_on(
    slurm_db: Cluster, tmp_path: Path
) -> None:
    slurm_db.kill("slurmdbd", signal.SIGKILL)
    with pytest.raises(ClusterError, match="Connection refused"):
        slurm_db.run("sacct")
    job = submit(slurm_db, tmp_path, "true")
    wait_for(slurm_db, job, JobState="COMPLETED")
    slurm_db.start("slurmdbd")
    assert accounted(slurm_db, job, "COMPLETED").startswith(f"{job}|COMPLETED|")


@pytest.mark.parametrize("accounting", [False, True], ids=["plain", "accounting"])
def test_down_leaves_nothing(tmp_path: Path, accounting: bool) -> None:
    if reason := Cluster.missing(accounting):
        pytest.skip(reason)
    folder = tmp_path / ("a long name " * 8).strip().replace(" ", "_")
    with Cluster(folder, nodes=2, accounting=accounting) as cluster:
        job = submit(cluster, tmp_path, f"{ORPHAN} echo $$; {RESTART}")
        pids = [int(wait_until_written(tmp_path / name)) for name in (f"{job}.pid", f"{job}.out")]
        pids += [pid for pid, _ in cluster.daemons.values()]
        open_ports = ports(cluster)
        assert all(_runs(pid) for pid in pids) and len(open_ports) == (4 if accounting else 3)
        short, database = cluster.short, (folder / "mysql").resolve()
    assert not [pid for pid in pids if _runs(pid)]
    assert not processes_of(folder) and not processes_of(short)
    assert not set(open_ports) & {int(port, 16) for port, _ in _listening()}
    assert folder.exists() and not short.exists() and not database.exists()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_cluster_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    if reason := Cluster.missing():
        pytest.skip(reason)
    with pytest.raises(ClusterError, match=r"slurmctld ended at once.*select/nonsense"):
        Cluster(tmp_path, settings={"SelectType": "select/nonsense"}).up()
    assert not processes_of(tmp_path)


def shell(folder: Path, **options: object) -> subprocess.Popen[str]:
    """`make cluster` without make, with pipes."""
    words = [sys.executable, str(TOOL), "shell"]
    env = os.environ | {"SHELL": "/bin/sh", "TMPDIR": str(folder)}
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, **options
    )  # type: ignore[call-overload]


def test_the_guard_ends_a_cluster_whose_owner_was_killed(tmp_path: Path) -> None:
    if reason := Cluster.missing():
        pytest.skip(reason)
    with shell(tmp_path) as owner:
        assert owner.stdin and owner.stdout
        owner.stdin.write(
            "sbatch --wrap 'sleep 303' --output /dev/null; echo $SLURM_CONF; exec sleep 0\n"
        )
        owner.stdin.flush()
        conf = [owner.stdout.readline() for _ in range(2)][1].strip()
        assert Path(conf).exists()
        owner.kill()
    assert emptied(tmp_path) and emptied(Path(conf).parents[1])
    assert not list(tmp_path.iterdir()) and not Path(conf).parents[1].exists()


def test_an_ordinary_user_has_a_cluster_too() -> None:
    """As `nobody` if we are root, in a copy: our own folders may be closed to others."""
    if reason := Cluster.missing():
        pytest.skip(reason)
    other = (
        {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        if os.getuid() == 0
        else {}
    )
    python = shutil.which("python3", path=os.defpath) if other else sys.executable
    with tempfile.TemporaryDirectory() as name:
        copies = [shutil.copy(path, name) for path in TOOL.glob("*.py")]
        Path(name).chmod(0o777)
        for path in copies:
            Path(path).chmod(0o644)
        env = os.environ | {"SHELL": "/bin/sh", "TMPDIR": name, "PYTHONDONTWRITEBYTECODE": "1"}
        words = [
            "cd /tmp",
            "srun --gres=gpu:2 sh -c 'echo $CUDA_VISIBLE_DEVICES; id -un'",
            "sbatch -o /dev/null --wrap 'sleep 304'",
            "exit 3",
        ]
        done = subprocess.run(
            [str(python), name, "shell"],
            input="\n".join(words),
            capture_output=True,
            text=True,
            env=env,
            timeout=120,
            **other,
        )
        assert (done.returncode, done.stdout.split("\n")[0]) == (3, "0,1"), (
            done.stdout + done.stderr
        )
        assert done.stdout.split("\n")[1] == (
            pwd.getpwuid(os.getuid()).pw_name if not other else "nobody"
        )
        assert not processes_of(Path(name))
        assert not [p for p in Path(name).iterdir() if p.suffix != ".py"]
