"""A metric of direction higher: the report of values turned round is the same one turned round."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modulewise.config.analysis import Analysis
from modulewise.config.plan import make_plan
from modulewise.errors import parse
from modulewise.runs.result import PrimaryMetric

TURNED = PrimaryMetric(name="accuracy", label="test accuracy", direction="higher")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl", "greedy"],
    "modules": [2, 4, 8],
    "seeds": 5,
}
HEADER = (
    "dataset,network,recipe,modules,metric,value,spread,spread_kind,n,selection,epochs,split,"
    "tolerance,source,note"
)
TERMS = [{"recipe": "dgl", "modules": 4}, {"recipe": "backprop"}]
PLAN = {
    "n": 5,
    "primary": [
        {"name": "slope", "hypothesis": "h", "slope": {"recipe": "dgl"}},
        {"name": "worse", "hypothesis": "h", "difference": TERMS},
    ],
}
MEANS = {
    ("backprop", 1): (10.0, 1000),
    ("dgl", 2): (9.0, 700),
    ("dgl", 4): (12.0, 500),
    ("dgl", 8): (12.5, 450),
    ("greedy", 2): (10.02, 600),
    ("greedy", 4): (15.0, 400),
    ("greedy", 8): (11.0, 800),
}
"""Mean error, bytes of memory: better than the baseline, worse, as good, far worse."""


def reported(s: Any, higher: bool) -> Any:
    """The report of the sweep's errors, or of accuracies 100 - error."""
    shutil.rmtree(s.runs, ignore_errors=True)
    shutil.rmtree(s.root / "out", ignore_errors=True)
    s.metrics.clear()
    if higher:
        s.metrics["fake"] = TURNED
    rows, rng = [HEADER], np.random.default_rng(3)
    for (recipe, k), (error, peak) in MEANS.items():
        errors = error + rng.normal(0, 0.1, 5)
        values = 100 - errors if higher else errors
        best = 100 - (errors - 0.5) if higher else errors - 0.5
        for seed in range(5):
            cell = s.cell(recipe, k, seed)
            s.run(cell, values[seed], best=best[seed], peak_memory_bytes=peak)
        value, name = (89.0, "accuracy") if higher else (11.0, "error")
        rows.append(f"fake,resnet8,{recipe},{k},test_{name},{value},0.2,sd,5,last,3,test,1,a,")
    (s.root / "config/references.csv").write_text("\n".join(rows) + "\n")
    s.report()
    return s


def tables(out: Path) -> dict[str, pd.DataFrame]:
    """The report's tables by name, those of accuracies under the names of errors."""
    return {
        path.stem.replace("accuracy", "error"): pd.read_csv(path).rename(
            columns=lambda name: name.replace("accuracy", "error")
        )
        for path in (out / "tables").glob("*.csv")
    }


VALUES = {"error", "error_best", "error_mean", "error_best_mean", "published_value"}
"""Columns that are 100 - the other's."""
ENDS = {"error_low": "error_high"} | {
    low: low.replace("low", "high") for low in ("low", "low_best", "gap_low")
}
"""Lower end of an interval -> its upper end."""


def pair(a: pd.DataFrame, b: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    """A column of errors, and what that of accuracies must be."""
    if "probability" in a:
        return a[column], b[column]
    offset = 100 if column in VALUES or column in ("error_low", "error_high") else 0
    swapped = ENDS | {high: low for low, high in ENDS.items()}
    if column in VALUES | swapped.keys() | DIFFERENCES:
        return a[column], offset - b[swapped.get(column, column)]
    if column == "metric":
        return a[column], b[column].str.replace("accuracy", "error")
    if column == "found" and "contrast" in a:
        return a[column], b[column].replace({"below": "above", "above": "below"})
    return a[column], b[column]


DIFFERENCES = {"gap_mean", "mean", "difference", "difference_best"}
"""Columns that change their sign."""
NAMES = {
    *("headline_fake_resnet8", "published_fake_resnet8", "decision_fake_resnet8"),
    *("matrix_fake_resnet8", "analysis", "across", "runs"),
}


def test_a_sweep_turned_round(site: Any) -> None:
    """Verdicts, standings, decisions, p-values, costs and probabilities of being better are the
    same; differences change their sign."""
    s = site({"sweep": "x", "margin": 0.5, "grids": [GRID]})
    sweep = s.sweep.model_copy(update={"analysis": parse(Analysis, PLAN, "analysis")})
    s = dataclasses.replace(s, plan=make_plan(sweep, s.catalog))
    errors, accuracies = (tables(reported(s, higher).root / "out") for higher in (False, True))
    assert set(errors) >= NAMES and errors.keys() == accuracies.keys()
    for name, a in errors.items():
        assert set(a) == set(accuracies[name])
        for column in map(str, a.columns.drop("said", errors="ignore")):  # the others, in words
            mine, theirs = pair(a, accuracies[name], column)
            if mine.dtype.kind == "f":
                expected = pytest.approx(theirs.to_numpy(), rel=1e-6, abs=1e-9, nan_ok=True)
                assert mine.to_numpy() == expected, (name, column)
            else:
                assert list(mine.fillna("")) == list(theirs.fillna("")), (name, column)
    verdicts = set(errors["published_fake_resnet8"]["verdict"])
    assert verdicts >= {"better", "worse", "reproduced"}
    decided = set(errors["decision_fake_resnet8"]["verdict"])
    assert len(decided) > 1
