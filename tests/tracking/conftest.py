"""A local MLflow store, and names of data sets that no other test uses."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

_numbers = count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """One local store for all tests: making its tables takes seconds. Tests use data sets of their
    own."""
    folder = tmp_path_factory.mktemp("store")
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"


@pytest.fixture
def dataset() -> str:
    """A data set, hence an experiment, that no other test uses."""
    return f"toy{next(_numbers)}"
