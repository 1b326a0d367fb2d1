"""What a sweep takes from a file of `modulewise pace`."""

from __future__ import annotations

from pydantic import BaseModel

from .options import Positive


class StepTime(BaseModel):
    """What a pace file says of a configuration, as far as it is needed here."""

    step_seconds: Positive | None = None


class StepTimes(BaseModel):
    """A file of `modulewise pace`."""

    device: str
    cells: dict[str, StepTime]
    """Configuration -> its figures."""
