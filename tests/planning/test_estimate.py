"""What a sweep will cost, said before its first job: hours, disk, files; and limits that stop
it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import run_folders
from cases import BACKPROP, Row, rows, trainer_of
from modulewise.cli import app
from modulewise.config.cell import Cell, configurations
from modulewise.config.dataset import Dataset
from modulewise.config.limits import Limits
from modulewise.config.plan import load_plan
from modulewise.config.sweep import Sweep
from modulewise.data import sources
from modulewise.engine import flops
from modulewise.errors import InvalidInput, parse
from modulewise.planning import estimate, preflight, timings

ROOT = Path(__file__).parents[2]
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [2, 3],
    "seeds": 3,
}
TRAINING = {"epochs": 4, "batch_size": 64}


def sweep(
    folder: Path, training: dict[str, Any] | None = None, **more: Any
) -> tuple[Path, list[Cell]]:
    path = folder / "s.yaml"
    path.write_text(
        yaml.safe_dump({"sweep": "s", "grids": [GRID | {"training": training or TRAINING}], **more})
    )
    return path, list(load_plan(path, ROOT).cells)


def check(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str]:
    """Exit status of `modulewise check`, and what it said."""
    base = [
        "check",
        "--sweep",
        str(folder / "s.yaml"),
        "--root",
        str(ROOT),
        "--runs",
        str(folder / "runs"),
        "--profile",
        str(folder / "profile"),
    ]
    monkeypatch.setattr(sys, "argv", ["modulewise", *base, *words])
    with pytest.raises(SystemExit) as left:
        app.main()
    out = capsys.readouterr()
    return int(left.value.code or 0), " ".join((out.out + out.err).split())


def profile_file(folder: Path, cells: list[Cell], seconds: float) -> Path:
    path = folder / "profile" / timings.MEASURED
    found = {"seconds": seconds, "epochs": 4, "epoch_seconds": 1.0, "evaluation_seconds": 0.5}
    timings.write(
        path, {"device": "A device", "cells": dict.fromkeys(configurations(cells), found)}
    )
    return path


def finish(folder: Path, cell: Cell, seconds: float, status: str = "done") -> None:
    runs = folder / "runs"
    run_folders.write(
        runs, cell, run_folders.start(cell, run_folders.T), run_folders.end(run_folders.T + seconds)
    )
    run_folders.finish(runs, cell, status, device="Another device")


def test_seeds_share_a_configuration_and_nothing_else_does(tmp_path: Path) -> None:
    cells = sweep(tmp_path)[1]
    found = configurations(cells)
    assert len(found) == 2 and list(found.values()) == [cells[0], cells[3]]
    assert len(configurations([*cells, *sweep(tmp_path, {"epochs": 5, "batch_size": 64})[1]])) == 4


def test_the_profile_files_name_follows_the_configurations_alone(tmp_path: Path) -> None:
    cells = sweep(tmp_path)[1]
    assert timings.name(cells) == timings.name(cells[::-1]) == timings.name([cells[1], cells[5]])
    assert timings.name(cells) != timings.name(cells[:3])


@pytest.mark.parametrize(("seconds", "minutes"), [(1.0, 5), (120.0, 5), (3600.0, 92), (3601.0, 93)])
def test_minutes_are_measured_time_with_a_margin_and_at_least_five(
    seconds: float, minutes: int, tmp_path: Path
) -> None:
    cells = sweep(tmp_path)[1]
    path = profile_file(tmp_path, cells, seconds)
    assert [timings.minutes(path, c) for c in cells] == [minutes] * 6
    assert timings.minutes(path, sweep(tmp_path, {"epochs": 5})[1][0]) is None
    assert timings.minutes(tmp_path / "none", cells[0]) is None


def test_hours_come_from_finished_runs_then_from_the_profile_and_from_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = sweep(tmp_path)[1]
    code, said = check(tmp_path, capsys, monkeypatch)
    assert code == 0 and "to run 6 cells, time not measured: about " in said
    profile_file(tmp_path, cells, 1800)
    assert "to run 6 cells: about 3 h" in (said := check(tmp_path, capsys, monkeypatch)[1])
    assert "6 of 6 cells measured on A device" in said
    finish(tmp_path, cells[0], 7200)
    said = check(tmp_path, capsys, monkeypatch)[1]
    assert "6 cells, 1 finished" in said and "to run 5 cells: about 5.5 h" in said
    assert (
        "2 of 5 cells as finished runs on Another device, 3 of 5 cells measured on A device" in said
    )


def test_a_run_that_diverged_says_nothing_of_the_time(tmp_path: Path) -> None:
    cells = sweep(tmp_path)[1]
    finish(tmp_path, cells[0], 7200, "diverged")
    assert estimate.finished(cells[:1], tmp_path / "runs") == {}


DURATION = re.compile(r"[0-9] (ms|s|min|h|d)\b")


@pytest.mark.parametrize("training", [TRAINING, {"flops": 3.6e15}], ids=str)
def test_without_a_measurement_no_duration_is_said_and_how_to_get_one_is(
    training: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweep(tmp_path, training)
    said = check(tmp_path, capsys, monkeypatch)[1]
    assert not DURATION.search(said), said
    assert said.endswith(f"measure modulewise profile --sweep {tmp_path / 's.yaml'}")
    assert "to run 6 cells, time not measured: about " in said


def test_of_cells_that_are_measured_in_part_both_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = sweep(tmp_path, {"flops": 2e12}, limits={"gpu_hours": 1.6})[1]
    profile_file(tmp_path, cells[:1], 1800)
    code, said = check(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert (
        "6 cells: about 1.5 h of one device, a run at a time (3 of 6 cells measured on A device); "
        "3, time not measured: about 6 TFLOPs" in said
    )
    assert "limit gpu_hours: 1.6 holds for the 3 of 6 cells whose time is known" in said
    profile_file(tmp_path, cells[:1], 1980)
    code, said = check(tmp_path, capsys, monkeypatch)
    assert code == 2 and "limits.gpu_hours: 1.6 allowed, about 1.65 expected (3 of 6 cells" in said


def test_a_budget_of_seconds_is_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path, {"seconds": 600})
    said = check(tmp_path, capsys, monkeypatch)[1]
    assert "about 1 h" in said and "by their budget of seconds" in said


def test_seconds_of_another_device_cost_the_epochs_they_pay_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for budget in (
        {"epochs": 10},
        {"seconds": 63.0, "step_seconds": 3.0},
    ):  # an epoch has two steps
        sweep(tmp_path, {"train_images": 128, "batch_size": 64, **budget})
        said.append(check(tmp_path, capsys, monkeypatch)[1].split("to run")[1].split("disk")[0])
    assert said[0] == said[1] and "time not measured: about " in said[1]


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_the_estimate_is_near_the_exact_count(row: Row) -> None:
    """Forward times three, against torch's count of both passes: the first layer has no gradient of
    its input, which makes a half of all at most, and nearly that in a small MLP. HSIC's kernels of
    images and labels have no gradient either, so that of its step two thirds more is the bound."""
    exact = flops.flops(row.build(), (3, 8, 8), 8)
    about = flops.step_flops(row.build().to("meta"), (3, 8, 8), 8)
    bound = 5 / 3 if row.case.method == "hsic" else 1.5 if "mlp" in row.network else 1.35
    assert 1.0 <= about / (exact.trunk + exact.helpers) < bound


@pytest.mark.parametrize(
    ("budget", "images", "evaluations"),
    [({"epochs": 4}, 4 * 512, 4), ({"iterations": 20, "evaluate_every": 10}, 20 * 64, 2)],
    ids=str,
)
def test_the_estimate_is_linear_between_the_ends(
    budget: dict[str, int],
    images: int,
    evaluations: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = sweep(tmp_path, budget | {"batch_size": 64})[1]
    said = check(tmp_path, capsys, monkeypatch)[1]
    counted = [
        flops.step_flops(preflight.build(c, (3, 16, 16), 4, {}), (3, 16, 16), 64) for c in cells
    ]
    flops_of_all = sum(f * (images + evaluations * 128 / 3) for f in counted)
    assert f"about {flops_of_all / 1e9:.3g} GFLOPs" in said


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [2, 2]),
        ({"epochs": "each"}, [4, 4]),
        ({"epochs": "each", "growth": 3}, [4, 7]),
        ({"last": {"epochs": 9, "optimizer": "adam"}}, [4, 9]),
    ],
    ids=str,
)
def test_phases_cost_what_they_train(
    options: dict[str, Any], epochs: list[int], tmp_path: Path
) -> None:
    """Of two equal modules the first phase trains one, a half of a joint step; the second runs
    another forward, a sixth more."""
    _, cells = sweep(tmp_path, TRAINING | {"schedule": "sequential", "sequential": options})
    built = preflight.Preflight(load_plan(tmp_path / "s.yaml", ROOT), tmp_path)
    joint = flops.step_flops(
        preflight.build(cells[0], (3, 16, 16), 4, {}), (3, 16, 16), TRAINING["batch_size"]
    )
    steps = 512 * (epochs[0] / 2 + epochs[1] * (1 / 2 + 1 / 6))
    assert built.flops(cells[0]) == pytest.approx(joint * (steps + sum(epochs) * 128 / 3))
    assert built.epochs(cells[0]) == sum(epochs)
    weights, checkpoint = built.state_bytes(cells[0])
    moments = 2 if "last" in options else 1
    assert checkpoint == pytest.approx((1 + moments) * weights, rel=0.02)


def test_images_that_are_held_out_are_evaluated_and_not_trained_on(tmp_path: Path) -> None:
    """Of the digits: 1297 images, and 500 to test on."""
    datasets = {"digits": {"source": "digits", "validation": 97}}
    (tmp_path / "d.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    grid = GRID | {"datasets": ["digits"], "training": TRAINING}
    content = {"sweep": "s", "grids": [grid], "datasets": str(tmp_path / "d.yaml")}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    plan = load_plan(tmp_path / "s.yaml", ROOT)
    (cell, *_) = plan.cells
    joint = flops.step_flops(preflight.build(cell, (1, 8, 8), 10, {}), (1, 8, 8), 64)
    expected = joint * 4 * (1200 + (97 + 500) / 3)
    assert preflight.Preflight(plan, tmp_path).flops(cell) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"gpu_hours": 2.5},
            "limits.gpu_hours: 2.5 allowed, about 3 expected (6 of 6 cells "
            "measured on A device); no run was started",
        ),
        ({"disk_gb": 0.001}, "limits.disk_gb: 0.001 allowed, about 0.0"),
        ({"files": 53}, "limits.files: 53 allowed, about 54 expected"),
    ],
)
def test_above_a_limit_nothing_is_submitted(
    limits: dict[str, float],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile_file(tmp_path, sweep(tmp_path, limits=limits)[1], 1800)
    code, said = check(tmp_path, capsys, monkeypatch)
    assert code == 2 and f"error: {tmp_path / 's.yaml'}: {message}" in said


def test_below_the_limits_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_file(
        tmp_path, sweep(tmp_path, limits={"gpu_hours": 3.5, "disk_gb": 1, "files": 54})[1], 1800
    )
    assert check(tmp_path, capsys, monkeypatch)[0] == 0


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"hours": 1}, "limits: unknown key 'hours'; .*valid: disk_gb, files, gpu_hours"),
        ({"gpu_hours": 0}, "limits.gpu_hours: input should be greater than 0, got 0"),
        ({"files": 0.5}, "limits.files: input should be a valid integer"),
        (3, "limits: input should be a mapping"),
    ],
)
def test_wrong_limits_are_one_line(limits: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^s.yaml: {message}"):
        parse(Sweep, {"sweep": "s", "grids": [GRID], "limits": limits}, "s.yaml")


def test_limits_and_weights_to_keep_are_no_part_of_a_cell(tmp_path: Path) -> None:
    plain = [c.id for c in sweep(tmp_path)[1]]
    assert [c.id for c in sweep(tmp_path, limits={"gpu_hours": 1}, keep_weights="last")[1]] == plain
    assert Limits().model_dump() == {"gpu_hours": None, "disk_gb": None, "files": None}


def test_ids_of_cells_are_what_they_have_always_been(tmp_path: Path) -> None:
    """Finished work is found by its id."""
    grid = {
        "datasets": ["digits"],
        "networks": ["resnet20"],
        "recipes": ["backprop", "greedy"],
        "modules": [2],
        "seeds": 2,
    }
    training = {"epochs": 25, "batch_size": 64, "lr": 0.1, "warmup_epochs": 3, "train_images": 320}
    cells = sweep(tmp_path, grids=[grid | {"training": training}])[1]
    assert [c.id for c in cells[:4]] == ["759120be", "4467e85c", "103ccb3f", "d9d0b791"]
    assert BACKPROP.cell().id == "00bb4e9f"


@pytest.mark.parametrize("keep", [False, True])
def test_a_finished_run_leaves_what_was_expected(keep: bool, tmp_path: Path) -> None:
    """Four small files of about the expected size; no optimiser state."""
    cell = sweep(tmp_path, {"epochs": 3, "batch_size": 64, "lr": 0.1, "train_images": 64})[1][0]
    trainer_of(cell, tmp_path / "run", keep_weights=keep).fit()
    found = {p.name: p.stat().st_size for p in (tmp_path / "run").iterdir()}
    assert found.keys() == {"cell.json", "record.jsonl", "result.json"} | (
        {"weights.pt"} if keep else set()
    )  # train.log is the command's
    built = preflight.Preflight(load_plan(tmp_path / "s.yaml", ROOT), tmp_path)
    weights, checkpoint = built.state_bytes(cell)
    assert checkpoint == pytest.approx(2 * weights, rel=0.02)
    times = estimate.Times({cell.configuration: (1.0, "x")}, {"cells": {}})
    expected = estimate.expect([cell], times, built, lambda _: keep)
    assert 0.5 < expected.left / sum(found.values()) < 2.5
    assert expected.files == estimate.FILES + estimate.HELD + keep
    if keep:
        assert found["weights.pt"] == pytest.approx(weights, rel=0.2)


@pytest.mark.parametrize("source", ["fake", "digits", "npz", "imagefolder"])
def test_sizes_are_those_of_the_images(source: str, tmp_path: Path) -> None:
    import numpy as np

    entry: dict[str, Any] = {"source": source}
    if source == "fake":
        entry |= {"shape": (3, 8, 8), "classes": 4, "train_size": 9}
    elif source == "npz":
        y = np.arange(7) % 3
        np.savez(
            tmp_path / "a.npz",
            x_train=np.zeros((7, 4, 4), np.uint8),
            y_train=y,
            x_test=np.zeros((5, 4, 4), np.uint8),
            y_test=y[:5],
        )
        entry |= {"path": str(tmp_path / "a.npz")}
    elif source == "imagefolder":
        from PIL import Image

        for part, n in (("train", 3), ("test", 2)):
            for c in "ab":
                (tmp_path / part / c).mkdir(parents=True)
                for i in range(n):
                    Image.new("L", (4, 4)).save(tmp_path / part / c / f"{i}.png")
        entry |= {"path": str(tmp_path), "shape": (1, 4, 4), "classes": 2}
    made = Dataset(**entry)
    arrays = sources.arrays(made, tmp_path)
    assert sources.sizes(made, tmp_path) == (len(arrays[1]), len(arrays[3]))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(36, "3.6 min"), (0.9, "5.4 s"), (3600 * 1234, "7404 h"), (3600, "6 h")],
)
def test_time_is_said_in_a_unit_that_fits(
    seconds: float,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile_file(tmp_path, sweep(tmp_path)[1], seconds)
    assert (
        f"6 cells: about {said} of one device, a run at a time"
        in check(tmp_path, capsys, monkeypatch)[1]
    )


def test_trials_are_named_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(
        tmp_path,
        tune={"trials": 2, "validation": 32, "seeds": [100], "training": {"lr": [0.1, 0.2]}},
    )
    said = check(tmp_path, capsys, monkeypatch)[1]
    assert "sweep s: 4 cells" in said and "tuning these are trials; the 6 reported cells" in said


@pytest.mark.parametrize(("k", "code"), [(1, 0), (2, 2)])
def test_a_trial_that_cannot_be_built_is_refused(
    k: int,
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only one value of a tuned option does not go with K: the recipe as it stands does."""
    search = {
        "trials": 2,
        "validation": 32,
        "seeds": [100],
        "options": {"tried": {"at": ["cuts", "blocks"]}},
    }
    recipes = yaml.safe_load((ROOT / "config/recipes.yaml").read_text())
    recipes["recipes"]["tried"] = {"method": "checkpointed", "label": "Tried"}
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(recipes))
    grid = GRID | {"recipes": ["tried"], "modules": [k], "seeds": 1, "training": TRAINING}
    sweep(tmp_path, grids=[grid], tune=search, recipes=str(tmp_path / "recipes.yaml"))
    left, said = check(tmp_path, capsys, monkeypatch)
    assert left == code, said
    if code:
        assert f"error: {tmp_path / 's.yaml'}: fake resnet8 tried K=2 s100: " in said
        assert "checkpoints at blocks need no cuts; valid modules: 1, got 2" in said


