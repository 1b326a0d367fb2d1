"""Our runs beside published numbers: what can be compared, the difference, the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.config.references import Reference
from modulewise.config.resolve import Catalog
from modulewise.report.frame import Frame
from modulewise.report.naming import digits, of_difference, with_unit
from modulewise.report.stats import PROVISIONAL, ROW, advantages, mean
from modulewise.report.tables import (
    HELP,
    NONE,
    Item,
    K,
    Table,
    beside_k,
    interval,
    number,
    plus_minus,
)
from modulewise.report.verdicts import (
    LEVEL,
    MOST_SEEDS,
    Direction,
    Sample,
    holm,
    seeds_needed,
    side,
    to_std,
    verdict,
    welch,
)
from modulewise.runs.result import PrimaryMetric

NUMERICS = {"precision", "tf32", "channels_last", "deterministic", "devices", "sync_batchnorm"}
"""Settings that say how and where to compute: runs that differ in them are compared. `devices` and
`sync_batchnorm` change what BatchNorm sees, too; sweeps set them as published, recipes do not."""
BUDGET = {"epochs", "flops", "seconds", "step_seconds", "iterations", "evaluate_every"}
UNJUDGED = ("not comparable", "configuration unknown", "not judged")
"""Labels shown instead of a verdict, the first that holds: the runs differ; nobody knows whether
they do; the uncertainty of the published mean is unknown."""
COLUMN = {"last": "value", "unknown": "value", "best_on_test": "value_best"}
"""How the published epoch was chosen -> our value that is compared with it."""


class Match(NamedTuple):
    """A published number, our done runs it is about, and what the table says of both before any
    verdict."""

    reference: Reference
    done: pd.DataFrame
    facts: dict[str, Any]


def compare(
    frame: Frame,
    rows: pd.DataFrame,
    plan: Plan,
    references: list[Reference],
) -> pd.DataFrame:
    """One row per published number that cells of the sweep meet, in the headline's order; verdicts
    of a data set, network and metric are one family.

    Args:
        frame: the runs.
        rows: of `stats.headline`.
        plan: the sweep.
        references: the published numbers.

    Returns:
        Values and differences in the unit of the metric, NaN where nothing can be said; `reason`
        says why a number is not comparable or not judged. `verdict` is by our value of the last
        epoch (of the best on test if the paper chose that); `verdict_best` by our best epoch.
    """
    named = {(cell.recipe, plan.run_of(cell).path): cell for _, cell in plan.rows}
    exhibits: dict[tuple[str, str, str], list[Match]] = {}
    known = {(r.dataset, r.network, r.recipe, r.modules) for r in references}
    for key in rows[ROW].itertuples(index=False, name=None) if len(rows) else ():
        if (*key[:2], *key[3:]) not in known:
            continue
        mine = frame.runs[(frame.runs[ROW] == list(key)).all(axis=1)]
        cell = named[key[3], mine["path"].iloc[0]]
        known_metrics = frame.on_test(cell.dataset)
        for reference in (r for r in references if r.metric in known_metrics):
            if all(
                getattr(reference, k) == getattr(cell, k)
                for k in ("dataset", "network", "recipe", "modules")
            ):
                facts = dict(zip(ROW, key, strict=True)) | {"metric": reference.metric}
                runs = _of_metric(mine, reference.metric, frame)
                match = _match(facts, runs, cell, plan.catalog, reference)
                place = cell.dataset, cell.network, reference.metric
                exhibits.setdefault(place, []).append(match)
    out = []
    for (dataset, _, metric), matches in exhibits.items():
        direction = frame.on_test(dataset)[metric].direction
        judged = _judge(matches, [COLUMN[m.reference.selection] for m in matches], direction)
        best = _judge(matches, ["value_best"] * len(matches), direction)
        for match, mine_, best_ in zip(matches, judged, best, strict=True):
            out.append(match.facts | mine_ | {f"{k}_best": v for k, v in best_.items()})
    return pd.DataFrame(out)


def _of_metric(mine: pd.DataFrame, metric: str, frame: Frame) -> pd.DataFrame:
    """Runs of a data set, `value` and `value_best` being those of a metric of it."""
    if metric not in frame.secondary.get(mine["dataset"].iloc[0], {}):
        return mine
    return mine.assign(value=mine[metric], value_best=mine[f"{metric}_best"])


def _match(
    key: dict[str, Any], mine: pd.DataFrame, cell: Cell, catalog: Catalog, reference: Reference
) -> Match:
    done = mine[mine["counts"]]
    facts = key | {"label": mine["label"].iloc[0], "planned": len(mine)}
    facts |= advantages(done)
    for column in ("value", "value_best"):
        of = mean(done[column])
        facts |= {f"{column}_mean": of.mean, f"{column}_std": of.std}
    facts["failed"] = int(mine["state"].isin(["diverged", "out_of_memory"]).sum())
    names = ("value", "spread", "spread_kind", "n", "selection", "epochs", "split")
    facts |= {f"published_{name}": getattr(reference, name) for name in names}
    facts |= {name: getattr(reference, name) for name in ("tolerance", "source", "note")}
    why = {
        "not comparable": list(_obstacles(done, cell, catalog, reference)),
        "configuration unknown": list(_unknown(reference)),
        "not judged": list(_gaps(reference)),
    }
    facts |= {
        "unjudged": next((label for label in UNJUDGED if why[label]), ""),
        "reason": "; ".join(chain.from_iterable(why[label] for label in UNJUDGED)),
    }
    return Match(reference, done, facts)


def _judge(matches: list[Match], columns: list[str], direction: Direction) -> list[dict[str, Any]]:
    """Differences and verdicts of one exhibit, each by a column of our runs."""
    nothing = dict.fromkeys(
        ("difference", "low", "high", "p", "p_holm", "seeds_needed"), math.nan
    ) | {"verdict": ""}
    out, samples, tested = [], {}, {}
    for place, (match, column) in enumerate(zip(matches, columns, strict=True)):
        ours, theirs = Sample(*mean(match.done[column])[:3]), _published(match.reference)
        out.append(nothing | {"n": ours.n, "difference": ours.mean - match.reference.value})
        if match.facts["unjudged"]:
            out[-1]["verdict"] = match.facts["unjudged"]
        elif theirs and ours.n > 1:
            samples[place], tested[place] = (ours, theirs), welch(ours, theirs)
    adjusted = holm([d.p for d in tested.values()])
    for (place, difference), p in zip(tested.items(), adjusted, strict=True):
        tolerance, half = matches[place].reference.tolerance, difference.half(1 - 2 * LEVEL)
        word = verdict(difference, p, tolerance, direction)
        out[place] |= {
            "low": difference.value - half,
            "high": difference.value + half,
            "p": difference.p,
            "p_holm": p,
            "verdict": word,
        }
        if word == "inconclusive":
            out[place]["seeds_needed"] = (
                seeds_needed(*samples[place], tolerance, len(tested)) or math.inf
            )
    return out


def _published(reference: Reference) -> Sample | None:
    """The published sample; None if its mean has no known interval."""
    if (
        reference.n is None
        or reference.n < 2
        or reference.spread is None
        or reference.spread_kind == "unknown"
    ):
        return None
    return Sample(
        reference.n, reference.value, to_std(reference.spread, reference.spread_kind, reference.n)
    )


def _obstacles(
    done: pd.DataFrame, cell: Cell, catalog: Catalog, reference: Reference
) -> Iterator[str]:
    """Why the numbers are not comparable."""
    epochs = sorted({int(e) for e in done["planned_epochs"].dropna()} or {cell.training.epochs})
    trained = " or ".join(map(str, epochs)) + " epochs"
    if cell.training.iterations:
        trained = f"{cell.training.iterations} iterations"
    if reference.epochs is None:
        yield "the published number of epochs is unknown"
    elif trained not in (reference.epochs, f"{reference.epochs} epochs"):
        yield f"ours trained {trained}, the published {reference.epochs}"
    if reference.training == "other":
        yield "published with other training settings"
    if reference.split != "test":
        yield f"published for {reference.split}, ours are for the test set"
    if cell.training.train_images:
        yield f"ours trained on {cell.training.train_images} images"
    if cell.data.validation:
        yield f"ours held out {cell.data.validation} training images"
    plain = catalog.cell(cell.dataset, cell.network, cell.recipe, cell.modules, cell.seed)
    own, ours = plain.training.model_dump(), cell.training.model_dump()
    changed = sorted(
        k for k in own if own[k] != ours[k] and k not in NUMERICS | BUDGET | {"train_images"}
    )
    changed += sorted(
        k for k in plain.options | cell.options if plain.options.get(k) != cell.options.get(k)
    )
    changed += ["partition"] * (plain.partition != cell.partition)
    if changed:
        yield f"the sweep changes {', '.join(changed)}"


def _unknown(reference: Reference) -> Iterator[str]:
    """What is not known of the published configuration, without which no difference has a
    meaning."""
    if reference.training == "unknown":
        yield f"the published configuration is not known: {reference.note}"


def _gaps(reference: Reference) -> Iterator[str]:
    """What is not known of a published mean, without which no verdict can be."""
    if reference.spread is None or reference.spread_kind == "unknown":
        yield (
            "no spread is published"
            if reference.spread is None
            else "the kind of the published spread is unknown"
        )
    if reference.n is None or reference.n < 2:
        yield (
            "the published number of runs is unknown"
            if reference.n is None
            else "a single run is published"
        )


def show(rows: pd.DataFrame, metric: PrimaryMetric) -> Table:
    """The comparison of one data set, network and metric as people read it.

    Args:
        rows: of `compare`, one data set, network and metric.
        metric: the metric.
    """
    several, choice = rows["settings"].nunique() > 1, (rows["published_selection"] != "last").any()
    columns = [("Settings", "l")] * several + [
        ("Recipe", "l"),
        K,
        (with_unit("Ours", metric), "r"),
        ("n", "r"),
    ]
    columns += [(with_unit("Ours at best epoch", metric), "r")] * bool(choice) + [
        (with_unit("Published", metric), "r"),
        ("n", "r"),
    ]
    columns += [
        (of_difference("Difference", metric, 90), "r"),
        ("Tolerance", "r"),
        ("Verdict", "l"),
    ]
    open_ = (rows["verdict"] == "inconclusive").any()
    columns += [*[("Seeds needed", "r")] * bool(open_), *HELP]
    table = Table(
        columns, [], filters={"Recipe": list(rows["label"]), "K": [str(k) for k in rows["modules"]]}
    )
    before, decimals = None, digits(metric)
    for _, row in rows.iterrows():
        names = [Item(row["settings"] or "recipe’s own")] * several + [Item(row["label"])]
        if (now := (row["settings"], row["recipe"])) == before:
            names = [Item("", again=name.text) for name in names]
        else:
            table.starts.append(len(table.rows))
        before = now
        failed = (
            (
                f"{row['failed']} of {row['planned']} runs failed and are left out, which flatters "
                f"ours",
            )
            if row["failed"]
            else ()
        )
        n = str(row["n"]) if row["n"] == row["planned"] else f"{row['n']} of {row['planned']}"
        k, *help_ = beside_k(row)
        items = [
            *names,
            k,
            Item(plus_minus(row["value_mean"], row["value_std"], decimals), failed),
            Item(n),
        ]
        items += [Item(plus_minus(row["value_best_mean"], row["value_best_std"], decimals))] * bool(
            choice
        )
        items += _theirs(row, decimals)
        items += [
            Item(_difference(row, decimals)),
            Item(f"± {row['tolerance']:g}"),
            _verdict(row, metric.direction),
        ]
        items += [*[Item(_needed(row))] * bool(open_), *help_]
        table.rows.append(items)
    return table


def _theirs(row: pd.Series, decimals: int) -> list[Item]:
    kind = {"none": "", "unknown": " (?)"}.get(
        row["published_spread_kind"], f" {row['published_spread_kind']}"
    )
    spread = (
        ""
        if pd.isna(row["published_spread"])
        else f" ± {number(row['published_spread'], decimals)}{kind}"
    )
    source = row["source"] + (f" ({row['note']})" if row["note"] else "")
    n = "?" if pd.isna(row["published_n"]) else f"{row['published_n']:.0f}"
    return [Item(number(row["published_value"], decimals) + spread, (source,)), Item(n)]


def _difference(row: pd.Series, decimals: int) -> str:
    if pd.isna(row["difference"]):
        return NONE
    ends = "" if pd.isna(row["low"]) else f" {interval(row['low'], row['high'], decimals)}"
    return number(row["difference"], decimals, sign=True) + ends


def _verdict(row: pd.Series, direction: Direction) -> Item:
    """The verdict in words: in parentheses while provisional, with a footnote on the epoch that was
    compared."""
    word, notes = row["verdict"], [row["reason"]] if row["reason"] else []
    if not word:
        return Item("no run yet" if row["n"] == 0 else "one seed: no interval")
    if word not in UNJUDGED:
        if row["published_selection"] == "unknown":
            other = row["verdict_best"]
            same = "the same verdict" if other == row["verdict"] else f"the verdict “{other}”"
            notes.append(
                f"selection unknown: the paper does not say which epoch it prints; our best epoch "
                f"would give {same}"
            )
        elif row["published_selection"] == "best_on_test":
            notes.append(
                "the paper prints the best epoch on test: the difference is to our best epoch"
            )
        if row["verdict"] == "reproduced" and row["p_holm"] < LEVEL:
            notes.append(
                f"inside the tolerance, yet {side(row['difference'], direction)}: the "
                f"difference is not zero"
            )
        word = f"({word})" if row["n"] < PROVISIONAL else word
    return Item(word, tuple(notes))


def _needed(row: pd.Series) -> str:
    if row["verdict"] != "inconclusive":
        return ""
    return f"> {MOST_SEEDS}" if math.isinf(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"
