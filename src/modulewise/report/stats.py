"""Comparisons that respect small numbers of seeds: sample std, t-intervals, differences paired by
seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from modulewise.report import devices
from modulewise.report.frame import Frame
from modulewise.runs.state import STATES

PROVISIONAL = 3
"""Fewer seeds than this are provisional: shown one by one, without an interval in figures."""
FLOAT_NOISE = 1e-9
"""Differences below this, relative to the values, are rounding: such values are equal."""
SECTION = ["dataset", "network"]
PLACE = [*SECTION, "settings"]
"""What rows that are compared share."""
ROW = [*PLACE, "recipe", "modules"]
"""What the seeds of one row share."""
SAME = {
    "memory": ["device", "memory_source", "batch_size", "devices"],
    "step_seconds": ["device", "batch_size", "devices"],
}
"""Cost -> what must be equal for two runs to be compared; time also asks for a device to itself."""
TIED = "all seeds differ by the same amount: no interval can be given"
PACE = {
    "planned_epochs": "{} epochs, not {}",
    "batch_size": "batches of {}, not {}",
    "optimizer": "{}, not {}",
}
"""Column -> how a training differs from the baseline's of the same grid."""
NO_MEMORY = (
    "memory was not measured",
    "no baseline run on the same kind and number of devices, at the same batch size, measured the "
    "same way",
)
NO_TIME = (
    "no run had its device to itself",
    "no baseline run had the same kind and number of devices to itself, at the same batch size",
)


Columns = pd.DataFrame | dict[str, np.ndarray]
"""Runs by column; arrays, of which thousands of small groups are quick to make."""


class Mean(NamedTuple):
    """Mean of n values, their sample standard deviation, and a t-interval of the mean; NaN where n
    does not allow it."""

    n: int
    mean: float
    std: float
    low: float
    high: float


class Ratio(NamedTuple):
    """A cost relative to the baseline's from `n` runs, or NaN and why not."""

    n: int
    value: float
    reason: str


def noise(values: Any) -> float:
    """The largest spread of values, or of their differences, that is rounding."""
    return FLOAT_NOISE * float(np.abs(values).max(initial=0.0))


def mean(
    values: pd.Series | np.ndarray, level: float = 0.95, rounding: float | None = None
) -> Mean:
    """Summarise some values, NaN left out. Values that differ by rounding alone are equal: their
    standard deviation is 0, and there is no interval.

    Args:
        values: the values.
        level: of the interval.
        rounding: largest standard deviation that is rounding; that of the values' size if left out.

    Example:
        >>> m = mean(pd.Series([1.0, 2.0, 3.0]))
        >>> m.n, m.mean, m.std, round(m.high, 2)
        (3, 2.0, 1.0, 4.48)
    """
    x = _known(values)
    centre = float(x.mean()) if len(x) else np.nan
    if len(x) < 2:
        return Mean(len(x), centre, np.nan, np.nan, np.nan)
    std = float(x.std(ddof=1))
    if std <= (noise(x) if rounding is None else rounding):
        return Mean(len(x), centre, 0.0, np.nan, np.nan)
    half = _quantile((1 + level) / 2, len(x) - 1) * std / len(x) ** 0.5
    return Mean(len(x), centre, std, centre - half, centre + half)


@cache
def _quantile(level: float, freedom: int) -> float:
    """Of the t-distribution."""
    return float(stats.t.ppf(level, freedom))


def _known(values: Any) -> np.ndarray:
    """The values that are not NaN."""
    x = np.asarray(values, float)
    return x[~np.isnan(x)]


def median(values: Any) -> float:
    """Median of the values that are not NaN; NaN without any."""
    x = _known(values)
    return float(np.median(x)) if len(x) else np.nan


def paired(mine: Columns, base: Columns, level: float = 0.95) -> Mean:
    """Differences of the primary metric (mine - base) over the seeds that both have, summarised.

    Args:
        mine: runs with columns `seed` and `value`, one per seed.
        base: the runs to compare with.
        level: of the interval.
    """
    theirs = dict(zip(base["seed"], base["value"], strict=True))
    pairs = zip(mine["seed"], mine["value"], strict=True)
    both = [(v, theirs[seed]) for seed, v in pairs if seed in theirs]
    values = np.array(both, float).reshape(-1, 2)
    values = values[~np.isnan(values).any(axis=1)]
    return mean(values[:, 0] - values[:, 1], level, noise(values))


def relative(
    mine: Columns, base: Columns, value: str, same: list[str], lacking: tuple[str, str]
) -> Ratio:
    """Median over runs of a cost divided by the baseline's median among runs with equal `same`
    columns.

    Args:
        mine: the runs of one row.
        base: the baseline's runs.
        value: column of the cost.
        same: columns that must be equal for two runs to be compared.
        lacking: the reason if there is no run of ours, and the one if there is none of the baseline
            to compare with.
    """
    ours, theirs = _alike(mine, value, same), _alike(base, value, same)
    if not ours:
        return Ratio(0, np.nan, lacking[0])
    both = [np.array(v) / np.median(theirs[key]) for key, v in ours.items() if key in theirs]
    if not both:
        return Ratio(0, np.nan, lacking[1])
    return Ratio(sum(map(len, both)), median(np.concatenate(both)), "")


def _alike(runs: Columns, value: str, same: list[str]) -> dict[tuple[Any, ...], list[float]]:
    """The known values of a column, by what else is known of their runs."""
    out: dict[tuple[Any, ...], list[float]] = {}
    keys = zip(*(runs[name] for name in same), strict=True)
    for key, v in zip(keys, runs[value], strict=True):
        if all(k is not None and k == k for k in (v, *key)):
            out.setdefault(key, []).append(v)
    return out


