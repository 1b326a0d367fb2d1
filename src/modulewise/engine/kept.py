"""The weights that a finished run kept, for other runs and for studies."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from modulewise.config.cell import Cell
from modulewise.engine.checkpoint import Inputs
from modulewise.errors import InvalidInput
from modulewise.runs.files import WEIGHTS
from modulewise.runs.result import FILE, Result


@dataclass(frozen=True)
class Kept:
    """What a finished run left.

    Attributes:
        result: of the run.
        weights: the method's state, on the CPU.
        digest: short hash of the weights' file.
        inputs: what the network is given; `None` in files of earlier versions.
    """

    result: Result
    weights: dict[str, Tensor]
    digest: str
    inputs: Inputs | None = None


def read(folder: Path, missing: str, again: str, where: str = "") -> Kept:
    """Read the result and the weights of a run.

    Args:
        folder: of the run.
        missing: said of a run without a result.
        again: what to do about weights that are not there.
        where: that messages begin with.

    Raises:
        InvalidInput: the run has no result or no weights, or they are damaged or of another cell.
    """
    place, path = folder / FILE, folder / WEIGHTS
    try:
        result = Result.model_validate_json(place.read_text())
    except OSError:
        raise InvalidInput(f"{where}{folder}: no {FILE}; {missing}") from None
    except ValueError:
        raise InvalidInput(f"{where}{place}: damaged; remove it to train again") from None
    try:
        raw = path.read_bytes()
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        weights, made = content["method"], Cell.model_validate_json(content["cell"])
        inputs = Inputs(**given) if (given := content.get("inputs")) else None
    except FileNotFoundError:
        raise InvalidInput(f"{where}{folder}: no {WEIGHTS}; {again}") from None
    except (pickle.UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, EOFError):
        raise InvalidInput(f"{where}{path}: damaged; {again}") from None
    if made.id != result.cell.id:
        raise InvalidInput(f"{where}{path}: weights of another cell; {again}")
    return Kept(result, weights, hashlib.sha256(raw).hexdigest()[:12], inputs)
