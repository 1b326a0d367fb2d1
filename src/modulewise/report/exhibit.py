"""A published table with ours in it: the sweep says which axes are rows and columns, every place
holds ours, theirs and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from modulewise.config.exhibit import Exhibit
from modulewise.config.references import TEST, Reference
from modulewise.errors import choose
from modulewise.report import naming
from modulewise.report.frame import Frame
from modulewise.report.published import UNJUDGED
from modulewise.report.stats import PROVISIONAL, ROW, mean
from modulewise.report.tables import (
    BESIDE_K_NAMES,
    HELP,
    NONE,
    Item,
    K,
    Table,
    beside_k,
    beside_ks,
    number,
    plus_minus,
)
from modulewise.runs.result import PrimaryMetric

AXES = {
    "dataset": "Data\u00a0set",
    "network": "Network",
    "recipe": "Recipe",
    "modules": "K",
    "settings": "Settings",
}
COSTS = {
    "epochs": ("Epochs", 0),
    "memory_gb": ("Memory, GB", 2),
    "memory_reduction": ("Memory saved, %", 1),
    "compute_overhead": ("More FLOPs, %", 1),
    "time_overhead": ("More time, %", 1),
}
"""Name -> a column's title and the number of decimals."""
BESIDE = "horizon · helpers"
"""The line of what stands beside K where K is a column."""


def numbers(
    exhibit: Exhibit,
    frame: Frame,
    rows: pd.DataFrame,
    beside: pd.DataFrame,
    references: list[Reference],
) -> pd.DataFrame:
    """One row per place and metric.

    Args:
        exhibit: the layout.
        frame: the runs.
        rows: of `stats.headline`.
        beside: of `published.compare`: where the verdicts come from.
        references: the published numbers.

    Returns:
        Ours with standard deviations and 95 % t-intervals, of the last epoch and of the best on
        test, and theirs as printed; what stands beside K; NaN where there is nothing. Costs have no
        interval: memory is the median, the others are ratios of medians.

    Raises:
        InvalidInput: a metric on the test set that no data set of the sweep has.
    """
    _check(exhibit, frame)
    judged = {tuple(r[k] for k in (*ROW, "metric", "source")): r for _, r in beside.iterrows()}
    out = []
    for _, row in rows.iterrows():
        key = tuple(row[k] for k in ROW)
        mine = frame.runs[(frame.runs[ROW] == list(key)).all(axis=1)]
        done = mine[mine["counts"]]
        for metric in _of_dataset(exhibit, frame, row["dataset"]):
            facts: dict[str, Any] = dict(zip(ROW, key, strict=True)) | {
                "label": row["label"],
                "metric": metric,
            }
            facts |= {"planned": len(mine), "n": len(done), "reason": ""} | _ours(
                metric, row, done, frame
            )
            facts |= {name: row[name] for name in BESIDE_K_NAMES}
            theirs = _published(exhibit, key, metric, references)
            names = ("value", "spread", "spread_kind", "n", "selection", "source", "note")
            facts |= {f"published_{name}": getattr(theirs, name, None) for name in names}
            verdict = judged.get((*key, metric, theirs.source)) if theirs else None
            facts |= {k: "" if verdict is None else verdict[k] for k in ("verdict", "verdict_best")}
            facts["why"] = "" if verdict is None else verdict["reason"]
            out.append(facts)
    return pd.DataFrame(out)


def is_test(metric: str) -> bool:
    """Whether a metric of an exhibit is one on the test set, not a cost."""
    return bool(TEST.fullmatch(metric))


def _of_dataset(exhibit: Exhibit, frame: Frame, dataset: str) -> list[str]:
    """The exhibit's metrics but for those of other data sets."""
    known, its = dataset in set(frame.done["dataset"]), frame.on_test(dataset)
    return [m for m in exhibit.metrics if not (known and is_test(m)) or m in its]


def _check(exhibit: Exhibit, frame: Frame) -> None:
    """Refuse a metric that no data set has; as long as one has no result nobody knows."""
    if set(frame.done["dataset"]) < set(frame.runs["dataset"]):
        return
    have = {metric for dataset in frame.metrics for metric in frame.on_test(dataset)}
    for metric in exhibit.metrics:
        if is_test(metric) and metric not in have:
            raise choose(metric, have, "metric", "exhibit.metrics")


