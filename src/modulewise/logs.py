"""Where lines about a training go: all of them to the run's own log, a few to the terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = logging.getLogger("modulewise")


class Seldom(logging.Filter):
    """Passes every warning, and of other lines at most one in some seconds.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 5.0) -> None:
        super().__init__()
        self.every, self.last = every, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        now = time.monotonic()
        shown = record.levelno > logging.INFO or now - self.last >= self.every
        if shown:
            self.last = now
        return shown


@contextmanager
def training(file: Path) -> Iterator[None]:
    """Inside, lines go to a file, with date and time, and seldom to standard output."""
    whole = logging.FileHandler(file, encoding="utf-8")
    whole.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))
    terminal = logging.StreamHandler(sys.stdout)
    terminal.addFilter(Seldom())
    ROOT.setLevel(logging.INFO)
    for handler in (whole, terminal):
        ROOT.addHandler(handler)
    try:
        yield
    finally:
        for handler in (whole, terminal):
            ROOT.removeHandler(handler)
        whole.close()
