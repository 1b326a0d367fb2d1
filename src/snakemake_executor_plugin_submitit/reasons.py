"""Slurm's reasons for which a job waits without end, or nearly: what they mean and what to do."""

import re

_MEND = "Ctrl-C, mend the profile, start again"
_HELD = "`scontrol release` it, or Ctrl-C"

HOPELESS = {
    "launch failed requeued held": f"its start on a node failed, and it is held: {_HELD}",
    "job requeued in (special exit|held) state|jobheldinspecialexit": f"it is held; {_HELD}",
    "jobheldadmin": "held by an administrator, or by a limit: ask them",
    "jobhelduser": f"held by you: {_HELD}",
    "jobholdmaxrequeue": f"requeued too often and held; {_HELD}",
    "partitiontimelimit": f"runtime exceeds the partition's limit: {_MEND}",
    "partitionnodelimit": f"more nodes than the partition has, or it is down: {_MEND}",
    "partition(down|inactive)": "the partition takes no jobs now: wait, or take another",
    "badconstraints": f"no node fits the request: {_MEND}",
    "maxmemperlimit": f"more memory than a job may have: {_MEND}",
    "(assoc|association|qos)(timelimit|maxwalldurationperjoblimit)": (
        f"runtime exceeds the limit of the account or QOS: {_MEND}"
    ),
    r"(assoc|qos)max\w+per(job|node)(limit)?|(assoc|association|qos)resourcelimit": (
        f"more than one job may have in this account or QOS: {_MEND}"
    ),
    r"qosmin\w+": f"less than a job must ask for in this QOS: {_MEND}",
    "(account|qos)notallowed|invalid(account|qos)": (
        f"the partition does not take this account or QOS: {_MEND}"
    ),
    "qosusagethreshold": "the account has used up its share in this QOS: take another",
    "dependencyneversatisfied": f"it waits for a job that failed: {_MEND}",
    "systemfailure": "Slurm itself failed: ask the administrators",
    "reqnodenotavail|nodedown|frontenddown|nodes required for job are down.*": (
        "nodes are down or reserved: wait, or take another partition"
    ),
}
"""Meanings by patterns of reasons in the spelling of `plain`."""

WAITING = frozenset(["PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"])
"""States of a job that waits."""


def plain(reason: str) -> str:
    """A reason in one spelling: versions of Slurm part words by spaces or underscores.

    Example:
        >>> plain("(launch_failed_requeued_held)"), plain("ReqNodeNotAvail, UnavailableNodes:n1")
        ('launch failed requeued held', 'reqnodenotavail')
    """
    words = " ".join(reason.strip("() ").replace("_", " ").split()).lower()
    return re.split(r"\s*[,(:]", words)[0]


def hopeless(reason: str) -> str:
    """What a reason means and what to do; empty if it will pass."""
    for pattern, meaning in HOPELESS.items():
        if re.fullmatch(pattern, plain(reason)):
            return meaning
    return ""
