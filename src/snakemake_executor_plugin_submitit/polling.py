"""States of jobs, asked of Slurm at most once an interval, which grows on a quiet cluster."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from . import reasons, slurm

REASONS_S = 600
"""Seconds between two questions that also ask why jobs wait, where states alone come cheaper."""


class Poll:
    """Asks Slurm for the states of jobs.

    Args:
        settings: of the executor.
        site: what it allows: whether it has a database, whether states alone come cheaper.
        warn_once: called with a message and what it is about; a subject is warned of once.
        settle: called with a subject of which there is no more to warn.
    """

    def __init__(
        self,
        settings: Any,
        site: slurm.Site,
        warn_once: Callable[[str, str], None],
        settle: Callable[[str], None],
    ) -> None:
        self.settings, self.accounting, self.brief = settings, site.accounting, site.brief
        self.warn_once, self.settle = warn_once, settle
        self.next_query = self.next_reasons = 0.0
        self.seen: dict[str, slurm.State] = {}
        self.shorten()

    def shorten(self) -> None:
        """Back to the shortest interval: something happens on the cluster."""
        self.interval = float(self.settings.status_interval_s)

    def ask_soon(self) -> None:
        """Ask at the next opportunity, and often from then on: jobs were submitted."""
        self.shorten()
        self.next_query = self.next_reasons = 0.0

    def states(self, ids: Iterable[str]) -> dict[str, slurm.State]:
        """States by id; none if it is not yet time to ask, or Slurm does not answer."""
        wanted, now = set(ids), time.time()
        if not wanted or now < self.next_query:
            return {}
        self.next_query = now + self.interval
        brief = self.brief and now < self.next_reasons
        if not brief:
            self.next_reasons = now + REASONS_S
        try:
            states = slurm.states(wanted, self.accounting, brief)
        except slurm.QueryFailed as error:
            self.brief = self.brief and not brief  # this squeue may not have the option
            self.warn_once(f"squeue failed; assuming all jobs are still running: {error}", "query")
            return {}
        self.settle("query")
        self._adapt(states, now)
        for id, state in states.items():
            if state.name in reasons.WAITING and (meaning := reasons.hopeless(state.reason)):
                what = f"jobs are pending, such as {id}: {state.reason} ({meaning})"
                self.warn_once(what, meaning)
        return states

    def _adapt(self, states: dict[str, slurm.State], now: float) -> None:
        """Lengthen the interval if no state changed; ask again soon of jobs that have ended."""
        quiet = all(i in self.seen and self.seen[i].name == s.name for i, s in states.items())
        self.seen = states
        if quiet:
            self.interval = min(self.interval * 1.5, self.settings.status_interval_max_s)
        else:
            self.shorten()
        if any(s.name in slurm.ENDED for s in states.values()):
            self.next_query = now + min(self.interval, self.settings.lost_job_grace_s / 3)
