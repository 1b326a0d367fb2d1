"""Network families, one a file: `PATTERN` matches the names the family builds, `EXAMPLES` shows
some, `build` makes one."""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

from modulewise.errors import InvalidInput, choose
from modulewise.models.network import Network, Shape


def families() -> list[ModuleType]:
    """The files of this folder that declare a `PATTERN`."""
    files = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    return [file for file in files if hasattr(file, "PATTERN")]


def gives_maps(name: str) -> bool:
    """Whether the network of that name gives a map of scores for an image."""
    family = next((f for f in families() if re.fullmatch(f.PATTERN, name)), None)
    return bool(getattr(family, "DENSE", False))


def build(name: str, image: Shape, outputs: int, where: str = "network") -> Network:
    """Build a network by name.

    Args:
        name: such as `resnet32`, `mlp4`, `vgg8b`.
        image: shape of one input (C, H, W).
        outputs: number of scores.
        where: for the message.

    Raises:
        InvalidInput: no family builds that name.

    Example:
        >>> len(build("resnet32", (3, 32, 32), 10).stages)
        16
    """
    examples = []
    for family in families():
        match = re.fullmatch(family.PATTERN, name)
        if match:
            try:
                return family.build(match, image, outputs)
            except ValueError as error:
                raise InvalidInput(f"{where}: {name}: {error}") from None
        examples += family.EXAMPLES
    raise choose(name, examples, "network", where)
