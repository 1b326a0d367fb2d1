"""The workflow for real, in a temporary folder: run, interrupted, continued, edited."""

from __future__ import annotations

import html
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import forked
from modulewise.config.plan import load_plan
from modulewise.runs import record, result

REPO = Path(__file__).parents[2]
GRID = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["backprop", "dgl"],
    "modules": [2],
    "seeds": 1,
}
TRAINING = {"epochs": 2, "batch_size": 64, "lr": 0.1, "train_images": 128}


def sweep(folder: Path, name: str = "sweep.yaml", **training: object) -> Path:
    """Write a sweep of two tiny cells."""
    path = folder / name
    content = {"sweep": "tiny", "grids": [{**GRID, "training": {**TRAINING, **training}}]}
    path.write_text(yaml.safe_dump(content))
    return path


def snakemake(folder: Path, *words: str, repo: Path = REPO) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder."""
    return subprocess.run(
        command(folder, *words, repo=repo),
        capture_output=True,
        text=True,
        timeout=280,
        env=environment(),
    )


def command(folder: Path, *words: str, repo: Path = REPO) -> list[str]:
    """The command line of Snakemake on the repository's workflow."""
    base = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        str(repo / "Snakefile"),
        "--directory",
        str(folder),
    ]
    return [*base, "--profile", str(repo / "profiles" / "ci"), *words]


def environment() -> dict[str, str]:
    """Ours, without the marks of a tracking server of the user's."""
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {
        "MLFLOW_DISABLE_TELEMETRY": "true"
    }


