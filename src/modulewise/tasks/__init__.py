"""Tasks, one a file; the file's name is the `task` of an entry in `datasets.yaml`."""

from __future__ import annotations

import importlib

from modulewise.config.options import class_name
from modulewise.task import Task


def build(name: str, classes: int) -> Task:
    """A task of that many classes.

    Example:
        >>> build("classification", 10).outputs
        10
    """
    task: Task = getattr(importlib.import_module(f"{__name__}.{name}"), class_name(name))(classes)
    return task
