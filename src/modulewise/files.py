"""Files that are replaced in one step: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
TRANSIENT = frozenset(
    {errno.ESTALE, errno.EBUSY, errno.EREMOTEIO, errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR}
)
"""Errors of a network disk that may be over a moment later."""
MOMENT = 2.0
"""Seconds between an attempt that failed so and the second one."""


def patiently(act: Callable[[], T], path: Path) -> T:
    """What `act` gives; after a transient error of a network disk, tried once more.

    Args:
        act: writes a file; it must be right to begin again.
        path: that file.

    Raises:
        OSError: another error, or the second attempt fails as well. It names the file.
    """
    try:
        return _naming(act, path)
    except OSError as error:
        if error.errno not in TRANSIENT:
            raise
        log.warning(f"{path}: {error.strerror}; trying once more")
    time.sleep(MOMENT)
    return _naming(act, path)


def _naming(act: Callable[[], T], path: Path) -> T:
    """What `act` gives; torch's own error for one of the system becomes that one, and names the
    file."""
    try:
        return act()
    except (OSError, RuntimeError) as error:
        beneath: BaseException | None = error
        while beneath is not None and not isinstance(beneath, OSError):
            beneath = beneath.__context__
        if beneath is None:
            raise
        if beneath.filename is None and beneath.errno is not None:
            beneath.filename = str(path)
        raise beneath from None


def place(path: Path) -> Path:
    """The path of a file, for which there is a folder from now on: made before long work, so that
    its result has somewhere to go.

    Raises:
        OSError: the folder cannot be made, or a folder has the file's name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return path


def write_atomic(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Replace a file's content, or create the file; its folder must exist.

    The content is written to a file beside it, flushed to disk and renamed. A process that is
    killed leaves the old content, and perhaps the unfinished file: see `remove_unfinished`. After a
    transient error of a network disk it is tried once more.

    Args:
        path: file to write.
        content: text (UTF-8), bytes, or a function that writes to the open file.

    Raises:
        OSError: the disk is full, read-only or away; nothing of the new content is left.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "counts.txt"
        >>> write_atomic(path, "38 done")
        >>> path.read_text()
        '38 done'
    """
    patiently(partial(_write, path, content), path)


def _write(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    # Two processes may write the same file: each has an unfinished file of its own.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what to say
            unfinished.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers of this file left behind; for a file that has one writer."""
    for unfinished in path.parent.glob(f".{path.name}.*.tmp"):
        patiently(partial(unfinished.unlink, missing_ok=True), unfinished)
