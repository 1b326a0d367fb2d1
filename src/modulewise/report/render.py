"""The page, and the files of its tables and figures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from modulewise.config import references
from modulewise.config.cell import Cell
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.files import write_atomic
from modulewise.report import (
    across,
    drawing,
    exhibit,
    figures,
    fronts,
    published,
    stats,
    tables,
    tuning,
    verdicts,
)
from modulewise.report.frame import STATES, Frame, read
from modulewise.runs.provenance import source_hash

TEMPLATES = Path(__file__).parent / "templates"
FIGURES: dict[str, tuple[Callable[[pd.DataFrame, Frame, list[str]], Figure | None], str]] = {
    "error-against-modules": (
        figures.error_against_modules,
        "Test error of the last epoch against the number of modules K: mean with its 95 % "
        "t-interval; with fewer than "
        f"{stats.PROVISIONAL} seeds every seed is an open mark. The baseline is the horizontal "
        f"line, its interval the band.",
    ),
    "error-against-memory": (
        fronts.error_against_memory,
        "Test error against peak memory while training; the number beside a mark is K. The grey "
        "line is the Pareto front: nothing has "
        f"both less error and less memory. Open marks: fewer than {stats.PROVISIONAL} seeds. Only "
        f"runs measured the same way.",
    ),
    "error-against-time": (
        fronts.error_against_time,
        "Test error against the time of a training step; the number beside a mark is K. The grey "
        "line is the Pareto front. "
        f"Open marks: fewer than {stats.PROVISIONAL} seeds. Only runs that had a device of one "
        f"model to themselves.",
    ),
    "learning-curves": (
        figures.learning_curves,
        "Test error after every epoch, a panel per K: the mean over seeds thick, every seed thin; "
        "the baseline in every panel.",
    ),
    "error-over-depth": (
        figures.error_over_depth,
        "Test error of every module’s own head at the last epoch: the mean over seeds with marks, "
        "every seed thin. "
        "The baseline’s error is the horizontal line. Heads that give no class scores have no mark.",
    ),
}
"""Name -> what draws it and its caption; one of each per data set, network and settings, more of
many recipes."""
OURS = (
    "across",
    "performance-profiles",
    "exhibit",
    "headline",
    "published",
    "runs",
    "trials",
    "tuning",
    "unfinished",
    *FIGURES,
)
"""How the names of our files in `tables/` and `figures/` begin: what an earlier report left under
these names is removed."""


def build(sweep: Sweep, catalog: Catalog, cells: list[Cell], runs: Path, out: Path) -> Path:
    """Write the report of whatever runs exist.

    Args:
        sweep: the sweep.
        catalog: its recipes and data sets.
        cells: all its cells.
        runs: folder that the cells' paths start from.
        out: where `report.html`, `tables/` and `figures/` go; files of an earlier report are
            replaced one by one.

    Returns:
        The path of `report.html`.

    Raises:
        InvalidInput: the published numbers beside the recipes are not as they must be.
        OSError: the folder cannot be written.
    """
    numbers = references.load(catalog.recipes_file.with_name(references.FILE))
    frame = read(sweep, catalog, cells, runs)
    rows = stats.headline(frame)
    beside = published.compare(frame, rows, cells, catalog, numbers)
    files: dict[str, bytes] = {"tables/runs.csv": tables.to_csv(frame.runs)}
    left = tables.unfinished(frame)
    _add(files, "unfinished", left, tables.to_plain(left))
    page = {
        "sweep": sweep,
        "frame": frame,
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "facts": _facts(frame),
        "left": left,
        "sections": list(_sections(frame, rows, beside, files))
        if (frame.runs["state"] == "done").any()
        else [],
        "across": _across(frame, files),
        "exhibit": _exhibit(sweep, frame, rows, beside, numbers, files),
        "tuning": _tuning(sweep, catalog, cells, frame, files),
        "recipes": {name: catalog.recipes.recipes[name] for name in frame.labels},
        "rerun": _rerun(sweep, catalog, cells, runs),
        "provisional": stats.PROVISIONAL,
        "references": sorted({f"{r.dataset} {r.network}" for r in numbers}),
        "most_seeds": verdicts.MOST_SEEDS,
    }
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    env.lstrip_blocks = True
    files["report.html"] = env.get_template("report.html.j2").render(page).encode()
    _publish(out, files)
    return out / "report.html"


def _sections(
    frame: Frame, rows: pd.DataFrame, beside: pd.DataFrame, files: dict[str, bytes]
) -> Iterator[dict[str, Any]]:
    """What the page shows per data set and network; adds the files of its tables and figures."""
    baseline = frame.labels[frame.baseline] if frame.baseline else "baseline"
    for number, ((dataset, network), mine) in enumerate(rows.groupby(stats.SECTION, sort=False)):
        name = f"{dataset}_{network}"
        table = tables.headline(mine, baseline)
        _add(files, f"headline_{name}", table, mine)
        theirs = (
            beside[(beside[stats.SECTION] == [dataset, network]).all(axis=1)]
            if len(beside)
            else beside
        )
        compared = published.show(theirs) if len(theirs) else None
        if compared:
            _add(files, f"published_{name}", compared, theirs)
        shown = []
        done = frame.runs.query("state == 'done' and dataset == @dataset and network == @network")
        for setting, settings in enumerate(mine["settings"].unique()):
            runs = done[done["settings"] == settings]
            number_ = str(setting + 1) if mine["settings"].nunique() > 1 else ""
            parts = figures.parts(runs, frame)
            for (kind, (draw, caption)), (part, recipes) in product(
                FIGURES.items(), enumerate(parts, 1)
            ):
                made = drawing.files(partial(draw, runs, frame, recipes))
                if made is None:
                    continue
                if len(parts) > 1:
                    caption = f"Part {part} of {len(parts)}: {', '.join(frame.labels[r] for r in recipes)}. {caption}"
                stem = "_".join(
                    t for t in (kind, name, number_, f"part{part}" * (len(parts) > 1)) if t
                )
                files |= {f"figures/{stem}.{suffix}": content for suffix, content in made.items()}
                svg = Markup(drawing.inline(made["svg"], f"s{number}-{setting}-{part}-{kind}"))
                shown.append({"svg": svg, "caption": caption, "settings": settings, "stem": stem})
        yield {
            "dataset": dataset,
            "network": network,
            "id": name,
            "table": table,
            "published": compared,
            "figures": shown,
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
    if sweep.exhibit is None:
        return None
    found = exhibit.numbers(sweep.exhibit, frame, rows, beside, published_)
    table = exhibit.show(sweep.exhibit, found)
    _add(files, "exhibit", table, found)
    sources = exhibit.sources(sweep.exhibit, found)
    metrics = [exhibit.METRICS[m] for m in sweep.exhibit.metrics]
    kinds = exhibit.spreads(found)
    return {
        "of": sweep.exhibit,
        "table": table,
        "sources": sources,
        "metrics": metrics,
        "spread": kinds[0] if len(kinds) == 1 else "",
    }


def _tuning(
    sweep: Sweep, catalog: Catalog, cells: list[Cell], frame: Frame, files: dict[str, bytes]
) -> tables.Table:
    """Where the recipes' settings come from; adds the files."""
    table = tuning.show(sweep, catalog, cells, frame)
    _add(files, "tuning", table, tables.to_plain(table))
    if catalog.tuned:
        files["tables/trials.csv"] = tables.to_csv(tuning.trials(catalog))
    return table


