"""Tensors of earlier steps, which outlive a step where a graph does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class History(nn.Module):
    """What was kept in the last steps, the oldest first: a row of tensors for each.

    The tensors are buffers: a checkpoint holds them, they count in memory and follow their module
    from device to device. As many rows are held as steps are looked back on, from the first step
    on; sizes may differ from step to step. There is nothing before the first step, and nothing
    again once a state is put back that was taken then.

    Args:
        steps: number of steps that are looked back on.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    @property
    def empty(self) -> bool:
        """Whether nothing was kept yet."""
        return not self._buffers

    def begin(self, *row: Tensor) -> None:
        """Keep the same for all steps before the first one."""
        self._put([tensor.detach() for _ in range(self.steps) for tensor in row])

    def oldest(self) -> list[Tensor]:
        """What was kept `steps` steps ago."""
        kept = self._tensors
        return kept[: len(kept) // self.steps]

    def keep(self, *row: Tensor) -> None:
        """Keep this of the present step in place of the oldest."""
        self._put([*self._tensors, *(tensor.detach() for tensor in row)][len(row) :])

    @property
    def _tensors(self) -> list[Tensor]:
        return [tensor for tensor in self._buffers.values() if tensor is not None]

    def _put(self, tensors: list[Tensor]) -> None:
        self._buffers.clear()
        for n, tensor in enumerate(tensors):
            self.register_buffer(str(n), tensor)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *_: Any, **__: Any
    ) -> None:
        """Take what is there, of any number and size."""
        own = [name for name in state_dict if name.startswith(prefix)]
        own.sort(key=lambda name: int(name.removeprefix(prefix)))
        self._put([state_dict[name].clone() for name in own])
