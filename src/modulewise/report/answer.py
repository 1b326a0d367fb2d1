"""What a data set and network came to, in sentences made by rule from the numbers of the page.

The first says whether the seeds are too few, and how many would do. Then: how many configurations
(recipe and K) differ from the baseline, and in which direction; the best mean of the primary metric
and what cannot be told apart from it; the least memory and the least time, and what they cost in
the metric; what is not compared, and why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from modulewise import detection
from modulewise.report import pairs, seeds
from modulewise.report.naming import difference_unit, digits
from modulewise.report.stats import NO_MEMORY, NO_TIME, PROVISIONAL
from modulewise.report.tables import interval, number, plus_minus, times
from modulewise.report.verdicts import LEVEL
from modulewise.runs.result import PrimaryMetric

About = Literal["seeds", "baseline", "best", "memory", "time", "left out"]
SOME = 10
"""Where too many seeds are needed, what this number of them would find is said too."""
NAMED = 4
"""More configurations than this are counted, not named."""
Row = dict[Any, Any]


class Sentence(NamedTuple):
    """One of the answers.

    Attributes:
        about: what of.
        text: for the page.
        brief: for a line of a terminal.
    """

    about: About
    text: str
    brief: str


class Question(NamedTuple):
    """What the sentences are of, beside the rows.

    Attributes:
        metric: of the data set.
        baseline: its label; None without one.
        margin: the difference that counts, in the metric's unit; None if none is set.
    """

    metric: PrimaryMetric
    baseline: str | None
    margin: float | None


def sentences(rows: pd.DataFrame, question: Question) -> list[Sentence]:
    """The answers, the most important first; none before a run is done.

    Args:
        rows: of `pairs.against_baseline`.
        question: what they are asked.
    """
    found = rows.to_dict("records")
    done = [row for row in found if row["n"]]
    if not done:
        return []
    parts = (_seeds, _baseline, _best, _memory, _time)
    out = [sentence for part in parts for sentence in part(done, question)]
    return [*out, *_left_out(done, len(found) - len(done), question)]


def _others(done: list[Row]) -> list[Row]:
    return [row for row in done if not row["is_baseline"]]


def _seeds(done: list[Row], question: Question) -> Iterator[Sentence]:
    """Whether there are too few, and how many would do."""
    others = _others(done) if question.baseline else done
    if not others:
        return
    key = "gap_n" if question.baseline else "n"
    few = [row for row in others if row[key] < PROVISIONAL]
    open_ = [r for r in others if r["gap_found"] == pairs.OPEN or not question.baseline]
    if not (few or open_):
        return
    family = [row for row in others if row["gap_found"] or row in few or not question.baseline]
    common = f" in common with {question.baseline}" if question.baseline else ""
    n = min(row[key] for row in family)
    effect, looked_for = _effect(family, question)
    level = LEVEL / len(family)
    would = None if math.isnan(effect) else seeds.needed(effect, level)
    short = "3 are the least" if math.isnan(effect) else f"{seeds.many(would)} would do"
    if few:
        which = "all" if len(few) == len(others) > 1 else f"{len(few)} of"
        have = "has" if len(few) == 1 else "have"
        yield Sentence(
            "seeds",
            f"Too few seeds: {which} {_configurations(len(others))} {have} fewer than "
            f"{PROVISIONAL}{common}, without which nothing is tested; "
            f"{_enough(would, effect, level, looked_for, question)}.",
            f"too few seeds: {len(few)} of {len(others)} have fewer than {PROVISIONAL}; {short}",
        )
        return
    if math.isnan(effect) or (would is not None and would <= n):
        return
    chance = float(detection.power(effect, n, level))
    yield Sentence(
        "seeds",
        f"Too few seeds to say that two are equal: with n = {n} a true difference of {looked_for} "
        f"is found with a chance of {_percent(chance)}; "
        f"{_enough(would, effect, level, looked_for, question)}.",
        f"too few seeds: n = {n} finds {looked_for} at {_percent(chance)}; {short}",
    )


def _enough(
    would: int | None, effect: float, level: float, looked_for: str, question: Question
) -> str:
    """How many seeds would do."""
    if math.isnan(effect):
        return f"{PROVISIONAL} are the least, and two tell how many would do"
    said = f"for a chance of {100 * detection.POWER:.0f} % a difference of {looked_for} takes "
    said += f"{seeds.many(would)} seeds"
    if would is None and question.margin is not None:
        found = question.margin / effect * detection.detectable(SOME, level)
        size = f"{number(found, digits(question.metric))} {difference_unit(question.metric)}"
        said += f", one of {size.strip()} takes {SOME}"
    return f"{said} ({seeds.FIX})"


def _effect(rows: list[Row], question: Question) -> tuple[float, str]:
    """The difference to find over the spread of differences, NaN if that is unknown, and the
    difference in words. Without a baseline the spread is that of two independent cells."""
    spread = [row["gap_std"] for row in rows if row["gap_std"] > 0]
    if not question.baseline:
        spread = [math.sqrt(2) * row["value_std"] for row in rows if row["value_std"] > 0]
    if not spread:
        return math.nan, ""
    pooled = float(np.sqrt(np.mean(np.square(spread))))
    if question.margin is None:
        return 1.0, "one standard deviation"
    unit = difference_unit(question.metric)
    return question.margin / pooled, f"{question.margin:g} {unit}".strip()


def _baseline(done: list[Row], question: Question) -> Iterator[Sentence]:
    """How many differ from it, and in which direction."""
    others, base, metric = _others(done), question.baseline, question.metric
    if base is None:
        text = "Nothing of this sweep is a baseline: there are no gaps."
        yield Sentence("baseline", text, "no baseline: no gaps")
        return
    if not others:
        return
    lower = metric.direction
    higher = "higher" if lower == "lower" else "lower"
    found = {word: [r for r in others if r["gap_found"] == word] for word in ("better", "worse")}
    open_ = [r for r in others if r["gap_found"] == pairs.OPEN]
    untested = [r for r in others if not r["gap_found"]]
    if all(row["gap_n"] < PROVISIONAL for row in others):
        return
    if len(untested) == len(others):
        yield Sentence(
            "baseline",
            f"Against {base}, none of {_configurations(len(others))} is tested.",
            f"against {base}: none of {len(others)} tested",
        )
        return
    better, worse = found["better"], found["worse"]
    parts = [
        f"{_count(better)} a {lower} {metric.label} than {base}{_which(better)}",
        f"{_count(worse)} a {higher} one{_which(worse)}",
    ]
    if open_:
        parts.append(f"{len(open_)} cannot be told apart from it{_which(open_)}")
    if untested:
        parts.append(f"{_are(untested)} not tested")
    yield Sentence(
        "baseline",
        f"Of {_configurations(len(others))}, {_join(parts)}.",
        f"against {base}: {len(better)} {lower}, {len(worse)} {higher}, {len(open_)} not told "
        f"apart" + f", {len(untested)} not tested" * bool(untested),
    )


def _best(done: list[Row], question: Question) -> Iterator[Sentence]:
    """The best mean, and what cannot be told apart from it."""
    metric = question.metric
    top = min(done, key=lambda r: metric.rank(r["value_mean"]))
    best = [row for row in done if row["value_standing"] == "best"] or [top]
    top, ties = best[0], best[1:]
    level, behind = ([r for r in done if r["value_standing"] == w] for w in ("level", "behind"))
    value = _unit(plus_minus(top["value_mean"], top["value_std"], digits(metric)), metric)
    have = f"{_names(best, ' and ')} have" if ties else f"{_name(top)} has"
    said = f"{have} the {_superlative(metric)} {metric.label}, {value}"
    others = len(done) - len(best)
    short = _unit(number(top["value_mean"], digits(metric)), metric)
    brief = f"{_superlative(metric)} {metric.label}: {_name(top, True)} {short}"
    said += _at_what(top) if not ties else ""
    if not others:
        text, rest = f"{said}; there is nothing to compare it with.", ""
    elif not (level or behind):
        text, rest = f"{said}; which others are worse is not tested.", ", others not tested"
    else:
        untested = others - len(level) - len(behind)
        parts = [
            f"{len(level)} of {others} others cannot be told apart from it{_which(level)}"
            if level or untested
            else f"each of {others} others can be told apart from it"
            if others > 1
            else "the other can be told apart from it",
            *[f"{untested} {'is' if untested == 1 else 'are'} not tested"] * bool(untested),
        ]
        text, rest = f"{said}; {_join(parts)}.", f", {len(level)} of {others} not told apart"
    before = [r for r in done if metric.rank(r["value_mean"]) < metric.rank(top["value_mean"])]
    if before:
        text = f"{text[:-1]}, of which {_names(before)} with a {metric.direction} mean."
    yield Sentence("best", text, brief + rest)


def _at_what(row: Row) -> str:
    """What a configuration costs, as multiples of the baseline's, where it costs more."""
    if row["is_baseline"]:
        return ""
    costs = {
        "memory": "memory_ratio",
        "time a step": "time_ratio",
        "inference MACs": "macs_ratio",
    }
    ratios = {name: row.get(column, math.nan) for name, column in costs.items()}
    more = [f"{times(ratio)} the {name}" for name, ratio in ratios.items() if ratio > 1.005]
    return f", at {_join(more)} of the baseline" if more else ""


