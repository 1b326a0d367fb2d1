"""The workflow reads its configuration as `modulewise check` does, and hands on the path of one
file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from modulewise.config.merged import sweep_file
from modulewise.config.plan import load_plan
from modulewise.errors import InvalidInput

REPO = Path(__file__).parents[2]
SWEEP = """sweep: tiny
grids:
  - datasets: [fake]
    networks: [resnet8]
    recipes: [dgl]
    modules: [2]
    seeds: 1
"""
TWICE = {
    "a key of a grid": (
        SWEEP + "    seeds: 2\n",
        "line 8: duplicate key 'seeds' (first on line 7)",
    ),
    "a key of the sweep": (
        SWEEP + "grids: []\n",
        "line 8: duplicate key 'grids' (first on line 2)",
    ),
}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A process of this environment, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=280
    )


def dry(folder: Path, *words: str, snakefile: Path = REPO / "Snakefile") -> str:
    """What a dry run of the workflow says; exit status and error of one that is refused."""
    done = run(folder, "snakemake", "-n", "-p", "-s", str(snakefile), *words)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    return f"{done.returncode} {' '.join(lines)}" if done.returncode else done.stdout


def sweeps(folder: Path) -> list[Path]:
    """Merged configurations that were written."""
    return list(folder.glob("results/sweeps/*"))


@pytest.mark.parametrize("what", TWICE)
def test_a_duplicate_key_is_refused_as_by_check(what: str, tmp_path: Path) -> None:
    text, message = TWICE[what]
    (tmp_path / "s.yaml").write_text(text)
    assert dry(tmp_path, "--configfile", "s.yaml") == f"1 error: s.yaml: {message}"
    checked = run(tmp_path, "modulewise", "check", "--sweep", "s.yaml", "--root", str(REPO))
    assert (checked.returncode, checked.stderr) == (2, f"error: s.yaml: {message}\n")
    assert not (tmp_path / "results").exists()


def test_a_duplicate_key_of_the_default_sweep_is_refused(tmp_path: Path) -> None:
    for name in ("Snakefile", "workflow"):
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/sweep.yaml").write_text(SWEEP + "title: a\ntitle: b\n")
    said = dry(tmp_path, snakefile=tmp_path / "Snakefile")
    assert said == "1 error: config/sweep.yaml: line 9: duplicate key 'title' (first on line 8)"


def test_every_one_of_several_files_is_read_strictly(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    (tmp_path / "more.yaml").write_text("title: a\ntitle: b\n")
    said = dry(tmp_path, "--configfile", "s.yaml", "more.yaml")
    assert said == "1 error: more.yaml: line 2: duplicate key 'title' (first on line 1)"


def test_a_single_file_is_handed_on_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    said = dry(tmp_path, "--configfile", str(tmp_path / "s.yaml"))
    assert "modulewise report --sweep s.yaml " in said and not sweeps(tmp_path)


def test_what_several_files_and_options_say_is_merged_into_one_file(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    (tmp_path / "more.yaml").write_text("title: Another\n")
    words = ("--configfile", "s.yaml", "more.yaml", "--config", "keep_weights=last")
    assert "modulewise report --sweep results/sweeps/tiny.yaml " in dry(tmp_path, *words)
    (path,) = sweeps(tmp_path)
    wanted = yaml.safe_load(SWEEP) | {"title": "Another", "keep_weights": "last"}
    assert yaml.safe_load(path.read_text()) == wanted
    assert load_plan(path, REPO).cells == load_plan(tmp_path / "s.yaml", REPO).cells
    before = path.stat().st_mtime_ns
    dry(tmp_path, *words)
    assert path.stat().st_mtime_ns == before


def test_a_workflow_that_uses_this_one_as_a_module(tmp_path: Path) -> None:
    mine = {"mine": {**yaml.safe_load(SWEEP), "recipes": str(REPO / "config/recipes.yaml")}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    (tmp_path / "Snakefile").write_text(
        'configfile: "mine.yaml"\n'
        f'module modulewise:\n    snakefile: "{REPO}/workflow/Snakefile"\n'
        '    config: config["mine"]\n'
        "use rule * from modulewise\n"
    )
    said = dry(tmp_path, "-F", "results/reports/tiny/report.html", snakefile=tmp_path / "Snakefile")
    (path,) = sweeps(tmp_path)
    assert yaml.safe_load(path.read_text()) == mine["mine"]
    assert "modulewise report --sweep results/sweeps/tiny.yaml " in said


def merged(folder: Path, content: dict[str, Any], *files: str) -> Path:
    return sweep_file([folder / f for f in files], content, folder / "sweeps")


def test_numbers_are_written_as_they_were_read(tmp_path: Path) -> None:
    grid = yaml.safe_load(SWEEP)["grids"][0]
    training = {"lr": 1e-5, "weight_decay": 0.1, "epochs": 3, "nesterov": False}
    content = {"sweep": "x", "grids": [grid | {"training": training}]}
    path = merged(tmp_path, content)
    assert yaml.safe_load(path.read_text()) == content


def test_a_merged_configuration_that_is_no_sweep_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^configuration: unknown key 'sweeps'"):
        merged(tmp_path, {"sweeps": "x"})
    assert list(tmp_path.iterdir()) == []
