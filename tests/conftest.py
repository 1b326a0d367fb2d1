"""Shared set-up: one CPU thread, reproducible hypothesis, the repository's own recipes and data
sets."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from modulewise.config.resolve import Catalog

ROOT = Path(__file__).parent.parent

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=40, database=None)
settings.load_profile("tests")


WAITING = ["slurm", "workflow", "tracking", "docs"]
"""Folders whose tests mostly wait for other programs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait begin first, so that they do not wait alone at the end; `testpaths` cannot
    say so: of paths that overlap, pytest keeps the outermost. Without a GPU its tests are
    skipped."""
    items.sort(key=lambda item: item.path.parent.name not in WAITING)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The nets are tiny: a second thread only costs time, and other threads would add in another
    order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Who starts the tests in the background, or with nohup, has these ignored, and so would every
    program that a test ends by them."""
    for name, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(name) is signal.SIG_IGN:
            signal.signal(name, usual)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """What `config/recipes.yaml` and `config/datasets.yaml` say."""
    return Catalog(ROOT / "config" / "recipes.yaml", ROOT / "config" / "datasets.yaml")
