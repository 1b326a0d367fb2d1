"""What a sweep takes from a file of `modulewise profile`."""

from __future__ import annotations

from pydantic import BaseModel

from modulewise.config.types import Positive


class Found(BaseModel):
    """What a profile file says of a configuration, as far as it is needed here."""

    steps: str = ""
    """`Cell.steps` of it."""
    step_seconds: Positive | None = None


class StepTimes(BaseModel):
    """A file of `modulewise profile`."""

    device: str
    cells: dict[str, Found]
    """By configuration."""

    @property
    def step_seconds(self) -> dict[str, float]:
        """Seconds of a training step, by `Cell.steps`."""
        return {c.steps: c.step_seconds for c in self.cells.values() if c.step_seconds is not None}
