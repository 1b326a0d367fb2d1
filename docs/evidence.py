"""Publish a finished sweep of config/evidence in results/published/SWEEP: its runs and tables, and
a page with a row a recipe: our error, the gap, what the training spent, what papers print.

python docs/evidence.py survey-mnist [--results FOLDER]
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from publish import summaries, write_runs

from modulewise.config import references
from modulewise.config.cell import Cell
from modulewise.config.plan import Plan, load_plan
from modulewise.runs.result import FILE, exists

ROOT = Path(__file__).parents[1]
COLUMNS = (
    "recipe",
    "test error, %",
    "gap to Backprop [95 %]",
    "epochs",
    "rate chosen",
    "papers print, %",
    "verdict",
)

ANGLES = "angle between every module's gradient and backpropagation's, over epochs"


def publish(sweep: str, results: Path) -> Path:
    """Write the folder; returns its page."""
    plan, out, rows, runs = gather(sweep, results)
    beside = sorted(out.glob("published_*.csv"))
    verdicts = pd.concat(map(pd.read_csv, beside)) if beside else pd.DataFrame()
    angles = sorted(out.glob("gradient-angles_*.svg"))
    page = out / "README.md"
    drawn = "".join(f"\n![{ANGLES}]({path.name})\n" for path in angles)
    page.write_text(text(plan, rows, runs, verdicts) + drawn)
    return page


def gather(sweep: str, results: Path) -> tuple[Plan, Path, pd.DataFrame, list[dict]]:
    """Copy a report's tables and what its runs came to; returns the plan, the published folder, the
    headline tables' rows and the runs."""
    file = ROOT / f"config/evidence/{sweep}.yaml"
    plan = load_plan(file, ROOT, results / "tuned")
    report, out = results / "reports" / sweep, ROOT / "results/published" / sweep
    out.mkdir(parents=True, exist_ok=True)
    tables = [
        *sorted((report / "tables").glob("headline_*.csv")),
        *sorted((report / "tables").glob("experimental_*.csv")),
    ]
    beside = sorted((report / "tables").glob("published_*.csv"))
    more = [report / f"tables/{n}.csv" for n in ("runs", "trials", "needs", "gradient-angles")]
    angles = sorted((report / "figures").glob("gradient-angles_*.svg"))
    for path in (*tables, *beside, *more, *angles, file):
        if path.exists():
            shutil.copy(path, out)
    places = sorted({results / "runs" / cell.path for _, cell in plan.reported})
    runs = summaries(place / FILE for place in places if exists(place))
    write_runs(out, runs)
    rows = pd.concat(map(pd.read_csv, tables)).drop_duplicates(["network", "recipe", "modules"])
    return plan, out, rows, runs


def text(plan: Plan, rows: pd.DataFrame, runs: list[dict], verdicts: pd.DataFrame) -> str:
    """The page."""
    origin = runs[0]["origin"]
    tune, first = plan.sweep.tune, plan.sweep.grids[0]
    said = ", ".join(f"{k} {v}" for k, v in first.training.items())
    out = f"# {plan.sweep.title}\n\n"
    out += f"Made by `config/evidence/{plan.sweep.sweep}.yaml` and `docs/evidence.py` on "
    out += f"{origin['device']} a run, torch {origin['versions']['torch']}, commit "
    out += f"{', '.join(sorted({run['origin']['commit'] for run in runs}))}.\n"
    out += f"Settings: {said}. Mean ± standard deviation of {rows['n'].max()} seeds.\n"
    if tune:
        out += f"Every recipe had {tune.trials} trials of its rate, each judged by the error on "
        out += f"{tune.validation} training images held out; `trials.csv` lists them.\n"
    out += f"\n| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|\n"
    numbers = references.load(plan.catalog.recipes_file.with_name(references.FILE))
    for _, row in rows.iterrows():
        out += _line(plan, row, runs, numbers, verdicts)
    out += "\nThe last columns: the recipe's numbers in `config/references.csv` on the same data, "
    out += (
        "whatever the network, or on CIFAR-10 where there are none on it; and the verdict of the\n"
    )
    out += (
        "report's rule. Theirs are of all training images and of many times the epochs: the table "
    )
    return out + "shows that a method learns, not\nthat its paper is reproduced.\n"


def _line(
    plan: Plan,
    row: pd.Series,
    runs: list[dict],
    numbers: list[references.Reference],
    verdicts: pd.DataFrame,
) -> str:
    mine = [
        c
        for _, c in plan.rows
        if (c.recipe, c.modules, c.network) == (row["recipe"], row["modules"], row["network"])
    ]
    mine_ids = {plan.run_of(c).id for c in mine}
    epochs = {r["epochs"] for r in runs if Cell.model_validate(r["cell"]).id in mine_ids}
    gap = "–"
    if pd.notna(row["gap_mean"]):
        gap = f"{row['gap_mean']:+.2f} [{row['gap_low']:+.2f}, {row['gap_high']:+.2f}]"
    found = [r for r in numbers if r.recipe == row["recipe"]]
    theirs = [r for r in found if r.dataset == row["dataset"]] or [
        r for r in found if r.dataset == "cifar10"
    ]
    verdict = "not comparable: another network" if theirs else "–"
    if any((r.network, r.modules) == (row["network"], row["modules"]) for r in theirs):
        same = (verdicts[["network", "recipe"]] == [row["network"], row["recipe"]]).all(axis=1)
        verdict = ", ".join(dict.fromkeys(verdicts[same]["verdict"]))
    shown = theirs[:3]
    printed = "; ".join(f"{r.value:g} ({r.dataset} {r.network} K={r.modules})" for r in shown)
    items = [
        row["label"],
        f"{row['error_mean']:.2f} ± {row['error_std']:.2f}",
        gap,
        "/".join(map(str, sorted(epochs))),
        f"{mine[0].training.lr:g}",
        printed or "–",
        verdict,
    ]
    return f"| {' | '.join(items)} |\n"


def main(publish: Callable[[str, Path], Path], about: str) -> None:
    """Publish the sweep that the command line names, and say where its page is."""
    arguments = argparse.ArgumentParser(description=about.splitlines()[0])
    arguments.add_argument("sweep")
    arguments.add_argument("--results", type=Path, default=ROOT / "results")
    given = arguments.parse_args()
    print(publish(given.sweep, given.results))


if __name__ == "__main__":
    main(publish, __doc__)
