"""Changes of one cell, written as words: `training.lr=0.05`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from modulewise.config.loading import read_value
from modulewise.config.recipes import Change
from modulewise.errors import InvalidInput, parse


def change(words: Iterable[str], where: str) -> Change:
    """What words such as `training.lr=0.05` set, as an override of a sweep would.

    Args:
        words: each a key, whose parts have dots between them, `=`, and a value in YAML.
        where: for messages.

    Raises:
        InvalidInput: a word of another form, a key twice, or an unknown one.

    Example:
        >>> change(["training.lr=0.05", "options.head=1c2f"], "--set").training
        {'lr': 0.05}
    """
    content: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        *path, last = key.split(".")
        if not equals or not last:
            raise InvalidInput(f"{where} {word}: valid: KEY=VALUE, such as training.lr=0.05")
        owner: Any = content
        for part in path:
            owner = owner.setdefault(part, {}) if isinstance(owner, dict) else None
        if not isinstance(owner, dict) or last in owner:
            raise InvalidInput(f"{where} {key}: given twice")
        owner[last] = read_value(value, f"{where} {key}")
    return parse(Change, content, where)
