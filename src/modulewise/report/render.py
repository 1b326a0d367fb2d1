"""The page, and the files of its tables and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modulewise.config import references
from modulewise.config.options import names
from modulewise.config.plan import Plan
from modulewise.config.sweep import Sweep
from modulewise.files import write_atomic
from modulewise.report import (
    across,
    alone,
    angles,
    answer_section,
    best,
    contrasts_section,
    decision_section,
    devices,
    drawing,
    exhibit,
    figures,
    gallery,
    headline,
    matrix,
    naming,
    needs,
    pairs,
    pipeline,
    published,
    rates,
    stats,
    study,
    tables,
    tuning,
    use,
    verdicts,
)
from modulewise.report.about import about
from modulewise.report.facts import facts
from modulewise.report.frame import Frame, read
from modulewise.report.naming import named
from modulewise.runs.result import PrimaryMetric

TEMPLATES = Path(__file__).parent / "templates"
OURS = (
    "across",
    "analysis",
    "decision",
    "performance-profiles",
    "exhibit",
    "experimental",
    "experimental-published",
    "headline",
    "matrix",
    "needs",
    "pipeline",
    "published",
    "runs",
    "trials",
    "tuning",
    "unfinished",
    "use",
    *(kind.name for kind in gallery.KINDS),
    *names("studies"),
)
"""Patterns of how the names of our files in `tables/` and `figures/` begin: what an earlier report
left under these names is removed."""


def build(plan: Plan, runs: Path, out: Path, all_figures: bool = False, rerun: str = "") -> Path:
    """Write the report of whatever runs exist.

    Args:
        plan: the sweep.
        runs: folder that the cells' paths start from.
        out: where `report.html`, `tables/` and `figures/` go; files of an earlier report are
            replaced one by one.
        all_figures: whether to draw all figures also of a sweep that has very many.
        rerun: the command that trains a cell again.

    Returns:
        The path of `report.html`.

    Raises:
        InvalidInput: the published numbers beside the recipes are not as they must be.
        OSError: the folder cannot be written.
    """
    numbers = references.load(plan.catalog.recipes_file.with_name(references.FILE))
    frame = read(plan, runs)
    apart = {n for n in frame.labels if plan.catalog.recipes.recipes[n].experimental}
    compared = frame.of(frame.labels.keys() - apart)
    rows = pairs.against_baseline(best.judged(stats.headline(compared), compared), compared)
    beside = published.compare(compared, rows, plan, numbers)
    files: dict[str, bytes] = {"tables/runs.csv": tables.to_csv(named(frame.runs, frame.metric))}
    if len(found := angles.recorded(frame)):
        files["tables/gradient-angles.csv"] = tables.to_csv(found.drop(columns="path"))
    left = tables.unfinished(frame.trained)
    _add(files, "unfinished", left, tables.to_plain(left))
    chosen = gallery.choose(compared, all_figures) if len(compared.done) else None
    sections = list(_sections(plan, compared, rows, beside, chosen, files)) if chosen else []
    beyond = [_across(compared, metric, files) for metric in compared.primary]
    answers = [
        it
        for _, mine in (rows.groupby(stats.SECTION, sort=False) if len(rows) else ())
        for it in answer_section.section(mine, compared, plan.sweep.margin)
    ]
    files[answer_section.FILE] = (json.dumps(answers, indent=1, ensure_ascii=False) + "\n").encode()
    shown = [part for s in (*sections, *beyond) for part in (s.get("decision"), s) if part]
    outside = gallery.lighten(f for part in shown for f in part.get("figures", ()))
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    env = _templates()
    page = {
        "sweep": plan.sweep,
        "frame": frame,
        "made": made,
        "studies": list(study.pages(plan, frame.trained, runs, env, made, files)),
        "facts": facts(frame.trained),
        "left": left,
        "analysis": contrasts_section.section(plan, compared, out, files),
        "answers": answers,
        "many_settings": len({it["settings"] for it in answers}) > 1,
        "sections": sections,
        "across": beyond,
        "drawn": chosen,
        "outside": outside,
        "exhibit": _exhibit(plan.sweep, compared, rows, beside, numbers, files),
        "experimental": list(_experimental(plan, frame, apart, numbers, files)),
        "tuning": _tuning(plan, frame, files),
        "pipeline": pipeline.section(plan, frame, files),
        "listed": pipeline.LISTED,
        "use": use.section(frame, files),
        "needs": needs.section(frame, files),
        "about_needs": needs.COLUMNS,
        "recipes": {name: plan.catalog.recipes.recipes[name] for name in frame.labels},
        "about": about,
        "rerun": rerun,
        "provisional": stats.PROVISIONAL,
        "most_seeds": verdicts.MOST_SEEDS,
        "wrong": {name: f"{share:.1f}\u00a0%" for name, share in rates.WRONG.items()},
        "naming": naming,
    }
    page["alone"] = not outside and alone.can_be(files)
    text = env.get_template("report.html.j2").render(page)
    if page["alone"]:
        text = alone.made(text, files)
    files["report.html"] = drawing.share_glyphs(text).encode()
    _publish(out, files)
    return out / "report.html"


def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    env.lstrip_blocks = True
    return env


def _sections(
    plan: Plan,
    frame: Frame,
    rows: pd.DataFrame,
    beside: pd.DataFrame,
    chosen: gallery.Chosen,
    files: dict[str, bytes],
) -> Iterator[dict[str, Any]]:
    """What the page shows per data set and network; adds the files of its tables and figures."""
    room = matrix.MOST
    for number, (_, mine) in enumerate(rows.groupby(stats.SECTION, sort=False)):
        shown = _tables(frame, mine, beside, ("headline", "published"), files)
        place, known = (shown["dataset"], shown["network"], number), plan.catalog.recipes.recipes
        decided = decision_section.section(
            frame, place, plan.sweep.margin, known, files, chosen.all
        )
        against = matrix.section(frame, shown["dataset"], shown["network"], room, files)
        room -= against["used"] if against else 0
        yield shown | {
            "decision": decided,
            "matrix": against,
            "figures": list(gallery.of_section(frame, mine, number, chosen, files)),
        }


def _experimental(
    plan: Plan,
    frame: Frame,
    apart: set[str],
    numbers: list[references.Reference],
    files: dict[str, bytes],
) -> Iterator[dict[str, Any]]:
    """What the page shows of experimental recipes per data set and network, under the baseline that
    their gaps refer to; adds the files of the tables.

    Args:
        plan: the sweep.
        frame: all of its runs.
        apart: the experimental recipes.
        numbers: the published ones, which have verdicts in a family of their own.
        files: path in the report's folder -> content.
    """
    tried = frame.of([*apart, frame.baseline])
    if not len(frame.of(apart).done):
        return
    rows = pairs.against_baseline(best.judged(stats.headline(tried), tried), tried)
    beside = published.compare(tried, rows[~rows["is_baseline"]], plan, numbers)
    for _, mine in rows.groupby(stats.SECTION, sort=False):
        if not mine["is_baseline"].all():
            yield _tables(tried, mine, beside, ("experimental", "experimental-published"), files)


def _tables(
    frame: Frame,
    mine: pd.DataFrame,
    beside: pd.DataFrame,
    stems: tuple[str, str],
    files: dict[str, bytes],
) -> dict[str, Any]:
    """The headline table of one data set and network, and the one beside published numbers if there
    are any; adds their files, whose names begin with `stems`."""
    dataset, network = mine["dataset"].iloc[0], mine["network"].iloc[0]
    name, metric = f"{dataset}_{network}", frame.metric(dataset)
    table = headline.show(mine, metric, frame.secondary.get(dataset, {}))
    _add(files, f"{stems[0]}_{name}", table, named(headline.ordered(mine), frame.metric))
    theirs = beside
    if len(beside):
        theirs = beside[(beside[stats.SECTION] == [dataset, network]).all(axis=1)]
    compared = []
    for of, its in frame.on_test(dataset).items():
        judged = theirs[theirs["metric"] == of] if len(theirs) else theirs
        if len(judged):
            stem = f"{stems[1]}_{name}" + (f"_{its.name}" if its != metric else "")
            shown = published.show(judged, its)
            compared.append({"metric": its, "table": shown, "stem": stem})
            _add(files, stem, shown, named(judged, {dataset: its}.__getitem__))
    return {
        "dataset": dataset,
        "network": network,
        "id": name,
        "table": table,
        "devices": devices.mixed(frame, dataset, network),
        "published": compared,
    }


def _exhibit(
    sweep: Sweep,
    frame: Frame,
    rows: pd.DataFrame,
    beside: pd.DataFrame,
    published_: list[references.Reference],
    files: dict[str, bytes],
) -> dict[str, Any] | None:
    """The published table that the sweep is laid out as; adds the files."""
    if sweep.exhibit is None or rows.empty:
        return None
    found = exhibit.numbers(sweep.exhibit, frame, rows, beside, published_)
    table = exhibit.show(sweep.exhibit, found, frame)
    _add(files, "exhibit", table, found)
    sources = exhibit.sources(sweep.exhibit, found)
    metrics = [exhibit.title(m, frame) for m in sweep.exhibit.metrics]
    kinds = exhibit.spreads(found)
    return {
        "of": sweep.exhibit,
        "table": table,
        "sources": sources,
        "metrics": metrics,
        "tested": any(map(exhibit.is_test, sweep.exhibit.metrics)),
        "spread": kinds[0] if len(kinds) == 1 else "",
    }


def _tuning(plan: Plan, frame: Frame, files: dict[str, bytes]) -> tables.Table:
    """Where the recipes' settings come from; adds the files."""
    table = tuning.show(plan, frame)
    _add(files, "tuning", table, tables.to_plain(table))
    if plan.tuned:
        files["tables/trials.csv"] = tables.to_csv(
            named(tuning.trials(plan), frame.metric, "validation_")
        )
    return table


