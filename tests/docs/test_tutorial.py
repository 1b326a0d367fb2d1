"""docs/tutorial.md is true: its files are written and its commands run, in order, in a copy of the
repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(
    r"^<!-- (run|run slowly|file: \S+|append: \S+) -->\n```\w+\n(.*?)^```$", re.M | re.S
)


def copied(folder: Path) -> None:
    """What the tutorial's commands touch and read."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", "tests", "config", "workflow", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)


def follow(folder: Path, slowly: bool) -> dict[str, str]:
    """Do what the page says.

    Args:
        folder: the copy.
        slowly: also what takes minutes.

    Returns:
        What each block of commands has printed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": str(folder / "src"), "PATH": path, "OMP_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    said = {}
    for what, text in STEP.findall((ROOT / "docs/tutorial.md").read_text()):
        kind, _, name = what.partition(": ")
        if kind == "file":
            (folder / name).write_text(text)
        elif kind == "append":
            with (folder / name).open("a") as file:
                file.write(text)
        elif kind == "run" or slowly:
            words = ["bash", "-euc", text]
            done = subprocess.run(
                words, cwd=folder, env=env, capture_output=True, text=True, timeout=900
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said[text] = done.stdout + done.stderr
    return said


def checked(folder: Path, said: dict[str, str]) -> None:
    """A run of the page's method on its images, and a sweep of nine cells."""
    (result,) = (folder / "results/runs/dataset~shapes").glob(
        "network~resnet8/recipe~centre/modules~2/seed~0/*/result.json"
    )
    cell = json.loads(result.read_text())["cell"]
    assert (cell["method"], cell["training"]["epochs"]) == ("centre", 2)
    assert "512" in next(text for words, text in said.items() if "data --dataset shapes" in words)
    options = json.loads((folder / "workflow/schemas/options.schema.json").read_text())
    assert "weight" in options["properties"]["centre"]["properties"]
    assert "9 cells" in next(text for words, text in said.items() if "check" in words)


@pytest.mark.site
def test_the_tutorial(tmp_path: Path) -> None:
    copied(tmp_path)
    checked(tmp_path, follow(tmp_path, slowly=False))


@pytest.mark.site
@pytest.mark.slow
def test_the_whole_tutorial(tmp_path: Path) -> None:
    copied(tmp_path)
    said = follow(tmp_path, slowly=True)
    page = (tmp_path / "results/reports/mine/report.html").read_text()
    assert "Discs and squares" in page
    assert re.search(r"\d+ passed", next(t for w, t in said.items() if "pytest" in w))


def test_every_block_is_run_or_shown() -> None:
    """Commands are run, but for those that install or need a cluster."""
    text = (ROOT / "docs/tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    run = [block for what, block in STEP.findall(text) if what.startswith("run")]
    shown = [b for b in blocks if b not in run]
    assert len(run) >= 6
    assert all("git clone" in b or "--profile slurm" in b for b in shown)
