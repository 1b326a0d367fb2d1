"""Slurm's reasons, as its versions spell them, and what is said of them."""

import pytest

from snakemake_executor_plugin_submitit.reasons import hopeless, plain


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("launch failed requeued held", "scontrol release"),
        ("launch_failed_requeued_held", "scontrol release"),
        ("(launch failed requeued held)", "scontrol release"),
        ("job requeued in held state", "scontrol release"),
        ("job_requeued_in_special_exit_state", "scontrol release"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "ask them"),
        ("JobHoldMaxRequeue", "scontrol release"),
        ("PartitionTimeLimit", "the partition's limit: Ctrl-C"),
        ("PartitionNodeLimit", "more nodes"),
        ("PartitionDown", "takes no jobs"),
        ("PartitionInactive", "takes no jobs"),
        ("BadConstraints", "no node fits"),
        ("AssociationTimeLimit", "runtime exceeds"),
        ("QOSTimeLimit", "runtime exceeds"),
        ("AssocMaxWallDurationPerJobLimit", "runtime exceeds"),
        ("QOSMaxWallDurationPerJobLimit", "runtime exceeds"),
        ("AssociationResourceLimit", "more than one job may have"),
        ("QOSMaxCpuPerJobLimit", "more than one job may have"),
        ("AssocMaxMemPerJob", "more than one job may have"),
        ("AssocMaxCpuPerNode", "more than one job may have"),
        ("QOSMaxGRESPerJob", "more than one job may have"),
        ("QOSMinCpuNotSatisfied", "less than"),
        ("AccountNotAllowed", "does not take"),
        ("QOSNotAllowed", "does not take"),
        ("InvalidAccount", "does not take"),
        ("InvalidQOS", "does not take"),
        ("DependencyNeverSatisfied", "waits for a job that failed"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "nodes are down or reserved"),
        ("ReqNodeNotAvail, May be reserved for other job", "nodes are down or reserved"),
        ("ReqNodeNotAvail(Unavailable:n1)", "nodes are down or reserved"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
            "partitions",
            "nodes are down or reserved",
        ),
    ],
)
def test_what_waits_without_end_is_explained_however_it_is_spelt(reason: str, says: str) -> None:
    assert says in hopeless(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "Priority", "Resources", "None", "", "BeginTime", "Dependency", "JobArrayTaskLimit",
        "QOSMaxCpuPerUserLimit", "QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit", "QOSGrpCpuLimit",
        "AssocGrpCpuLimit", "BurstBufferStageIn", "Cleaning",
    ],
)  # fmt: skip
def test_what_will_pass_is_not_worth_a_word(reason: str) -> None:
    assert not hopeless(reason)


def test_spellings_of_one_reason_are_one() -> None:
    assert plain("launch_failed_requeued_held") == plain("(launch failed requeued held)")
