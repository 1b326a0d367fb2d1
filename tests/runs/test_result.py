"""The Result a run leaves: what is in it, and its way through its file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cases import BACKPROP, IMAGES, Case, Row, images, trainer_of
from modulewise.runs import result


def run(row: Row, folder: Path, **training: object) -> result.Result:
    cell = row.cell(**training)
    return trainer_of(cell, folder).fit()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[result.Result, Path]:
    folder = tmp_path_factory.mktemp("run")
    return run(
        Row(Case("infopro", {"mode": "softmax", "feature_dim": 8}), "resnet8"), folder
    ), folder


def test_the_file_holds_the_result(finished: tuple[result.Result, Path]) -> None:
    made, folder = finished
    assert result.load(folder / "result.json") == made
    assert result.load(made.save(folder)) == made
    assert not list(folder.glob("*.tmp"))


def test_it_is_complete(finished: tuple[result.Result, Path]) -> None:
    made, _ = finished
    assert (made.status, made.epochs, made.planned_epochs, made.cuts) == ("done", 2, 2, [2, 3])
    assert len(made.module_metrics) == 3
    assert made.module_metrics[-1] == made.test_last
    assert all(e is not None and 0 <= e <= 100 for e in made.module_metrics)
    assert set(made.module_losses) == {"module_0", "module_1", "module_2"}
    assert made.test_best_epoch is not None
    assert made.test_last is not None
    assert made.test_best_epoch <= made.test_last
    costs = made.cost.model_dump()
    assert costs.pop("workspace_bytes") == 0  # a small net's operators need none
    assert len(costs["module_seconds"]) == 3 and min(costs["module_seconds"]) > 0
    assert all(costs.values()), costs
    assert made.cost.parameters == made.cost.inference_parameters + made.cost.helper_parameters


def test_a_result_from_before_the_horizon_was_recorded_is_of_a_local_method(
    finished: tuple[result.Result, Path], tmp_path: Path
) -> None:
    made, _ = finished
    old = json.loads(made.model_dump_json())
    assert old.pop("horizon") == 1
    (tmp_path / "result.json").write_text(json.dumps(old))
    assert result.load(tmp_path / "result.json") == made


def published() -> list[tuple[str, dict[str, Any]]]:
    """Every result under results/published, as it lies in its file."""
    files = sorted((Path(__file__).parents[2] / "results/published").glob("*/runs.json"))
    return [
        (f"{path.parent.name}-{n}", run)
        for path in files
        for n, run in enumerate(json.loads(path.read_text()))
    ]


@pytest.mark.parametrize("old", [pytest.param(run, id=name) for name, run in published()])
def test_a_published_result_reads_as_its_metric(old: dict[str, Any]) -> None:
    """Of test error where it names none, as the first results do."""
    made = result.Result.model_validate(old)
    error = {"name": "error", "label": "test error", "unit": "%", "direction": "lower"}
    assert made.metric.model_dump() == old.get("metric", error)
    assert made.module_metrics == old.get("module_errors", old.get("module_metrics"))
    assert made.test_last == old["test_last"]
    assert old["cost"].items() <= made.cost.model_dump().items()


def test_heads_that_give_no_scores_give_no_error(tmp_path: Path) -> None:
    made = run(
        Row(Case("infopro", {"mode": "contrast", "feature_dim": 8}), "resnet8"), tmp_path, epochs=1
    )
    assert made.module_metrics[:2] == [None, None]
    assert made.module_metrics[2] == made.test_last


def test_a_run_that_diverges_is_a_result(tmp_path: Path) -> None:
    made = run(BACKPROP, tmp_path, lr=1e30, epochs=3)
    assert made.status == "diverged"
    assert "not finite" in (made.reason or "")
    assert made.epochs < made.planned_epochs == 3
    assert result.load(tmp_path / "result.json") == made


def test_a_budget_in_flops_becomes_epochs(tmp_path: Path) -> None:
    one = run(BACKPROP, tmp_path / "one", epochs=1).cost.train_flops
    assert one
    made = run(BACKPROP, tmp_path / "flops", flops=3.5 * one)
    assert made.planned_epochs == made.epochs == 3
    assert made.cost.train_flops == pytest.approx(3 * one)


def test_a_budget_in_seconds_becomes_epochs_and_trains_from_the_start(tmp_path: Path) -> None:
    """The steps that were timed are undone: with the budget's epochs given, the same net comes
    out."""
    made = run(BACKPROP, tmp_path / "seconds", seconds=0.05)
    assert made.planned_epochs == made.epochs >= 1
    assert (
        run(BACKPROP, tmp_path / "epochs", epochs=made.epochs).module_losses == made.module_losses
    )


def test_a_step_time_that_is_known_is_not_measured(tmp_path: Path) -> None:
    """At one second an epoch, two seconds and a half pay for two epochs."""
    per_epoch = math.ceil(images().sizes.train / BACKPROP.cell().training.batch_size)
    made = run(BACKPROP, tmp_path / "known", seconds=2.5, step_seconds=1 / per_epoch)
    assert made.planned_epochs == made.epochs == 2


def test_a_validation_split_is_reported_apart(tmp_path: Path) -> None:

    entry = IMAGES.model_copy(update={"validation": 8})
    cell = BACKPROP.cell(epochs=1).model_copy(update={"data": entry})
    made = trainer_of(cell, tmp_path).fit()
    assert made.val_last is not None
    assert 0 <= made.val_last <= 100


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text('{"cell": {}')
    with pytest.raises(ValueError, match=r"(?i)json|eof"):
        result.load(tmp_path / "result.json")


def test_one_error_is_what_a_loop_over_the_test_images_counts(tmp_path: Path) -> None:
    trainer = trainer_of(BACKPROP.cell(epochs=1), tmp_path)
    made = trainer.fit()
    trainer.method.eval()
    test = images().parts.test
    with torch.no_grad():
        scores = [
            trainer.method.predict(images().normalise(x[None].float() / 255))[0] for x in test.x
        ]
    wrong = sum(int(s.argmax()) != int(y) for s, y in zip(scores, test.y, strict=True))
    assert made.test_last == pytest.approx(100 * wrong / len(test))
