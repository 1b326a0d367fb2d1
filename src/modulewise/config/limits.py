"""What a sweep may cost at most, as its file says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modulewise.config.types import NUMBER, Frozen, Positive
from modulewise.errors import InvalidInput


class Limits(Frozen):
    """Limits above which a sweep stops before its first job; `None` allows anything."""

    gpu_hours: Positive | None = None
    """Hours of the runs that are still to do and whose time is known, each on one device: a GPU, or
    the CPU where there is none."""
    disk_gb: Positive | None = None
    """Disk space of all that the runs leave and hold at most, in 10^9 bytes."""
    files: Annotated[int, Field(ge=1), NUMBER] | None = None
    """Number of files that the runs leave and hold at most."""

    def hold(self, key: str, expected: float, where: str, basis: str = "") -> None:
        """Refuse an expectation above the limit of that key.

        Args:
            key: `gpu_hours`, `disk_gb` or `files`.
            expected: in that unit.
            where: name of the sweep's file.
            basis: what the expectation rests on.

        Raises:
            InvalidInput: above the limit; the line says how to raise it.
        """
        limit = getattr(self, key)
        if limit is not None and expected > limit:
            why = f" ({basis})" if basis else ""
            raise InvalidInput(
                f"{where}: limits.{key}: {limit:g} allowed, about {expected:.6g} expected{why}; "
                f"no run was started: raise limits.{key} or run fewer cells"
            )
