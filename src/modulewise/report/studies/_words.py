"""Words in sentences of studies' pages."""

from __future__ import annotations

from collections.abc import Iterable


def listed(words: Iterable[str]) -> str:
    """Some words, at least one, as a list.

    Example:
        >>> listed(["1", "2", "5"]), listed(["1"])
        ('1, 2 and 5', '1')
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
