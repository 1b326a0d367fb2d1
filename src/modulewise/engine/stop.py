"""A run that is asked to stop."""

from __future__ import annotations

from dataclasses import dataclass


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass
class Stop:
    """Set by a signal handler; the trainer looks at it after every step."""

    asked: bool = False