def _ours(metric: str, row: pd.Series, done: pd.DataFrame, frame: Frame) -> dict[str, Any]:
    if metric == "epochs" or is_test(metric):
        out: dict[str, Any] = {}
        column = metric if metric in frame.secondary.get(row["dataset"], {}) else "value"
        columns = {"": column, "best_": f"{column}_best"} if is_test(metric) else {"": "epochs"}
        for prefix, column in columns.items():
            of = mean(done[column])
            out |= {
                f"{prefix}value": of.mean,
                f"{prefix}std": of.std,
                f"{prefix}low": of.low,
                f"{prefix}high": of.high,
            }
        return out
    if done.empty:
        return {"value": math.nan}
    if metric == "memory_gb":
        value, reason = row["memory_bytes"] / 1e9, "no run measured it"
    elif row["is_baseline"]:
        return {"value": math.nan}
    elif metric == "compute_overhead":
        base = frame.done.query("recipe == @frame.baseline")
        base = base[(base[ROW[:3]] == list(row[ROW[:3]])).all(axis=1)]
        value, reason = (
            100 * (_flops(done) / _flops(base) - 1),
            "no finished baseline run with the same training settings",
        )
    elif metric == "memory_reduction":
        value, reason = 100 * (1 - row["memory_ratio"]), row["memory_reason"]
    else:
        value, reason = 100 * (row["time_ratio"] - 1), row["time_reason"]
    return {"value": value, "reason": reason if math.isnan(value) else ""}


def _flops(runs: pd.DataFrame) -> float:
    """Of training on one image, helpers included."""
    return float((runs["trunk_flops"] + runs["helper_flops"]).median())


def _published(
    exhibit: Exhibit, key: tuple[Any, ...], metric: str, references: list[Reference]
) -> Reference | None:
    dataset, network, _, recipe, modules = key
    for source in exhibit.sources:
        for r in references:
            if (r.dataset, r.network, r.recipe, r.modules, r.metric, r.source) == (
                dataset,
                network,
                recipe,
                modules,
                metric,
                source,
            ):
                return r
    return None


def show(exhibit: Exhibit, found: pd.DataFrame, frame: Frame) -> Table:
    """The exhibit as people read it.

    Args:
        exhibit: the layout.
        found: of `numbers`.
        frame: the runs.
    """
    titles = {metric: title(metric, frame) for metric in exhibit.metrics}
    heads = (
        list(dict.fromkeys(found[list(exhibit.columns)].itertuples(index=False, name=None)))
        if exhibit.columns
        else [()]
    )
    if list(exhibit.columns) == ["modules"]:
        heads.sort()
    columns = [K if axis == "modules" else (AXES[axis], "l") for axis in exhibit.rows]
    lines = bool(exhibit.sources) or "modules" not in exhibit.rows
    columns += [("", "l")] * lines
    columns += [
        (_head(exhibit, head, titles[metric], found), "r")
        for head in heads
        for metric in exhibit.metrics
    ]
    columns += HELP * ("modules" in exhibit.rows)
    table = Table(columns, [])
    task = [
        a
        for a in exhibit.rows
        if a in ("dataset", "network", "settings") and found[a].nunique() > 1
    ]
    chosen = [a for a in (*task, "recipe") if a in exhibit.rows]
    table.filters.update({AXES[a]: [] for a in chosen})
    before: list[str] = []
    first, several = next(iter(sources(exhibit, found)), ""), len(spreads(found)) > 1
    for key, mine in found.groupby(list(exhibit.rows), sort=False):
        words = {
            axis: _word(axis, value, mine) for axis, value in zip(exhibit.rows, key, strict=True)
        }
        k, *help_ = beside_ks(mine)
        names = [k.text if axis == "modules" else words[axis] for axis in exhibit.rows]
        right = help_ if "modules" in exhibit.rows else []
        places = [_at(mine, exhibit, head, metric) for head in heads for metric in exhibit.metrics]
        table.starts.append(len(table.rows))
        same = next((n for n, (a, b) in enumerate(zip(names, before, strict=False)) if a != b), 0)
        left = [Item("", again=name) if n < same else Item(name) for n, name in enumerate(names)]
        for line, items in _lines(places, first, several, exhibit, frame):
            table.rows.append([*left, *[Item(line, look="soft")] * lines, *items, *right])
            right = [Item("")] * len(right)
            left = [
                Item("", again=name) if n < len(task) else Item("") for n, name in enumerate(names)
            ]
            for axis in chosen:
                table.filters[AXES[axis]].append(words[axis])
        before = names
    return table


def _head(exhibit: Exhibit, head: tuple[Any, ...], name: str, found: pd.DataFrame) -> str:
    words = [
        f"K = {v}" if a == "modules" else _word(a, v, found[found[a] == v])
        for a, v in zip(exhibit.columns, head, strict=True)
    ]
    if len(exhibit.metrics) > 1 or not words:
        words.append(name)
    return ", ".join(w.replace(" ", "\u00a0") for w in words)


def _word(axis: str, value: Any, mine: pd.DataFrame) -> str:
    if axis == "recipe":
        return str(mine["label"].iloc[0])
    return str(value).replace("=", " = ") if axis != "settings" or value else "recipe’s own"


def _at(
    mine: pd.DataFrame, exhibit: Exhibit, head: tuple[Any, ...], metric: str
) -> pd.Series | None:
    here = mine[(mine["metric"] == metric)]
    for axis, value in zip(exhibit.columns, head, strict=True):
        here = here[here[axis] == value]
    return None if here.empty else here.iloc[0]


