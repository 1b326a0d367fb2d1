"""What a study found on one run's weights: a file beside the run's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modulewise.files import write_atomic
from modulewise.runs.result import Stored


class StudyResult(Stored):
    """What a study found on one run's weights."""

    study: str
    """Name of the study."""
    options: dict[str, Any] = {}
    """Options that differ from their defaults."""
    cell: str
    """Id of the run's cell."""
    weights: str
    """Short hash of the weights that were measured."""
    found: dict[str, Any]
    """Measurements; what they hold is the study's own affair."""
    seconds: float
    """Seconds that the study took, loading included."""
    device: str
    """Name of the device."""
    commit: str | None
    """Commit of the repository, with `+` if files were changed."""
    source: str
    """Hash of the source files that decide what is found."""
    versions: dict[str, str]
    """Versions of Python, this package and the libraries that decide the numbers."""

    def save(self, path: Path) -> None:
        """Write the file."""
        write_atomic(path, self.model_dump_json(indent=1) + "\n")


def read(path: Path) -> StudyResult | None:
    """Read what a study found; `None` if the file is missing or damaged."""
    try:
        return StudyResult.model_validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
