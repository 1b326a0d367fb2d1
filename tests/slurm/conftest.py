"""A real Slurm cluster for the tests of this folder: started once, its queue emptied and its daemons revived after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without accounting."""
    yield from _cluster(tmp_path_factory, accounting=False)


@pytest.fixture(scope="session")
def slurm_db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with accounting in a database, and limits enforced."""
    yield from _cluster(tmp_path_factory, accounting=True)


def _cluster(folders: pytest.TempPathFactory, accounting: bool) -> Iterator[Cluster]:
    if reason := Cluster.missing(accounting):
        pytest.skip(reason)
    with Cluster(folders.mktemp("slurm"), accounting=accounting) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _clean_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    used = [request.getfixturevalue(name) for name in ("slurm", "slurm_db") if name in request.fixturenames]
    yield
    for cluster in used:
        cluster.clear()
