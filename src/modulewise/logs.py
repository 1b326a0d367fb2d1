"""Where messages go: to the terminal, and those about a training to its own file too."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = logging.getLogger("modulewise")
OFTEN = "modulewise.engine"
"""Loggers below this one have a message every epoch."""


class Seldom(logging.Filter):
    """Passes every warning and, of what a training says of its progress, one line in some seconds.

    Args:
        every: seconds between two lines.
    """

    def __init__(self, every: float = 5.0) -> None:
        super().__init__()
        self.every, self.last = every, 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is shown."""
        if record.levelno > logging.INFO or not record.name.startswith(OFTEN):
            return True
        if time.monotonic() - self.last < self.every:
            return False
        self.last = time.monotonic()
        return True


class Once(logging.Filter):
    """Passes a message that it has not passed before."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is new."""
        new = record.getMessage() not in self.passed
        self.passed.add(record.getMessage())
        return new

    def forget(self) -> None:
        """Pass all messages anew."""
        self.passed.clear()


class Leveled(logging.Formatter):
    """Puts `error:` or `warning:` before messages that are more than information."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a message."""
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return level + super().format(record)


class RunLog(logging.FileHandler):
    """Appends messages to a file, with date and time. A message that cannot be written is tried
    once more, in the file opened anew; a full disk ends the run, as it does for all that a run
    writes."""

    _again = False

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Try once more, then raise what went wrong."""
        if self._again:
            raise
        self._again = True
        try:
            with suppress(OSError):
                self.close()
            self.stream = None  # the next message opens it
            time.sleep(1)
            self.emit(record)
        finally:
            self._again = False


@contextmanager
def terminal() -> Iterator[None]:
    """Inside, messages go to standard error; what a verb is asked for goes to standard output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Leveled())
    handler.addFilter(Seldom())
    ROOT.setLevel(logging.INFO)
    with _handled(handler):
        yield


@contextmanager
def training(file: Path) -> Iterator[None]:
    """Inside, messages are appended to a file too.

    Raises:
        OSError: the disk is full.
    """
    ROOT.setLevel(logging.INFO)
    with _handled(RunLog(file)):
        yield


@contextmanager
def once(*loggers: logging.Logger) -> Iterator[Once]:
    """Inside, every message of these loggers passes once."""
    made = Once()
    for logger in loggers:
        logger.addFilter(made)
    try:
        yield made
    finally:
        for logger in loggers:
            logger.removeFilter(made)


@contextmanager
def _handled(handler: logging.Handler) -> Iterator[None]:
    ROOT.addHandler(handler)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        handler.close()
