"""The page of study `transfer`: how well scores without training rank modules for another task."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from modulewise import units
from modulewise.report.studies import _ranking
from modulewise.report.studies._pictures import heat, scatter, short, tasks
from modulewise.report.studies._ranking import Estimate
from modulewise.report.studies._words import listed
from modulewise.report.study import Block, Page
from modulewise.report.tables import NONE, Item, Table, number

TITLE = "Transfer between tasks"
SCORES = {"score": "Pair objective", "leep": "LEEP", "probe": "Linear probe"}
"""Scores without a look at test images, all the larger the better."""
FIGURES = (_ranking.regret, _ranking.spearman, _ranking.kendall)
PART = ["network", "recipe", "modules", "settings"]
ABOUT = (
    "A module, all that stands before a net’s last linear layer, is trained on a source task and "
    "frozen. Accuracy: of a linear classifier fitted anew to the target’s training images, on its "
    "test images. The scores are to predict it; they see training images of the target alone. Pair "
    "objective: on pairs of balanced batches, no training. LEEP: from the source’s classifier, no "
    "training. Linear probe: a classifier is fitted to a part of the training images and judged on "
    "the rest.",
    "A task’s module on that task itself stands in the matrices and counts in no correlation and "
    "no regret. Regret is the accuracy lost by choosing the source with the highest score, against "
    "the best source. Intervals: 95 %, targets drawn with repetition, the sources as they are.",
)


class Ranked(NamedTuple):
    """How well a score ranks: means over targets, and over all pairs at once."""

    spearman: Estimate
    kendall: Estimate
    pooled_spearman: Estimate
    pooled_kendall: Estimate
    regret: Estimate


class Part(NamedTuple):
    """Runs of one network, recipe, K and settings: a matrix, source by target, of every score and
    of the accuracy; and the rows they are made of."""

    name: str
    stem: str
    rows: pd.DataFrame
    scores: dict[str, pd.DataFrame]
    truth: pd.DataFrame


def blocks(page: Page) -> Iterator[Block]:
    """Of every part: which score ranks best, the numbers, matrices and a map."""
    yield Block(text=list(ABOUT))
    for part in parts(page):
        ranked = {name: rank(part.scores[name], part.truth) for name in SCORES}
        yield _summary(page, part, ranked)
        yield _targets(page, part)
        yield from _pictures(page, part)


def measured(page: Page) -> pd.DataFrame:
    """A row for every run and target: what was found, `random_` before that of the same network
    untrained; seconds of every score as `seconds_`."""
    rows = []
    for one in page.found:
        cell = one.cell
        for target, found in one.found["targets"].items():
            row: dict[str, Any] = {"source": cell.dataset, "target": target, "seed": cell.seed}
            row |= {"network": cell.network, "recipe": cell.recipe, "modules": cell.modules}
            row |= {
                "settings": page.settings[cell.path],
                "train_seconds": one.found["train_seconds"],
            }
            row |= {name: found["trained"][name] for name in [*SCORES, "accuracy"]}
            row |= {f"random_{n}": found["untrained"][n] for n in [*SCORES, "accuracy"]}
            row |= {f"seconds_{n}": s for n, s in found["trained"]["seconds"].items()}
            rows.append(row | {n: found[n] for n in ("images", "batch", "batches")})
    return pd.DataFrame(rows)


def parts(page: Page) -> Iterator[Part]:
    """What is compared within itself."""
    rows = measured(page)
    targets = list(dict.fromkeys(rows["target"]))
    groups = rows.groupby(PART, sort=False)
    for place, (key, mine) in enumerate(groups, 1):
        network, recipe, modules, settings = map(str, key)
        label = f"{network}, {page.frame.labels[recipe]}, K = {modules}"
        name = ", ".join(filter(None, [label, settings if rows["settings"].nunique() > 1 else ""]))
        stem = f"{network}_{recipe}_k{modules}" + (f"_{place}" if len(groups) > 1 else "")
        tables = {n: _ranking.matrix(mine, n, targets) for n in [*SCORES, "accuracy"]}
        yield Part(name, stem, mine, tables, tables.pop("accuracy"))


def rank(scores: pd.DataFrame, truth: pd.DataFrame) -> Ranked:
    """How well a matrix of scores ranks the sources of every target by accuracy."""
    a, b = _ranking.others(scores), _ranking.others(truth)
    return Ranked(
        _ranking.mean_of(_ranking.per_target(_ranking.spearman, a, b)),
        _ranking.mean_of(_ranking.per_target(_ranking.kendall, a, b)),
        _ranking.over_all(_ranking.spearman, a, b),
        _ranking.over_all(_ranking.kendall, a, b),
        _ranking.mean_of(_ranking.per_target(_ranking.regret, a, b)),
    )


def verdict(ranked: dict[str, Ranked]) -> str:
    """Which score ranks the sources of a target best, by the mean of Spearman's correlation; two
    are told apart if the interval of their difference does not hold zero."""
    known = {n: r for n, r in ranked.items() if not np.isnan(r.spearman.value)}
    if not known:
        return "No score ranks the sources: a target has fewer than two, or all are equal."
    order = sorted(known, key=lambda n: -known[n].spearman.value)
    best, *rest = order
    top = known[best].spearman
    alike = [n for n in rest if not _apart(top, known[n].spearman)]
    said = (
        f"{SCORES[best]} has the highest rank correlation with the accuracy of a refitted "
        f"classifier: {_between(top)} (Spearman, mean over targets)"
    )
    if alike:
        said += f"; {listed([SCORES[n] for n in alike])} cannot be told apart from it"
    if clear := [n for n in rest if n not in alike]:
        said += f"; {listed([SCORES[n] for n in clear])} rank{'s' * (len(clear) == 1)} worse"
    lost = ", ".join(f"{SCORES[n]} {number(r.regret.value)}" for n, r in ranked.items())
    return f"{said}. Points of accuracy lost by choosing the source that is ranked first: {lost}."


def _apart(a: Estimate, b: Estimate) -> bool:
    """Whether the interval of the difference, over the same draws of targets, is above zero."""
    both = a.resamples - b.resamples
    return float(np.nanpercentile(both, 2.5)) > 0


def _between(e: Estimate) -> str:
    value = number(e.value)
    return value if np.isnan(e.low) else f"{value} [{number(e.low)}, {number(e.high)}]"


def _summary(page: Page, part: Part, ranked: dict[str, Ranked]) -> Block:
    """The sentence and the table of the scores."""
    columns = [("Score", "l"), ("Spearman, mean over targets", "r"), ("Kendall, mean", "r")]
    columns += [("Spearman, all pairs", "r"), ("Kendall, all pairs", "r")]
    columns += [("Regret, points", "r"), ("Largest regret", "r"), ("Time a target", "r")]
    columns += [("Of training a module", "r")]
    table, rows = Table(columns, []), []
    truth = _ranking.others(part.truth)
    training = part.rows["train_seconds"].median()
    for name, r in ranked.items():
        lost = _ranking.per_target(_ranking.regret, _ranking.others(part.scores[name]), truth)
        seconds = part.rows[f"seconds_{name}"].median()
        texts = [SCORES[name], *(_between(e) for e in r), number(lost.max())]
        table.rows.append([*map(Item, [*texts, *_cost(seconds, training)])])
        flat = [v for e in r for v in e[:3]]
        rows.append((name, *flat, lost.max(), seconds, training))
    chance = _ranking.mean_of(_ranking.per_target(_ranking.regret_of_chance, truth, truth))
    refit = part.rows["seconds_accuracy"].median()
    any_source = ["Any source, on average", *[NONE] * 4, _between(chance), NONE, NONE, NONE]
    table.rows.append([*map(Item, any_source)])
    every = ["All sources refitted", *[NONE] * 4, number(0.0), NONE]
    table.rows.append([*map(Item, [*every, *_cost(refit, training)])])
    names = [f"{n}{end}" for n in Ranked._fields for end in ("", "_low", "_high")]
    columns_ = ["score", *names, "largest_regret", "seconds", "train_seconds"]
    numbers = pd.DataFrame(rows, columns=columns_)
    text = [verdict(ranked), _said(part), _untrained(part)]
    page.files[f"tables/transfer_each_{part.stem}.csv"] = part.rows.to_csv(index=False).encode()
    return page.table(f"scores_{part.stem}", table, numbers, part.name, *text)


def _cost(seconds: float, training: float) -> list[str]:
    if np.isnan(seconds):
        return [NONE, NONE]
    share = NONE if np.isnan(training) or not training else f"{100 * seconds / training:.2g} %"
    return [units.time(seconds), share]


def _said(part: Part) -> str:
    """What the matrices are made of."""
    sources, targets = part.truth.shape
    seeds = sorted(part.rows["seed"].unique())
    missing = int(part.truth.isna().to_numpy().sum())
    images, batch, batches = (
        " to ".join(dict.fromkeys(f"{v:.0f}" for v in (part.rows[n].min(), part.rows[n].max())))
        for n in ("images", "batch", "batches")
    )
    return (
        f"{sources} sources, {targets} targets, the mean over {len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
        + (f"; {missing} pairs are not measured yet" if missing else "")
        + f". A target has {images} training images; the pair objective is the mean over {batches} "
        f"batches of {batch}. Times are medians, a source and target; the share is of the median "
        "time that a source’s training took. Every single number is in "
        f"tables/transfer_each_{part.stem}.csv."
    )


def _untrained(part: Part) -> str:
    """The same network without training, beside the trained modules."""
    truth = _ranking.others(part.truth)
    at = part.rows.groupby("target")
    random, score = at["random_accuracy"].mean(), at["random_score"].mean()
    scores = _ranking.others(part.scores["score"])
    below = int((scores.lt(score, axis=1) & scores.notna()).to_numpy().sum())
    mean_of_truth, mean_of_scores = (float(np.nanmean(m.to_numpy())) for m in (truth, scores))
    return (
        f"Random weights: a classifier refitted to the untrained network has "
        f"{number(random.mean())} % accuracy, to modules of other tasks "
        f"{number(mean_of_truth)} %, mean over targets; its pair objective is "
        f"{number(score.mean(), 3)} against {number(mean_of_scores, 3)}, and {below} of "
        f"{scores.notna().to_numpy().sum()} modules score below it."
    )


def _targets(page: Page, part: Part) -> Block:
    """Of every target: accuracies, what each score would choose, its correlations."""
    columns = [("Target", "l"), ("Own module", "r"), ("Best other", "r"), ("", "r")]
    columns.append(("Random weights", "r"))
    for label in SCORES.values():
        columns += [(f"{label}: chosen", "r"), ("Regret", "r"), ("Spearman", "r")]
    table, rows = Table(columns, []), []
    truth = _ranking.others(part.truth)
    scores = {n: _ranking.others(part.scores[n]) for n in SCORES}
    random = part.rows.groupby("target")["random_accuracy"].mean()
    figures = {n: [_ranking.per_target(how, scores[n], truth) for how in FIGURES] for n in SCORES}
    names = [*map(str, part.truth.index), *map(str, part.truth)]
    shown = dict(zip(names, short(names), strict=True))
    for target in map(str, truth.columns[truth.notna().any()]):
        own, best = float(part.truth[target].get(target, np.nan)), str(truth[target].idxmax())
        row: list[Any] = [target, own, float(truth[target].max()), best, float(random[target])]
        taus: list[float] = []
        for n in SCORES:
            lost, rho, tau = (float(f[target]) for f in figures[n])
            row += [str(scores[n][target].idxmax()), lost, rho]
            taus.append(tau)
        texts = [shown[v] if isinstance(v, str) else _number(v) for v in row]
        table.rows.append([*map(Item, texts)])
        rows.append(row + taus)
    keys = ["target", "own", "best_accuracy", "best", "random_accuracy"]
    keys += [f"{n}_{of}" for n in SCORES for of in ("chosen", "regret", "spearman")]
    keys += [f"{n}_kendall" for n in SCORES]
    text = "Accuracies in percent; the source with the highest one, and those that scores choose."
    numbers = pd.DataFrame(rows, columns=keys)
    return page.table(f"targets_{part.stem}", table, numbers, "Targets", text)


def _number(value: float) -> str:
    return NONE if np.isnan(value) else number(value)


def _pictures(page: Page, part: Part) -> Iterator[Block]:
    how = "Rows: the task a module was trained on; columns: the task it is tried on. "
    how += "Framed: a task with itself."
    yield page.figure(
        f"accuracy_{part.stem}",
        partial(heat, part.truth, "accuracy (%)", 1),
        f"Test accuracy of a linear classifier refitted to the frozen module. {how}",
        "Accuracy and scores",
    )
    for name, label in SCORES.items():
        yield page.figure(
            f"{name}_{part.stem}",
            partial(heat, part.scores[name], label, 1 if name == "probe" else 2),
            f"{label}, the larger the better. {how}",
        )
    yield page.figure(
        f"scatter_{part.stem}",
        partial(scatter, {label: part.scores[n] for n, label in SCORES.items()}, part.truth),
        "Every module on every task: accuracy against each score. Open: a task with itself.",
    )
    both = [s for s in part.truth.index if s in part.truth.columns]
    square = part.scores["score"].loc[both, both]
    if len(both) > 2 and square.notna().to_numpy().all():
        points, share = _ranking.plane(_ranking.squared_distances(square.to_numpy()))
        yield page.figure(
            f"map_{part.stem}",
            partial(tasks, both, points),
            "Tasks by classical multidimensional scaling: with s the pair objective, mean of both "
            "directions, the squared distance of two tasks is s(i, i) + s(j, j) - 2 s(i, j). The "
            f"plane holds {100 * share:.0f} % of the variation.",
            "A map of the tasks",
        )
