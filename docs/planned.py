"""Publish a planned sweep of config/evidence in results/published/SWEEP: all its finished runs in
`runs.json`, and of the seeds whose cells are all done the report's tables and figure and the part
of the page between markers.

Runs that were published before are first put into the folder of results, so a sweep can be finished
on several machines.

python docs/planned.py cifar10-resnet14 [--results FOLDER]
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from evidence import ROOT, main
from publish import summaries, write_runs

from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.files import write_atomic
from modulewise.report import build
from modulewise.runs import result

PUBLISHED = ROOT / "results/published"
FIGURE = "error-against-modules_*.svg"
MARKERS = "<!-- found: docs/planned.py -->", "<!-- /found -->"


def publish(sweep: str, results: Path) -> Path:
    """Write the folder; returns its page, which has the markers.

    Raises:
        ValueError: no seed is whole.
    """
    plan, folder = load_plan(ROOT / f"config/evidence/{sweep}.yaml", ROOT), PUBLISHED / sweep
    place = results / "runs"
    restore(folder, place)
    done = {c.path: c for c in plan.cells if result.exists(place / c.path)}
    missing = {c.seed for c in plan.cells if c.path not in done}
    whole = [path for path, c in sorted(done.items()) if c.seed not in missing]
    write_runs(folder, summaries(place / path / result.FILE for path in sorted(done)))
    if not whole:
        raise ValueError(f"{place}: no seed of {sweep} has all its cells done")
    with tempfile.TemporaryDirectory() as name:
        runs, report = Path(name) / "runs", Path(name) / "report"
        for path in whole:
            shutil.copytree(place / path, runs / path)
        build(plan, runs, report)
        found = summaries(runs / path / result.FILE for path in whole)
        for pattern in ("tables/headline_*.csv", "tables/analysis.csv", "tables/runs.csv"):
            for path in report.glob(pattern):
                shutil.copy(path, folder)
        # One for each of the sweep's settings, those of its first grid first.
        shutil.copy(sorted(report.glob(f"figures/{FIGURE}"))[0], folder)
    page = folder / "README.md"
    before, rest = page.read_text().split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    made = text(folder, found, len(done) - len(whole))
    page.write_text(f"{before}{MARKERS[0]}\n{made}{MARKERS[1]}{after}")
    return page


def restore(folder: Path, runs: Path) -> None:
    """Put published results where the workflow expects them; what is there already stays."""
    published = folder / "runs.json"
    for run in json.loads(published.read_text()) if published.exists() else []:
        place = runs / Cell.model_validate(run["cell"]).path
        if not result.exists(place):
            place.mkdir(parents=True, exist_ok=True)
            write_atomic(place / result.FILE, json.dumps(run))


def text(folder: Path, runs: list[dict[str, Any]], more: int) -> str:
    """What was found: of how many seeds, the contrasts, the table, the figure.

    Args:
        folder: that the tables are in.
        runs: of whole seeds.
        more: number of finished runs of other seeds.
    """
    analysis = pd.read_csv(folder / "analysis.csv")
    (headline,) = folder.glob("headline_*.csv")
    rows = pd.read_csv(headline)
    (figure,) = folder.glob(FIGURE)
    seeds = sorted({run["cell"]["seed"] for run in runs})
    planned, origin = analysis["planned"].max(), runs[0]["origin"]
    devices = sorted({run["origin"]["device"] for run in runs})
    commits = sorted({run["origin"]["commit"] for run in runs})
    out = f"Whole seeds: {', '.join(map(str, seeds))}; {planned} are planned. {len(runs)} runs on "
    out += f"{', '.join(devices)}, torch {origin['versions']['torch']}, code of commit "
    out += f"{', '.join(commits)}."
    if more:
        out += f"\n`runs.json` has {more} of the next seed too, which count when it is whole."
    out += "\n\n"
    if len(seeds) < planned:
        out += f"Nothing is decided before all {planned} are there.\n"
    else:
        out += "".join(f"- {said}\n" for said in analysis["said"])
    out += "\n| family | contrast | hypothesis | mean [interval], points | n | p (Holm) | found |\n"
    out += "| --- | --- | --- | --- | --- | --- | --- |\n"
    for _, row in analysis.iterrows():
        margin = f" (± {row['margin']:g})" if pd.notna(row["margin"]) else ""
        p = f"{row['p_adjusted']:.2g}" if pd.notna(row["p"]) else "–"
        items = [
            row["family"],
            row["contrast"],
            row["hypothesis"] + margin,
            _with(row, "mean", "low", "high"),
            str(row["n"]),
            p,
            row["found"] if pd.notna(row["found"]) else "–",
        ]
        out += f"| {' | '.join(items)} |\n"
    out += "\nA slope is per doubling of K. Every contrast has one value a seed; in brackets the "
    out += "paired interval at 95 % (90 % of an equivalence), not corrected;\nwhat is found is "
    out += "after Holm's correction over its family at 5 %. All digits: `analysis.csv`.\n"
    out += "\n| recipe | K | test error, % | gap to backprop [95 %] | epochs | n |\n"
    out += "| --- | --- | --- | --- | --- | --- |\n"
    for _, row in rows.iterrows():
        spread = f" ± {row['error_std']:.2f}" if pd.notna(row["error_std"]) else ""
        items = [
            row["label"],
            f"{row['modules']:g}",
            f"{row['error_mean']:.2f}{spread}",
            _with(row, "gap_mean", "gap_low", "gap_high"),
            f"{row['epochs']:g}",
            f"{row['n']:g}",
        ]
        out += f"| {' | '.join(items)} |\n"
    out += "\nMean ± standard deviation over seeds.\n"
    return out + f"\n![test error against K]({figure.name})\n"


def _with(row: pd.Series, mean: str, low: str, high: str) -> str:
    """A signed number with its interval, where there is one."""
    if pd.isna(row[mean]):
        return "–"
    said = f"{row[mean]:+.2f}"
    if pd.notna(row[low]):
        said += f" [{row[low]:+.2f}, {row[high]:+.2f}]"
    return said.replace("-", "−")


if __name__ == "__main__":
    main(publish, __doc__)
