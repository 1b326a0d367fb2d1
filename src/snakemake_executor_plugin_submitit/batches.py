"""Which jobs go out together, and what their allocations ask for."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from . import partitions, resources
from .nodes import Lost
from .slurm import Site
from .submission import Batch


class Batches:
    """Makes batches of jobs.

    Args:
        settings: of the executor.
        site: what the site allows; `None` without Slurm.
        defaults: account, partition and QOS where a job says nothing.
        lost: nodes that failed.

    Raises:
        WorkflowError: the file of partitions cannot be used.
    """

    def __init__(
        self, settings: Any, site: Site | None, defaults: Mapping[str, str], lost: Lost
    ) -> None:
        self.settings, self.site, self.defaults, self.lost = settings, site, dict(defaults), lost
        path = settings.partition_config
        try:
            self.partitions = partitions.read(Path(path)) if path and site else []
        except ValueError as error:
            raise WorkflowError(f"submitit-partition-config: {error}") from None

    def check(self, job: JobExecutorInterface, known: frozenset[str]) -> None:
        """Refuse a job whose resources make no sense, or fit nowhere.

        Args:
            job: one.
            known: further resources, which the user has limited.

        Raises:
            Refused: one line.
        """
        resources.check(dict(job.resources.items()), known)
        self._placed(job)

    def of(self, infos: Sequence[SubmittedJobInfo]) -> list[Batch]:
        """Jobs of one rule and equal resources together, in batches that fit an array."""
        shapes: dict[str, Batch] = {}
        for info in infos:
            job, pack = info.job, int(info.job.resources.get("pack") or 1)
            parameters = self.parameters(job, pack, self.lost.of(info.aux["key"]))
            shape = json.dumps([job.name, parameters, pack], sort_keys=True, default=str)
            shapes.setdefault(shape, Batch([], parameters, pack)).infos.append(info)
        return [part for batch in shapes.values() for part in self._parts(batch)]

    def _parts(self, batch: Batch) -> list[Batch]:
        """Batches that fit an array; what is left over of the packs asks for itself alone."""
        s, limit = self.settings, 1
        if self.site and not s.no_arrays:
            limit = min(s.array_limit, self.site.max_array)
        packed = len(batch.infos) // batch.pack * batch.pack
        whole, rest = batch.infos[:packed], batch.infos[packed:]
        parts = Batch(whole, batch.parameters, batch.pack).split(limit)
        if rest:
            avoid = self.lost.of(rest[0].aux["key"])
            parts.append(Batch(rest, self.parameters(rest[0].job, len(rest), avoid), len(rest)))
        return parts

    def parameters(
        self, job: JobExecutorInterface, packed: int, avoid: Collection[str] = ()
    ) -> dict[str, Any]:
        """What submitit is told of an allocation of so many jobs like this one.

        Args:
            job: one of them.
            packed: how many.
            avoid: nodes.
        """
        s, words = self.settings, self._placed(job)
        resumable = bool(words.get("resumable"))
        if resumable and self.site:
            words["runtime"] = within(words, self.site, self.defaults.get("partition", ""))
        asked = resources.parameters(
            words, job.threads, s.memory_overhead_mb, packed, s.signal_delay_s
        )
        if avoid:
            given = asked.get("exclude") or asked["additional_parameters"].pop("exclude", "")
            asked["exclude"] = ",".join([*([given] if given else []), *sorted(avoid)])
        return self.defaults | asked | {"resumable": resumable}

    def _placed(self, job: JobExecutorInterface) -> dict[str, Any]:
        """A job's resources, with the partition that was chosen for one that names none."""
        words = dict(job.resources.items())
        named = words.get("slurm_partition") or resources.extra(words).get("partition")
        if self.partitions and not named:
            packed, overhead = int(words.get("pack") or 1), self.settings.memory_overhead_mb
            asked = partitions.asked_for(words, job.threads, packed, overhead)
            words["slurm_partition"] = partitions.choose(words, asked, self.partitions)
        return words


def within(words: Mapping[str, Any], site: Site, partition: str) -> int:
    """Minutes for a job that can be requeued: what it needs, or what its partition allows.

    Args:
        words: resources of the job.
        site: what the site allows.
        partition: where the job says nothing.
    """
    needed = int(words.get("runtime") or resources.RUNTIME)
    named = words.get("slurm_partition") or resources.extra(words).get("partition") or partition
    limit = site.limit(str(named))
    return min(needed, limit) if limit else needed
