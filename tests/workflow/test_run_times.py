"""Where a site limits run times: one measuring job first, runs that ask for what they need, and
finished runs that stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from test_workflow import GRID, TRAINING, snakemake, train_jobs

LIMITED = ("--default-resources", "runtime=60")


def sweep(folder: Path, name: str, **more: object) -> str:
    path = folder / name
    grid = {**GRID, "training": TRAINING, **{k: v for k, v in more.items() if k in GRID}}
    path.write_text(
        yaml.safe_dump(
            {"sweep": "tiny", "grids": [grid]} | {k: v for k, v in more.items() if k not in GRID}
        )
    )
    return str(path)


def counts(dry_run: str) -> dict[str, int]:
    """Number of jobs of every rule that a dry run lists."""
    rows = [line.split() for line in dry_run.splitlines()]
    return {
        r[0]: int(r[1])
        for r in rows
        if len(r) == 2 and r[1].isdigit() and r[0] in ("profile", "data", "train")
    }


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the tiny sweep was trained under limited run times, and what the terminal
    said."""
    folder = tmp_path_factory.mktemp("measured")
    config = sweep(folder, "s.yaml", seeds=1, keep_weights="last")
    dry = snakemake(folder, "-n", "--configfile", config, *LIMITED)
    assert counts(dry.stdout) == {"profile": 1, "data": 1, "train": 2}, dry.stdout + dry.stderr
    assert (dry.stdout + dry.stderr).count("at most <TBD> min") == 2
    done = snakemake(folder, "--configfile", config, "--until", "train", *LIMITED)
    assert done.returncode == 0, done.stdout + done.stderr
    logs = (folder / ".snakemake/log").glob("*.log")  # where everything is said of every job
    return folder, "".join(log.read_text() for log in logs)


@pytest.mark.slow
def test_runs_ask_for_what_was_measured(measured: tuple[Path, str]) -> None:
    folder, said = measured
    profiles = list(folder.glob("results/profile/*.json"))
    assert len(profiles) == 2 and {len(json.loads(p.read_text())["cells"]) for p in profiles} == {2}
    assert said.count("s0  at most 5 min") == 2 and "<TBD>" not in said
    assert (
        len(list(folder.glob("results/runs/**/result.json")))
        == len(list(folder.glob("results/runs/**/weights.pt")))
        == 2
    )


@pytest.mark.slow
def test_a_long_run_asks_for_longer(measured: tuple[Path, str]) -> None:
    """Changed by hand, the file is what the runs ask by; a cell without room on the device asks for
    the profile's default."""
    folder, _ = measured
    config = sweep(folder, "more.yaml", seeds=[0, 7])
    path = next(p for p in folder.glob("results/profile/*.json") if p.name != "measured.json")
    before = path.read_text()
    content = json.loads(before)
    first, second = content["cells"]
    content["cells"] |= {
        first: {**content["cells"][first], "seconds": 36000},
        second: {"status": "out_of_memory"},
    }
    path.write_text(json.dumps(content))
    dry = snakemake(folder, "-n", "--configfile", config, *LIMITED)
    path.write_text(before)
    assert train_jobs(dry.stdout) == 2 and "profile" not in counts(dry.stdout)
    assert {
        line.rpartition("  at most ")[2]
        for line in (dry.stdout + dry.stderr).splitlines()
        if "  at most " in line
    } == {
        "902 min",
        "60 min",
    }


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), LIMITED], ids=["unlimited", "limited"])
def test_finished_runs_stay_whatever_the_profile_and_however_the_sweep_grows(
    words: tuple[str, ...], measured: tuple[Path, str]
) -> None:
    folder, _ = measured
    same = snakemake(folder, "-n", "--configfile", str(folder / "s.yaml"), *words)
    assert same.returncode == 0 and counts(same.stdout) == {}, same.stdout
    grown = snakemake(
        folder,
        "-n",
        "--configfile",
        sweep(folder, "grown.yaml", recipes=["backprop", "dgl", "greedy"]),
        *words,
    )
    assert counts(grown.stdout) == {"train": 1} | ({"profile": 1} if words else {}), grown.stdout


def test_without_limits_nothing_is_measured(tmp_path: Path) -> None:
    dry = snakemake(tmp_path, "-n", "--configfile", sweep(tmp_path, "s.yaml"))
    assert (
        counts(dry.stdout) == {"data": 1, "train": 2} and "at most" not in dry.stdout + dry.stderr
    )


def test_above_a_limit_no_job_begins(tmp_path: Path) -> None:
    out = snakemake(
        tmp_path, "--configfile", sweep(tmp_path, "s.yaml", limits={"files": 3}), *LIMITED
    )
    errors = [line for line in (out.stdout + out.stderr).splitlines() if line.startswith("error:")]
    assert (
        out.returncode != 0
        and len(errors) == 1
        and "limits.files: 3 allowed, about 18 expected" in errors[0]
    ), out.stdout + out.stderr
    assert (
        not list(tmp_path.glob("results/profile/*"))
        and not list(tmp_path.glob("results/data/*"))
        and not list(tmp_path.glob("results/runs/*"))
    )