def _memory(done: list[Row], question: Question) -> Iterator[Sentence]:
    yield from _least(done, question, "memory", "memory")


def _time(done: list[Row], question: Question) -> Iterator[Sentence]:
    yield from _least(done, question, "time", "time a step")


def _least(
    done: list[Row], question: Question, cost: Literal["memory", "time"], words: str
) -> Iterator[Sentence]:
    """Who needs the least of a cost, and what it gives away for it."""
    standing = f"{cost}_standing"
    judged = [row for row in done if row[standing] == "best"]
    if not judged or len(done) == 1:
        return
    top = min(judged, key=lambda r: (not r["is_baseline"], question.metric.rank(r["value_mean"])))
    same = [r for r in done if r[standing] in ("best", "level") and r is not top]
    level = f" (not told apart: {_names(same)})" if same else ""
    if top["is_baseline"]:
        text = f"{_name(top)} itself needs the least {words}{level}."
        yield Sentence(cost, text, f"least {words}: {_name(top, True)}")
        return
    ratio = top[f"{cost}_ratio"]
    over = "" if math.isnan(ratio) or not question.baseline else times(ratio)
    said = f"{_name(top)} needs the least {words}"
    if over:
        said += f", {over} that of {question.baseline}"
    price, short = _price(top, question)
    yield Sentence(
        cost,
        f"{said}{level}; {price}.",
        f"least {words}: {_name(top, True)}" + f" {over}" * bool(over) + f", {short}",
    )


