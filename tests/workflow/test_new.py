"""`modulewise new`: one command, one file, one entry, one row; the new method passes the contract
as it is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what the command touches and the tests read."""
    for name in ("src", "tests", "config", "workflow"):
        shutil.copytree(REPO / name, tmp_path / name)
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(REPO / name, tmp_path)
    return tmp_path


def run(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(clone / "src")}
    return subprocess.run(
        [sys.executable, *words], cwd=clone, env=env, capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
def test_a_new_method_passes_the_contract(clone: Path) -> None:
    before = {p: p.read_bytes() for p in clone.rglob("*") if p.is_file()}
    made = run(clone, "-m", "modulewise", "new", "local_mean")
    assert made.returncode == 0, made.stderr
    touched = {
        str(p.relative_to(clone))
        for p in clone.rglob("*")
        if p.is_file() and before.get(p) != p.read_bytes()
    }
    assert {t for t in touched if "__pycache__" not in t} == {
        "src/modulewise/methods/local_mean.py",
        "config/recipes.yaml",
        "tests/cases.py",
    }
    recipe = yaml.safe_load((clone / "config/recipes.yaml").read_text())["recipes"]["local-mean"]
    assert recipe["method"] == "local_mean" and recipe["options"] == {"weight": 1.0}
    asked = re.search("recipe local-mean: (.*);", made.stdout)
    assert asked and set(asked[1].split(", ")) <= recipe.keys(), made.stdout
    assert "\nmake test METHOD=local_mean " in made.stdout
    words = _of_make(clone, "test", "METHOD=local_mean")
    tests = run(clone, *words, "-p", "no:cacheprovider")
    assert tests.returncode == 0, tests.stdout
    assert " passed" in tests.stdout and " deselected" in tests.stdout


def _of_make(clone: Path, *words: str) -> list[str]:
    """What `make` gives Python to do, without processes of its own."""
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", f"PYTHON={sys.executable}", *words],
        cwd=clone,
        capture_output=True,
        text=True,
    )
    *_, command = said.stdout.splitlines()
    return shlex.split(command.partition(" python ")[2].replace("-n 4 --dist loadfile", ""))


def test_make_alone_lists_its_commands() -> None:
    alone, asked = (
        subprocess.run(["make", *words], cwd=REPO, capture_output=True, text=True)
        for words in ((), ("help",))
    )
    assert alone.stdout == asked.stdout and alone.returncode == 0
    commands = [line.split()[0] for line in alone.stdout.splitlines()]
    assert {"demo", "test", "new", "help"} <= set(commands)
    assert all(len(line) <= 100 for line in alone.stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dgl", "there is a method 'dgl' already"),
        ("dgl_mlp_sr", "a recipe 'dgl-mlp-sr' is there already"),
        ("My-Method", "is no method name"),
    ],
)
def test_a_wrong_name_writes_nothing(clone: Path, name: str, message: str) -> None:
    recipes = (clone / "config/recipes.yaml").read_bytes()
    made = run(clone, "-m", "modulewise", "new", name)
    assert made.returncode == 2 and message in made.stderr and "Traceback" not in made.stderr
    assert (clone / "config/recipes.yaml").read_bytes() == recipes
