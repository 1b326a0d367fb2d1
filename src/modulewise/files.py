"""Files that are replaced in one step: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomic(path: Path, content: str | bytes | Callable[[IO[bytes]], object]) -> None:
    """Replace a file's content, or create the file; its folder must exist.

    The content is written to a file beside it, flushed to disk and renamed. A process that is
    killed leaves the old content, and perhaps the unfinished file: see `remove_unfinished`.

    Args:
        path: file to write.
        content: text (UTF-8), bytes, or a function that writes to the open file.

    Raises:
        OSError: the disk is full or read-only; nothing of the new content is left.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "counts.txt"
        >>> write_atomic(path, "38 done")
        >>> path.read_text()
        '38 done'
    """
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
        unfinished.unlink(missing_ok=True)
        raise


def remove_unfinished(path: Path) -> None:
    """Remove what killed writers of this file left behind; for a file that has one writer."""
    for unfinished in path.parent.glob(f".{path.name}.*.tmp"):
        unfinished.unlink(missing_ok=True)
