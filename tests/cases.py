"""Every method with the smallest options that exercise it: add a method, add a row; the contract
tests do the rest.

A row is a method, its options, K, and the networks to try it on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modulewise import models
from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import resident
from modulewise.data.resident import Resident
from modulewise.engine.build import build
from modulewise.engine.stop import Stop
from modulewise.engine.trainer import Trainer
from modulewise.method import Batch, Method
from modulewise.models.network import Shape
from modulewise.rng import fork

CLASSES = 4
IMAGES = Dataset(
    source="fake",
    shape=(3, 8, 8),
    classes=CLASSES,
    train_size=42,
    pad=1,
    padding="reflect",
    flip=True,
)
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 8, "lr": 0.05, "warmup_epochs": 0}
"""Six batches an epoch, the last one short."""


@dataclass(frozen=True)
class Case:
    """One row: a method and how to exercise it."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    modules: int = 3
    networks: tuple[str, ...] = ("resnet8",)
    slow: bool = False
    """Whether all its tests are, for it is compiled whenever it is built."""

    def __str__(self) -> str:
        shown = "-".join(
            str(k if v is True else v) for k, v in self.options.items() if k != "feature_dim"
        )
        return "-".join(filter(None, [self.method, shown]))


def _contsup(context: str, mode: str, **more: Any) -> dict[str, Any]:
    return {"context": context, "mode": mode, "feature_dim": 16, **more}


CASES = [
    Case("backprop", modules=1, networks=("resnet8", "mlp3x32", "vgg8b-w4")),
    Case("checkpointed", networks=("resnet8", "mlp3x32", "densenet10-3")),
    Case("checkpointed", {"at": "blocks"}, modules=1, networks=("resnet8", "densenet10-3")),
    Case("checkpointed", {"at": "sqrt"}, modules=1),
    Case(
        "checkpointed",
        {"at": "blocks", "keep": "products"},
        modules=1,
        networks=("resnet8", "mlp3x32"),
    ),
    Case("budgeted", {"budget": 0.0}, modules=1, networks=("mlp1x8",), slow=True),
    Case("offloaded", modules=1),
    Case("reversible", modules=1, networks=("revnet14",)),
    Case("greedy", networks=("mlp3x32", "resnet8", "vgg8b-w4", "densenet10-3")),
    Case("greedy", {"head": "matched"}),
    Case("dgl", {"feature_dim": 16}, networks=("resnet8", "mlp3x32")),
    Case("dgl", {"head": "mlp-sr"}),
    Case("infopro", {"mode": "softmax", "feature_dim": 16}),
    Case(
        "infopro",
        {"mode": "contrast", "feature_dim": 16},
        networks=("resnet8", "mlp3x32", "densenet10-3"),
    ),
    Case("infopro", {"mode": "softmax", "head": "imagenet", "decoder": "stepwise"}),
    Case("contsup", _contsup("R0", "softmax")),
    Case("contsup", _contsup("E", "contrast")),
    Case("contsup", _contsup("R1", "softmax")),
    Case("contsup", _contsup("R1E", "softmax"), networks=("resnet8", "mlp3x32")),
    Case("contsup", _contsup("R2", "contrast"), modules=4),
    Case("contsup", _contsup("R1E", "contrast", decoder=True), modules=4),
    Case("trgl", {"feature_dim": 16}, networks=("resnet8", "mlp3x32", "vgg8b-w4")),
    Case("auglocal", {"depth": 2}, networks=("mlp3x32", "resnet8", "vgg8b-w4")),
    Case("auglocal", {"depth": 3}, modules=4),
    Case("horizon", {"reach": 1, "feature_dim": 16}),
    Case("horizon", {"reach": 2, "feature_dim": 16}, modules=4, networks=("resnet8", "mlp4x32")),
    Case("horizon", {"reach": 3, "discount": 0.5, "feature_dim": 16}),
    Case("predsim", {"decoder_dim": 64}, networks=("mlp3x32", "resnet8", "vgg8b-w4")),
    Case("predsim", {"loss": "pred"}),
    Case("predsim", {"loss": "sim"}),
    Case("fixed_random", networks=("resnet8", "mlp3x32")),
    Case("local_simclr", {"feature_dim": 16}, networks=("resnet8", "mlp3x32", "vgg8b-w4")),
    Case("forward_forward", networks=("mlp3x32",)),
    Case("forward_forward", {"readout": "goodness-all"}, modules=2, networks=("mlp3x32",)),
    Case("forward_forward", {"readout": "softmax"}, networks=("mlp3x32",)),
    Case("pairwise", networks=("resnet18-pre-w4",)),
    Case(
        "pairwise",
        {"objective": "log_contrastive_neo", "feature": "gaussian", "sigma": 2.0},
        networks=("mlp3x32",),
    ),
    Case(
        "pairwise",
        {"objective": "contrastive_neo", "feature": "tanh", "projection": True},
        networks=("mlp3x32",),
    ),
    Case("man", {"feature_dim": 16}, networks=("mlp3x32", "resnet8")),
    Case("man", {"scale": True, "loss": "infopro", "head": "0c1f"}),
    Case("dgl", {"head": "shared"}, networks=("mlp3x32",)),
    Case("layerwise", {"auxiliary": 2}, networks=("cnn3x8-d2", "mlp3x32")),
    Case("cascade", {"units": 8, "dropout": 0.0}, networks=("resnet8", "mlp3x32")),
    Case("ddg", networks=("resnet8", "mlp3x32")),
    Case("features_replay", networks=("resnet8", "mlp3x32")),
    Case("target_propagation", networks=("mlp3x32", "resnet8")),
    Case("target_propagation", {"targets": "inverse", "eta": 10.0}, networks=("mlp3x32",)),
    Case("target_propagation", {"feedback_loss": "output"}, networks=("mlp3x32", "resnet8")),
    Case(
        "target_propagation",
        {"targets": "direct", "feedback_loss": "output", "feedback_rate": 0.5},
        networks=("mlp3x32", "cnn3x8-d2"),
    ),
    Case("target_propagation", {"feedback_loss": "jacobian", "draws": 2}, networks=("mlp3x32",)),
    Case("feedback_alignment", modules=1, networks=("mlp3x32", "resnet8")),
    Case("feedback_alignment", {"weights": "sign"}, modules=1),
    Case("dfa"),
    Case("drtp", networks=("resnet8", "mlp3x32")),
    Case("altmin", networks=("mlp3x32", "resnet8")),
    Case("mac", networks=("mlp3x32", "resnet8")),
    Case("mac", {"sweeps": 2, "multipliers": True}, networks=("mlp3x32",)),
    Case("dni", {"channels": 8, "units": 128}, networks=("mlp3x32", "resnet8")),
    Case("dni", {"context": "label", "layers": 0}, networks=("mlp3x32",)),
    Case("hsic", networks=("mlp3x32", "resnet8")),
]


