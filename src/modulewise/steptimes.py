"""What a sweep takes from a file of `modulewise pace`."""

from __future__ import annotations

from pydantic import BaseModel

from .options import Positive


class Found(BaseModel):
    """What a pace file says of a configuration, as far as it is needed here."""

    steps: str = ""
    """`Cell.steps` of it."""
    step_seconds: Positive | None = None


class StepTimes(BaseModel):
    """A file of `modulewise pace`."""

    device: str
    cells: dict[str, Found]
    """By configuration."""

    @property
    def step_seconds(self) -> dict[str, float]:
        """Seconds of a training step, by `Cell.steps`."""
        return {c.steps: c.step_seconds for c in self.cells.values() if c.step_seconds is not None}
