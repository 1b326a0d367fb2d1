"""CPU-seconds and peak memory of a training step, several arms taking turns in one process, beside
the first arm:

python benchmarks/step.py --network resnet32 --batch 128 backprop:1 infopro:4 infopro:16
python benchmarks/step.py infopro:16:resize=plain infopro:16 infopro:16:channels_last=true

An arm is a recipe, K, and training settings and options of the method that differ from the
recipe's. Images are made up, of CIFAR-10's size. The first two steps of an arm are not timed; in
the second of them memory is read: live tensors, and operators' workspace apart. On a GPU the
seconds are those of the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from modulewise.config.resolve import Catalog
from modulewise.config.training import TrainConfig
from modulewise.data.load import load
from modulewise.engine import device
from modulewise.engine.memory import Peak
from modulewise.engine.trainer import Trainer

ROOT = Path(__file__).parents[1]
EVERYWHERE: dict[str, dict[str, Any]] = {
    "channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "plain": {"resize": "plain"},
}
"""Switch of the command line -> settings and options of every arm that has them."""


@dataclass
class Arm:
    """What is measured of one arm."""

    peak: Peak
    step: Callable[[], None]
    seconds: list[float] = field(default_factory=list)


def settings(words: str) -> tuple[str, int, dict[str, Any]]:
    """Recipe, K, and what is set beside, of an arm as the command line gives it."""
    recipe, modules, *more = words.split(":", 2)
    pairs = [pair.split("=", 1) for pair in more[0].split(",")] if more else []
    return recipe, int(modules), {name: yaml.safe_load(value) for name, value in pairs}


def begin(words: str, given: argparse.Namespace, folder: Path) -> Arm:
    """An arm that has made two steps."""
    recipe, modules, own = settings(words)
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    size = {"shape": (3, 32, 32), "classes": 10, "train_size": 4 * given.batch}
    catalog.datasets["fake"] = catalog.datasets["fake"].model_copy(update=size)
    for name, values in EVERYWHERE.items():
        if getattr(given, name) and (name != "plain" or recipe.startswith("infopro")):
            own = values | own
    training = {"batch_size": given.batch, "epochs": 10**6, "warmup_epochs": 0}
    training |= {name: value for name, value in own.items() if name in TrainConfig.model_fields}
    options = {name: value for name, value in own.items() if name not in training}
    cell = catalog.cell("fake", given.network, recipe, modules, 0, training, words, options)
    on = torch.device(given.device)
    trainer = Trainer(cell, load(cell.data, folder, cell.training), folder, on)
    trainer.prepare()
    trainer.enter_phase()
    batches = _forever(trainer)

    def step() -> None:
        trainer.step(next(batches))

    step()
    batch = next(batches)
    with trainer.memory.step(trainer.optimizers, batch):
        trainer.step(batch)
    trainer.memory.end_epoch(trainer.held(), trainer.data.held(), last=False)
    return Arm(trainer.memory.peak, step)


def _forever(trainer: Trainer) -> Iterator[Any]:
    """Batches without end; the first epoch's again and again."""
    while True:
        yield from list(trainer.data.batches(1))


def seconds(act: Callable[[], None], on: torch.device) -> float:
    """User and system CPU-seconds of all threads, or on a GPU wall time until it is done."""
    if on.type == "cuda":
        return device.timed(act, on)
    begun = time.process_time()
    act()
    return time.process_time() - begun


def measure(given: argparse.Namespace) -> dict[str, Arm]:
    """All arms, timed in turns."""
    on = device.begin(given.device, given.threads)
    with tempfile.TemporaryDirectory() as folder:
        arms = {
            words: begin(words, given, Path(folder) / str(n)) for n, words in enumerate(given.arms)
        }
    for _ in range(given.rounds):
        for arm in arms.values():
            arm.seconds.append(seconds(arm.step, on))
    return arms


def parser() -> argparse.ArgumentParser:
    """Arms and what they share."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("arms", nargs="+", help="recipe:K, or recipe:K:name=value,name=value")
    made.add_argument("--network", default="resnet32")
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--device", default="cpu")
    made.add_argument("--channels-last", action="store_true", help="in every arm")
    made.add_argument("--bf16", action="store_true", help="in every arm")
    made.add_argument("--plain", action="store_true", help="resize: plain in every InfoPro arm")
    made.add_argument("--json", action="store_true", help="print seconds and bytes only")
    return made


def main() -> None:
    """Print the table."""
    given = parser().parse_args()
    arms = measure(given)
    if given.json:
        print(json.dumps({n: [a.seconds, a.peak.live, a.peak.whole] for n, a in arms.items()}))
        return
    first = next(iter(arms.values()))
    print(f"{'':40}{'s/step':>8}{'ratio':>8}{'MiB':>9}{'ratio':>8}{'workspace':>11}")
    for words, arm in arms.items():
        middle = statistics.median(arm.seconds)
        paired = [a / b for a, b in zip(arm.seconds, first.seconds, strict=True)]
        live, work = arm.peak.live / 2**20, (arm.peak.whole - arm.peak.live) / 2**20
        print(
            f"{words:40}{middle:8.3f}{statistics.median(paired):8.3f}"
            f"{live:9.1f}{arm.peak.live / first.peak.live:8.3f}{work:11.1f}"
        )


if __name__ == "__main__":
    main()
