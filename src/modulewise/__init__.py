"""modulewise: train deep nets module by module, and compare every way of doing so under one
trainer."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`modulewise.load`, a function of `engine.deployed`: torch is imported when it is asked
    for."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("modulewise.engine.deployed").load
