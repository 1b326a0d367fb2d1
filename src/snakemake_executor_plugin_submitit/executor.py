"""The executor: submit what is ready, ask once for all jobs, report each job once."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.utils import encode_target_jobs_cli_args

from . import resources, slurm, words
from .ledger import Ledger, Place

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
        self.ledger = Ledger(self.logdir)
        self.submitting = threading.Lock()
        self.waiting: list[
            tuple[list[SubmittedJobInfo], dict[str, Any], int]
        ] = []  # batches that Slurm would not take yet
        self.unsure: list[
            str
        ] = []  # tokens of submissions that failed, though Slurm may have taken them
        self.retry_at = 0.0
        self.pause = 0.0
        self.interval = float(s.status_interval_s)
        self.next_query = 0.0
        self.seen: dict[str, slurm.State] = {}
        self.ended_since: dict[str, float] = {}
        self.told: set[str] = set()
        self.members: dict[str, dict[int, SubmittedJobInfo]] = defaultdict(
            dict
        )  # of every allocation, the jobs that have not ended
        self.folders: set[Path] = set()
        self.following: dict[str, Place] = {}
        if self.on_slurm:
            self._meet_slurm()
        for folder in self.ledger.purge(time.time() - s.keep_logs_days * 86400, s.keep_logs):
            shutil.rmtree(folder, ignore_errors=True)

    def _meet_slurm(self) -> None:
        """Learn the site's limits, and what an earlier controller has left running."""
        # A controller that is itself a Slurm job must not pass on its own allocation.
        # Nor may the user's variables change a question, or put themselves in place of the profile:
        # they are defaults.
        self.defaults = {
            o: os.environ[v]
            for o in ("account", "partition", "qos")
            if os.environ.get(v := f"SBATCH_{o.upper()}")
        }
        prefixes = (
            "SLURM_",
            "SLURMD_",
            "SRUN_",
            "SUBMITIT_",
            "SBATCH_",
            "SQUEUE_",
            "SACCT_",
            "SCANCEL_",
        )
        for name in [
            n for n in os.environ if n.startswith(prefixes) and n not in ("SLURM_CONF", "SLURM_JWT")
        ]:
            del os.environ[name]
        try:
            self.site = slurm.site()
            left, unsure = self.ledger.open()
            for (
                token
            ) in unsure:  # killed within a submission: such jobs lack their pickles and cannot run
                slurm.cancel(slurm.commented(token))
                self.ledger.refused(token)
            states = slurm.states({p.id for p in left.values()}, self.site.accounting)
        except slurm.QueryFailed as error:
            raise WorkflowError(
                f"Slurm does not answer, so nothing was submitted: {error}"
            ) from None
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
        shapes: dict[str, tuple[list[SubmittedJobInfo], dict[str, Any], int]] = {}
        followed: dict[str, list[SubmittedJobInfo]] = defaultdict(list)
        refused: list[SubmittedJobInfo] = []
        for job in jobs:
            self.run_job_pre(job)
            info = SubmittedJobInfo(job, aux={"key": _key(job)})
            if place := self.following.pop(info.aux["key"], None):
                self._runs(info, place, alone=False)
                followed[job.name].append(info)
                continue
            try:
                resources.check(_resources(job), frozenset(self.workflow.global_resources))
            except resources.Refused as error:
                info.aux["refused"] = f"not submitted: {error}"
                refused.append(info)
                continue
            pack = int(job.resources.get("pack") or 1)
            parameters = self._parameters(job, pack)
            shape = json.dumps([job.name, parameters, pack], sort_keys=True, default=str)
            shapes.setdefault(shape, ([], parameters, pack))[0].append(info)
        for name, infos in followed.items():
            ids = words.span([i.external_jobid for i in infos])
            self.logger.info(
                f"following {len(infos)} running job(s) of {name}, submitted by an earlier "
                f"controller: {ids}"
            )
            for info in infos:
                self.report_job_submission(info)
        with self.submitting:
            for infos, parameters, pack in shapes.values():
                limit = (
                    1
                    if self.settings.no_arrays or not self.on_slurm
                    else min(self.settings.array_limit, self.site.max_array)
                )
                packed = len(infos) // pack * pack
                whole, rest = infos[:packed], infos[packed:]
                for i in range(0, packed, limit * pack):
                    self.waiting.append((whole[i : i + limit * pack], parameters, pack))
                if rest:
                    self.waiting.append((rest, self._parameters(rest[0].job, len(rest)), len(rest)))
            self._submit_waiting()
        for info in (info for infos, _, _ in shapes.values() for info in infos):
            if "refused" in info.aux:
                refused.append(info)
            else:
                self.report_job_submission(info)
        self._refuse(refused)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def _parameters(self, job: JobExecutorInterface, packed: int) -> dict[str, Any]:
        """What submitit is told of an allocation of so many jobs like this one."""
        s = self.settings
        asked = resources.parameters(
            _resources(job), job.threads, s.memory_overhead_mb, packed, s.signal_delay_s
        )
        return (
            (self.defaults if self.on_slurm else {})
            | asked
            | {"resumable": bool(job.resources.get("resumable"))}
        )

    def _submit_waiting(self) -> None:
        """Submit batches until Slurm asks to wait."""
        while self.waiting:
            infos, parameters, pack = self.waiting.pop(0)
            try:
                self._withdraw()
                self._submit(infos, parameters, pack)
                self.pause = 0.0
            except Exception as error:  # whatever went wrong concerns these jobs only
                verdict = slurm.refusal(str(error), bool(self.members)) if self.on_slurm else "bad"
                verdict = "busy" if isinstance(error, slurm.QueryFailed) else verdict
                if verdict == "limit" and len(infos) > pack:
                    half = (len(infos) // pack + 1) // 2 * pack
                    self.waiting[:0] = [
                        (infos[:half], parameters, pack),
                        (infos[half:], parameters, pack),
                    ]
                elif verdict == "bad":
                    who = (
                        "Slurm refused the job"
                        if type(error).__name__ == "FailedJobError"
                        else "not submitted"
                    )
                    for info in infos:
                        info.aux["refused"] = f"{who}: {slurm.words(str(error))}"
                else:
                    self.waiting.insert(0, (infos, parameters, pack))
                    self.pause = min(
                        max(2 * self.pause, 5.0), float(self.settings.status_interval_max_s)
                    )
                    self.retry_at = time.time() + self.pause
                    n = sum(len(w[0]) for w in self.waiting)
                    self._say_once(
                        f"{n} job(s) wait to be submitted, again in some seconds: "
                        f"{slurm.words(str(error))}",
                        verdict,
                    )
                    return
        self.told -= {"limit", "busy"}
        with contextlib.suppress(
            slurm.QueryFailed
        ):  # a later submission, or controller, asks again
            self._withdraw()

    def _withdraw(self) -> None:
        """Cancel what a failed sbatch left in the queue nevertheless: such jobs lack their pickles
        and cannot run."""
        while self.unsure:
            slurm.cancel(slurm.commented(self.unsure[0]))
            self.ledger.refused(self.unsure.pop(0))

    def _submit(
        self, infos: Sequence[SubmittedJobInfo], parameters: dict[str, Any], pack: int
    ) -> None:
        """One submission: an array of allocations, each of up to `pack` jobs."""
        import submitit

        from .job import LEAVE, Allocation

        name = infos[0].job.name
        token = uuid.uuid4().hex[:12]
        folder = self.logdir / name / f"{time.strftime('%Y%m%d-%H%M%S')}-{token[:6]}"
        folder.mkdir(parents=True)
        p = dict(parameters)
        limit_s, resumable = p["time"] * 60.0, p.pop("resumable")
        commands = [self.format_job_exec(i.job) for i in infos]
        leave_s, workdir = p["signal_delay_s"] * LEAVE, str(Path.cwd())
        allocations = [
            Allocation(commands[n : n + pack], folder, workdir, resumable, limit_s, leave_s)
            for n in range(0, len(infos), pack)
        ]
        if self.on_slurm:
            executor: Any = submitit.SlurmExecutor(
                folder, max_num_timeout=self.settings.max_requeues
            )
            more = {
                "job_name": f"{self.settings.name_prefix}-{name}",
                "comment": token,
                "stderr_to_stdout": True,
            }
            executor.update_parameters(
                **p, **more, array_parallelism=self.settings.array_parallelism
            )
        elif self.settings.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=p["time"], stderr_to_stdout=True)
        else:
            executor = submitit.DebugExecutor(folder)
        jobs = [{"key": i.aux["key"], "output": [str(o) for o in i.job.output]} for i in infos]
        self.ledger.submitting(token, name, folder, pack, jobs, self.settings.cluster)
        try:
            with contextlib.redirect_stderr(
                io.StringIO()
            ):  # sbatch's words come with the exception
                if len(allocations) == 1:
                    handles = [executor.submit(allocations[0])]
                else:
                    with executor.batch():
                        handles = [executor.submit(a) for a in allocations]
            ids = [handles[n // pack].job_id for n in range(len(infos))]
            self.ledger.submitted(token, ids)
        except BaseException:
            if self.on_slurm:
                self.unsure.append(token)
            else:
                self.ledger.refused(token)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.logger.info(f"submitted {len(infos)} job(s) of {name}: {words.span(ids)}")
        for n, info in enumerate(infos):
            info.aux["handle"] = handles[n // pack]
            alone = len(allocations[n // pack].commands) == 1
            self._runs(info, Place(ids[n], n % pack, folder), alone)
        self.interval, self.next_query = float(self.settings.status_interval_s), 0.0

    def _runs(self, info: SubmittedJobInfo, place: Place, alone: bool) -> None:
        info.external_jobid = place.id
        own = place.log(alone=False)
        info.aux |= {"place": place, "log": place.log(True) if alone or not own.exists() else own}
        self.members[place.id][place.member] = info
        self.folders.add(place.folder)

    def additional_general_args(self) -> str:
        """The Snakemake in the job does not announce it again: its log holds what the command says,
        and errors."""
        return "--quiet rules host progress"

    # status

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Exit files first; then one question to Slurm for all that are left, now and then."""
        if self.waiting and time.time() >= self.retry_at:
            with self.submitting:
                await asyncio.to_thread(self._submit_waiting)
        left = []
        self._refuse([i for i in active_jobs if "refused" in i.aux])
        active_jobs = [i for i in active_jobs if "refused" not in i.aux]
        listed = {
            folder: _names(folder)
            for folder in {i.aux["place"].folder for i in active_jobs if "place" in i.aux}
        }
        for info in active_jobs:
            if "place" not in info.aux:
                yield info
            elif not self._settled(info, listed[info.aux["place"].folder]):
                left.append(info)
        if len(left) < len(active_jobs):
            self.interval = float(self.settings.status_interval_s)
        states = await asyncio.to_thread(self._states, left)
        for info in left:
            if self._lost(info, states.get(info.external_jobid)):
                continue
            yield info

    def _settled(self, info: SubmittedJobInfo, names: set[str]) -> bool:
        """Report a job of which the allocation has left word."""
        place: Place = info.aux["place"]
        if place.exit.name in names and (status := words.text(place.exit)):
            if status == "0":
                self._forget(info, "success")
                self.report_job_success(info)
            else:
                self._fail(info, "FAILED", f"the command ended with status {status}")
            return True
        if f"{place.id}_0_result.pkl" in names and (
            why := words.result(place.folder / f"{place.id}_0_result.pkl")
        ):
            self._fail(info, "FAILED", why)
            return True
        return False

    def _states(self, infos: Sequence[SubmittedJobInfo]) -> dict[str, slurm.State]:
        """States of jobs, asked at most once an interval; on a quiet cluster the interval grows."""
        if not self.on_slurm:
            return {
                i.external_jobid: slurm.State("COMPLETED") for i in infos if i.aux["handle"].done()
            }
        now = time.time()
        if not infos or now < self.next_query:
            return {}
        self.next_query = now + self.interval
        try:
            states = slurm.states({i.external_jobid for i in infos}, self.site.accounting)
        except slurm.QueryFailed as error:
            self._say_once(f"no word from Slurm, jobs are taken to run on: {error}", "query")
            return {}
        self.told.discard("query")
        quiet = states == {i: self.seen.get(i) for i in states}
        self.interval = (
            min(self.interval * 1.5, self.settings.status_interval_max_s)
            if quiet
            else float(self.settings.status_interval_s)
        )
        self.seen = states
        if any(s.name in slurm.ENDED for s in states.values()):
            self.next_query = now + min(self.interval, self.settings.lost_job_grace_s / 3)
        for state in states.values():
            reason = state.reason.partition(",")[0]  # nodes may follow
            if state.name == "PENDING" and reason in words.HOPELESS:
                self._say_once(
                    f"Slurm says of pending jobs: {state.reason} ({words.HOPELESS[reason]})", reason
                )
        return states

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
        if not self._settled(info, _names(place.folder)):
            who = (
                "Slurm has no memory of the job"
                if state.name == "UNKNOWN"
                else f"Slurm says {state}"
            )
            who = (
                who
                if self.on_slurm
                else "it ended without an exit status: killed, or at its time limit"
            )
            self._fail(info, state.name, who)
        return True

    def _fail(self, info: SubmittedJobInfo, state: str, why: str) -> None:
        place: Place = info.aux["place"]
        log = info.aux["log"]
        own = place.log(alone=False)
        log = own if own.exists() else log
        self._forget(info, state, why, str(log))
        # Snakemake's own message is silenced together with its long announcements of jobs.
        named = (
            f"{info.job.name} ({words.wildcards(info.job)}), "
            + ("Slurm " if self.on_slurm else "")
            + f"job {place.id}"
        )
        self.logger.error(
            f"{named}: {why}; {log} ends:\n"
            + "".join(f"    {line}\n" for line in words.last_words(log)).rstrip()
        )
        self.report_job_error(info, msg=f"{why}\n", aux_logs=[str(log)])

    def _refuse(self, infos: Sequence[SubmittedJobInfo]) -> None:
        """Report jobs that were not submitted, a line for each reason."""
        reasons: dict[str, list[SubmittedJobInfo]] = defaultdict(list)
        for info in infos:
            reasons[info.aux["refused"]].append(info)
        for why, those in reasons.items():
            one = (
                f" ({words.wildcards(those[0].job)})" if len(those) == 1 else f": {len(those)} jobs"
            )
            self.logger.error(f"{those[0].job.name}{one}: {why}")
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

    def _say_once(self, what: str, about: str) -> None:
        if about not in self.told:
            self.told.add(about)
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
            for name in _names(folder):
                if (
                    name.endswith((".pkl", ".exit", ".sh"))
                    and name.lstrip(".").partition("_")[0] not in alive
                ):
                    (folder / name).unlink(missing_ok=True)


def _resources(job: JobExecutorInterface) -> dict[str, Any]:
    return dict(job.resources.items())


def _key(job: JobExecutorInterface) -> str:
    """What tells a job from others across controllers: rule, wildcards and parameters."""
    jobs = list(getattr(job, "jobs", [job]))
    what = [
        encode_target_jobs_cli_args(job.get_target_spec()),
        sorted(repr(list(map(str, j.params))) for j in jobs),
    ]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _names(folder: Path) -> set[str]:
    """Names in a folder: reading it anew sees on a network file system what `exists` may not see
    yet."""
    try:
        return {p.name for p in folder.iterdir()}
    except OSError:
        return set()
