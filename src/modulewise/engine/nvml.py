"""What NVIDIA's driver tells of a GPU, by its library NVML, which every driver brings. Nothing here
starts work on the GPU or fails where there is no such library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
MODES = ("", "exclusive thread", "prohibited", "exclusive process")
"""Compute modes by NVML's number; the first, the default, lets any number of processes in."""


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Utilization(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint) for name in ("gpu", "memory")]


@dataclass(frozen=True)
class Look:
    """One look at a GPU, all of its processes together; `None` where the driver does not tell (most
    of it on a part of a GPU)."""

    percent: float | None
    """Share of the last second or less in which a kernel ran."""
    used: int | None
    """Bytes of its memory that are occupied."""
    total: int | None
    """Bytes of its memory."""
    watts: float | None
    """Power it draws."""
    most_watts: float | None
    """Power it may draw."""


class Gpu:
    """A GPU, by its UUID without prefix; one of which NVML knows nothing tells nothing."""

    def __init__(self, uuid: str) -> None:
        self._nvml, self._handle = _library(), ctypes.c_void_p()
        names = (f"{kind}-{uuid}".encode() for kind in ("GPU", "MIG"))
        self.known = self._nvml is not None and any(
            self._nvml.nvmlDeviceGetHandleByUUID(name, ctypes.byref(self._handle)) == 0
            for name in names
        )

    def look(self) -> Look:
        """Ask the driver."""
        memory = self._ask("MemoryInfo", _Memory())
        busy = self._ask("UtilizationRates", _Utilization())
        power, limit = (
            self._ask(what, ctypes.c_uint()) for what in ("PowerUsage", "EnforcedPowerLimit")
        )
        return Look(
            percent=None if busy is None else float(busy.gpu),
            used=None if memory is None else memory.used,
            total=None if memory is None else memory.total,
            watts=None if power is None else power.value / 1000,
            most_watts=None if limit is None else limit.value / 1000,
        )

    @property
    def mode(self) -> str:
        """Compute mode; empty if it is the default or not told."""
        mode = self._ask("ComputeMode", ctypes.c_int())
        return MODES[mode.value] if mode and 0 <= mode.value < len(MODES) else ""

    def _ask(self, what: str, answer: Any) -> Any:
        """The answer, filled in; `None` if the driver does not give it."""
        if not self.known:
            return None
        ask = getattr(self._nvml, f"nvmlDeviceGet{what}")
        return answer if ask(self._handle, ctypes.byref(answer)) == 0 else None


@cache
def _library() -> Any:
    """NVML, ready to be asked; `None` if there is none."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
        return nvml if nvml.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None
