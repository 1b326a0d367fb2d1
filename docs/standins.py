"""Publish a finished stand-in of config/evidence in results/published/SWEEP: its runs and tables,
and a page with a row a run: metric, memory, operations, CPU time. No published number stands there.

python docs/standins.py standin-camvid [--results FOLDER]
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from evidence import gather, main

from modulewise.config.cell import Cell
from modulewise.config.plan import Plan
from modulewise.runs.result import PrimaryMetric


def publish(sweep: str, results: Path) -> Path:
    """Write the folder; returns its page."""
    plan, out, rows, runs = gather(sweep, results)
    page = out / "README.md"
    page.write_text(text(plan, rows, runs))
    return page


def text(plan: Plan, rows: pd.DataFrame, runs: list[dict]) -> str:
    """The page.

    Raises:
        ValueError: a cell has several runs; a stand-in has one seed.
    """
    by_cell = {}
    for run in runs:
        cell = Cell.model_validate(run["cell"])
        if (cell.recipe, cell.modules) in by_cell:
            raise ValueError(f"{cell}: a stand-in has one seed")
        by_cell[cell.recipe, cell.modules] = cell, run
    origin, metric = runs[0]["origin"], PrimaryMetric.model_validate(runs[0]["metric"])
    said = ", ".join(f"{k} {v}" for k, v in plan.sweep.grids[0].training.items())
    minutes = sum(run["cost"]["use"]["cpu_seconds"] for run in runs) / 60
    columns = ["recipe", "K", f"{metric.label}, {metric.unit}", "memory, MB", "of backprop's"]
    columns += ["operations of backprop's", "CPU minutes"]
    out = f"# {plan.sweep.title}\n\n"
    out += f"Made by `config/evidence/{plan.sweep.sweep}.yaml` and `docs/standins.py` on "
    out += f"{origin['device']} a run, torch {origin['versions']['torch']}, commit "
    out += f"{', '.join(sorted({run['origin']['commit'] for run in runs}))}.\n"
    out += f"Settings: {said}. One seed; {minutes:.0f} CPU minutes in all.\n\n"
    out += f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|\n"
    for _, row in rows.iterrows():
        cell, run = by_cell[row["recipe"], row["modules"]]
        operations = 1 + row["helper_flops_share"]
        items = [
            row["label"],
            str(cell.modules),
            f"{row[f'{metric.name}_mean']:.2f}",
            f"{row['memory_bytes'] / 1e6:.0f}",
            f"{100 * row['memory_ratio']:.0f} %",
            f"{operations:.2f}",
            f"{run['cost']['use']['cpu_seconds'] / 60:.1f}",
        ]
        out += f"| {' | '.join(items)} |\n"
    out += "\nA stand-in: the whole path on small pictures and a small net, too briefly to say "
    out += "who wins, on one seed.\nIts numbers stand beside no published ones. Memory is the "
    return out + "largest sum of live tensor bytes of a step.\n"


if __name__ == "__main__":
    main(publish, __doc__)
