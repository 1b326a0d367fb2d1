"""Comparisons that respect small numbers of seeds: sample std, t-intervals, differences paired by
seed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from modulewise.report.frame import Frame
from modulewise.runs.state import STATES

PROVISIONAL = 3
"""Fewer seeds than this are provisional: shown one by one, without an interval in figures."""
SECTION = ["dataset", "network"]
ROW = [*SECTION, "settings", "recipe", "modules"]
"""What the seeds of one row share."""
NO_MEMORY = (
    "memory was not measured",
    "no baseline run on the same device model, at the same batch size, measured the same way",
)
NO_TIME = (
    "no run had its device to itself",
    "no baseline run had the same device model to itself, at the same batch size",
)


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


def mean(values: pd.Series, level: float = 0.95) -> Mean:
    """Summarise some values, NaN left out.

    Example:
        >>> m = mean(pd.Series([1.0, 2.0, 3.0]))
        >>> m.n, m.mean, m.std, round(m.high, 2)
        (3, 2.0, 1.0, 4.48)
    """
    x = values.dropna().to_numpy(float)
    centre = float(x.mean()) if len(x) else np.nan
    if len(x) < 2:
        return Mean(len(x), centre, np.nan, np.nan, np.nan)
    std = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * std / len(x) ** 0.5
    return Mean(len(x), centre, std, centre - half, centre + half)


def paired(mine: pd.DataFrame, base: pd.DataFrame, level: float = 0.95) -> Mean:
    """Differences of the primary metric (mine - base) over the seeds that both have, summarised.

    Args:
        mine: runs with columns `seed` and `value`, one per seed.
        base: the runs to compare with.
        level: of the interval.
    """
    a, b = (f.dropna(subset=["value"]).set_index("seed")["value"] for f in (mine, base))
    return mean((a - b).dropna(), level)


def relative(
    mine: pd.DataFrame, base: pd.DataFrame, value: str, same: list[str], lacking: tuple[str, str]
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
    mine, base = mine.dropna(subset=[value, *same]), base.dropna(subset=[value, *same])
    if mine.empty:
        return Ratio(0, np.nan, lacking[0])
    both = mine.merge(base.groupby(same)[value].median().rename("anchor").reset_index(), on=same)
    if both.empty:
        return Ratio(0, np.nan, lacking[1])
    return Ratio(len(both), float((both[value] / both["anchor"]).median()), "")


def headline(frame: Frame) -> pd.DataFrame:
    """One row per data set, network, settings, recipe and K: the baseline first, then the sweep's
    order, K rising.

    `value_*` are of the data set's primary metric, gaps are ours minus the baseline's, memory is in
    bytes; ratios are to the baseline; NaN where nothing can be said, with the reason in `*_reason`.
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
    rows = []
    for key, mine in runs.groupby(ROW, sort=False):
        dataset, network, settings, recipe, modules = key
        where = (runs[["dataset", "network", "settings"]] == [dataset, network, settings]).all(
            axis=1
        )
        base = runs[where & (runs["recipe"] == frame.baseline)]
        order = (sections[dataset, network, settings], place[recipe], modules)
        rows.append(
            (order, dict(zip(ROW, key, strict=True)) | _row(mine, base, recipe == frame.baseline))
        )
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda r: r[0])])


def _row(mine: pd.DataFrame, base: pd.DataFrame, is_baseline: bool) -> dict[str, Any]:
    states = mine["state"].value_counts()
    out: dict[str, Any] = {
        "label": mine["label"].iloc[0],
        "is_baseline": is_baseline,
        "planned": len(mine),
    }
    out |= {state: int(states.get(state, 0)) for state in STATES}
    out["other_images"] = int(mine["other_images"].sum())
    mine, base = mine[mine["counts"]], base[base["counts"]]
    value, gap = (
        mean(mine["value"]),
        mean(pd.Series(dtype=float)) if is_baseline else paired(mine, base),
    )
    out |= {"stale": int(mine["stale"].sum()), "n": value.n, "provisional": value.n < PROVISIONAL}
    out |= {f"value_{k}": v for k, v in value._asdict().items() if k != "n"}
    out |= {f"gap_{k}": v for k, v in gap._asdict().items()}
    out["gap_reason"] = _gap_reason(value.n, gap.n, base) if not is_baseline else ""
    exclusive = mine[mine["exclusive"]], base[base["exclusive"]]
    costs = {
        "memory": relative(
            mine, base, "memory", ["device", "memory_source", "batch_size"], NO_MEMORY
        ),
        "time": relative(*exclusive, "step_seconds", ["device", "batch_size"], NO_TIME),
    }
    for name, cost in costs.items():
        out |= {
            f"{name}_ratio": cost.value,
            f"{name}_n": cost.n,
            f"{name}_reason": cost.reason if len(mine) else "",
        }
    out["memory_bytes"], out["step_seconds"] = (
        mine["memory"].median(),
        exclusive[0]["step_seconds"].median(),
    )
    out |= advantages(mine)
    out["epochs"], out["baseline_epochs"] = (
        runs["planned_epochs"].median() for runs in (mine, base)
    )
    out["macs"], out["macs_ratio"] = (
        mine["macs"].median(),
        mine["macs"].median() / base["macs"].median(),
    )
    return out | {k: mine[k].median() for k in ("parameters", "inference_parameters")}


def advantages(mine: pd.DataFrame) -> dict[str, float]:
    """What beside K decides how far a comparison is fair, medians over runs, NaN without any: how
    many modules a loss's gradient reaches back through, the helpers' parameters, and their share of
    the operations of a training step."""
    share = mine["helper_flops"] / (mine["helper_flops"] + mine["trunk_flops"])
    return {k: mine[k].median() for k in ("horizon", "helper_parameters")} | {
        "helper_flops_share": share.median()
    }


def _gap_reason(n: int, common: int, base: pd.DataFrame) -> str:
    """Why there is no gap, or over how many seeds it is, if not over all of the row's."""
    if common == n:
        return ""
    if base.empty:
        return "no finished baseline run with the same training settings"
    if common == 0:
        return "no seed in common with the baseline"
    return (
        f"over the {'one seed' if common == 1 else f'{common} seeds'} in common with the baseline"
    )
