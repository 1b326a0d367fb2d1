"""The executor: submit what is ready, ask once for all jobs, report each job once."""

import asyncio
import contextlib
import shlex
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from . import cache, messages, resources, slurm
from .batches import Batches
from .ledger import AGAIN, Ledger, Place, key_of
from .nodes import Lost
from .polling import Poll
from .submission import Batch, Submission, names, plain, tidy

CLUSTERS = ("slurm", "local", "debug")


class Executor(RemoteExecutor):
    """Submits through submitit. The queue of a controller lives in its ledger, the fate of a job in
    the folder of its submission."""

    def __post_init__(self) -> None:
        s = self.settings = self.workflow.executor_settings
        if s.cluster not in CLUSTERS:
            raise WorkflowError(f"submitit-cluster: {s.cluster!r}; valid: {', '.join(CLUSTERS)}")
        self.on_slurm = s.cluster == "slurm"
        self.logdir = Path(s.logdir).absolute()
        try:
            plain(self.logdir)
        except ValueError as error:
            raise WorkflowError(str(error)) from None
        self.ledger = Ledger(self.logdir)
        self.submitting = threading.Lock()
        # Batches that Slurm would not take yet; tokens of submissions that failed, though Slurm may
        # have taken them.
        self.waiting: list[Batch] = []
        self.unsure: list[str] = []
        self.retry_at = 0.0
        self.pause = 0.0
        self.ended_since: dict[str, float] = {}
        self.warned: set[str] = set()
        # Of every allocation, the jobs that have not ended.
        self.members: dict[str, dict[int, SubmittedJobInfo]] = defaultdict(dict)
        self.folders: set[Path] = set()
        self.following: dict[str, Place] = {}
        self.lost = Lost(self.logger.info)
        self.batches = Batches(s, None, {}, self.lost)
        if self.on_slurm:
            self._meet_slurm()
        if not self.following:
            cache.remove(self.logdir)
        self.sources = cache.publish(
            Path(self.workflow.sourcecache.runtime_cache_path), self.logdir
        )
        for folder in self.ledger.purge(time.time() - s.keep_logs_days * 86400, s.keep_logs):
            shutil.rmtree(folder, ignore_errors=True)

    def _meet_slurm(self) -> None:
        """Learn the site's limits, and what an earlier controller has left running."""
        defaults = slurm.own_environment()
        try:
            self.site = slurm.site()
            left, unsure = self.ledger.open()
            # Killed within a submission: such jobs lack their pickles and cannot run.
            for token in unsure:
                slurm.cancel(slurm.commented(token))
                self.ledger.refused(token)
            states = slurm.states({p.id for p in left.values()}, self.site.accounting)
        except slurm.QueryFailed as error:
            raise WorkflowError(f"Slurm does not answer; nothing was submitted: {error}") from None
        self.batches = Batches(self.settings, self.site, defaults, self.lost)
        self.poll = Poll(self.settings, self.site, self._warn_once, self.warned.discard)
        for key, place in left.items():
            state = states.get(place.id)
            if place.exit.exists() or (state and state.name in slurm.ENDED - slurm.RETURNING):
                self.ledger.ended(
                    key, place.id, str(state or "ended"), "ended while no controller was there"
                )
            else:
                self.following[key] = place

    # submission

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Follow, refuse or submit: jobs of one rule and equal resources go out together."""
        ready: list[SubmittedJobInfo] = []
        followed: dict[str, list[SubmittedJobInfo]] = defaultdict(list)
        refused: list[SubmittedJobInfo] = []
        for job in jobs:
            self.run_job_pre(job)
            info = SubmittedJobInfo(job, aux={"key": key_of(job)})
            if place := self.following.pop(info.aux["key"], None):
                self._runs(info, place, alone=False)
                followed[job.name].append(info)
                continue
            try:
                self.batches.check(job, frozenset(self.workflow.global_resources))
            except resources.Refused as error:
                info.aux["refused"] = f"not submitted: {error}"
                refused.append(info)
                continue
            ready.append(info)
        for name, infos in followed.items():
            ids = messages.span([i.external_jobid for i in infos])
            self.logger.info(
                f"following {len(infos)} running job(s) of {name}, submitted by an earlier "
                f"controller: {ids}"
            )
            for info in infos:
                self.report_job_submission(info)
        with self.submitting:
            self.waiting += self.batches.of(ready)
            self._submit_waiting()
        for info in ready:
            if "refused" in info.aux:
                refused.append(info)
            else:
                self.report_job_submission(info)
        self._refuse(refused)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def _submit_waiting(self) -> None:
        """Submit batches until Slurm asks to wait."""
        while self.waiting:
            batch = self.waiting.pop(0)
            try:
                self._withdraw()
                self._submit(batch)
                self.pause = 0.0
            except Exception as error:  # whatever went wrong concerns these jobs only
                if self._put_off(batch, error):
                    return
        self.warned -= {"limit", "busy"}
        # If this fails, a later submission, or controller, asks again.
        with contextlib.suppress(slurm.QueryFailed):
            self._withdraw()

    def _put_off(self, batch: Batch, error: Exception) -> bool:
        """Take what Slurm said to a batch: refused for good, to try in halves, or later; whether
        the others must wait too."""
        verdict = slurm.refusal(str(error), bool(self.members)) if self.on_slurm else "bad"
        verdict = "busy" if isinstance(error, slurm.QueryFailed) else verdict
        said = slurm.words(str(error))
        if verdict == "limit" and batch.allocations > 1:
            self.waiting[:0] = batch.split((batch.allocations + 1) // 2)
        elif verdict == "bad" and self.lost.forgive(i.aux["key"] for i in batch.infos):
            self.waiting[:0] = self.batches.of(batch.infos)
        elif verdict == "bad":
            by_slurm = type(error).__name__ == "FailedJobError"
            who = "Slurm refused the job" if by_slurm else "not submitted"
            for info in batch.infos:
                info.aux["refused"] = f"{who}: {said}"
        else:
            self.waiting.insert(0, batch)
            longest = float(self.settings.status_interval_max_s)
            self.pause = min(max(2 * self.pause, 5.0), longest)
            self.retry_at = time.time() + self.pause
            n = sum(len(b.infos) for b in self.waiting)
            self._warn_once(f"{n} job(s) not submitted yet, trying again later: {said}", verdict)
            return True
        return False

    def _withdraw(self) -> None:
        """Cancel what a failed sbatch left in the queue nevertheless: such jobs lack their pickles
        and cannot run."""
        while self.unsure:
            slurm.cancel(slurm.commented(self.unsure[0]))
            self.ledger.refused(self.unsure.pop(0))

    def _submit(self, batch: Batch) -> None:
        """One submission: an array of allocations, each of up to `pack` jobs."""
        infos, pack = batch.infos, batch.pack
        commands = [self.format_job_exec(i.job) for i in infos]
        made = Submission.begin(batch, self.logdir)
        jobs = [{"key": i.aux["key"], "output": [str(o) for o in i.job.output]} for i in infos]
        self.ledger.submitting(
            made.token, batch.rule, made.folder, pack, jobs, self.settings.cluster
        )
        try:
            handles = made.send(commands, self.settings)
            ids = [handles[n // pack].job_id for n in range(len(infos))]
            self.ledger.submitted(made.token, ids)
        except BaseException:
            if self.on_slurm:
                self.unsure.append(made.token)
            else:
                self.ledger.refused(made.token)
            shutil.rmtree(made.folder, ignore_errors=True)
            raise
        self.logger.info(f"submitted {len(infos)} job(s) of {batch.rule}: {messages.span(ids)}")
        for n, info in enumerate(infos):
            info.aux["handle"] = handles[n // pack]
            self._runs(info, Place(ids[n], n % pack, made.folder), alone=pack == 1)
        if self.on_slurm:
            self.poll.ask_soon()

    def _runs(self, info: SubmittedJobInfo, place: Place, alone: bool) -> None:
        info.external_jobid = place.id
        own = place.log(alone=False)
        info.aux |= {"place": place, "log": place.log(True) if alone or not own.exists() else own}
        self.members[place.id][place.member] = info
        self.folders.add(place.folder)

    def additional_general_args(self) -> str:
        """The Snakemake in the job does not announce it again: its log holds what the command says,
        and errors. It reads the workflow's files where the nodes see them."""
        sources = shlex.quote(str(self.sources))
        return f"--quiet rules host progress --runtime-source-cache-path {sources}"

    # status

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Exit files first; then one question to Slurm for all that are left, now and then."""
        if self.waiting and time.time() >= self.retry_at:
            with self.submitting:
                await asyncio.to_thread(self._submit_waiting)
        left, again = [], []
        self._refuse([i for i in active_jobs if "refused" in i.aux])
        active_jobs = [i for i in active_jobs if "refused" not in i.aux]
        listed = {
            folder: names(folder)
            for folder in {i.aux["place"].folder for i in active_jobs if "place" in i.aux}
        }
        for info in active_jobs:
            if "place" not in info.aux:
                yield info
            elif self._stopped(info, listed[info.aux["place"].folder]):
                again.append(info)
                yield info
            elif not self._settled(info, listed[info.aux["place"].folder]):
                left.append(info)
        self._continue(again)
        if self.on_slurm and len(left) < len(active_jobs):
            self.poll.shorten()
        states = await asyncio.to_thread(self._states, left)
        for info in left:
            if self._lost(info, states.get(info.external_jobid)):
                continue
            yield info

    def _settled(self, info: SubmittedJobInfo, present: set[str]) -> bool:
        """Report a job of which the allocation has left word."""
        place: Place = info.aux["place"]
        if place.exit.name in present and (status := messages.text(place.exit)):
            if status == "0":
                self._forget(info, "success")
                self.report_job_success(info)
            else:
                self._fail(info, "FAILED", messages.ended(status))
            return True
        if f"{place.id}_0_result.pkl" in present and (
            why := messages.result(place.folder / f"{place.id}_0_result.pkl")
        ):
            self._fail(info, "FAILED", why)
            return True
        return False

    def _stopped(self, info: SubmittedJobInfo, present: set[str]) -> bool:
        """Whether a job was stopped to be requeued, which Slurm refused, and may go on."""
        place: Place = info.aux["place"]
        return (
            place.exit.name in present
            and messages.text(place.exit) == AGAIN
            and info.aux.get("continued", 0) < self.settings.max_requeues
        )

    def _continue(self, infos: list[SubmittedJobInfo]) -> None:
        """Submit stopped jobs again; to Snakemake they are the same jobs, so no retry is used."""
        for info in infos:
            self._forget(info, "REQUEUE", "Slurm refused to requeue it: submitted again")
            del info.aux["place"]
            info.aux["continued"] = info.aux.get("continued", 0) + 1
            self._warn_once(messages.REFUSED_REQUEUE, "requeue")
        with self.submitting:
            self.waiting += self.batches.of(infos)

    def _states(self, infos: Sequence[SubmittedJobInfo]) -> dict[str, slurm.State]:
        """States of jobs by id, of those that are known now."""
        if self.on_slurm:
            states = self.poll.states(i.external_jobid for i in infos)
            self.lost.returned(infos, states)
            return states
        return {i.external_jobid: slurm.State("COMPLETED") for i in infos if i.aux["handle"].done()}

    def _lost(self, info: SubmittedJobInfo, state: slurm.State | None) -> bool:
        """Report a job that Slurm says has ended, once its allocation has had time to leave
        word."""
        id, place = info.external_jobid, info.aux["place"]
        if state is None:
            return False
        if state.name not in slurm.ENDED:
            self.ended_since.pop(id, None)
            return False
        if time.time() - self.ended_since.setdefault(id, time.time()) < (
            self.settings.lost_job_grace_s if self.on_slurm else 0
        ):
            return False
        present = names(place.folder)
        if self._stopped(info, present):
            return False
        if not self._settled(info, present):
            self.lost.ended(info.aux["key"], place, state.name)
            if not self.on_slurm:
                why = "it ended without an exit status: killed, or at its time limit"
            elif state.name == "UNKNOWN":
                why = "Slurm no longer knows the job"
            else:
                why = f"Slurm says {state}"
            self._fail(info, state.name, why)
        return True

    def _fail(self, info: SubmittedJobInfo, state: str, why: str) -> None:
        place: Place = info.aux["place"]
        log = info.aux["log"]
        own = place.log(alone=False)
        log = own if own.exists() else log
        self._forget(info, state, why, str(log))
        # Snakemake's own message is silenced together with its long announcements of jobs.
        kind = "Slurm job" if self.on_slurm else "job"
        named = f"{info.job.name} ({messages.wildcards(info.job)}), {kind} {place.id}"
        tail = "\n".join(f"    {line}" for line in messages.log_tail(log))
        self.logger.error(f"{named}: {why}; {log} ends:\n{tail}")
        self.report_job_error(info, msg=f"{why}\n", aux_logs=[str(log)])

    def _refuse(self, infos: Sequence[SubmittedJobInfo]) -> None:
        """Report jobs that were not submitted, a line for each reason."""
        reasons: dict[str, list[SubmittedJobInfo]] = defaultdict(list)
        for info in infos:
            reasons[info.aux["refused"]].append(info)
        for why, those in reasons.items():
            job, n = those[0].job, len(those)
            which = f" ({messages.wildcards(job)})" if n == 1 else f": {n} jobs"
            self.logger.error(f"{job.name}{which}: {why}")
            for info in those:
                self.report_job_error(info, msg=f"{why}\n")

    def _forget(self, info: SubmittedJobInfo, state: str, why: str = "", log: str = "") -> None:
        """Write down a job's fate."""
        place: Place = info.aux["place"]
        self.ledger.ended(info.aux["key"], place.id, state, why, log)
        self.members[place.id].pop(place.member, None)
        if not self.members[place.id]:
            self.members.pop(place.id, None)
            self.ended_since.pop(place.id, None)

    def _warn_once(self, what: str, about: str) -> None:
        if about not in self.warned:
            self.warned.add(about)
            self.logger.warning(what)

    # end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel what was submitted; what was not submitted yet never will be."""
        with self.submitting:
            self.waiting.clear()
        # Not `active_jobs`: while their status is checked, it is empty.
        running = [info for those in list(self.members.values()) for info in list(those.values())]
        try:
            if self.on_slurm:
                self._withdraw()
                slurm.cancel(
                    sorted(
                        {i.external_jobid for i in running}
                        | {p.id for p in self.following.values()}
                    )
                )
            else:
                for info in running:
                    info.aux["handle"].cancel(check=False)
        except slurm.QueryFailed as error:
            self.logger.error(f"jobs may still run, cancel them by hand: {error}")
            return
        for info in running:
            self._forget(info, "CANCELLED", "by the controller")

    def shutdown(self) -> None:
        """Leave of ended submissions only the logs."""
        super().shutdown()
        alive = {i.partition("_")[0] for i in self.members}
        for folder in self.folders:
            tidy(folder, alive)
        if not alive and not self.following:
            cache.remove(self.logdir)
