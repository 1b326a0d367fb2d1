"""What squeue and scontrol say, in the words of several versions: small programs stand in."""

from pathlib import Path

import pytest
from test_submissions import bin, program

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.slurm import State

__all__ = ["bin"]


@pytest.mark.parametrize(
    ("version", "brief"),
    [("22.05.8", False), ("23.11.10", False), ("24.05.0", True), ("25.11.1", True), ("?", False)],
)
def test_states_alone_are_asked_of_slurm_24_05_and_later(
    bin: Path, version: str, brief: bool
) -> None:
    said = f"SLURM_VERSION           = {version}\nMaxArraySize            = 1001"
    program(bin, "scontrol", f"[ $2 = config ] && cat <<'E'\n{said}\nE\ntrue")
    assert slurm.site() == slurm.Site(1001, accounting=False, brief=brief)


def test_a_row_for_several_tasks_stands_for_each(bin: Path) -> None:
    """So they are written with `--only-job-state`, by which squeue is asked for no other field."""
    rows = "7_[1-3,6%2]=PENDING 7_5=RUNNING 8=COMPLETED 9_[4]=PENDING".replace("=", "|").split()
    script = 'for a; do [ "$a" = --only-job-state ] && brief=1; [ "$a" = --array ] && exit 1; done'
    listed = "\n".join(rows)
    program(bin, "squeue", f"{script}\n[ $brief ] || exit 1\ncat <<'E'\n{listed}\nE")
    wanted = ["7_1", "7_2", "7_3", "7_5", "7_6", "8", "9_4"]
    found = slurm.states([*wanted, "10"], accounting=False, brief=True)
    waiting = {id: State("PENDING") for id in ("7_1", "7_2", "7_3", "7_6", "9_4")}
    ended = {"7_5": State("RUNNING"), "8": State("COMPLETED"), "10": State("UNKNOWN")}
    assert found == waiting | ended
