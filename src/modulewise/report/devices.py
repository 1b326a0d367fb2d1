"""Runs of one table that were made on different devices, and pairs of runs that cross them.

Numbers of two devices differ by more than the last digit: rounding differs, and training makes it
grow. Their errors count together all the same: seeds are drawn alike on either, so a mean, a gap
and its interval stay right, only wider, for a seed's luck is no longer shared by the two runs of a
pair. What is not known is whether a difference between rows is that of their devices. So it is
named. Memory and time of two devices are never compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from modulewise.report.frame import Frame

MOST = 12
"""Groups of runs of a device that are listed by name."""


class Device(NamedTuple):
    """A device, and the runs of a table that were made on it."""

    name: str
    runs: int
    rows: str
    """Which rows, with the seeds where a row has several devices."""


def mixed(frame: Frame, dataset: str, network: str) -> list[Device]:
    """The devices of a data set's and network's runs that count, that of most runs first; none if
    there is but one.

    Args:
        frame: the runs.
        dataset: name of the data set.
        network: name of the network.
    """
    runs = frame.done
    if len(runs):
        runs = runs[(runs["dataset"] == dataset) & (runs["network"] == network)]
        runs = runs[runs["device"].notna()]
    if not len(runs) or runs["device"].nunique() < 2:
        return []
    keys = ["label", "settings"] if runs["settings"].nunique() > 1 else ["label"]
    seeds = runs.groupby([*keys, "modules"])["seed"].transform("nunique")
    out = []
    for n, name in enumerate(runs["device"].value_counts().index):
        mine = runs[runs["device"] == name].assign(of=seeds)
        rows = [] if n == 0 else _rows(mine, keys)
        more = f"; and {len(rows) - MOST} more" if len(rows) > MOST else ""
        out.append(Device(str(name), len(mine), "; ".join(rows[:MOST]) + more or "all others"))
    return out


def _rows(runs: pd.DataFrame, keys: list[str]) -> list[str]:
    """Such as `DGL K = 2, 4`, with the seeds if other seeds of these rows were elsewhere.

    Args:
        runs: on one device, `of` how many of their row on any.
        keys: columns that name rows of any K.
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for key, row in runs.groupby([*keys, "modules"], sort=False):
        label, *settings, modules = map(str, key)
        name = label + "".join(f" ({s or 'recipe’s own'})" for s in settings)
        mine = [str(seed) for seed in sorted(row["seed"])]
        some = len(mine) < row["of"].iloc[0]
        which = f", seed{'s' * (len(mine) > 1)} {', '.join(mine)}" if some else ""
        alike.setdefault((name, which), []).append(modules)
    return [f"{name} K = {', '.join(ks)}{which}" for (name, which), ks in alike.items()]


def split_seeds(frame: Frame) -> list[int]:
    """Seeds whose runs that count were made on several devices, within one data set and network:
    a contrast of such a seed holds a difference of devices too."""
    if not len(frame.done):
        return []
    devices = frame.done.groupby(["dataset", "network", "seed"])["device"].nunique()
    return sorted(devices[devices > 1].index.get_level_values("seed").unique())


def crossed(mine: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> str:
    """What is to be said of pairs of runs, equal in their seed, of different devices; empty if
    there is none.

    Args:
        mine: runs of one row, by column.
        base: the baseline's.
    """
    theirs = dict(zip(base["seed"], base["device"], strict=True))
    pairs = [
        (device, theirs[seed])
        for seed, device in zip(mine["seed"], mine["device"], strict=True)
        if seed in theirs
    ]
    across = dict.fromkeys(pair for pair in pairs if pair[0] != pair[1] and all(pair))
    if not across:
        return ""
    n = sum(pair in across for pair in pairs)
    said = "; ".join(f"{ours}, the baseline on {its}" for ours, its in across)
    which = "every pair" if n == len(pairs) else f"{n} of {len(pairs)} pairs"
    return f"{which} of two devices: {said}"
