"""`modulewise profile`: real steps of the real method, timed; what fits no memory, what was
measured before, limits."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cases import Case, Row, rows, trainer_of
from modulewise.cli import app
from modulewise.config.cell import configurations
from modulewise.config.dataset import Dataset
from modulewise.config.plan import load_plan
from modulewise.engine import device
from modulewise.engine.progress import Progress
from modulewise.engine.trainer import Trainer
from modulewise.planning import profile

ROOT = Path(__file__).parents[2]
GREEDY = Case("greedy")
CPU = torch.device("cpu")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["mlp3x32"],
    "recipes": ["backprop", "dgl"],
    "modules": [2],
    "seeds": 3,
}
TRAINING = {"epochs": 4, "batch_size": 64, "train_images": 128}


def sweep(folder: Path, **more: Any) -> Path:
    path = folder / "s.yaml"
    path.write_text(
        yaml.safe_dump({"sweep": "s", "grids": [GRID | {"training": TRAINING}], **more})
    )
    return path


def run(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    exclusive: bool = True,
    rounds: int = 1,
) -> tuple[int, str]:
    """Exit status of `modulewise profile`, and what it said; the device is its own, or not."""
    monkeypatch.setattr(profile, "alone", lambda *_: nullcontext(lambda: exclusive))
    words = [
        "--root",
        str(ROOT),
        "--out",
        str(folder / "profile/x.json"),
        "--runs",
        str(folder / "runs"),
        "--device",
        "cpu",
        "--rounds",
        str(rounds),
    ]
    monkeypatch.setattr(
        sys, "argv", ["modulewise", "profile", "--sweep", str(folder / "s.yaml"), *words]
    )
    with pytest.raises(SystemExit) as left:
        app.main()
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out + out.err


@rows(one_a_method=True)
def test_every_method_can_be_measured(row: Row) -> None:
    found = profile.measure(row.cell(epochs=3), profile.images(row.cell(), Path("unused")), CPU)
    assert found.epochs == 3
    assert (
        found.step_seconds > 0 and found.evaluation_seconds > 0 and found.peak_memory_bytes is None
    )
    assert found.epoch_seconds == pytest.approx(6 * found.step_seconds)  # 42 images in batches of 8
    assert found.train_seconds == pytest.approx(3 * found.epoch_seconds)
    assert found.seconds == pytest.approx(
        found.train_seconds + 3 * found.evaluation_seconds + found.startup_seconds
    )


def slow(trainer: Trainer, seconds: float) -> Trainer:
    """A trainer whose every step takes so long at least."""
    inner = trainer.step
    trainer.step = lambda batch: (time.sleep(seconds), inner(batch))[1]  # type: ignore[method-assign, assignment]
    return trainer


def test_a_step_takes_what_it_takes(tmp_path: Path) -> None:
    trainer = slow(trainer_of(Row(GREEDY, "resnet8").cell(), tmp_path), 0.05)
    trainer.prepare()
    trainer.progress.epochs = 2
    trainer.enter_phase()
    assert trainer.time_steps() >= 0.05


@pytest.mark.parametrize(
    ("training", "epochs"),
    [
        ({"epochs": 7}, 7),
        ({"flops": 1.0}, 1),
        ({"seconds": 1e-9}, 1),
        ({"schedule": "sequential", "epochs": 7}, 7),
        ({"schedule": "sequential", "epochs": 2, "sequential": {"epochs": "each"}}, 6),
    ],
)
def test_every_budget_comes_to_epochs(training: dict[str, Any], epochs: int) -> None:
    cell = Row(GREEDY, "resnet8").cell(**training)
    assert profile.measure(cell, profile.images(cell, Path("unused")), CPU).epochs == epochs


def test_another_budget_weighs_the_phases_anew() -> None:
    """Two and three epochs, and one of the last phase, at 1, 2 and 4 seconds a step; then with
    eight more each of the first two."""
    few, many = (
        Row(GREEDY, "mlp3x8").cell(
            schedule="sequential",
            epochs=n,
            sequential={"epochs": "each", "growth": 1, "last": {"epochs": 1}},
        )
        for n in (2, 10)
    )
    assert few.steps == many.steps
    images = profile.images(few, Path("unused"))
    known = profile.RunProfile(6, [1.0, 2.0, 4.0], 2.0, 12.0, 0.5, 72.0, 3.0, 99)
    found = profile.other_budget(known, many, images, CPU)
    step = (10 * 1 + 11 * 2 + 1 * 4) / 22
    assert found.epochs == 22
    assert found.step_seconds == pytest.approx(step)
    assert found.train_seconds == pytest.approx(22 * 6 * step)  # six steps an epoch
    assert profile.other_budget(known, few, images, CPU) == known
    assert profile.from_json(profile.as_json(found)).phase_seconds == found.phase_seconds


def test_pictures_that_would_be_decoded_are_neither_read_nor_held() -> None:
    """ImageNet would take 193 GB."""
    entry = yaml.safe_load((ROOT / "config/datasets.yaml").read_text())["datasets"]["imagenet"]
    cell = (
        Row(GREEDY, "resnet8")
        .cell(train_images=None)
        .model_copy(update={"data": Dataset(**entry | {"validation": 9})})
    )
    made = profile.images(cell, Path("unused"))
    assert made.sizes == (1_281_158, 9, 50_000) and made.image == (3, 224, 224)
    assert made.steps == -(-1_281_158 // cell.training.batch_size)
    batch = next(made.batches(1))
    assert batch.x.shape == (8, 3, 224, 224) and not list(made.held())
    ((x, y),) = itertools.islice(made.eval_batches("test"), 1)
    assert len(x) == len(y) == 8 and int(batch.y.max()) < 1000
    few = profile.held_images(cell, Path("unused"), most=16)
    assert few.sizes == (16, 9, 16)


def test_images_are_as_many_as_the_cell_trains_on() -> None:
    cell = Row(GREEDY, "resnet8").cell(train_images=20)
    held = cell.model_copy(update={"data": cell.data.model_copy(update={"validation": 9})})
    for c, sizes in ((cell, (20, 0, 10)), (held, (20, 9, 10))):
        made = profile.images(c, Path("unused"))
        assert made.sizes == sizes
        assert (
            made.image == (3, 8, 8)
            and made.parts.train.x.dtype == torch.uint8
            and set(made.parts.train.y.tolist()) == {0, 1, 2, 3}
        )


def test_a_sweep_is_measured_once_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = load_plan(sweep(tmp_path), ROOT).cells
    code, said = run(tmp_path, capsys, monkeypatch)
    assert code == 0 and "6 runs to do" in said
    found = json.loads((tmp_path / "profile/x.json").read_text())
    assert found["cells"].keys() == configurations(cells).keys() and len(found["cells"]) == 2
    lines = said.splitlines()
    head = next(
        i for i, line in enumerate(lines) if line.startswith("fake mlp3x32") and "s/epoch" in line
    )
    assert [line.split()[:2] for line in lines[head + 1 : head + 3]] == [
        ["backprop", "1"],
        ["dgl", "2"],
    ]
    assert [line.split()[4] for line in lines[head + 1 : head + 3]] == ["3", "3"]
    assert max(map(len, lines)) <= 80
    (tmp_path / "runs" / cells[0].path).mkdir(parents=True)
    (tmp_path / "runs" / cells[0].path / "result.json").touch()
    code, said = run(tmp_path, capsys, monkeypatch)
    assert code == 0 and "1/2" not in said and "5 runs to do" in said, (
        "what is known is not measured again"
    )
    assert json.loads((tmp_path / "profile/x.json").read_text()) == found
    assert list((tmp_path / "profile").glob("*.tmp")) == []


def test_steps_are_measured_once_for_all_budgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[dict[str, Any]] = [{"epochs": 3}, {"epochs": 5}, {"seconds": 1e6}, {"flops": 1.0}]
    grids = [
        GRID | {"training": {k: v for k, v in TRAINING.items() if k != "epochs"} | b}
        for b in budgets
    ]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"sweep": "s", "grids": grids}))
    counted: list[Any] = []
    inner = profile.measure
    monkeypatch.setattr(
        profile, "measure", lambda cell, *rest: (counted.append(cell), inner(cell, *rest))[1]
    )
    assert run(tmp_path, capsys, monkeypatch)[0] == 0
    assert sorted(c.recipe for c in counted) == ["backprop", "dgl"]
    found = json.loads((tmp_path / "profile/x.json").read_text())["cells"]
    for cell in configurations(load_plan(tmp_path / "s.yaml", ROOT).cells).values():
        f = found[cell.configuration]
        wanted = cell.training.epochs if not (cell.training.flops or cell.training.seconds) else 1
        if cell.training.seconds:
            wanted = int(1e6 / f["epoch_seconds"])
        assert f["epochs"] == pytest.approx(wanted, rel=1e-3)
        assert f["train_seconds"] == pytest.approx(f["epochs"] * f["epoch_seconds"], rel=1e-3)


def test_several_rounds_keep_the_median_of_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rounds than asked for are measured anew, more serve."""
    budgets: list[dict[str, Any]] = [
        TRAINING,
        {"seconds": 100.0, "batch_size": 64, "train_images": 128},
    ]
    grids = [GRID | {"training": b, "recipes": ["backprop"]} for b in budgets]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"sweep": "s", "grids": grids}))
    times, inner = [9.0, 5.0, 0.5, 2.0], profile.measure

    def measure(*words: Any) -> profile.RunProfile:
        step = times.pop(0)
        return replace(inner(*words), phase_seconds=[step], evaluation_seconds=step)

    monkeypatch.setattr(profile, "measure", measure)
    for rounds in (1, 3, 2):
        said = run(tmp_path, capsys, monkeypatch, rounds=rounds)[1]
        assert ("2/2 of round 3" in said) == (rounds == 3)
    found = list(json.loads((tmp_path / "profile/x.json").read_text())["cells"].values())
    assert [f["rounds"] for f in found] == [3, 3] and not times
    assert [f["step_seconds"] for f in found] == [2.0, 2.0]
    assert [f["evaluation_seconds"] for f in found] == [2.0, 2.0]
    assert [f["epochs"] for f in found] == [4, 100 // found[1]["epoch_seconds"]]


def test_other_code_or_another_device_measures_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path)
    run(tmp_path, capsys, monkeypatch)
    path = tmp_path / "profile/measured.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"device": "another"}))
    assert "2/2" in run(tmp_path, capsys, monkeypatch)[1]
    content = json.loads(path.read_text())
    next(iter(content["cells"].values()))["source"] = "another"
    path.write_text(json.dumps(content))
    said = run(tmp_path, capsys, monkeypatch)[1]
    assert "1/2" in said and "2/2" not in said, "the other configuration's code is the same"


