"""A sweep larger than the 128 KiB that a word of a command line holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import forked

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TRAINING = {
    "epochs": 3, "batch_size": 64, "warmup_epochs": 1, "lr": 0.1, "momentum": 0.9,
    "weight_decay": 0.0001, "train_images": 128,
}  # fmt: skip


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with a block for every seed."""
    block = {"datasets": ["fake"], "networks": ["mlp2x16"], "recipes": ["greedy"], "modules": [2]}
    grids = [block | {"seeds": [seed], "training": TRAINING} for seed in range(900)]
    path = tmp_path_factory.mktemp("large") / "sweep.yaml"
    path.write_text(json.dumps({"sweep": "large", "grids": grids}))  # YAML too, without aliases
    assert path.stat().st_size > 200 * 1024
    return path


def test_it_is_checked(large: Path) -> None:
    done = forked.run("check", "--sweep", str(large))
    assert done.returncode == 0, done.stderr
    assert "900" in done.stdout


def test_snakemake_plans_it(large: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "-s"]
    command += [str(ROOT / "Snakefile"), "-d", str(tmp_path), "--configfile", str(large)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "train" in done.stdout and "900" in done.stdout
