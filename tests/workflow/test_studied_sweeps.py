"""Studies through the workflow: made of finished runs, made once, made again when they are gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from test_workflow import GRID, TRAINING, snakemake


def write(folder: Path, name: str, **more: object) -> str:
    """A sweep of two tiny cells."""
    path = folder / name
    grids = [{**GRID, "training": TRAINING}]
    path.write_text(yaml.safe_dump({"sweep": "tiny", "grids": grids, **more}))
    return str(path)


def jobs(output: str, rule: str) -> int:
    """Number of jobs of a rule that Snakemake lists."""
    found = re.findall(rf"^{rule} +(\d+)$", output, re.MULTILINE)
    return int(found[0]) if found else 0


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep that studies one of its recipes has run."""
    folder = tmp_path_factory.mktemp("studied")
    sweep = write(folder, "s.yaml", studies={"probe": {"recipes": ["dgl"]}})
    done = snakemake(folder, "--configfile", sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def found(folder: Path) -> list[Path]:
    return sorted(folder.glob("results/runs/**/study~*.json"))


@pytest.mark.slow
def test_a_sweep_ends_with_its_studies_and_their_page(studied: Path) -> None:
    (path,) = found(studied)
    assert "recipe~dgl" in str(path) and path.name.startswith("study~probe~")
    out = studied / "results/reports/tiny"
    assert "1 of 1 runs measured" in (out / "probe.html").read_text()
    assert 'href="probe.html"' in (out / "report.html").read_text()


@pytest.mark.slow
def test_only_studied_recipes_leave_weights(studied: Path) -> None:
    (path,) = studied.glob("results/runs/**/weights.pt")
    assert "recipe~dgl" in str(path)


@pytest.mark.slow
def test_a_studied_sweep_has_nothing_left_to_do(studied: Path) -> None:
    again = snakemake(studied, "-n", "--configfile", str(studied / "s.yaml"))
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.slow
def test_a_measurement_that_is_gone_is_made_again_and_nothing_trained(studied: Path) -> None:
    (path,) = found(studied)
    before = yaml.safe_load(path.read_text())
    path.unlink()
    done = snakemake(studied, "--configfile", str(studied / "s.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (jobs(done.stdout + done.stderr, "train"), found(studied)) == (0, [path])
    assert yaml.safe_load(path.read_text())["found"] == before["found"]


@pytest.mark.slow
def test_another_option_is_another_measurement_of_the_same_runs(studied: Path) -> None:
    options = {"recipes": ["dgl"], "options": {"decay": 1e-2}}
    other = write(studied, "other.yaml", studies={"probe": options})
    dry = snakemake(studied, "-n", "--configfile", other)
    assert (jobs(dry.stdout, "train"), jobs(dry.stdout, "study")) == (0, 1), dry.stdout


@pytest.mark.slow
def test_runs_that_kept_no_weights_stop_a_study_before_its_first_job(studied: Path) -> None:
    every = write(studied, "every.yaml", studies={"probe": {}})
    out = snakemake(studied, "--configfile", every)
    said = out.stdout + out.stderr
    assert out.returncode != 0 and "1 finished run kept no weights" in said
    assert "Traceback" not in said and len(found(studied)) == 1
