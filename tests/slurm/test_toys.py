"""The executor alone, with toy workflows: what the sweeps of the project do not do, or do too
seldom."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import Cluster

pytestmark = pytest.mark.slow
OPTIONS = """--executor submitit --jobs 50 --retries 0 --latency-wait 10
--seconds-between-status-checks 1 --submitit-status-interval-s 1 --submitit-lost-job-grace-s 4
--submitit-logdir logs --default-resources mem_mb=500 runtime=5"""


class Toy:
    """A Snakefile in a folder of its own."""

    def __init__(self, folder: Path, cluster: Cluster, snakefile: str) -> None:
        self.folder, self.cluster = folder, cluster
        (folder / "Snakefile").write_text(snakefile)
        (folder / "bin").mkdir()

    def start(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """The controller."""
        env = self.cluster.env | environment
        env["PATH"] = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{env['PATH']}"
        command = [sys.executable, "-m", "snakemake", *OPTIONS.split(), *options]
        with (self.folder / "said").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *options: str, status: int = 0, **environment: str) -> str:
        """Run to the end; what the controller said."""
        controller = self.start(*options, **environment)
        try:
            assert controller.wait(120) == status, self.said()
        finally:
            if controller.poll() is None:
                os.killpg(controller.pid, signal.SIGKILL)
        return self.said()

    def said(self) -> str:
        """All that controllers said."""
        return (self.folder / "said").read_text()

    def states(self) -> list[str]:
        """Of all Slurm jobs of this workflow; their working folder tells them from others."""
        rows = self.cluster.run(
            "squeue", "--noheader", "--array", "--states=all", "--format=%T|%Z"
        ).split()
        return sorted(
            row.partition("|")[0] for row in rows if row.partition("|")[2] == str(self.folder)
        )

    def wraps(self, program: str, body: str) -> None:
        """Put a bash script before a program of Slurm, which it finds as $real."""
        path = self.folder / "bin" / program
        path.write_text(f"#!/bin/bash\nreal={self.cluster.run('which', program).strip()}\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def until(condition: Callable[[], object], timeout: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.1)


SLEEPERS = """
rule all:
    input: expand("{i}.out", i=range(3))
rule one:
    output: "{i}.out"
    resources: pack=PACK
    shell: "touch {wildcards.i}.begun; sleep SECONDS; touch {output}"
