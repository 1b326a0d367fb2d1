"""Copy the demo's table and figure to results/published/demo, and the table into the README. Run by `make readme` after `make demo`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
REPORT, PUBLISHED = ROOT / "results/reports/demo", ROOT / "results/published/demo"
START, END = "<!-- demo: make readme -->", "<!-- /demo -->"


def main() -> None:
    """Publish what the last demo found."""
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    for name in ("tables/headline_digits_resnet20.csv", "tables/runs.csv", "figures/error-against-modules_digits_resnet20.svg"):
        shutil.copy(REPORT / name, PUBLISHED)
    rows = pd.read_csv(PUBLISHED / "headline_digits_resnet20.csv")
    runs = [json.loads(p.read_text()) for p in sorted((ROOT / "results/runs/dataset~digits").rglob("result.json"))]
    origin = runs[0]["origin"]
    text = README_HEAD + "".join(map(line, rows.to_dict("records")))
    text += (
        f"\nMade by `make demo` on {origin['device'].split(',')[0]}, one thread a run, torch {origin['versions']['torch']}: test error of\n"
    )
    text += "the last epoch in percent, mean ± standard deviation of two seeds (provisional: two seeds tell little); memory is the\n"
    text += "allocator's peak; memory, time and MACs are multiples of Backprop's.\n\n"
    text += "![test error against K](results/published/demo/error-against-modules_digits_resnet20.svg)\n"
    readme = (ROOT / "README.md").read_text()
    before, after = readme.index(START) + len(START), readme.index(END)
    (ROOT / "README.md").write_text(f"{readme[:before]}\n{text}{readme[after:]}")


README_HEAD = """Scikit-learn's digits, 320 training images, ResNet-20:

| recipe | K | test error | peak memory | step time | inference MACs |
| --- | --- | --- | --- | --- | --- |
"""


def line(row: dict[str, float]) -> str:
    """One row of the README's table."""
    error = f"{row['error_mean']:.2f} ± {row['error_std']:.2f}"
    ratios = " | ".join(f"{row[k]:.2f}×" for k in ("memory_ratio", "time_ratio", "macs_ratio"))
    return f"| {row['label']} | {row['modules']} | {error} | {ratios} |\n"


if __name__ == "__main__":
    main()