def _lines(
    places: list[pd.Series | None], first: str, several: bool, exhibit: Exhibit, frame: Frame
) -> Iterator[tuple[str, list[Item]]]:
    """What stands in a row, line by line: ours of the last epoch, of the best one if that may be
    what was printed, theirs, the verdict; where K is a column, what stands beside K."""
    there = [p for p in places if p is not None]
    tested = [p for p in there if is_test(p["metric"])]
    said = [p["published_selection"] for p in tested if not _nothing(p["published_value"])]
    best = bool(exhibit.sources) and bool(tested) and (not said or any(s != "last" for s in said))
    theirs = any(not _nothing(p["published_value"]) for p in there)
    yield "ours, last epoch" if best else "ours", [_plus_minus(p, "", frame) for p in places]
    if best:
        yield "ours, best epoch", [_plus_minus(p, "best_", frame) for p in places]
    if theirs:
        yield "published", [_theirs(p, first, several, frame) for p in places]
    if said:
        two = best and any(p["verdict"] != p["verdict_best"] for p in tested)
        yield "verdict, last epoch" if two else "verdict", [_verdict(p, "verdict") for p in places]
        if two:
            yield "verdict, best epoch", [_verdict(p, "verdict_best") for p in places]
    if "modules" not in exhibit.rows:
        yield BESIDE, [_beside(p, exhibit.metrics[0]) for p in places]


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plus_minus(p: pd.Series | None, prefix: str, frame: Frame) -> Item:
    if p is None or (prefix and not is_test(p["metric"])):
        return Item("")
    value = p[f"{prefix}value"]
    if _nothing(value):
        return Item(NONE, (p["reason"],) if p["reason"] and not prefix else ())
    if not is_test(p["metric"]):
        return Item(number(value, _decimals(p, frame)))
    std = p[f"{prefix}std"]
    n = str(p["n"]) if p["n"] == p["planned"] else f"{p['n']} of {p['planned']}"
    return Item(f"{plus_minus(value, std, _decimals(p, frame))} ({n})")


def _beside(p: pd.Series | None, metric: str) -> Item:
    if p is None or p["metric"] != metric or p["n"] == 0:
        return Item("")
    return Item(" · ".join(item.text for item in beside_k(p)[1:]), look="soft")


def _theirs(p: pd.Series | None, first: str, kinds: bool, frame: Frame) -> Item:
    if p is None or _nothing(p["published_value"]):
        return Item("")
    spread = (
        ""
        if _nothing(p["published_spread"])
        else f" ± {number(p['published_spread'], _decimals(p, frame))}"
        + f" {p['published_spread_kind']}" * kinds
    )
    n = (
        ""
        if not is_test(p["metric"])
        else " (?)"
        if _nothing(p["published_n"])
        else f" ({p['published_n']:.0f})"
    )
    source = [p["published_source"]] if p["published_source"] != first else []
    note = "; ".join([*source, *([p["published_note"]] if p["published_note"] else [])])
    return Item(
        number(p["published_value"], _decimals(p, frame)) + spread + n,
        (note,) if note else (),
        look="soft",
    )


def _verdict(p: pd.Series | None, column: str) -> Item:
    if p is None or _nothing(p["published_value"]) or not is_test(p["metric"]):
        return Item("")
    word = p[column]
    if not word:
        return Item("no run yet" if p["n"] == 0 else "one seed: no interval", look="soft")
    if word in UNJUDGED:
        return Item(word, (p["why"],), look="soft")
    return Item(f"({word})" if p["n"] < PROVISIONAL else word, look=word)


def title(metric: str, frame: Frame) -> str:
    """A metric of the exhibit as a column's title."""
    if not is_test(metric):
        return COSTS[metric][0]
    primary = _primary(metric, frame)
    return naming.with_unit(naming.title(primary), primary, " ")


def _primary(metric: str, frame: Frame) -> PrimaryMetric:
    """The metric of this name in `references.csv`; before any result, all we know of it."""
    name, plain = metric.removeprefix("test_"), PrimaryMetric()
    known = (its[metric] for its in map(frame.on_test, frame.metrics) if metric in its)
    return next(known, plain if name == plain.name else PrimaryMetric(name=name, label=name))


def _decimals(p: pd.Series, frame: Frame) -> int:
    metric = p["metric"]
    return naming.digits(_primary(metric, frame)) if is_test(metric) else COSTS[metric][1]


def sources(exhibit: Exhibit, found: pd.DataFrame) -> list[str]:
    """The exhibit's sources that have a number for it; where another than the first has one, a
    footnote says so."""
    return [s for s in exhibit.sources if s in set(found["published_source"])]


def spreads(found: pd.DataFrame) -> list[str]:
    """The kinds of spread that the published numbers have; named in every place if there are
    several."""
    kinds = found.loc[found["published_spread"].notna(), "published_spread_kind"]
    return sorted(set(kinds))
