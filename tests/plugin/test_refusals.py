"""What sbatch says when it refuses, and whether waiting helps."""

import pytest

from snakemake_executor_plugin_submitit.slurm import refusal

POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("said", "alive", "verdict"),
    [
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}", False, "limit"),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}", False, "limit"),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}", False, "limit"),
        (POLICY, True, "limit"),
        (POLICY, False, "bad"),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", False, "bad"),
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            False,
            "busy",
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)",
            False,
            "busy",
        ),
        (
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying.",
            False,
            "busy",
        ),
        (
            "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
            False,
            "busy",
        ),
        (
            "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission "
            "failed: Invalid partition name",
            True,
            "bad",
        ),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not "
            "available",
            True,
            "bad",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition "
            "combination specified",
            True,
            "bad",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", True, "bad"),
    ],
)
def test_waiting_helps_or_not(said: str, alive: bool, verdict: str) -> None:
    assert refusal(said, alive) == verdict
