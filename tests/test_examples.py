"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import modulewise

MODULES = [
    m.name
    for m in pkgutil.walk_packages(modulewise.__path__, "modulewise.")
    if not m.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    assert (
        sum(
            bool(t.examples) for name in MODULES for t in finder.find(importlib.import_module(name))
        )
        >= 10
    )