def _price(row: Row, question: Question) -> tuple[str, str]:
    """What a configuration gives away in the primary metric, for the page and in short."""
    metric, decimals = question.metric, digits(question.metric)
    gap = row["gap_mean"]
    if math.isnan(gap):
        value = _unit(number(row["value_mean"], decimals), metric)
        return f"its {metric.label} is {value}", f"{metric.label} {value}"
    unit = difference_unit(metric)
    size = f"{number(abs(gap), decimals)} {unit}".strip()
    way = "higher" if gap > 0 else "lower"
    ends = ""
    if not math.isnan(row["gap_low"]):
        ends = f" {interval(row['gap_low'], row['gap_high'], decimals)}"
    said = {"": ", which is not tested", pairs.OPEN: ", which cannot be told apart from none"}
    text = f"its {metric.label} is {size} {way} than that of {question.baseline}{ends}"
    short = f"{metric.label} {number(gap, decimals, sign=True)}"
    return text + said.get(row["gap_found"], ""), short


def _left_out(done: list[Row], without: int, question: Question) -> Iterator[Sentence]:
    """What is not compared, and why; `without` configurations have no run that is done."""
    parts, short = [], []
    if without:
        parts.append(f"{_configurations(without)} without a run that is done")
        short.append(f"{without} not done")
    base = [row for row in done if row["is_baseline"]]
    for cost, lacking in (("memory", NO_MEMORY), ("time", NO_TIME)):
        missing = _missing(done, base, cost, lacking, question.baseline)
        if missing:
            reasons = "; ".join(
                f"{_all(len(rows), len(done))} ({reason})" for reason, rows in missing.items()
            )
            parts.append(f"in {cost}, {reasons}")
            short.append(f"{cost} of {sum(map(len, missing.values()))}")
    other: dict[str, list[Row]] = {}
    for row in _others(done):
        if question.baseline and not row["gap_found"] and row["gap_n"] >= PROVISIONAL:
            other.setdefault(row["gap_untested"], []).append(row)
    for reason, rows in other.items():
        parts.append(f"in {question.metric.label}, {_names(rows)} ({reason})")
    if other:
        short.append(f"{question.metric.label} of {sum(map(len, other.values()))}")
    if parts:
        yield Sentence(
            "left out", f"Not compared: {'; '.join(parts)}.", f"not compared: {', '.join(short)}"
        )


