"""Methods on maps of labels: every parameter is trained, modules are isolated, and a run goes from
data to a record whose metric is the higher the better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import IMAGES, same
from modulewise.config.cell import Cell
from modulewise.config.training import TrainConfig
from modulewise.data.resident import Parts, Resident, Split
from modulewise.engine.build import Planned, build
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput
from modulewise.method import Batch, Method
from modulewise.task import Task
from modulewise.tasks.classification import Classification
from modulewise.tasks.segmentation import IGNORED, Segmentation

C, SHAPE = 3, (3, 16, 24)
NETWORK = "deeplabv3-resnet18-w8-s4"
DATA = IMAGES.model_copy(
    update={"task": "segmentation", "shape": SHAPE, "classes": C, "pad": 0, "flip": False}
)
INFOPRO = {"mode": "softmax", "head": "fcn", "feature_dim": 8, "decoder": "stepwise"}
ROWS: list[tuple[str, dict[str, Any], int]] = [
    ("backprop", {}, 1),
    ("checkpointed", {}, 2),
    ("greedy", {}, 3),
    ("dgl", {"head": "fcn", "feature_dim": 8}, 2),
    ("infopro", INFOPRO, 2),
]
LOCAL = [row for row in ROWS if row[0] in ("greedy", "dgl", "infopro")]


def cell(method: str, options: dict[str, Any], modules: int, network: str = NETWORK) -> Cell:
    training = TrainConfig(epochs=2, batch_size=4, lr=0.02, warmup_epochs=0)
    partition = ["3.0"] if modules == 2 and network == NETWORK else "even"
    return Cell(
        dataset="maps", network=network, recipe=method, modules=modules, seed=0, method=method,
        options=options, training=training, data=DATA, partition=partition,
    )  # fmt: skip


def split(n: int, seed: int) -> Split:
    """Images of a colour a class, the border between classes anywhere; rows above are void."""
    g = torch.Generator().manual_seed(seed)
    border = torch.randint(4, 20, (n, 1, 1), generator=g)
    y = (torch.arange(24) >= border).long().expand(n, 16, 24).clone()
    y[:, 12:] = 2
    x = (60 * y[:, None] + 40 + 10 * torch.randn(n, *SHAPE, generator=g)).clamp(0, 255)
    y[:, :2] = IGNORED
    return Split(x.byte(), y)


def data(training: TrainConfig) -> Resident:
    return Resident(Parts(split(12, 0), None, split(4, 1)), Segmentation(C), DATA, "d", training, 0)


def made(row: tuple[str, dict[str, Any], int]) -> tuple[Method, Batch]:
    """A method in train mode, and a batch."""
    one = cell(*row)
    return build(one, SHAPE, Segmentation(C))[0].train(), data(one.training).batch(0)


def gradients(method: Method, batch: Batch, factors: dict[str, float]) -> dict[str, Tensor]:
    """Of every parameter, each loss multiplied by its factor."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # of dropout
        for loss in method.losses(batch):
            (factors.get(loss.name, 1.0) * loss.value).backward()
    assert all(p.grad is not None for p in method.parameters()), "every parameter is trained"
    found = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
    method.zero_grad()
    return found


@pytest.mark.parametrize("row", LOCAL, ids=lambda row: row[0])
def test_a_module_does_not_feel_the_loss_of_the_next(row: tuple[str, dict[str, Any], int]) -> None:
    method, batch = made(row)
    last = row[2] - 1
    before = gradients(method, batch, {})
    after = gradients(method, batch, {f"module_{last}": 1000.0})
    own = {id(p) for group in method.of_module(last) for p in method.groups()[group]}
    mine = {name for name, p in method.named_parameters() if id(p) in own}
    others = before.keys() - mine
    assert mine and others
    assert same({n: before[n] for n in others}, {n: after[n] for n in others})
    assert all(not torch.equal(before[n], after[n]) for n in mine if before[n].any())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_parameter_is_trained_and_heads_give_maps_of_scores(
    row: tuple[str, dict[str, Any], int],
) -> None:
    method, batch = made(row)
    gradients(method, batch, {})
    outputs = method.eval().outputs(batch.x)
    shapes = [tuple(out.shape) for out in outputs if out is not None]
    assert shapes[-1] == (4, C, 2, 3)
    assert len(shapes) == (1 if row[0] == "checkpointed" else row[2])
    assert all(shape[:2] == (4, C) for shape in shapes)


@pytest.mark.parametrize("row", [ROWS[0], ROWS[-1]], ids=lambda row: row[0])
def test_a_run_records_miou_of_every_head(
    row: tuple[str, dict[str, Any], int], tmp_path: Path
) -> None:
    one = cell(*row)
    result = Trainer(one, data(one.training), tmp_path, torch.device("cpu")).fit()
    assert result.status == "done" and result.metric.name == "miou"
    assert result.metric.direction == "higher"
    assert result.test_last is not None and 0 < result.test_last <= 100
    assert len(result.module_metrics) == row[2] and None not in result.module_metrics
    history = (tmp_path / "record.jsonl").read_text()
    assert "test_miou/best" in history and f"train_loss/module_{row[2] - 1}" in history


@pytest.mark.parametrize(
    ("network", "task", "message"),
    [
        ("resnet8", Segmentation(C), "gives scores of the whole image.*needs a map of scores"),
        (NETWORK, Classification(C), "gives a map of scores.*needs scores of the whole image"),
    ],
)
def test_scores_of_another_kind_than_the_targets_are_refused_in_one_line(
    network: str, task: Task, message: str
) -> None:
    for make in (build, Planned):
        with pytest.raises(InvalidInput, match=message) as error:
            make(cell("greedy", {}, 2, network), SHAPE, task)
        assert "\n" not in str(error.value)
