"""What the terminal says: of a large sweep a screen, of a failed job what was wrong, of a second
sweep what to do; and in the README the command that trains a cell again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_workflow import GRID, REPO, TRAINING, environment, snakemake, sweep, train_jobs

from modulewise.config.plan import load_plan


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of a thousand cells."""
    folder = tmp_path_factory.mktemp("large")
    grid = {**GRID, "seeds": 500, "training": TRAINING}
    (folder / "s.yaml").write_text(yaml.safe_dump({"sweep": "large", "grids": [grid]}))
    return folder


@pytest.mark.parametrize("profile", [None, "profiles/local", "slurm"])
def test_a_dry_run_of_a_thousand_cells_is_a_screen(profile: str | None, large: Path) -> None:
    words = [sys.executable, "-m", "snakemake", "-n", "--directory", str(large)]
    words += ["--configfile", str(large / "s.yaml")] + (["--profile", profile] if profile else [])
    out = subprocess.run(
        words, cwd=REPO, capture_output=True, text=True, timeout=280, env=environment()
    )
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert 20 < len(lines) < 60 and max(map(len, lines)) <= 100, out.stdout
    assert train_jobs(out.stdout) == 1000
    shown = [line for line in lines if line.startswith("train: ")]
    first = [line.partition("  ")[0] for line in shown[:10]]  # then perhaps its time limit
    assert first == [f"train: fake resnet8 backprop K=1 s{n}" for n in range(10)]
    assert shown[10:] == ["train: and 990 more"]
    assert len(out.stderr.splitlines()) == 1 and out.stderr.startswith("Using ")


@pytest.mark.slow
def test_a_failed_job_says_what_was_wrong_and_where_its_log_is(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    grid = {**GRID, "recipes": ["backprop"], "training": TRAINING}
    path.write_text(yaml.safe_dump({"sweep": "tiny", "grids": [grid]}))
    (cell,) = load_plan(path, REPO).cells
    folder = tmp_path / "results/runs" / cell.path
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    out = snakemake(tmp_path, "--configfile", str(path), "--until", "train", "--keep-going")
    assert out.returncode != 0
    lines = out.stderr.splitlines()
    start = lines.index("failed  train: fake resnet8 backprop K=1 s0")
    assert lines[start + 1].startswith("    error: ") and "checkpoint.pt" in lines[start + 1]
    assert lines[start + 2] == f"    results/logs/runs/{cell.path}.log"
    assert (tmp_path / lines[start + 2].strip()).is_file()
    assert "CalledProcessError" not in out.stderr and "Exiting because" not in out.stderr
    assert lines[-1] == "The same command again goes on with what is missing."
    assert lines[-2] == "report  results/reports/tiny/report.html   of what is there"


def test_a_second_sweep_is_told_what_to_do_in_one_line(tmp_path: Path) -> None:
    """The first one's marks are files in `.snakemake/locks`; of an ended one, `--unlock` removes
    them, as the line says."""
    path = sweep(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    target = f"results/runs/{load_plan(path, REPO).cells[0].path}/result.json"
    (tmp_path / ".snakemake/locks/0.output.lock").write_text(f"{target}\n")
    out = snakemake(tmp_path, "--configfile", str(path))
    assert out.returncode != 0
    line = (
        "error: another Snakemake works on these files; wait for its end. If it was killed: "
        "snakemake --unlock"
    )
    assert out.stderr.splitlines()[1:] == [line], out.stderr
    assert snakemake(tmp_path, "--configfile", str(path), "--unlock").returncode == 0
    assert not list(tmp_path.glob(".snakemake/locks/*"))


def test_verbose_says_what_snakemake_says(tmp_path: Path) -> None:
    out = snakemake(tmp_path, "-n", "--configfile", str(sweep(tmp_path)), "--printshellcmds")
    assert "Building DAG of jobs" in out.stdout + out.stderr
    assert "modulewise train --cell " in out.stdout + out.stderr


def test_the_readme_speaks_of_cells_that_the_demo_trains() -> None:
    cells = load_plan(REPO / "config/demo.yaml", REPO).cells
    text = (REPO / "README.md").read_text()
    command = (
        ".venv/bin/snakemake --profile profiles/local --configfile config/demo.yaml --forcerun "
        f"'results/runs/{cells[0].path}/result.json'"
    )
    assert command in text
    named = set(re.findall(r"\b[0-9a-f]{8}\b", text))
    assert len(named) == 2 and named <= {cell.id for cell in cells}
