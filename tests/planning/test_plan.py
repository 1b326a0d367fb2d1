"""`modulewise plan`: what it chooses fits, and is the fastest of what it shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from modulewise.cli import app
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.planning import budget_plan
from modulewise.units import memory_bytes

CONFIG = Path(__file__).parents[2] / "config"
WORDS = ["--network", "resnet8", "--dataset", "digits", "--batch", "16", "--threads", "1"]


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str]:
    """Exit status of `modulewise plan`, and what it said."""
    where = ["--config", str(CONFIG), "--device", "cpu", "--precisions", "fp32"]
    monkeypatch.setattr(sys, "argv", ["modulewise", "plan", *WORDS, *where, *words])
    with pytest.raises(SystemExit) as left:
        app.main()
    out = capsys.readouterr()
    return int(left.value.code or 0), out.err + out.out


def test_what_is_chosen_fits_and_an_impossible_budget_names_one_that_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = ["--recipes", "checkpoint-blocks,dgl", "--modules", "2"]
    status, said = run(capsys, monkeypatch, "--memory", "100KiB", *recipes)
    assert status == 2
    told = re.search(
        r"--memory: nothing fits 100 KiB; the least possible is (\S+), of (\S+ K=\d+ fp32.*)", said
    )
    assert told
    status, said = run(capsys, monkeypatch, "--memory", told[1], *recipes)
    assert status == 0
    chosen = re.search(r"\n(\S+ K=\d+ fp32.*): (\S+ \S+) and \S+ \S+, measured on ", said)
    assert chosen
    assert chosen[1] == told[2].strip()
    assert memory_bytes(chosen[2].replace(" ", "")) <= memory_bytes(told[1])
    assert max(map(len, said[: chosen.start()].splitlines())) <= 80
    grid = yaml.safe_load(said[said.index("grids:") :])
    assert Sweep.model_validate({"sweep": "s", **grid}).grids[0].networks == ["resnet8"]


@pytest.fixture(scope="module")
def arms() -> budget_plan.Arms:
    catalog = Catalog(CONFIG / "recipes.yaml", CONFIG / "datasets.yaml")
    return budget_plan.Arms(catalog, "digits", "resnet8", 16, Path("unused"), torch.device("cpu"))


@pytest.mark.parametrize("recipe", ["greedy", "infopro", "checkpoint-cuts", "checkpoint-blocks"])
def test_measured_peaks_are_those_that_were_predicted(recipe: str, arms: budget_plan.Arms) -> None:
    """With its margin, and what in-place sums of gradients save in nets as small as this."""
    (found,) = arms.of(recipe, "fp32", 1)
    peak, seconds = budget_plan.measured(found.cell, Path("unused"), torch.device("cpu"))
    assert 1 < found.peak / peak < 1.1
    assert seconds > 0
    assert found.seconds > 0


def test_the_measured_step_has_all_images_of_a_batch(arms: budget_plan.Arms) -> None:
    """Also where the data set has no second batch of as many."""
    cell = arms.catalog.cell("digits", "mlp3x32", "backprop", 1, 0)
    peaks = []
    for size in (500, 800, 1100):
        training = cell.training.model_copy(update={"batch_size": size})
        given = cell.model_copy(update={"training": training})
        peaks.append(budget_plan.measured(given, Path("unused"), torch.device("cpu"))[0])
    few, more, most = peaks
    assert most - more == pytest.approx(more - few, rel=0.01)


def test_more_micro_batches_where_backprop_does_not_fit(arms: budget_plan.Arms) -> None:
    plain, least = arms.of("backprop", "fp32", 1)
    assert (plain.cell.training.accumulate, least.cell.training.accumulate) == (1, 8)
    assert least.peak < plain.peak
    plain, enough = arms.of("backprop", "fp32", plain.peak - 1)
    assert enough.cell.training.accumulate == 2
    assert len(arms.of("backprop", "fp32", plain.peak)) == 1


def test_the_fastest_comes_first_and_what_does_not_fit_never(arms: budget_plan.Arms) -> None:
    cell = arms.of("checkpoint-blocks", "fp32", 1)[0].cell
    given = [budget_plan.Arm(cell, *pair) for pair in ((5, 2.0), (9, 0.1), (4, 3.0), (5, 1.0))]
    assert [a.seconds for a in budget_plan.fastest(given, 5)] == [1.0, 2.0, 3.0]


def test_what_the_device_has_no_room_for_is_passed_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = budget_plan.measured, []

    def measured(cell: Any, *given: Any) -> Any:
        made.append(cell.recipe)
        if len(made) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return real(cell, *given)

    monkeypatch.setattr(budget_plan, "measured", measured)
    words = ["--memory", "4GiB", "--recipes", "checkpoint-blocks,dgl", "--modules", "2"]
    status, said = run(capsys, monkeypatch, *words)
    assert status == 0
    assert f"\n{made[0]} K=" in said
    assert "out of memory on " in said
    assert yaml.safe_load(said[said.index("grids:") :])["grids"][0]["recipes"] == made[1:]


def test_too_little_memory_to_time_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(budget_plan.stages, "of_losses", no_room)
    status, said = run(capsys, monkeypatch, "--memory", "4GiB", "--recipes", "dgl")
    assert status == 2
    assert said.count("\n") == 1
    assert "plan: dgl fp32: too little memory on " in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory", "4 gigs"], "--memory: '4 gigs' is no size of memory"),
        (["--memory", "4GiB", "--modules", "2,x"], "--modules: whole numbers above 1"),
        (["--memory", "4GiB", "--recipes", "dlg"], "unknown recipe 'dlg'; did you mean 'dgl'?"),
        (["--memory", "4GiB", "--network", "resnet9"], "resnet9"),
        (["--memory", "4GiB", "--precisions", "fp8"], "'fp32' or 'bf16'"),
        (
            ["--memory", "4GiB", "--batch", "1298"],
            "--batch: 1298 images in a step; digits has 1297",
        ),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, said = run(capsys, monkeypatch, *words)
    assert status == 2
    assert message in said
    assert "Traceback" not in said