NETWORKS = {
    "resnet8": (3, 16, 16),
    "resnet14": (1, 8, 8),
    "revnet14": (1, 8, 8),
    "mlp3x32": (1, 8, 8),
    "mlp1x8": (3, 4, 4),
    "mlp2x8-relu": (1, 4, 4),
    "mlp2x8-tanh": (1, 4, 4),
    "vgg8b-w4": (3, 16, 16),
    "resnet18-pre-w4": (3, 16, 16),
    "lenet5": (1, 12, 12),
    "lenet5-tanh": (3, 36, 36),
    "vgg11b-w4-d20": (3, 16, 16),
    "cnn3x8-d2": (3, 9, 9),
    "cnn2x4-h1": (1, 1, 1),
    "cnn2x4-pool3": (3, 10, 9),
    "densenet10-3": (3, 16, 16),
    "densenet16-2": (1, 9, 9),
    "imagenet-resnet18": (3, 16, 16),
    "deeplabv3-resnet18-w8-s4": (3, 16, 24),
}
"""Smallest members of every family, on an image shape."""

SCHEDULES: dict[str, dict[str, Any]] = {
    "joint": {},
    "sequential": {"schedule": "sequential"},
    "asynchronous": {
        "schedule": "asynchronous",
        "asynchronous": {"buffer": 3, "turns": "random", "reads": "uniform", "slowdown": {1: 2.5}},
    },
    "by the clock": {"schedule": "asynchronous", "asynchronous": {"buffer": 2, "slowdown": {0: 3}}},
    "parallel": {"schedule": "parallel"},
}
"""Training settings that exercise every schedule."""

SOURCES: dict[str, dict[str, Any]] = {
    "npz": {"path": "mine.npz"},
    "imagefolder": {"path": "mine", "shape": (3, 8, 8), "classes": 2},
    "digits": {},
    "fake": {"shape": (3, 8, 8), "classes": CLASSES, "train_size": 42},
    "mapfolder": {
        "path": "scenes",
        "shape": (3, 16, 16),
        "classes": 4,
        "scaled_crop": {},
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
    },
}
"""An entry of every data source; `torchvision` has tests of its own, on files it would download,
and so have `imagenet` and `cityscapes`, with official numbers made small."""

TASKS = ["classification", "segmentation"]

