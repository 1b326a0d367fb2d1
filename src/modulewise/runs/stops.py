"""Requests to stop a run: it saves its state, and goes on from there when it is started again."""

from __future__ import annotations

import signal

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Signals that ask a run to stop."""


def ignore() -> None:
    """Be deaf to them from now on. Python gives up its handlers when it exits: a late request would
    make a finished run look failed."""
    for name in STOPS:
        signal.signal(name, signal.SIG_IGN)