def test_a_source_that_has_no_published_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(
        tmp_path,
        exhibit={
            "title": "t",
            "rows": ["recipe", "modules"],
            "sources": ["InfoPro, arXiv 2101.10832, table 22"],
        },
    )
    code, said = check(tmp_path, capsys, monkeypatch)
    assert (
        code == 2
        and "exhibit.sources: unknown source" in said
        and "did you mean 'InfoPro, arXiv 2101.10832, table 2'?" in said
    )


def test_equal_recipes_of_other_budgets_are_told_apart(tmp_path: Path) -> None:
    cells = [
        c
        for budget in ({"epochs": 4}, {"flops": 2e10}, {"seconds": 5})
        for c in sweep(tmp_path, budget)[1]
    ]
    known: dict[str, Any] = {
        name: {"seconds": 1.0, "epoch_seconds": 1.0, "evaluation_seconds": 0.5}
        for name in configurations(cells)
    }
    (table,) = timings.tables(cells, known)
    names = [str(name).strip() for name in table.columns[0].cells]
    budgets = ("epochs=4", "flops=2e+10", "seconds=5")
    assert names == [f"dgl {b}" for b in budgets for _ in range(2)]
    (table,) = timings.tables(cells[:6], known)
    assert [str(name).strip() for name in table.columns[0].cells] == ["dgl"] * 2
