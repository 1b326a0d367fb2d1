"""The report says of every recipe and K whether its settings were tuned, published, or neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from modulewise.config import trials
from modulewise.config.plan import Plan, load_plan
from modulewise.config.trials import Choice, Trial, Tuned
from modulewise.report import build

ROOT = Path(__file__).parents[2]
GRID: dict[str, Any] = {
    "datasets": ["cifar10"],
    "networks": ["resnet32"],
    "recipes": ["backprop", "infopro"],
    "modules": [2, 3, 4],
    "seeds": 1,
}


def load(folder: Path, **config: Any) -> Plan:
    """The plan of a sweep; what was chosen lies beside it."""
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump({"sweep": "x"} | config))
    return load_plan(path, ROOT, folder)


def marks(out: Path) -> list[list[str]]:
    """The tuning table, as text."""
    return [
        list(row)
        for row in pd.read_csv(
            out / "tables/tuning.csv", dtype=str, keep_default_na=False
        ).itertuples(index=False)
    ]


def test_published_weights_and_untuned_settings_are_marked(tmp_path: Path) -> None:
    page = build(load(tmp_path, grids=[GRID]), tmp_path, tmp_path / "out").read_text()
    assert marks(tmp_path / "out") == [
        ["cifar10", "resnet32", "Backprop", "1", "untuned", "0"],
        [
            "cifar10",
            "resnet32",
            "InfoPro (contrast)",
            "2, 4",
            "published weights: InfoPro, released code",
            "0",
        ],
        [
            "cifar10",
            "resnet32",
            "InfoPro (contrast)",
            "3",
            "untuned",
            "0",
        ],  # K = 3 has no published row
    ]
    assert "This sweep spent no trials." in page
    assert not (tmp_path / "out/tables/trials.csv").exists()


def test_weights_published_for_something_else_say_so(tmp_path: Path) -> None:
    """InfoPro's softmax mode has the contrast mode's weights: its own were never released."""
    plan = load(tmp_path, grids=[GRID | {"recipes": ["infopro-softmax"], "modules": [2]}])
    build(plan, tmp_path, tmp_path / "out")
    latex = (tmp_path / "out/tables/tuning.tex").read_text()
    assert "published weights: InfoPro, released code$^{a}$" in latex
    assert "$^{a}$ the softmax weights were never released; these are the contrast mode's" in latex


def test_trials_are_counted_and_every_one_is_listed(tmp_path: Path) -> None:
    tune = {"trials": 3, "validation": 5000, "seeds": [50], "training": {"lr": [0.1, 0.2]}}
    config = {"grids": [GRID | {"modules": [2]}], "tune": tune}
    plan = load(tmp_path, **config)
    choices = []
    for point, tried in plan.trials.items():
        spent = tuple(
            Trial(**t.model_dump(exclude={"validation"}), validation=9.0 - n)
            for n, (t, _) in enumerate(tried)
        )
        choices.append(Choice(point=point, trials=spent, chosen=2))
    (tmp_path / "x.json").write_text(
        Tuned(search=trials.digest(plan.trials), choices=tuple(choices)).model_dump_json()
    )
    page = build(load(tmp_path, **config), tmp_path, tmp_path / "out").read_text()
    assert "Every recipe had 3 trials per data set, network and K" in page
    last = {
        point.recipe: json.dumps(tried[2][0].training["lr"]) for point, tried in plan.trials.items()
    }
    assert marks(tmp_path / "out") == [
        ["cifar10", "resnet32", "Backprop", "1", "tuned", "3", f"lr={last['backprop']}", "7.00"],
        [
            "cifar10",
            "resnet32",
            "InfoPro (contrast)",
            "2",
            "tuned",
            "3",
            f"lr={last['infopro']}",
            "7.00",
        ],
    ]
    listed = pd.read_csv(tmp_path / "out/tables/trials.csv")
    assert list(listed["validation_error"]) == [9.0, 8.0, 7.0] * 2
    assert list(listed["chosen"]) == [False, False, True] * 2
    assert all(len(runs.split()) == 1 and "seed~50" in runs for runs in listed["runs"])