def train_jobs(dry_run: str) -> int:
    """Number of train jobs a dry run lists."""
    rows = [line.split() for line in dry_run.splitlines()]
    return next((int(r[1]) for r in rows if len(r) == 2 and r[0] == "train" and r[1].isdigit()), 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny sweep has run."""
    folder = tmp_path_factory.mktemp("finished")
    done = snakemake(folder, "--configfile", str(sweep(folder)))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder


def said(folder: Path) -> list[str]:
    """What the terminal said of the tiny sweep."""
    return (folder / "output.txt").read_text().splitlines()


def test_a_sweep_ends_with_results_report_and_mlflow(finished: Path) -> None:
    results = [result.load(p) for p in finished.glob("results/runs/**/result.json")]
    assert {(r.cell.recipe, r.cell.modules, r.status, r.epochs) for r in results} == {
        ("backprop", 1, "done", 2),
        ("dgl", 2, "done", 2),
    }
    page = (finished / "results/reports/tiny/report.html").read_text()
    assert "DGL" in page and "Backprop" in page
    for r in results:
        assert f"{r.test_last:.2f}" in page
    assert "tracked 2 runs: 2 new" in (finished / "results/reports/tiny/tracked.txt").read_text()
    assert "warning" not in (finished / "results/reports/tiny/tracked.txt").read_text()


def test_the_terminal_has_one_line_a_job_and_says_where_to_look(finished: Path) -> None:
    """Between what `modulewise check` says and the end nothing but the jobs' lines."""
    lines = said(finished)
    assert lines[0].startswith("Using profiles ")  # before any logger is there
    assert lines[1] == "5 jobs: 1 data, 2 train, 1 report, 1 track"
    assert lines[2].startswith("sweep tiny: 2 cells, 0 finished")
    end = lines.index("report  results/reports/tiny/report.html")
    assert [line[:8] for line in lines[end:]] == ["report  ", "MLflow  ", "rerun   "]
    checked = next(n for n, line in enumerate(lines) if line.startswith("  measure  modulewise "))
    jobs, in_short = lines[checked + 1 : checked + 6], lines[checked + 6 : end]
    assert [line[:5] for line in jobs] == [f"{n}/5  " for n in range(1, 6)]
    assert in_short and in_short[0].startswith("too few seeds: ")  # what the report came to
    assert sum("fake resnet8 dgl K=2 s0  done  error " in line for line in jobs) == 1
    assert max(len(line) for line in [*lines[1:checked], *jobs, *in_short]) <= 100


def test_what_a_job_said_is_in_its_log(finished: Path) -> None:
    (log,) = finished.glob("results/logs/runs/**/recipe~dgl/**/*.log")
    assert "fake resnet8 dgl K=2 s0  epoch 1/2  error " in log.read_text()


def test_every_job_leaves_a_log_and_a_benchmark(finished: Path) -> None:
    for kind in ("logs", "benchmarks"):
        names = {
            p.relative_to(finished / "results" / kind).parts[0]
            for p in (finished / "results" / kind).rglob("*")
            if p.is_file()
        }
        assert names == {"data", "report", "runs", "track"}


def test_a_finished_sweep_has_nothing_to_do(finished: Path) -> None:
    assert (
        "Nothing to be done"
        in (out := snakemake(finished, "-n", "--configfile", str(finished / "sweep.yaml"))).stdout
        + out.stderr
    )


def test_writing_out_a_default_reruns_nothing(finished: Path) -> None:
    path = sweep(
        finished, "explicit.yaml", momentum=0.9, weight_decay=1e-4, precision="fp32", nesterov=True
    )
    out = snakemake(finished, "-n", "--configfile", str(path))
    assert train_jobs(out.stdout) == 0 and out.returncode == 0, out.stdout


def test_an_edited_override_reruns_the_cells_it_touches_and_deletes_nothing(finished: Path) -> None:
    before = sorted(finished.glob("results/runs/**/result.json"))
    recipes = yaml.safe_load((REPO / "config/recipes.yaml").read_text())
    recipes["recipes"]["dgl"]["overrides"].append(
        {
            "when": {"network": "resnet8", "modules": 2},
            "set": {"options": {"feature_dim": 64}},
            "source": "a test",
        }
    )
    (finished / "recipes.yaml").write_text(yaml.safe_dump(recipes))
    content = yaml.safe_load((finished / "sweep.yaml").read_text()) | {
        "recipes": str(finished / "recipes.yaml")
    }
    (finished / "edited.yaml").write_text(yaml.safe_dump(content))
    dry = snakemake(finished, "-n", "--configfile", str(finished / "edited.yaml"))
    assert train_jobs(dry.stdout) == 1, dry.stdout + dry.stderr
    assert "train: fake resnet8 dgl K=2 s0" in dry.stdout + dry.stderr
    assert sorted(finished.glob("results/runs/**/result.json")) == before


def test_snakemakes_own_report_holds_the_page(finished: Path) -> None:
    made = snakemake(
        finished, "--configfile", str(finished / "sweep.yaml"), "--report", "report.zip"
    )
    assert made.returncode == 0, made.stderr
    assert (finished / "report.zip").stat().st_size > 100_000


@pytest.mark.slow
def test_one_cell_is_rerun_by_the_command_that_terminal_and_report_say(finished: Path) -> None:
    """It trains this cell alone and makes the report anew; the numbers are the same."""
    command = said(finished)[-1].removeprefix("rerun   ")
    page = finished / "results/reports/tiny/report.html"
    assert html.escape(command, quote=False) in html.unescape(page.read_text())
    target = finished / shlex.split(command)[-1]
    before, others = result.load(target), result_times(finished, target)
    made = page.stat().st_mtime
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=280, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert "3 jobs: 1 train, 1 report, 1 track" in done.stderr.splitlines()
    after = result.load(target)
    assert after.test_last == before.test_last and after.module_losses == before.module_losses
    assert after.origin.starts == before.origin.starts + 1
    assert page.stat().st_mtime > made and result_times(finished, target) == others


def result_times(folder: Path, but: Path) -> dict[Path, float]:
    """When the other results were made."""
    found = folder.glob("results/runs/**/result.json")
    return {path: path.stat().st_mtime for path in found if path != but}


def test_a_run_that_made_no_report_speaks_of_none(finished: Path) -> None:
    target = "results/data/fake.json"
    done = snakemake(finished, "--configfile", str(finished / "sweep.yaml"), "--force", target)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("1/1  ") and "fake" in lines[-1], lines[-1]
    assert not [line for line in lines if line.startswith(("report", "MLflow", "rerun"))]


@pytest.mark.slow
def test_finished_runs_are_not_trained_again_where_their_data_sets_mark_is_missing(
    finished: Path,
) -> None:
    """As where single cells were trained without the workflow, or results came from elsewhere."""
    more = finished / "more.yaml"
    grid = {**GRID, "seeds": 2, "training": TRAINING}
    more.write_text(yaml.safe_dump({"sweep": "more", "grids": [grid]}))
    results = {p: p.stat().st_mtime_ns for p in finished.glob("results/runs/**/result.json")}
    (finished / "results/data/fake.json").unlink()
    done = snakemake(finished, "--configfile", str(more))
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "error: results/data/fake.json is missing, with finished runs: 2. Snakemake would remove "
        "their results and train them again; first give the same command with --until data"
    )
    assert snakemake(finished, "--configfile", str(more), "--until", "data").returncode == 0
    assert train_jobs(snakemake(finished, "-n", "--configfile", str(more)).stdout) == 2
    assert {p: p.stat().st_mtime_ns for p in results} == results and len(results) == 2


