"""Durations and sizes as people read them."""

from __future__ import annotations

import re


def duration(seconds: float) -> str:
    """A duration in its two largest units, rounded to the smaller.

    Example:
        >>> [duration(s) for s in (42, 185, 1500, 7800, 400_000)]
        ['42 s', '3 min 5 s', '25 min', '2 h 10 min', '4 d 15 h']
    """
    s, minutes, hours = (round(seconds / unit) for unit in (1, 60, 3600))
    if s < 60:
        return f"{s} s"
    if s < 600:
        return f"{s // 60} min {s % 60} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def short_duration(seconds: float) -> str:
    """A duration for a narrow column: minutes and seconds, or hours and minutes.

    Example:
        >>> [short_duration(s) for s in (42, 185, 1500, 7800, 400_000)]
        ['0:42', '3:05', '25:00', '2h10', '111h07']
    """
    s, minutes = round(seconds), round(seconds / 60)
    return f"{s // 60}:{s % 60:02}" if s < 6000 else f"{minutes // 60}h{minutes % 60:02}"


def three_digits(value: float) -> str:
    """A positive number rounded to three digits; all digits before the point are kept.

    Example:
        >>> [three_digits(x) for x in (0.01234, 1.5, 59.96, 1234.5)]
        ['0.0123', '1.5', '60', '1234']
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def time(seconds: float) -> str:
    """A time in one unit: what a step takes, or the device time of a sweep, never in days.

    Example:
        >>> [time(s) for s in (0.0123, 2.5, 90, 5400, 4_000_000)]
        ['12.3 ms', '2.5 s', '1.5 min', '1.5 h', '1111 h']
    """
    return _in_unit(seconds, (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"))


def memory(count: float) -> str:
    """Bytes of memory, in powers of 1024.

    Example:
        >>> [memory(n) for n in (2_000, 85_000_000, 3 * 2**30)]
        ['1.95 KiB', '81.1 MiB', '3 GiB']
    """
    return _in_unit(count, (1, "B"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"))


def memory_bytes(text: str) -> int:
    """Bytes of a size as people write it.

    Raises:
        ValueError: no number, or no unit of these.

    Example:
        >>> memory_bytes("8GiB"), memory_bytes("1.5 MiB"), memory_bytes("16GB")
        (8589934592, 1572864, 16000000000)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]i?B)", text.strip())
    if not found or not float(found[1]):
        raise ValueError(f"{text!r} is no size of memory; valid: 512MiB, 8GiB, 16GB and the like")
    base, power = 1024 if "i" in found[2] else 1000, "KMGT".index(found[2][0]) + 1
    return round(float(found[1]) * base**power)


def enough(count: int) -> str:
    """A size of at least so many bytes, at most 1 % or 1 KiB above it, as `memory_bytes` reads it.

    Example:
        >>> [enough(n) for n in (2_000, 85_000_000, 3 * 2**30)]
        ['2KiB', '83008KiB', '3072MiB']
    """
    units = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
    factor, unit = next((u for u in units if count > 100 * u[0]), units[-1])
    return f"{-(-count // factor)}{unit}"


def disk(count: float) -> str:
    """Bytes on disk, in powers of 1000.

    Example:
        >>> [disk(n) for n in (2_000, 85_000_000, 3.25e9)]
        ['2 kB', '85 MB', '3.25 GB']
    """
    return _in_unit(count, (1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"))


def work(count: float) -> str:
    """A number of floating-point operations.

    Example:
        >>> [work(n) for n in (2_000, 8.5e10, 3.25e18)]
        ['0.002 MFLOPs', '85 GFLOPs', '3250 PFLOPs']
    """
    units = ((1e6, "MFLOPs"), (1e9, "GFLOPs"), (1e12, "TFLOPs"), (1e15, "PFLOPs"))
    return _in_unit(count, *units)


def _in_unit(value: float, *units: tuple[float, str]) -> str:
    """The value in the largest unit of which it holds one once it is rounded, else the smallest."""
    factor, name = next(
        (unit for unit in reversed(units) if float(three_digits(value / unit[0])) >= 1), units[0]
    )
    return f"{three_digits(value / factor)} {name}"