def _across(frame: Frame, files: dict[str, bytes]) -> dict[str, Any]:
    """What the page shows over all tasks, or why not; adds the files."""
    found = across.tasks(frame)
    if reason := across.why_not(found, frame):
        return {"reason": reason}
    rows, shown = across.improvement(found), []
    table = across.show(rows, found, frame)
    _add(files, "across", table, across.ranges(rows, found, frame))
    parts = figures.parts(frame.runs[frame.runs["state"] == "done"], frame)
    for part, recipes in enumerate(parts, 1):
        drawn = drawing.files(partial(across.performance_profiles, found, frame, recipes))
        if drawn is None:
            continue
        stem = "performance-profiles_all" + (f"_part{part}" if len(parts) > 1 else "")
        files |= {f"figures/{stem}.{suffix}": content for suffix, content in drawn.items()}
        shown.append(
            {
                "svg": Markup(drawing.inline(drawn["svg"], f"a{part}")),
                "stem": stem,
                "tasks": len(across.common(found, recipes)[1]),
            }
        )
    return {"reason": "", "table": table, "figures": shown, "resamples": across.RESAMPLES}


def _add(files: dict[str, bytes], stem: str, table: tables.Table, numbers: pd.DataFrame) -> None:
    files[f"tables/{stem}.csv"] = tables.to_csv(numbers)
    files[f"tables/{stem}.tex"] = tables.to_latex(table)


