"""A real Slurm cluster for the tests of this folder: started once, its queue emptied and its
daemons revived after every test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import forked
from cluster import Cluster
from workflow import ROOT, Workflow


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
    used = [
        request.getfixturevalue(name)
        for name in ("slurm", "slurm_db")
        if name in request.fixturenames
    ]
    yield
    for cluster in used:
        cluster.clear()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mark that says that the data set of all sweeps is prepared."""
    mark = tmp_path_factory.mktemp("data") / "fake.json"
    words = ("data", "--dataset", "fake", "--config", str(ROOT / "config"), "--mark", str(mark))
    done = forked.run(*words)
    assert done.returncode == 0, done.stderr
    return mark


@pytest.fixture
def sweep(
    tmp_path: Path, prepared: Path, request: pytest.FixtureRequest
) -> Callable[..., Workflow]:
    """Makes a small sweep in a folder where the data set is prepared; on the cluster `slurm` unless
    another is given."""

    def make(cluster: Cluster | None = None, **options: Any) -> Workflow:
        (tmp_path / "results/data").mkdir(parents=True)
        shutil.copy(prepared, tmp_path / "results/data")
        return Workflow(tmp_path, cluster or request.getfixturevalue("slurm"), **options)

    return make
