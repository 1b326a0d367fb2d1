"""Methods, one a file. The file's name is the method's name; its class has the same name in
CamelCase.

A method's options are the keyword-only arguments of its constructor, each with a type of
`modulewise.config.types` and a default.
"""

from __future__ import annotations

import importlib
from typing import Any

from modulewise.config.options import class_name
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models.network import CutNetwork


def method_class(name: str) -> type[Method]:
    """The class of a method."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), class_name(name))


def build(
    name: str,
    trunk: CutNetwork,
    options: dict[str, Any],
    schedule: str = "joint",
    where: str = "method",
) -> Method:
    """Build a method on a trunk.

    Args:
        name: of the method.
        trunk: the network, cut.
        options: what the recipe sets.
        schedule: that it will run under.
        where: for the message.

    Raises:
        InvalidInput: the method does not cut and the trunk is cut, it cannot run under the
            schedule, or it refuses its options.
    """
    cls = method_class(name)
    if cls.single and len(trunk.modules) > 1:
        raise InvalidInput(
            f"{where}: {name} does not cut the network; valid modules: 1, got {len(trunk.modules)}"
        )
    try:
        method = cls(trunk, **options)
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}") from None
    if method.joint_only and schedule != "joint":
        chosen = ", ".join(f"{key} {value}" for key, value in options.items())
        so = "" if cls.joint_only else f" with {chosen}"
        raise InvalidInput(f"{where}: {name}{so} runs under schedule joint only, got {schedule}")
    return method
