"""Trained modules of one run as the first modules of another."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from modulewise.config.types import Count, Frozen, Name


class Reuse(Frozen):
    """What a cell reuses."""

    source: Annotated[
        str, Field(pattern=r"^([a-z]+~[A-Za-z0-9.-]+/){5}cell~[0-9a-f]{8}$", max_length=600)
    ]
    """Path of the run below `results/runs`; it ends with the id of its cell."""
    modules: Count
    """Number of its first modules that are reused."""
    frozen: bool = True
    """Whether they stay as they are; else they are where training begins."""

    @property
    def id(self) -> str:
        """Id of the source's cell."""
        return self.source.rpartition("~")[2]

    @property
    def configuration(self) -> str:
        """The source but for its seed, and for the settings that its id stands for."""
        return self.source.partition("/seed~")[0]


class GridReuse(Frozen):
    """What the cells of a grid reuse: each the first modules of a cell of an earlier grid, of the
    same network, K and seed."""

    recipe: Name
    """Recipe of the source."""
    modules: Count
    """Number of its first modules that are reused."""
    frozen: bool = True
    """Whether they stay as they are, which needs schedule `sequential`; else they are where
    training begins."""
    dataset: Name | None = None
    """Data set of the source; the cell's own if not given."""
