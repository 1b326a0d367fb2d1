"""Methods, one a file. The file's name is the method's name; its class has the same name in CamelCase.

A method's options are the keyword-only arguments of its constructor, each with a type of `modulewise.options` and a default.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..method import Method
from ..network import Trunk
from ..options import class_name


def method_class(name: str) -> type[Method]:
    """The class of a method."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), class_name(name))


def build(name: str, trunk: Trunk, options: dict[str, Any]) -> Method:
    """Build a method on a trunk.

    Raises:
        TypeError: an unknown option; the configuration has refused it long before.
    """
    return method_class(name)(trunk, **options)