def test_what_was_timed_on_a_shared_device_is_said_and_measured_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep(tmp_path)
    code, said = run(tmp_path, capsys, monkeypatch, exclusive=False)
    assert code == 0 and said.count("  others used the device") == 2
    assert "2 of 2 configurations were timed while others used the device" in said
    found = json.loads((tmp_path / "profile/x.json").read_text())["cells"]
    assert [f["exclusive"] for f in found.values()] == [False, False]
    code, said = run(tmp_path, capsys, monkeypatch)
    assert "2/2" in said and "others used" not in said


def test_a_core_that_another_run_holds_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    busy = Progress()
    with ExitStack() as others:
        for _ in os.sched_getaffinity(0):
            others.enter_context(device.claim(CPU))
        with profile.alone([CPU], busy) as own:
            pass
    assert not own()


@pytest.mark.parametrize("waits", [False, True])
def test_a_core_that_is_waited_for_is_shared(
    waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the thread stands still while it waits."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    now = iter([(10.0, 5.0), (20.0, 12.0 if waits else 14.5)])
    monkeypatch.setattr(profile, "clock", lambda _: next(now))
    with profile.alone([CPU], Progress()) as own:
        pass
    assert own() != waits


def test_too_little_memory_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = load_plan(sweep(tmp_path), ROOT).cells

    def short(cell: Any, *_: Any) -> Any:
        if cell.recipe == "dgl":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return profile.RunProfile(4, [0.1], 0.1, 1.0, 1.0, 3592.0, 4.0, None)

    monkeypatch.setattr(profile, "measure", short)
    code, said = run(tmp_path, capsys, monkeypatch)
    assert code == 0 and "3 run out of memory" in said and "6 runs to do: 3 h" in said
    found = json.loads((tmp_path / "profile/x.json").read_text())["cells"][cells[3].configuration]
    assert found["status"] == "out_of_memory" and "9 GiB" in found["reason"]


@pytest.mark.parametrize("devices", [1, 2])
def test_above_the_limit_it_stops_and_keeps_what_it_measured(
    devices: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every device that a run takes counts."""
    grid = GRID | {"training": TRAINING | {"devices": devices}}
    sweep(tmp_path, grids=[grid], limits={"gpu_hours": 5.5})
    monkeypatch.setattr(
        profile,
        "measure",
        lambda *_: profile.RunProfile(4, [0.1], 0.1, 1.0, 1.0, 3592.0, 4.0, None),
    )
    code, said = run(tmp_path, capsys, monkeypatch)
    hours = 6 * devices
    assert code == 2 and f"6 runs to do: {hours} h of " in said
    told = f"limits.gpu_hours: 5.5 allowed, about {hours} expected (measured on "
    assert told in said.splitlines()[-1]
    rows = [line.split() for line in said.splitlines() if line.startswith("  ")]
    assert [row[-1] for row in rows] == [str(3 * devices)] * 2
    assert len(json.loads((tmp_path / "profile/measured.json").read_text())["cells"]) == 2
