"""Snakemake executor plugin: every job goes through submitit to Slurm, or to this machine's
processes.

Jobs of equal shape that are ready together become one job array. A job that reaches its time limit,
or is preempted, is requeued under the same Slurm id; Snakemake sees one job, once. A controller
that died and comes back follows its running jobs. Snakemake imports this module in every call:
nothing heavy at the top, no postponed annotations, and Optional in words (it reads the types of the
settings).
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from . import configfiles
from .executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

configfiles.check(sys.argv)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings, in a profile `submitit-<name>: value`. Switches are off by default: Snakemake's
    parser allows no other."""

    cluster: str = field(
        default="slurm",
        metadata={
            "help": "slurm; or local (processes of this machine), debug (in the controller, one "
            "after the other)"
        },
    )
    logdir: Path = field(
        default=Path(".snakemake/submitit"),
        metadata={"help": "folder of job logs and of the ledger jobs.jsonl, seen by the nodes too"},
    )
    name_prefix: str = field(
        default="smk", metadata={"help": "Slurm job names are <prefix>-<rule>"}
    )
    no_arrays: bool = field(default=False, metadata={"help": "submit every job by itself"})
    array_limit: int = field(
        default=1000,
        metadata={"help": "most tasks of one array; the site's MaxArraySize holds as well"},
    )
    array_parallelism: int = field(
        default=256, metadata={"help": "most tasks of an array that run at the same time"}
    )
    partition_config: Optional[Path] = field(  # noqa: UP045
        default=None,
        metadata={
            "help": "file of partitions and their limits, as the official plugin takes it: a job "
            "that names no partition goes to the one whose limits it fills best"
        },
    )
    signal_delay_s: int = field(
        default=120, metadata={"help": "seconds between the warning and the end of the time limit"}
    )
    max_requeues: int = field(
        default=100,
        metadata={
            "help": "how often a resumable job may be requeued at its time limit, and submitted "
            "again where that is refused"
        },
    )
    status_interval_s: int = field(
        default=30, metadata={"help": "seconds between two queries of the scheduler"}
    )
    status_interval_max_s: int = field(
        default=120, metadata={"help": "the same on a quiet cluster, reached by backing off"}
    )
    lost_job_grace_s: int = field(
        default=30,
        metadata={"help": "seconds to wait for word from a job that Slurm says has ended"},
    )
    memory_overhead_mb: int = field(
        default=256,
        metadata={"help": "added to mem_mb for the processes that wrap a job's command"},
    )
    keep_logs_days: int = field(
        default=30, metadata={"help": "remove logs of ended jobs that are older"}
    )
    keep_logs: int = field(
        default=5000, metadata={"help": "keep the logs of so many ended submissions at most"}
    )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=1,
)