"""


@pytest.fixture
def toy(tmp_path: Path, slurm: Cluster) -> Callable[..., Toy]:
    """Makes the one toy of a test."""
    return lambda snakefile, **words: Toy(tmp_path, slurm, _filled(snakefile, words))


def _filled(text: str, words: dict[str, object]) -> str:
    for word, value in words.items():
        text = text.replace(word, str(value))
    return text


def test_ctrl_c_cancels_even_while_slurm_is_being_asked(toy: Callable[..., Toy]) -> None:
    flow = toy(SLEEPERS, PACK=1, SECONDS=300)
    flow.wraps("squeue", 'touch asked; sleep 4; exec $real "$@"')
    controller = flow.start()
    until(lambda: len(list(flow.folder.glob("*.begun"))) == 3)
    (flow.folder / "asked").unlink(missing_ok=True)
    until((flow.folder / "asked").exists)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(60) == 1
    until(lambda: flow.states() == ["CANCELLED"] * 3)


def test_a_submission_that_timed_out_after_slurm_took_it_is_withdrawn(
    toy: Callable[..., Toy],
) -> None:
    flow = toy(SLEEPERS, PACK=1, SECONDS=1)
    error = "Batch job submission failed: Socket timed out on send/recv operation"
    late = f'echo "sbatch: error: {error}" >&2; exit 1'
    flow.wraps(
        "sbatch",
        f'if mkdir tried 2> /dev/null; then $real --begin=now+60 "$@" > /dev/null; {late}; fi; '
        f'exec $real "$@"',
    )
    flow.run()
    assert flow.states() == ["CANCELLED"] * 3 + ["COMPLETED"] * 3


def test_those_that_share_a_lost_allocation_are_reported_together(toy: Callable[..., Toy]) -> None:
    flow = toy(SLEEPERS, PACK=3, SECONDS=300)
    controller = flow.start()
    until(lambda: len(list(flow.folder.glob("*.begun"))) == 3)
    flow.cluster.run("scancel", "--user", str(os.getuid()))
    assert controller.wait(60) == 1
    said = [e for e in _events(flow) if e["ev"] == "ended"]
    assert len(said) == 3 and max(e["t"] for e in said) - min(e["t"] for e in said) < 2000, (
        "milliseconds; the grace is 4 s, once"
    )


def test_what_is_left_of_a_pack_asks_for_itself_alone(toy: Callable[..., Toy]) -> None:
    flow = toy(SLEEPERS, PACK=2, SECONDS=1)
    flow.run()
    rows = flow.cluster.run(
        "squeue", "--noheader", "--array", "--states=all", "--format=%T|%C|%m|%Z"
    ).split()
    asked = [
        f"COMPLETED|{n}|{n * (500 + 256)}M|{flow.folder}" for n in (1, 2)
    ]  # 256 MB a job are the plugin's own
    assert sorted(row for row in rows if row.endswith(f"|{flow.folder}")) == asked


def test_variables_of_the_user_change_neither_questions_nor_the_profile(
    toy: Callable[..., Toy],
) -> None:
    flow = toy(SLEEPERS, PACK=1, SECONDS=1)
    foreign = {
        "SQUEUE_PARTITION": "low",
        "SBATCH_PARTITION": "nowhere",
        "SBATCH_ARRAY_INX": "0-5",
        "SCANCEL_INTERACTIVE": "1",
    }
    flow.run("--default-resources", "mem_mb=500", "slurm_partition=main", **foreign)
    assert flow.states() == ["COMPLETED"] * 3


GROUPED = """
rule all:
    input: expand("{i}.b", i=range(2))
rule a:
    output: "{i}.a"
    group: "g"
    shell: "touch {wildcards.i}.begun; while [ ! -e go ]; do sleep 0.2; done; touch {output}"
rule b:
    input: "{i}.a"
    output: "{i}.b"
    group: "g"
    shell: "cp {input} {output}"
"""


def test_groups_go_out_as_an_array_and_are_followed(toy: Callable[..., Toy]) -> None:
    flow = toy(GROUPED)
    controller = flow.start()
    until(lambda: len(list(flow.folder.glob("*.begun"))) == 2)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    flow.run("--unlock")
    second = flow.start("--rerun-incomplete")
    until(lambda: "following" in flow.said())
    (flow.folder / "go").touch()
    assert second.wait(60) == 0, flow.said()
    assert flow.states() == ["COMPLETED"] * 2 and flow.said().count("submitted ") == 2, (
        "by the first controller, and so named by the second"
    )


FINISHES = """
rule one:
    output: "out"
    shell: "python3 finishes.py && touch {output}"
"""
PROGRAM = """
import signal, sys, time


def finish(*_):
    # The warning may come twice, of Slurm and of the plugin
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    sys.exit()


signal.signal(signal.SIGUSR2, finish)
time.sleep(900)
sys.exit(1)
"""


def test_what_ends_between_the_warning_and_its_limit_has_not_failed(
    toy: Callable[..., Toy],
) -> None:
    """Although it cannot resume."""
    flow = toy(FINISHES)
    (flow.folder / "finishes.py").write_text(PROGRAM)
    flow.run("--default-resources", "mem_mb=500", "runtime=1")
    assert flow.states() == ["COMPLETED"] and (flow.folder / "out").exists()


def _events(flow: Toy) -> list[dict[str, int]]:
    import json

    return [
        json.loads(line) for line in (flow.folder / "logs" / "jobs.jsonl").read_text().splitlines()
    ]
