"""Which jobs go out together, and what their allocations ask for."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from . import resources
from .slurm import Site
from .submission import Batch


class Batches:
    """Makes batches of jobs.

    Args:
        settings: of the executor.
        site: what the site allows; `None` without Slurm.
        defaults: account, partition and QOS where a job says nothing.
    """

    def __init__(self, settings: Any, site: Site | None, defaults: Mapping[str, str]) -> None:
        self.settings, self.site, self.defaults = settings, site, dict(defaults)

    def of(self, infos: Sequence[SubmittedJobInfo]) -> list[Batch]:
        """Jobs of one rule and equal resources together, in batches that fit an array."""
        shapes: dict[str, Batch] = {}
        for info in infos:
            job, pack = info.job, int(info.job.resources.get("pack") or 1)
            parameters = self.parameters(job, pack)
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
            parts.append(Batch(rest, self.parameters(rest[0].job, len(rest)), len(rest)))
        return parts

    def parameters(self, job: JobExecutorInterface, packed: int) -> dict[str, Any]:
        """What submitit is told of an allocation of so many jobs like this one."""
        s, words = self.settings, dict(job.resources.items())
        resumable = bool(words.get("resumable"))
        if resumable and self.site:
            words["runtime"] = within(words, self.site, self.defaults.get("partition", ""))
        asked = resources.parameters(
            words, job.threads, s.memory_overhead_mb, packed, s.signal_delay_s
        )
        return self.defaults | asked | {"resumable": resumable}


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
