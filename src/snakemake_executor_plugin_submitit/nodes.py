"""Nodes that failed under a job: its next attempt avoids them, whoever starts it."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import messages, reasons, resources, slurm
from .ledger import Place
from .submission import names

FAILED = frozenset(["NODE_FAIL", "BOOT_FAIL"])
"""States of a job whose node failed."""

SETTLED = 30.0
"""Seconds for which a node is looked at after its job came back: Slurm may say of a job that it
waits again before it says of the node that it is down."""

_DOWN = re.compile(r"(down|fail|drain|error|unknown|not_responding|power).*|.*[*%]")


class Lost:
    """The nodes that failed, by job.

    Args:
        say: called with a line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._nodes: dict[str, frozenset[str]] = {}
        self._until: dict[tuple[str, str], float] = {}

    def of(self, key: str) -> frozenset[str]:
        """The nodes to avoid for a job."""
        return self._nodes.get(key, frozenset())

    def forgive(self, keys: Iterable[str]) -> bool:
        """Forget them, for there may be no others; whether there were any."""
        known = [key for key in keys if self._nodes.pop(key, None)]
        return bool(known)

    def ended(self, key: str, place: Place, state: str) -> None:
        """A job has ended in a state: if that is its node's failure, avoid the node."""
        node = last(place)
        if state in FAILED and node:
            self._nodes[key] = self.of(key) | {node}

    def returned(self, infos: Iterable[Any], states: Mapping[str, slurm.State]) -> None:
        """Have Slurm avoid the node of jobs that wait again under their old id because it failed;
        those that were preempted, or reached their time limit, may run there again."""
        waiting = [
            info
            for info in infos
            if (state := states.get(info.external_jobid)) and state.name in reasons.WAITING
        ]
        present = {f: names(f) for f in {info.aux["place"].folder for info in waiting}}
        new: dict[tuple[str, str], Any] = {}
        for info in waiting:
            place: Place = info.aux["place"]
            if place.node.name in present[place.folder] and (node := last(place)):
                new.setdefault((place.id, node), info)
        # What runs again may lose its node again.
        again = {id for id, state in states.items() if state.name == "RUNNING"}
        self._until = {ran: end for ran, end in self._until.items() if ran[0] not in again}
        now = time.monotonic()
        new = {
            ran: info
            for ran, info in new.items()
            if now < self._until.setdefault(ran, now + SETTLED)
        }
        if not new:
            return
        try:
            down = _down({node for _, node in new})
        except slurm.QueryFailed:
            return  # asked again next time
        for (id, node), info in new.items():
            if node in down:
                self._until[id, node] = now
                self._avoid(id, node, info)

    def _avoid(self, id: str, node: str, info: Any) -> None:
        key, asked = info.aux["key"], dict(info.job.resources.items())
        self._nodes[key] = self.of(key) | {node}
        given = asked.get("exclude") or resources.extra(asked).get("exclude")
        listed = ",".join([*([str(given)] if given else []), *sorted(self.of(key))])
        try:
            slurm.ask("scontrol", "update", f"JobId={id}", f"ExcNodeList={listed}")
        except slurm.QueryFailed:
            return  # it has started meanwhile, or no other node would do
        self.say(f"node {node} failed under Slurm job {id}, which avoids it from now on")


def last(place: Place) -> str:
    """The node on which a job ran last; empty if it never did."""
    return (messages.text(place.node).split() or [""])[-1]


def _down(nodes: set[str]) -> set[str]:
    """Those of some nodes that failed."""
    said = slurm.ask(
        "sinfo", "--noheader", "--Node", "--format=%N|%T", f"--nodes={','.join(sorted(nodes))}"
    )
    rows = [line.strip().partition("|") for line in said.splitlines()]
    return {node for node, _, state in rows if _DOWN.fullmatch(state.lower())}