def _facts(frame: Frame) -> dict[str, Any]:
    """What the page's head says about all runs together."""
    runs = frame.runs
    states = runs["state"].value_counts()
    counts = {tables.STATE_NAMES.get(s, s): int(states.get(s, 0)) for s in STATES}
    have = runs[runs["versions"].notna()]
    versions: dict[str, list[str]] = {}
    for text in sorted(have["versions"].unique()):
        for name, version in json.loads(text).items():
            if version not in versions.setdefault(name, []):
                versions[name].append(version)
    return {
        "total": len(runs),
        "states": {name: n for name, n in counts.items() if n or name == "done"},
        "commits": _counted(have["commit"].fillna("unknown")),
        "settings": [
            f"recipes’ own with {text}" if text else "recipes’ own"
            for text in runs["settings"].unique()
        ],
        "devices": _counted(have["device"]),
        "versions": ", ".join(f"{name} {' / '.join(v)}" for name, v in sorted(versions.items())),
        "stale": int(runs["stale"].sum()),
        "shared": int((~have["exclusive"].astype(bool)).sum()),
        "source": source_hash(),
    }


def _counted(values: pd.Series) -> str:
    """The distinct values, with their numbers if there are several."""
    counts = values.value_counts().sort_index()
    return ", ".join(f"{v} ({n} runs)" if len(counts) > 1 else str(v) for v, n in counts.items())


def _rerun(sweep: Sweep, catalog: Catalog, cells: list[Cell], runs: Path) -> str:
    """Commands that train one cell again."""
    if not cells:
        return ""
    cell = cells[0]
    target = shlex.quote(str(runs / cell.path / "result.json"))
    recipes, datasets = catalog.recipes_file, catalog.datasets_file
    plain = recipes.parent == datasets.parent and (recipes.name, datasets.name) == (
        "recipes.yaml",
        "datasets.yaml",
    )
    if any(grid.training for grid in sweep.grids) or not plain:
        return f"snakemake --profile profiles/local --configfile SWEEP.yaml --force {target}"
    words = ["modulewise", "train"]
    for key in ("dataset", "network", "recipe", "modules", "seed"):
        words += [f"--{key}", str(getattr(cell, key))]
    if Path(sweep.recipes).parent != Path("config"):
        words += ["--config", str(Path(sweep.recipes).parent)]
    return f"rm -f {target}\n{shlex.join(words)} --out {target}"


def _publish(out: Path, files: dict[str, bytes]) -> None:
    """Write every file, the page last; remove what an earlier report left."""
    for folder in (out / "tables", out / "figures"):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            ours = (
                path.suffix in (".csv", ".tex", ".svg", ".pdf") and path.stem.split("_")[0] in OURS
            )
            if ours and f"{folder.name}/{path.name}" not in files:
                path.unlink()
    for name, content in sorted(files.items(), key=lambda f: f[0] == "report.html"):
        write_atomic(out / name, content)
