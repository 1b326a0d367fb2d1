"""Tuning for real: trials first, then the reported cells, by the same command; the report counts
the trials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from modulewise.config.plan import load_plan
from modulewise.runs import result
from modulewise.runs.result import Cost, Origin, Result

REPO = Path(__file__).parents[2]
SWEEP = {
    "sweep": "tuned",
    "grids": [
        {
            "datasets": ["fake"],
            "networks": ["resnet8"],
            "recipes": ["backprop", "dgl"],
            "modules": [2],
            "seeds": 1,
            "training": {"epochs": 1, "batch_size": 64, "lr": 0.1},
        }
    ],
    "tune": {"trials": 2, "validation": 128, "seeds": [9], "training": {"lr": [1.0e-6]}},
}


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    base = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(REPO / "Snakefile"),
        "--directory",
        str(folder),
    ]
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {
        "MLFLOW_DISABLE_TELEMETRY": "true"
    }
    words = (
        "--profile",
        str(REPO / "profiles/ci"),
        "--configfile",
        str(folder / "sweep.yaml"),
        *words,
    )
    return subprocess.run([*base, *words], capture_output=True, text=True, timeout=280, env=env)


def jobs(text: str) -> dict[str, int]:
    return {
        w[0]: int(w[1]) for w in map(str.split, text.splitlines()) if len(w) == 2 and w[1].isdigit()
    }


def start(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the trials lie, written by hand: the second is better on held-out images,
    the first on test images."""
    folder = tmp_path_factory.mktemp("tuned")
    start(folder)
    (folder / "results/data").mkdir(parents=True)
    (folder / "results/data/fake.json").write_text("{}")
    origin = Origin(
        device="cpu", exclusive=True, host="h", starts=1, commit=None, source="s", versions={}
    )
    for cell in load_plan(folder / "sweep.yaml", REPO, tuned=folder).cells:
        small = cell.training.lr == 1e-6
        where = folder / "results/runs" / cell.path
        where.mkdir(parents=True)
        errors = {"test_last": 60.0 if small else 10.0, "val_last": 30.0 if small else 40.0}
        Result(
            cell=cell,
            status="done",
            epochs=1,
            planned_epochs=1,
            cuts=[],
            cost=Cost(),
            origin=origin,
            **errors,
        ).save(where)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same command again trains the reported cells" in done.stderr
    return folder


def test_the_choice_is_by_validation_and_no_report_is_made_of_trials(folder: Path) -> None:
    chosen = json.loads((folder / "results/tuned/tuned.json").read_text())["choices"]
    assert [
        (c["point"][3], c["chosen"], [t["validation"] for t in c["trials"]]) for c in chosen
    ] == [
        ("backprop", 1, [40.0, 30.0]),
        ("dgl", 1, [40.0, 30.0]),
    ]
    assert not (folder / "results/reports/tuned/report.html").exists()


def test_then_the_same_command_trains_the_reported_cells(folder: Path) -> None:
    dry = snakemake(folder, "-n")
    assert jobs(dry.stdout)["train"] == 2 and "tune" not in jobs(dry.stdout), dry.stdout
    assert {
        c.training.lr
        for c in load_plan(folder / "sweep.yaml", REPO, folder / "results/tuned").cells
    } == {1e-6}


def test_another_search_starts_anew_and_keeps_the_old_trials(folder: Path) -> None:
    before = sorted(folder.glob("results/runs/**/result.json"))
    wider = {"trials": 3, "training": {"lr": [1.0e-6, 0.05]}}
    changed = SWEEP | {"tune": SWEEP["tune"] | wider}  # type: ignore[operator]
    (folder / "other.yaml").write_text(yaml.safe_dump(changed))
    dry = snakemake(folder, "-n", "--configfile", str(folder / "other.yaml"))
    assert jobs(dry.stdout)["train"] == 2, dry.stdout + dry.stderr  # the third trial of each recipe
    assert jobs(dry.stdout)["tune"] == 1
    assert sorted(folder.glob("results/runs/**/result.json")) == before


@pytest.mark.slow
def test_trials_and_reported_cells_trained_for_real(tmp_path: Path) -> None:
    start(tmp_path)
    for _ in range(2):
        done = snakemake(tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    runs = [result.load(p) for p in tmp_path.glob("results/runs/**/result.json")]
    trials = [r for r in runs if r.cell.seed == 9]
    assert (
        sorted((r.cell.recipe, r.cell.data.validation) for r in trials)
        == [("backprop", 128)] * 2 + [("dgl", 128)] * 2
    )
    assert sorted((r.cell.recipe, r.cell.data.validation) for r in runs if r.cell.seed == 0) == [
        ("backprop", 0),
        ("dgl", 0),
    ]
    for choice in json.loads((tmp_path / "results/tuned/tuned.json").read_text())["choices"]:
        errors = {
            r.cell.training.lr: r.val_last for r in trials if r.cell.recipe == choice["point"][3]
        }
        assert [t["validation"] for t in choice["trials"]] == [errors[0.1], errors[1e-6]]
    assert (
        "Every recipe had 2 trials" in (tmp_path / "results/reports/tuned/report.html").read_text()
    )
    assert (tmp_path / "results/reports/tuned/tables/trials.csv").read_text().count(
        "\n"
    ) == 1 + 2 * 2
    again = snakemake(tmp_path, "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