@pytest.mark.slow
def test_interrupted_and_continued(tmp_path: Path) -> None:
    """SIGKILL to one training, SIGTERM to another: the sweep fails, makes its report, and continues
    where it was."""
    path = sweep(tmp_path, epochs=8)
    words = command(tmp_path, "--configfile", str(path), "--keep-going")
    env = environment() | {"MODULEWISE_SAVE_EVERY": "0"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as run:
        for sig in (signal.SIGTERM, signal.SIGKILL):
            os.kill(_training(tmp_path, signalled=sig), sig)
        out, _ = run.communicate(timeout=200)
    assert run.returncode != 0, out
    assert not list(tmp_path.glob("results/runs/**/result.json"))
    assert len(list(tmp_path.glob("results/runs/**/checkpoint.pt"))) == 2
    assert (
        "<strong>0 of 2 cells done</strong> · 2 stopped"
        in (tmp_path / "results/reports/tiny/report.html").read_text()
    )
    again = snakemake(tmp_path, "--configfile", str(path), "--until", "train", "--no-hooks")
    assert again.returncode == 0, again.stdout + again.stderr
    for cell in load_plan(path, REPO).cells:
        mine, whole = tmp_path / "results/runs" / cell.path, tmp_path / "whole" / cell.path
        assert (
            forked.run(
                "train", "--cell", cell.to_json(), "--out", str(whole), "--threads", "1"
            ).returncode
            == 0
        )
        one, other = result.load(mine / "result.json"), result.load(whole / "result.json")
        assert (one.origin.starts, other.origin.starts) == (2, 1)
        assert (
            one.module_metrics == other.module_metrics and one.module_losses == other.module_losses
        )
        assert _numbers(mine) == _numbers(whole)


_SEEN: set[int] = set()


def _training(folder: Path, signalled: signal.Signals) -> int:
    """Pid of a training that has finished an epoch and was not signalled yet."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in folder.glob("results/runs/**/record.jsonl"):
            events = [
                json.loads(line)
                for line in path.read_text().splitlines(keepends=True)
                if line.endswith("\n")
            ]
            pids = [e["pid"] for e in events if e["ev"] == "start"]
            if pids and pids[-1] not in _SEEN and any(e["ev"] == "commit" for e in events):
                _SEEN.add(pids[-1])
                return pids[-1]
        time.sleep(0.02)
    raise AssertionError(f"no training to send {signalled.name} to")


def _numbers(folder: Path) -> dict[tuple[str, int], float]:
    folded = record.read(folder)
    assert folded.end is not None and folded.torn == 0
    return {
        k: v
        for k, (v, _) in folded.metrics.items()
        if k[0].split("/")[0] in ("test_error", "train_loss")
    }


def test_a_key_of_the_default_sweep_never_reaches_another(tmp_path: Path) -> None:
    for name in ("Snakefile", "workflow", "config", "profiles"):
        source = REPO / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    with (tmp_path / "config/sweep.yaml").open("a") as f:
        f.write("datasets: config/nowhere.yaml\n")
    assert (
        "nowhere.yaml" in (bad := snakemake(tmp_path, "-n", repo=tmp_path)).stdout + bad.stderr
        and bad.returncode != 0
    )
    demo = snakemake(
        tmp_path, "-n", "--configfile", str(tmp_path / "config/demo.yaml"), repo=tmp_path
    )
    assert demo.returncode == 0, demo.stderr
    assert train_jobs(demo.stdout) == 20


def test_the_papers_grid_has_the_right_number_of_cells(tmp_path: Path) -> None:
    """Six methods x K in {2, 4, 8, 16} x 5 seeds, and backprop's 5; at K = 2 two of the methods are
    one."""
    dry = snakemake(tmp_path, "-n")
    assert train_jobs(dry.stdout) == 6 * 4 * 5 - 5 + 5, dry.stdout[-2000:] + dry.stderr


def test_the_catalogs_door_runs_the_same_workflow(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "-s",
        str(REPO / "workflow/Snakefile"),
        "--directory",
        str(tmp_path),
    ]
    out = subprocess.run(
        [*words, "--configfile", str(sweep(tmp_path))], capture_output=True, text=True, timeout=120
    )
    assert train_jobs(out.stdout) == 2, out.stdout + out.stderr


def test_a_wrong_sweep_is_one_line_and_no_job(tmp_path: Path) -> None:
    """Its words are those of `modulewise check`."""
    wrong = {"sweep": "s", "grids": [{**GRID, "recipes": ["dlg"]}]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(wrong))
    out = snakemake(tmp_path, "--configfile", str(tmp_path / "s.yaml"))
    assert out.returncode != 0
    errors = [line for line in (out.stdout + out.stderr).splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "unknown recipe 'dlg'" in errors[0], out.stdout + out.stderr
    assert "Traceback" not in out.stdout + out.stderr
    assert not (tmp_path / "results").exists()


def test_more_modules_than_the_network_allows_stop_before_the_first_job(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump({"sweep": "s", "grids": [{**GRID, "modules": [2, 9]}]})
    )
    out = snakemake(tmp_path, "--configfile", str(tmp_path / "s.yaml"))
    assert out.returncode != 0
    assert "9 modules asked for, the network has 4 stages; valid: 1 to 4" in out.stdout + out.stderr
    assert not list((tmp_path).glob("results/runs/**/record.jsonl"))
