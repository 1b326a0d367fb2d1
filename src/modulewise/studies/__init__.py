"""Studies: what is measured on the weights of a finished run. Each file holds one, a class of the
file's name in CamelCase, that is called with the run and returns what it found.

A study's options are the keyword-only arguments of its constructor, each with a type of
`modulewise.config.types` and a default. An option `targets` names data sets. What was found is
JSON; `modulewise/report/studies/<name>.py` makes a page of it.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from modulewise.config.options import class_name, options_model
from modulewise.config.study import StudyOrder
from modulewise.engine import device
from modulewise.errors import InvalidInput, parse
from modulewise.rng import fork
from modulewise.runs.checkout import git_commit
from modulewise.runs.provenance import study_hash
from modulewise.runs.study import StudyResult
from modulewise.studies._trained import Trained, load

__all__ = ["Study", "Trained", "build", "load", "make"]


class Study(Protocol):
    """What is measured on a run's weights."""

    def __call__(self, trained: Trained) -> dict[str, Any]:
        """What was found, as JSON values; `seconds`, at any depth, are of the device.

        Random numbers come from the global generator, which is at the start of a stream of the
        run's seed and the study's name.
        """


def build(name: str, options: dict[str, Any], where: str = "study") -> Study:
    """A study with its options.

    Raises:
        InvalidInput: the study refuses them.
    """
    given = parse(options_model("studies", name), options, f"{where}: options")
    values = {key: getattr(given, key) for key in type(given).model_fields}
    made = getattr(importlib.import_module(f"{__name__}.{name}"), class_name(name))
    try:
        study: Study = made(**values)
    except ValueError as error:
        raise InvalidInput(f"{where}: {error}") from None
    return study


def make(order: StudyOrder, folder: Path, root: Path, on: torch.device) -> StudyResult:
    """Make a study of a run.

    Args:
        order: what to measure.
        folder: of the run.
        root: folder that downloads lie in.
        on: the device.

    Raises:
        InvalidInput: the run has no result or no weights, or the study refuses it.
    """
    begun = time.perf_counter()
    study = build(order.study, order.options)
    trained = load(folder, root, on, order.datasets)
    with fork(trained.cell.seed, "study", order.study):
        # A run that diverged has nothing to measure; its sweep goes on.
        found = study(trained) if trained.result.status == "done" else {}
    return StudyResult(
        study=order.study,
        options=order.options,
        cell=trained.cell.id,
        weights=trained.digest,
        found=found,
        seconds=time.perf_counter() - begun,
        device=device.describe(on),
        commit=git_commit(),
        source=study_hash(order.study, trained.cell),
        versions=device.versions(),
    )
