"""Which heads an epoch's evaluation runs, and what it says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cases import IMAGES, Case, Row, snapshot, trainer_of
from modulewise.runs import record
from modulewise.runs.result import Result

GREEDY = Row(Case("greedy"), "resnet8")
MODULES = {"test_error/module_0", "test_error/module_1"}


def run(folder: Path, when: str) -> tuple[Result, record.RunHistory, dict[str, torch.Tensor], int]:
    """Result, record, weights, and how often a head was run in eval mode in two epochs."""
    cell = GREEDY.cell(module_metrics=when)
    held_out = IMAGES.model_copy(update={"validation": 10})
    trainer = trainer_of(cell.model_copy(update={"data": held_out}), folder)
    passes = 0

    def count(head: torch.nn.Module, *_: object) -> None:
        nonlocal passes
        passes += not head.training

    for head in trainer.method.heads:
        head.register_forward_hook(count)
    made = trainer.fit()
    return made, record.read(folder), snapshot(trainer.method), passes


def test_heads_are_evaluated_every_epoch_or_after_the_last(tmp_path: Path) -> None:
    """Two heads, one batch of test images; on validation images heads are not run."""
    every, every_record, every_weights, passes = run(tmp_path / "every", "every")
    last, last_record, last_weights, fewer = run(tmp_path / "last", "last")
    assert (passes, fewer) == (4, 2)
    assert every_weights.keys() == last_weights.keys()
    assert all(torch.equal(every_weights[name], last_weights[name]) for name in last_weights)
    assert last.module_metrics == every.module_metrics
    assert None not in last.module_metrics
    kept = {
        key: value
        for key, (value, _) in every_record.metrics.items()
        if key[0].startswith(("test_", "val_", "train_loss/"))
    }
    assert {key for key in kept if key[0] in MODULES} == {(n, e) for n in MODULES for e in (1, 2)}
    left = {key: value for key, value in kept.items() if key[0] not in MODULES or key[1] == 2}
    assert {key: last_record.metrics[key][0] for key in left} == left
    assert not kept.keys() - left.keys() & last_record.metrics.keys()


def test_the_net_alone_is_evaluated_like_the_last_of_all_heads(tmp_path: Path) -> None:
    trainer = trainer_of(GREEDY.cell(), tmp_path)
    trainer.prepare()
    trainer.enter_phase()
    assert trainer.evaluate("test", heads=False) == [None, None, trainer.evaluate("test")[-1]]


def test_top_5_error_is_recorded_beside_the_error(tmp_path: Path) -> None:
    """Of more than 20 classes; the result has the record's last value, the best of its epochs, and
    what the final weights give."""
    many = IMAGES.model_copy(update={"classes": 24})
    trainer = trainer_of(GREEDY.cell().model_copy(update={"data": many}), tmp_path)
    made = trainer.fit()
    (found,) = made.secondary
    said = {
        epoch: value
        for (name, epoch), (value, _) in record.read(tmp_path).metrics.items()
        if name == "test_top5_error/overall"
    }
    assert set(said) == {1, 2}
    assert (found.metric.name, found.last, found.best) == (
        "top5_error",
        said[2],
        min(said.values()),
    )
    trainer.method.eval()
    (x, y), *rest = trainer.data.eval_batches("test")
    assert not rest
    with torch.no_grad():
        order = trainer.method.predict(x).argsort(1, descending=True)[:, :5]
    missed = [int(label) not in row for row, label in zip(order.tolist(), y, strict=True)]
    assert found.last == pytest.approx(100 * sum(missed) / len(missed))
    assert made.test_last is not None and found.last <= made.test_last
    assert Result.model_validate_json((tmp_path / "result.json").read_text()) == made


def test_few_classes_have_the_error_alone(tmp_path: Path) -> None:
    made = trainer_of(GREEDY.cell(), tmp_path).fit()
    assert made.secondary == []
    names = {name for name, _ in record.read(tmp_path).metrics if name.startswith("test_")}
    assert {name.partition("/")[0] for name in names} == {"test_error"}