def _missing(
    done: list[Row],
    base: list[Row],
    cost: str,
    lacking: tuple[str, str],
    baseline: str | None,
) -> dict[str, list[Row]]:
    """Why rows have no cost to compare -> those rows."""
    out: dict[str, list[Row]] = {}
    column = {"memory": "memory_bytes", "time": "step_seconds"}[cost]
    for row in done:
        if math.isnan(row[column]):
            out.setdefault(lacking[0], []).append(row)
        elif base and baseline and not row["is_baseline"] and not row[f"{cost}_n"]:
            out.setdefault(row[f"{cost}_reason"], []).append(row)
    return out


def _superlative(metric: PrimaryMetric) -> str:
    return "lowest" if metric.direction == "lower" else "highest"


def _unit(text: str, metric: PrimaryMetric) -> str:
    return f"{text} {metric.unit}".strip()


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _configurations(n: int) -> str:
    return f"{n} configuration{'s' * (n > 1)} (recipe and K)"


def _count(rows: list[Row]) -> str:
    return f"{len(rows) or 'none'} {'has' if len(rows) < 2 else 'have'}"


def _are(rows: list[Row]) -> str:
    return f"{len(rows)} {'is' if len(rows) == 1 else 'are'}"


def _all(n: int, of: int) -> str:
    return ("the only one" if of == 1 else f"all {of}") if n == of else f"{n} of {of}"


def _which(rows: list[Row]) -> str:
    """The configurations in parentheses, if they are few."""
    return f" ({_names(rows)})" if 0 < len(rows) <= NAMED else ""


def _names(rows: Iterable[Row], sign: str = "; ") -> str:
    """`DGL at K = 2, 4; Greedy at K = 8`, or their number."""
    rows = list(rows)
    if len(rows) > NAMED:
        return f"{len(rows)} configurations"
    ks: dict[str, list[str]] = {}
    for row in rows:
        ks.setdefault(row["label"], []).append(str(row["modules"]))
    return sign.join(
        label if k == ["1"] else f"{label} at K = {', '.join(k)}" for label, k in ks.items()
    )


def _name(row: Row, brief: bool = False) -> str:
    if row["modules"] == 1:
        return str(row["label"])
    return f"{row['label']} {'K=' if brief else 'at K = '}{row['modules']}"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