def _across(frame: Frame, metric: PrimaryMetric, files: dict[str, bytes]) -> dict[str, Any]:
    """What the page shows over all tasks of a metric, or why not; adds the files."""
    found = across.tasks(frame, metric)
    if reason := across.why_not(found, frame):
        return {"metric": metric, "reason": reason}
    rows, shown = across.improvement(found), []
    table = across.show(rows, found, frame)
    of = f"_{metric.name}" if len(frame.primary) > 1 else ""
    _add(files, f"across{of}", table, across.ranges(rows, found, frame))
    parts = figures.parts(frame.done, frame)
    for part, recipes in enumerate(parts, 1):
        stem = f"performance-profiles{of or '_all'}" + (f"_part{part}" if len(parts) > 1 else "")
        make = partial(across.performance_profiles, found, frame, recipes)
        facts = {"tasks": len(across.common(found, recipes)[1])}
        shown += [facts | drawn for drawn in gallery.figure(make, stem, f"a{part}{of}", files)]
    return {
        "metric": metric,
        "reason": "",
        "stem": f"across{of}",
        "table": table,
        "figures": shown,
        "resamples": across.RESAMPLES,
    }


def _add(files: dict[str, bytes], stem: str, table: tables.Table, numbers: pd.DataFrame) -> None:
    files[f"tables/{stem}.csv"] = tables.to_csv(numbers)
    files[f"tables/{stem}.tex"] = tables.to_latex(table)


def _publish(out: Path, files: dict[str, bytes]) -> None:
    """Write every file, the page last; remove what an earlier report left."""
    for folder in (out / "tables", out / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            begin = path.stem.split("_")[0]
            ours = path.suffix in (".csv", ".tex", ".svg", ".pdf") and any(
                fnmatchcase(begin, pattern) for pattern in OURS
            )
            if ours and f"{folder.name}/{path.name}" not in files:
                path.unlink()
    for name in names("studies"):
        if (page := f"{name}.html") not in files:
            (out / page).unlink(missing_ok=True)
    for name, content in sorted(files.items(), key=lambda f: f[0] == "report.html"):
        write_atomic(out / name, content)