def headline(frame: Frame) -> pd.DataFrame:
    """One row per data set, network, settings, recipe and K: the baseline first, then the sweep's
    order, K rising.

    `value_*` are of the data set's primary metric, gaps are ours minus the baseline's, memory is in
    bytes; ratios are to the baseline; NaN where nothing can be said, with the reason in `*_reason`.
    Secondary metrics have columns `test_NAME_mean` and `test_NAME_std`.
    """
    runs = frame.runs
    if runs.empty:
        return pd.DataFrame()
    place: dict[Any, int] = {
        name: -1 if name == frame.baseline else n for n, name in enumerate(frame.labels)
    }
    sections = {
        key: n for n, key in enumerate(runs.groupby([*SECTION, "settings"], sort=False).groups)
    }
    columns = {str(name): runs[name].to_numpy() for name in runs}
    places: dict[Any, Any] = dict(runs.groupby(ROW, sort=False).indices)
    nothing, rows = np.array([], int), []
    for key, at in places.items():
        dataset, network, settings, recipe, modules = key
        base = places.get((dataset, network, settings, frame.baseline, 1), nothing)
        order = (sections[dataset, network, settings], place[recipe], modules)
        mine = _at(columns, at)
        row = _row(mine, _at(columns, base), recipe == frame.baseline)
        row |= _secondary(mine, frame.secondary.get(dataset, {}))
        rows.append((order, dict(zip(ROW, key, strict=True)) | row))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda r: r[0])])


def _at(columns: dict[str, np.ndarray], at: np.ndarray) -> dict[str, np.ndarray]:
    """Some of the runs."""
    return {name: values[at] for name, values in columns.items()}


def _secondary(mine: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, float]:
    """Means and standard deviations of the secondary metrics, over the runs that count."""
    counts = mine["counts"].astype(bool)
    found = {name: mean(mine[name][counts]) for name in names}
    return {f"{name}_{k}": getattr(of, k) for name, of in found.items() for k in ("mean", "std")}


def _row(
    mine: dict[str, np.ndarray], base: dict[str, np.ndarray], is_baseline: bool
) -> dict[str, Any]:
    states = Counter(mine["state"])
    out: dict[str, Any] = {
        "label": mine["label"][0],
        "same_as": "" if (mine["same_as"] == "").any() else mine["same_as"][0],
        "is_baseline": is_baseline,
        "planned": len(mine["label"]),
    }
    out |= {state: states[state] for state in STATES}
    out["other_images"] = int(mine["other_images"].sum())
    mine, base = (_at(runs, runs["counts"].astype(bool)) for runs in (mine, base))
    value, gap = mean(mine["value"]), mean(np.array([])) if is_baseline else paired(mine, base)
    out |= {"stale": int(mine["stale"].sum()), "n": value.n, "provisional": value.n < PROVISIONAL}
    out |= {f"value_{k}": v for k, v in value._asdict().items() if k != "n"}
    out |= {f"gap_{k}": v for k, v in gap._asdict().items()}
    reason = _gap_reason(value.n, gap.n, len(base["value"]))
    notes = "" if is_baseline else "; ".join(filter(None, [reason, devices.crossed(mine, base)]))
    out["gap_reason"] = notes
    alone, base_alone = (_at(runs, runs["exclusive"].astype(bool)) for runs in (mine, base))
    costs = {
        "memory": relative(mine, base, "memory", SAME["memory"], NO_MEMORY),
        "time": relative(alone, base_alone, "step_seconds", SAME["step_seconds"], NO_TIME),
    }
    for name, cost in costs.items():
        out |= {
            f"{name}_ratio": cost.value,
            f"{name}_n": cost.n,
            f"{name}_reason": cost.reason if len(mine["value"]) else "",
        }
    out["memory_bytes"], out["step_seconds"] = median(mine["memory"]), median(alone["step_seconds"])
    out |= advantages(mine)
    out["epochs"], out["baseline_epochs"] = (
        median(runs["planned_epochs"]) for runs in (mine, base)
    )
    out["otherwise"] = _otherwise(mine, base)
    out["macs"] = median(mine["macs"])
    out["macs_ratio"] = float(np.float64(out["macs"]) / median(base["macs"]))
    return out | {k: median(mine[k]) for k in ("parameters", "inference_parameters")}


def advantages(mine: Columns) -> dict[str, float]:
    """What beside K decides how far a comparison is fair, medians over runs, NaN without any: how
    many modules a loss's gradient reaches back through, the helpers' parameters, and their share of
    the operations of a training step."""
    helpers = np.asarray(mine["helper_flops"], float)
    share = helpers / (helpers + np.asarray(mine["trunk_flops"], float))
    return {k: median(mine[k]) for k in ("horizon", "helper_parameters")} | {
        "helper_flops_share": median(share)
    }


def _otherwise(mine: Columns, base: Columns) -> str:
    """In what the training differs from the baseline's, in words; empty if in nothing of
    `PACE`."""
    said = []
    for column, words in PACE.items():
        ours, theirs = (sorted({v for v in runs[column] if v == v}) for runs in (mine, base))
        if ours and theirs and ours != theirs:
            one, other = (
                " or ".join(f"{v:g}" if v != str(v) else v for v in many) for many in (ours, theirs)
            )
            said.append(words.format(one, other))
    return ", ".join(said)


def _gap_reason(n: int, common: int, base: int) -> str:
    """Why there is no gap, or over how many seeds it is, if not over all of the row's."""
    if common == n:
        return ""
    if not base:
        return "no finished baseline run with the same training settings"
    if common == 0:
        return "no seed in common with the baseline"
    return (
        f"over the {'one seed' if common == 1 else f'{common} seeds'} in common with the baseline"
    )
