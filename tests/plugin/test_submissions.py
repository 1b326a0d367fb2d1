"""How a job is handed to sbatch, and which id is believed: small programs stand in for Slurm."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.batches import within
from snakemake_executor_plugin_submitit.sbatch import log_pattern
from snakemake_executor_plugin_submitit.slurm import QueryFailed, Site
from snakemake_executor_plugin_submitit.submission import Batch, Submission, plain

SETTINGS = SimpleNamespace(cluster="slurm", max_requeues=3, name_prefix="smk", array_parallelism=5)
BANNER = "Welcome! Maintenance of job 77 is on 2026-12-01\n"


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    program(tmp_path / "bin", "srun", "exit 0")
    return tmp_path / "bin"


def answer(bin: Path, squeue: str | None) -> None:
    """What squeue says of the user's jobs: rows of id and comment; nothing if it fails."""
    program(bin, "squeue", "exit 1" if squeue is None else f"cat <<'E'\n{squeue}\nE")


@pytest.mark.parametrize(
    "said",
    [
        "4711", "4711;cluster", "Submitted batch job 4711", "Submitted batch job 4711 on cluster c",
        f"{BANNER}4711\n", f"{BANNER}Submitted batch job 4711\n", f"{BANNER} 4711 \nbye: job 78\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("squeue", [None, "", "77|other", "4711|token\n77|other"])
def test_the_id_is_that_of_the_submitted_job(bin: Path, said: str, squeue: str | None) -> None:
    answer(bin, squeue)
    assert slurm.submitted(said, "token") == "4711"


@pytest.mark.parametrize("said", ["", BANNER, "Submitted batch job 77", "77", f"4711\n{77}"])
def test_slurm_itself_is_believed_before_sbatch(bin: Path, said: str) -> None:
    answer(bin, "77|other\n4711|token")
    assert slurm.submitted(said, "token") == "4711"


def test_no_id_at_all_is_no_job(bin: Path) -> None:
    answer(bin, "77|other")
    with pytest.raises(RuntimeError, match="sbatch named no job: Welcome! Maintenance of job 77"):
        slurm.submitted(BANNER, "token")
    answer(bin, None)
    with pytest.raises(QueryFailed):
        slurm.submitted(BANNER, "token")


def submit(folder: Path, jobs: int) -> tuple[Submission, list[Any]]:
    infos: Any = [SimpleNamespace(job=SimpleNamespace(name="train"))] * jobs
    asked: dict[str, Any] = {
        "time": 5, "signal_delay_s": 60, "srun_args": ["--cpus-per-task=1"], "resumable": True,
        "additional_parameters": {"requeue": True},
    }  # fmt: skip
    made = Submission.begin(Batch(infos, asked, 1), folder)
    return made, made.send(["true"] * jobs, SETTINGS)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("project", ["plain", "100%u of %j", "%A_%a", "50%"])
def test_a_submission_stays_in_its_folder(
    bin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, project: str
) -> None:
    """With `%` in the path too, which Slurm and submitit would both replace."""
    home = tmp_path / project
    home.mkdir()
    monkeypatch.chdir(home)
    program(
        bin, "sbatch", f'echo "$@" > {tmp_path}/asked; cp "${{@: -1}}" {tmp_path}/script; echo 12'
    )
    answer(bin, "")
    made, handles = submit(home / "logs", jobs)
    ids = [h.job_id for h in handles]
    assert ids == (["12"] if jobs == 1 else ["12_0", "12_1", "12_2"])
    assert {p.name for p in made.folder.glob("*.pkl")} == {f"{i}_submitted.pkl" for i in ids}
    assert {p.name for p in tmp_path.iterdir()} == {"bin", "asked", "script", project}
    assert (tmp_path / "asked").read_text().startswith("--parsable ")
    # The last of several options holds; `%%` is Slurm's word for a percent sign.
    log = log_pattern(made.folder, jobs > 1)
    given = [w for w in _words(tmp_path / "script") if w.startswith("--output=")]
    assert given[0] == given[-1] == f"--output={log}"
    assert log.replace("%%", "").count("%") == (2 if jobs > 1 else 1)


def _words(script: Path) -> list[str]:
    """The words of a batch script's options and commands, as bash reads them."""
    text = script.read_text().replace("#SBATCH ", "")
    split = 'while read -r line; do eval "set -- $line"; printf "%s\\n" "$@"; done'
    lines = "\n".join(x for x in text.splitlines() if x and x[0] != "#")
    return subprocess.run(
        ["bash", "-c", split], input=lines + "\n", capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_logs_elsewhere_need_a_name_that_submitit_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a%j").mkdir()
    monkeypatch.chdir(tmp_path / "a%j")
    assert plain(tmp_path / "a" / "logs") == tmp_path / "a" / "logs"
    assert plain(tmp_path / "a%j" / "logs").is_relative_to("/proc/self/cwd")
    for folder in (tmp_path / "b%j" / "logs", tmp_path / "a%j" / "logs%j"):
        with pytest.raises(ValueError, match="a name without % below the project is needed"):
            plain(folder)


PARTITIONS = """\
PartitionName=gpu AllowGroups=ALL Default=YES DefaultTime=00:10:00 MaxNodes=UNLIMITED \
MaxTime=02:00:00 MinNodes=0 State=UP
PartitionName=long AllowGroups=ALL Default=NO DefaultTime=NONE MaxTime=7-00:00:00 State=UP
PartitionName=free AllowGroups=ALL Default=NO DefaultTime=NONE MaxTime=UNLIMITED State=UP
"""


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ({"runtime": 90}, 90),
        ({"runtime": 500}, 120),
        ({}, 60),
        ({"runtime": 500, "slurm_partition": "gpu"}, 120),
        ({"runtime": 500, "slurm_partition": "long"}, 500),
        ({"runtime": 50000, "slurm_partition": "long"}, 7 * 24 * 60),
        ({"runtime": 50000, "slurm_partition": "gpu,long"}, 7 * 24 * 60),
        ({"runtime": 50000, "slurm_partition": "free"}, 50000),
        ({"runtime": 50000, "slurm_partition": "gpu,free"}, 50000),
        ({"runtime": 50000, "slurm_partition": "unknown"}, 50000),
        ({"runtime": 500, "slurm_extra": "--partition=gpu"}, 120),
    ],
)
def test_a_job_that_can_be_requeued_asks_for_what_its_partition_allows(
    words: dict[str, Any], minutes: int
) -> None:
    site = Site(1000, False, limits=slurm.limits(PARTITIONS))
    assert within(words, site, "") == minutes


def test_the_users_default_partition_counts() -> None:
    site = Site(1000, False, limits=slurm.limits(PARTITIONS))
    assert within({"runtime": 500}, site, "long") == 500
