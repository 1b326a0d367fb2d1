"""Snakemake's terminal with one line a job: when it has ended, the last line of its log.

What the scheduler says of itself is left to its own log file in `.snakemake/log`; warnings and
errors always pass. A dry run is a table of counts and the first jobs of every rule. With
`--verbose`, `--debug-dag` or `--printshellcmds` everything is as Snakemake says it.

Use: `logger: oneline` in a profile, or `--logger oneline`. It knows nothing of modulewise.
"""

from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

LISTED = 10
"""Jobs of a rule that a dry run names."""
TAIL = 12
"""Lines of a failed job's log that are shown, unless its last one says what is wrong."""
OWN = re.compile(
    r"Assuming unrestricted shared|Building DAG|Using shell|Select jobs to execute|Execute \d+ job"
    r"|Complete log|Elapsed time|This was a dry-run|Reasons:|Shutting down, this|Group jobs:"
    r"|Conda environments:|Singularity containers:|Updating checkpoint|Exiting because a job"
    r"|(WorkflowError:\s+)?At least one job did not complete"
)
"""How messages begin that are about the scheduler alone, or that lines of jobs have said."""
SILENT = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.SHELLCMD,
    LogEvent.JOB_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.GROUP_INFO,
    LogEvent.PROGRESS,
    LogEvent.RULEGRAPH,
}
LOCKED = (
    "error: another Snakemake works on these files; wait for its end. If it was killed: "
    "snakemake --unlock"
)


@dataclass(frozen=True)
class Job:
    """What is said of a job."""

    message: str
    logs: tuple[str, ...]
    made: bool
    """Whether it makes a file: the target rule makes none."""


class LogHandler(LogHandlerBase):
    """Writes a line for every job that ends, to standard error; of a dry run to standard output."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        given = self.common_settings
        self.stream = sys.stdout if given.stdout else sys.stderr
        self.quiet = {str(q).rpartition(".")[2].lower() for q in given.quiet or ()}
        self.jobs: dict[int, Job] = {}
        self.rules: dict[str, list[str]] = {}
        self.warned: set[str] = set()
        self.done, self.total = 0, 0
        self.snakemakes: logging.Handler | None = None
        if given.verbose or given.debug_dag or given.printshellcmds:
            from snakemake import logging as full

            self.snakemakes = full.ColorizingTextHandler(nocolor=given.nocolor, stream=self.stream)
            self.snakemakes.setFormatter(full.DefaultFormatter(given.quiet, True))
            self.snakemakes.addFilter(
                full.DefaultFilter(
                    given.quiet,
                    given.debug_dag,
                    given.verbose,
                    given.dryrun,
                    given.printshellcmds,
                )
            )

    def emit(self, record: logging.LogRecord) -> None:
        """Say what is to be said of a message."""
        if self.snakemakes:
            self.snakemakes.handle(record)
            return
        try:
            if text := self.text(record):
                self.stream.write(text + "\n")
                self.stream.flush()
        except Exception:
            self.handleError(record)

    def text(self, record: logging.LogRecord) -> str:
        """The lines for a message; empty if it is not shown."""
        event: Any = getattr(record, "event", None)
        message = record.getMessage()
        special = {
            LogEvent.RUN_INFO: self._counts,
            LogEvent.JOB_INFO: self._begun,
            LogEvent.JOB_FINISHED: self._finished,
            LogEvent.JOB_ERROR: self._failed,
        }.get(event)
        if special:
            return special(record)
        if "Directory cannot be locked" in message:
            return LOCKED
        if getattr(record, "exception", "") in ("CalledProcessError", "RuleException"):
            return ""  # its job's line has said it
        if event in SILENT or OWN.match(message.strip()):
            return ""
        if record.levelno < logging.WARNING and "all" in self.quiet:
            return ""
        if again := re.match(r"Trying to restart job (\d+)", message):
            return f"again   {self._job(int(again[1])).message}"
        return message.strip("\n")

    def _counts(self, record: Any) -> str:
        """How many jobs of every rule there are; the second time, at the end of a dry run, the
        first of them."""
        if self.total and self.common_settings.dryrun:
            return "" if "rules" in self.quiet else "\n".join(self._list())
        counts = dict(record.stats)
        self.total = counts.pop("total") - counts.pop("all", 0)
        if self.common_settings.dryrun:
            return str(record.getMessage()).strip("\n")
        of_rules = ", ".join(f"{n} {rule}" for rule, n in counts.items())
        return f"{self.total} jobs: {of_rules}"

    def _list(self) -> list[str]:
        """The first jobs of every rule in natural order."""
        out = []
        for rule, messages in self.rules.items():
            messages.sort(
                key=lambda m: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", m)]
            )
            out += messages[:LISTED]
            if (more := len(messages) - LISTED) > 0:
                out.append(f"{rule}: and {more} more")
        return out

    def _begun(self, record: Any) -> str:
        message = record.rule_msg or f"{record.rule_name} {' '.join(record.output)}"
        self.jobs[record.jobid] = Job(message, tuple(record.log), bool(record.output))
        if record.output:
            self.rules.setdefault(record.rule_name, []).append(message)
        return ""

    def _job(self, number: int) -> Job:
        return self.jobs.get(number, Job(f"job {number}", (), True))

    def _finished(self, record: Any) -> str:
        """The job's line, and what it warned of unless another has."""
        job = self._job(record.job_id)
        if not job.made:
            return ""
        self.done += 1
        if {"all", "progress"} & self.quiet:
            return ""
        said = _lines(job.logs)
        warnings = [w for w in said if w.startswith("warning:") and w not in self.warned]
        self.warned.update(warnings)
        last = said[-1] if said and said[-1] not in warnings else job.message
        return "\n".join([*warnings, f"{self.done:>{len(str(self.total))}}/{self.total}  {last}"])

    def _failed(self, record: Any) -> str:
        """What the job was, what its log says last, and where the rest is."""
        job, said = self._job(record.jobid), _lines(record.log)
        if said and said[-1].startswith("error:"):
            why = [f"    {said[-1]}"]
        else:
            why = [f"    {line}" for line in said[-TAIL:]]
        return "\n".join([f"failed  {job.message}", *why, *(f"    {log}" for log in record.log)])


def _lines(logs: Any) -> list[str]:
    """Lines of the first log that says something."""
    for log in logs:
        try:
            text = Path(log).read_text(errors="replace")
        except OSError:
            continue
        if lines := [line for line in text.splitlines() if line.strip()]:
            return lines
    return []
