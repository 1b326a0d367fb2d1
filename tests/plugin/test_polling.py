"""How often Slurm is asked, and what is said when it does not answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_submitit import slurm
from snakemake_executor_plugin_submitit.polling import Poll

SETTINGS = SimpleNamespace(status_interval_s=30, status_interval_max_s=100, lost_job_grace_s=30)


class Cluster:
    """A Slurm that answers what it is told to, a clock, and the warnings given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked, self.warnings = 1000.0, 0, {}
        self.answer: Any = {}
        self.briefly: list[bool] = []
        monkeypatch.setattr(slurm, "states", self._states)
        monkeypatch.setattr("time.time", lambda: self.now)
        self.poll = Poll(
            SETTINGS,
            slurm.Site(1000, accounting=True, brief=True),
            lambda what, about: self.warnings.setdefault(about, what),
            lambda about: self.warnings.pop(about, None),
        )

    def _states(self, ids: set[str], accounting: bool, brief: bool) -> dict[str, slurm.State]:
        self.asked += 1
        self.briefly.append(brief)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {i: self.answer[i] for i in ids if i in self.answer}

    def asks_in(self) -> float:
        """Seconds until the next look at a job asks Slurm again."""
        before, begun = self.asked, self.now
        while self.asked == before:
            self.now += 1
            self.poll.states(["7"])
        return self.now - begun


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_nothing_to_ask_asks_nothing(cluster: Cluster) -> None:
    assert cluster.poll.states([]) == {} and cluster.asked == 0


def test_on_a_quiet_cluster_it_asks_less_and_less(cluster: Cluster) -> None:
    cluster.answer = {"7": slurm.State("RUNNING")}
    assert cluster.poll.states(["7"]) == cluster.answer
    assert [cluster.asks_in() for _ in range(6)] == [30, 30, 45, 68, 100, 100]
    cluster.answer = {"7": slurm.State("COMPLETING")}
    assert [cluster.asks_in() for _ in range(3)][-1] == 30, "a change shortens the interval"
    cluster.poll.ask_soon()
    assert cluster.asks_in() == 1


def test_of_a_job_that_has_ended_it_asks_soon(cluster: Cluster) -> None:
    cluster.answer = {"7": slurm.State("FAILED")}
    cluster.poll.states(["7"])
    assert cluster.asks_in() == SETTINGS.lost_job_grace_s / 3


def test_no_answer_is_no_state_and_said_once(cluster: Cluster) -> None:
    cluster.answer = slurm.QueryFailed("squeue: timed out")
    assert cluster.poll.states(["7"]) == {}
    assert "squeue failed; assuming all jobs are still running" in cluster.warnings["query"]
    cluster.answer = {"7": slurm.State("RUNNING")}
    cluster.asks_in()
    assert cluster.warnings == {}, "the next failure is worth a word again"


def test_a_reason_for_which_jobs_wait_without_end_is_explained(cluster: Cluster) -> None:
    cluster.answer = {"7": slurm.State("PENDING", "ReqNodeNotAvail,UnavailableNodes:n1")}
    cluster.poll.states(["7"])
    (said,) = cluster.warnings.values()
    assert said.startswith("jobs are pending, such as 7: ReqNodeNotAvail,UnavailableNodes:n1 (node")


@pytest.mark.parametrize("state", ["PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"])
def test_held_jobs_are_named_once_with_what_to_do(cluster: Cluster, state: str) -> None:
    for reason in ("launch failed requeued held", "launch_failed_requeued_held"):
        cluster.answer = {"7": slurm.State(state, reason), "8": slurm.State(state, reason)}
        cluster.asks_in()
    (said,) = cluster.warnings.values()
    assert "such as 7" in said and "scontrol release" in said


def test_why_jobs_wait_is_asked_after_a_submission_and_every_ten_minutes(cluster: Cluster) -> None:
    cluster.answer = {"7": slurm.State("PENDING", "Priority")}
    waited = 0.0
    cluster.poll.states(["7"])
    while waited < 600:
        assert (cluster.briefly[-1]) == (waited > 0)
        waited += cluster.asks_in()
    assert not cluster.briefly[-1]
    cluster.asks_in()
    assert cluster.briefly[-1]
    cluster.poll.ask_soon()
    cluster.asks_in()
    assert not cluster.briefly[-1]


def test_a_squeue_that_cannot_ask_for_states_alone_is_asked_in_full(cluster: Cluster) -> None:
    cluster.answer = {"7": slurm.State("RUNNING")}
    cluster.poll.states(["7"])
    cluster.answer = slurm.QueryFailed("squeue: unrecognized option '--only-job-state'")
    cluster.asks_in()
    for _ in range(3):
        cluster.asks_in()
    assert cluster.briefly == [False, True, False, False, False]
