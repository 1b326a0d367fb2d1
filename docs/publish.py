"""Copy a finished sweep's tables, figure and run summaries to results/published/<sweep>, and its table into the README.

python docs/publish.py demo                       after `make demo` (this is `make readme`)
python docs/publish.py SWEEP --results FOLDER     after another sweep whose markers stand in README.md
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from modulewise.report.tables import beside_k

ROOT = Path(__file__).parent.parent
DEMO = "Made by `make demo`"
HEAD = """| recipe | K | horizon | helpers' parameters | helpers' FLOPs | test error | peak memory | step time | inference MACs |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def publish(sweep: str, results: Path) -> None:
    """Publish what a sweep found."""
    report, published = results / "reports" / sweep, ROOT / "results/published" / sweep
    published.mkdir(parents=True, exist_ok=True)
    (headline,) = (report / "tables").glob("headline_*.csv")
    (figure,) = (report / "figures").glob("error-against-modules_*.svg")
    for path in (headline, report / "tables/runs.csv", figure):
        shutil.copy(path, published)
    rows = [row for _, row in pd.read_csv(headline).iterrows()]
    runs = summaries(results / "runs", {str(row["dataset"]) for row in rows})
    if sweep != "demo":
        (published / "runs.json").write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")
    origin, seeds = runs[0]["origin"], max(int(row["n"]) for row in rows)
    made = DEMO if sweep == "demo" else f"Made from [results/published/{sweep}](results/published/{sweep})"
    text = f"{TITLES[sweep]}\n\n{HEAD}" + "".join(map(line, rows))
    text += f"\n{made} on {origin['device'].split(',')[0]}, one thread a run, torch {origin['versions']['torch']}: test error of\n"
    text += f"the last epoch in percent, mean ± standard deviation of {seeds} seeds (provisional: so few tell little); memory is the\n"
    text += "allocator's peak; memory, time and MACs are multiples of Backprop's; helpers' FLOPs are their\n"
    text += "share of a training step's. `-`: not comparable, the core was shared.\n\n"
    text += f"![test error against K](results/published/{sweep}/{figure.name})\n"
    readme = (ROOT / "README.md").read_text()
    start, end = f"<!-- {sweep}: docs/publish.py -->", f"<!-- /{sweep} -->"
    before, after = readme.index(start) + len(start), readme.index(end)
    (ROOT / "README.md").write_text(f"{readme[:before]}\n{text}{readme[after:]}")


def summaries(folder: Path, datasets: set[str]) -> list[dict[str, Any]]:
    """Results of the data sets' runs."""
    runs = [json.loads(p.read_text()) for name in sorted(datasets) for p in sorted((folder / f"dataset~{name}").rglob("result.json"))]
    for run in runs:  # where the file lay is nobody's business
        data = run["cell"].get("data") or {}
        if data.get("path"):
            data["path"] = Path(data["path"]).name
    return runs


TITLES = {
    "demo": "Scikit-learn's digits, 320 training images, ResNet-20:",
    "cifar10-subset-resnet20": "CIFAR-10, 1,500 training images for 6 epochs, 1,000 test images, ResNet-20:",
}


def line(row: pd.Series) -> str:
    """One row of the README's table."""
    beside = " | ".join(item.text for item in beside_k(row))
    error = f"{row['error_mean']:.2f} ± {row['error_std']:.2f}"
    ratios = " | ".join("-" if pd.isna(row[k]) else f"{row[k]:.2f}×" for k in ("memory_ratio", "time_ratio", "macs_ratio"))
    return f"| {row['label']} | {beside} | {error} | {ratios} |\n"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("sweep", choices=TITLES)
    arguments.add_argument("--results", type=Path, default=ROOT / "results")
    given = arguments.parse_args()
    publish(given.sweep, given.results)
