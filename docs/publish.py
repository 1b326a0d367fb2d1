"""Copy a finished sweep's tables, figure and run summaries to results/published/<sweep>, and its
table into the README.

python docs/publish.py demo                       after `make demo` (this is `make readme`)
python docs/publish.py SWEEP --results FOLDER     after another sweep whose markers stand in
README.md
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from modulewise.report.tables import beside_k

ROOT = Path(__file__).parent.parent
TITLES = {
    "demo": "Scikit-learn's digits, 320 training images, 20 epochs, ResNet-20:",
    "cifar10-resnet110-memory": "ResNet-110 at batch 1024, modules of equal memory, beside table 3 "
    "of InfoPro (arXiv 2101.10832):",
}
BESIDE = ["horizon", "helpers' parameters", "helpers' FLOPs"]
HEADLINE = ["test error", "gap to Backprop", "peak memory", "step time"]
EXHIBIT = {
    "memory_gb": "memory, GB",
    "memory_reduction": "saved, %",
    "compute_overhead": "more FLOPs, %",
}


def publish(sweep: str, results: Path) -> None:
    """Publish what a sweep found: its exhibit if it has one, else its headline table and figure."""
    report, published = results / "reports" / sweep, ROOT / "results/published" / sweep
    published.mkdir(parents=True, exist_ok=True)
    (headline,) = (report / "tables").glob("headline_*.csv")
    runs = summaries(
        path
        for name in sorted(set(pd.read_csv(headline)["dataset"]))
        for path in sorted((results / f"runs/dataset~{name}").rglob("result.json"))
    )
    exhibit, figures = report / "tables/exhibit.csv", []
    if exhibit.exists():
        text = of_exhibit(pd.read_csv(exhibit))
    else:
        figures = list((report / "figures").glob("error-against-memory_*.svg"))
        text = of_headline(pd.read_csv(headline))
    for old in published.glob("*.svg"):
        old.unlink()
    for path in (exhibit if exhibit.exists() else headline, report / "tables/runs.csv", *figures):
        shutil.copy(path, published)
    if sweep != "demo":
        write_runs(published, runs)
    made = (
        "Made by `make demo`"
        if sweep == "demo"
        else f"Made from [results/published/{sweep}](results/published/{sweep})"
    )
    origin = runs[0]["origin"]
    text = f"{TITLES[sweep]}\n\n{text}".replace(
        "MADE", f"{made} on {origin['device']} a run, torch {origin['versions']['torch']}"
    )
    text += "".join(
        f"\n![test error against peak memory](results/published/{sweep}/{figure.name})\n"
        for figure in figures
    )
    readme = (ROOT / "README.md").read_text()
    start, end = f"<!-- {sweep}: docs/publish.py -->", f"<!-- /{sweep} -->"
    before, after = readme.index(start) + len(start), readme.index(end)
    (ROOT / "README.md").write_text(f"{readme[:before]}\n{text}{readme[after:]}")


def summaries(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Results that runs' files hold."""
    runs = [json.loads(path.read_text()) for path in files]
    for run in runs:  # the path is one of this machine
        data = run["cell"].get("data") or {}
        if data.get("path"):
            data["path"] = Path(data["path"]).name
    return runs


def write_runs(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Write results into a published folder, a line each."""
    lines = ",\n".join(json.dumps(run) for run in runs)
    (folder / "runs.json").write_text(f"[\n{lines}\n]\n")


def of_headline(rows: pd.DataFrame) -> str:
    """The README's table of a report's headline; without times where the core was shared."""
    ratios = [k for k in ("memory_ratio", "time_ratio") if rows[k].notna().sum() > 1]
    text = head(*HEADLINE[: 2 + len(ratios)])
    for _, row in rows.iterrows():
        error = f"{row['error_mean']:.2f} ± {row['error_std']:.2f}"
        gap = ""
        if row["gap_n"]:
            gap = f"{row['gap_mean']:+.2f} [{row['gap_low']:+.2f}, {row['gap_high']:+.2f}]"
        costs = ["-" if pd.isna(row[k]) else f"{row[k]:.2f}×" for k in ratios]
        text += line(row, error, gap.replace("-", "−"), *costs)
    alike = "memory and time" if "time_ratio" in ratios else "memory"
    text += "\nMADE: test error of the last epoch in percent,\nmean ± standard deviation of "
    text += f"{rows['n'].max()} seeds; gap: mean difference of equal seeds with its 95 % interval; "
    text += f"{alike} as multiples of\nBackprop's, memory being the peak of live tensors; helpers' "
    text += "FLOPs are their share of a training step's.\n"
    return text + "Results differ between CPU instruction sets.\n"


def of_exhibit(found: pd.DataFrame) -> str:
    """The README's table of an exhibit's costs: ours, and in brackets what the paper prints."""
    text = head(*(f"{name} [paper]" for name in EXHIBIT.values()))
    for _, mine in found.groupby(["recipe", "modules"], sort=False):
        by = mine.set_index("metric")
        text += line(
            mine.iloc[0],
            *(beside(by.loc[metric], 2 if metric == "memory_gb" else 1) for metric in EXHIBIT),
        )
    text += "\nMADE: peak memory is the largest sum of live\n"
    text += (
        "tensor bytes in a training step; the paper's is the smallest memory of a Titan Xp with "
    )
    text += "which a run works. The paper's FLOPs\n"
    return text + "are those that helpers add, ours also hold what isolated modules save.\n"


def beside(row: pd.Series, digits: int) -> str:
    """A number of ours, and what the paper prints, if it does."""
    ours = "" if pd.isna(row["value"]) else f"{row['value']:.{digits}f}"
    return ours + (
        "" if pd.isna(row["published_value"]) else f" [{row['published_value']:.{digits}f}]"
    )


def head(*names: str) -> str:
    """The first two lines of a table."""
    columns = ["recipe", "K", *names, *BESIDE]
    return f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|\n"


def line(row: pd.Series, *items: str) -> str:
    """One line of a table."""
    k, *beside = (item.text for item in beside_k(row))
    return f"| {' | '.join([row['label'], k, *items, *beside])} |\n"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sweep", choices=TITLES)
    arguments.add_argument("--results", type=Path, default=ROOT / "results")
    given = arguments.parse_args()
    publish(given.sweep, given.results)