STUDIES: dict[str, dict[str, Any]] = {
    "gradients": {},
    "labels": {"per_class": [1, 2, 100], "draws": 2},
    "probe": {"epochs": 1, "batch_size": 16, "head": "0c1f"},
    "transfer": {"targets": ["one", "two"], "batch": 8},
}
"""The smallest options that exercise every study; `targets` are made-up images by any name."""


@dataclass(frozen=True)
class Row:
    """A case on one network."""

    case: Case
    network: str

    def cell(self, modules: int | None = None, seed: int = 0, **training: Any) -> Cell:
        """The cell that runs it on made-up images."""
        return Cell(
            dataset="fake",
            network=self.network,
            recipe=self.case.method.replace("_", "-"),
            modules=modules or self.case.modules,
            seed=seed,
            method=self.case.method,
            options=self.case.options,
            training=TrainConfig(**(TRAINING | training)),
            data=IMAGES,
        )

    def build(self, modules: int | None = None, seed: int = 0) -> Method:
        """The method on its network, as the trainer builds it; shapes are found once a network."""
        loaded = images()
        with fork(seed, "trunk"):
            network = models.build(self.network, loaded.image, CLASSES)
        network.stage_shapes = shapes(self.network)
        return build(self.cell(modules, seed), loaded.image, loaded.task, network)[0]

    @cached_property
    def _declared(self) -> tuple[bool, str, bool]:
        made = self.build()
        return made.joint_only, made.feedback, made.graphable

    @property
    def splits(self) -> bool:
        """Whether its modules can be trained one by one: not under the joint schedule alone."""
        return not self._declared[0]

    @property
    def feedback(self) -> str:
        """What it declares, its options considered."""
        return self._declared[1]

    @property
    def graphable(self) -> bool:
        """Whether it declares that a step can be recorded, its options considered."""
        return self._declared[2]


ROWS = [Row(case, network) for case in CASES for network in case.networks]
BACKPROP = Row(CASES[0], "resnet8")


def rows(keep: Any = lambda row: True, *, one_a_method: bool = False) -> pytest.MarkDecorator:
    """Run a test over every row for which `keep(row)` holds. All are slow but the first network of
    each case, or with `one_a_method` but the first row of each method, and those of slow cases."""
    kept = [r for r in ROWS if keep(r)]
    quick = [r for r in kept if not r.case.slow]
    first = {r.case.method if one_a_method else str(r.case): r for r in reversed(quick)}
    slow = [[] if r in first.values() else [pytest.mark.slow] for r in kept]
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(r, marks=m, id=f"{r.case}@{r.network}")
            for r, m in zip(kept, slow, strict=True)
        ],
    )


@cache
def shapes(network: str) -> list[Shape]:
    """Shapes after the stages of a network on the rows' images."""
    return models.build(network, images().image, CLASSES).stage_shapes


@cache
def images() -> Resident:
    """42 images to train on and 10 to test, four classes: noise around one prototype each."""
    return resident(IMAGES, Path("unused"), TrainConfig(**TRAINING), 0)


def data_of(cell: Cell) -> Resident:
    """The data that a cell trains on."""
    return resident(cell.data, Path("unused"), cell.training, cell.seed)


def data_with(training: TrainConfig, seed: int = 0) -> Resident:
    """The made-up images, in batches of these settings."""
    return resident(IMAGES, Path("unused"), training, seed)


def trainer_of(cell: Cell, folder: Path, **more: Any) -> Trainer:
    """The cell's trainer, on the CPU."""
    return Trainer(cell, data_of(cell), folder, torch.device("cpu"), **more)


class StopAt(Stop):
    """Asks a trainer to stop, from the n-th look at it on."""

    def __init__(self, n: int) -> None:
        self.left = n

    @property
    def asked(self) -> bool:  # type: ignore[override]
        self.left -= 1
        return self.left <= 0


def finished(row: Row, folder: Path, **training: Any) -> Path:
    """The folder of a finished run that kept its weights."""
    trainer_of(row.cell(**training), folder, keep_weights=True).fit()
    return folder


@contextmanager
def heard(say: Callable[[str], object]) -> Iterator[None]:
    """Inside, `say` is given every line of the log; what it raises ends the run."""
    handler, logger = logging.Handler(), logging.getLogger("modulewise")
    handler.emit = lambda record: say(record.getMessage())  # type: ignore[method-assign, assignment, return-value]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def a_batch(size: int = 8, seed: int = 0) -> Batch:
    """One augmented training batch."""
    training = TrainConfig(**(TRAINING | {"batch_size": size}))
    return next(data_with(training, seed).batches(1))


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two state dictionaries agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
