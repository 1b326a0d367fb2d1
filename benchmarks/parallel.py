"""Wall time of the joint schedule and of one process a module: epochs in turn, in one process.

    OMP_NUM_THREADS=1 python benchmarks/parallel.py [--modules 2] [--network resnet32] [--batch 128]

The network is cut so that the modules' steps, helpers counted, have operations as equal as can be
(K = 2), or evenly. Prints of every round the speed-up; the median; of every module the seconds of a
step by itself and the share of the time in which it was idle; and the speed-up that as many devices
can give by these seconds, their sum over the longest. Epochs are short: filling and emptying the
pipeline, and bringing the weights home, count. A machine that others use makes walls of any length:
the seconds of a step are CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.engine import allocator, device, flops
from modulewise.engine.build import build
from modulewise.method import Batch, Method
from modulewise.optim import ModuleOptimizers
from modulewise.tasks.classification import Classification

IMAGE = (3, 32, 32)


def method_of(words: argparse.Namespace, training: TrainConfig, partition: Any) -> Method:
    """The method on its network, cut."""
    cell = Cell(
        dataset="fake",
        network=words.network,
        recipe=words.method,
        modules=words.modules,
        seed=0,
        method=words.method,
        partition=partition,
        training=training,
        data=Dataset(source="fake", shape=IMAGE, classes=10, train_size=100),
    )
    return build(cell, IMAGE, Classification(10))[0]


def costs(method: Method, batch: int) -> list[float]:
    """Operations of a step of each module with its helpers, for one image."""
    alone = [range(k, k + 1) for k in range(method.k)]
    found = flops.by_phase(method, IMAGE, batch, alone, list(range(method.k)))
    return [f.trunk + f.helpers for f in found]


def equal_cut(words: argparse.Namespace) -> Any:
    """The stage to cut after, so that two modules cost as much as each other."""
    if words.modules != 2:
        return "even"
    from modulewise import models

    names = models.build(words.network, IMAGE, 10, "benchmark").names
    uneven = {}
    for name in names[:-1]:
        one, other = costs(method_of(words, TrainConfig(), (name,)), words.batch)
        uneven[name] = max(one, other) / (one + other)
    return (min(uneven, key=lambda name: uneven[name]),)


class Arm:
    """A method under a schedule, on batches of noise."""

    def __init__(self, words: argparse.Namespace, name: str, partition: Any) -> None:
        training = TrainConfig(schedule=name, batch_size=words.batch, epochs=1000)
        self.method = method_of(words, training, partition)
        x = torch.rand(words.batch, *IMAGE)
        self.batch = Batch(x, torch.arange(words.batch) % 10, x, torch.arange(words.batch))
        self.data: Any = SimpleNamespace(batches=lambda *_: self._batches(words.steps))
        self.schedule = schedules.build(training, words.modules, words.steps, 0)
        self.schedule.ready = device.like_here(training)
        self.optimizers = ModuleOptimizers(self.method, training)
        self.precision = device.precision(training, "cpu")

    def _batches(self, n: int) -> Iterator[Batch]:
        for _ in range(n):
            b = self.batch
            yield Batch(b.x.clone(), b.y.clone(), b.image.clone(), b.index.clone())

    def epoch(self) -> float:
        """Seconds that an epoch takes."""
        self.schedule.begin(self.method, 0, 1000)
        begun = time.perf_counter()
        for batch in self.schedule.batches(self.method, self.data, 1, 0, self.precision):
            self.schedule.step(self.method, batch, self.optimizers, self.precision)
        return time.perf_counter() - begun


def main() -> None:
    """Measure both arms."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--modules", type=int, default=2)
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--method", default="dgl")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    partition = equal_cut(words)
    arms = {name: Arm(words, name, partition) for name in ("joint", "parallel")}
    shares = costs(arms["joint"].method, words.batch)
    print(
        f"{words.network} {words.method} K={words.modules} batch {words.batch}, cut {partition}, "
        f"operations {', '.join(f'{100 * s / sum(shares):.0f} %' for s in shares)}"
    )
    for arm in arms.values():
        arm.epoch()
    parallel: Any = arms["parallel"].schedule
    parallel.laps.seconds, parallel.laps.steps = [0.0] * words.modules, 0
    rounds = [{name: arm.epoch() for name, arm in arms.items()} for _ in range(words.rounds)]
    ratios = [r["joint"] / r["parallel"] for r in rounds]
    wall = sum(r["parallel"] for r in rounds)
    print(
        f"speed-up {' '.join(f'{r:.2f}' for r in ratios)}, median {statistics.median(ratios):.2f}"
    )
    own = parallel.module_seconds()
    for k, seconds in enumerate(own):
        idle = 100 * (1 - parallel.laps.seconds[k] / wall)
        print(f"module {k}: {seconds:.3f} s a step, idle {idle:.0f} %")
    print(f"{words.modules} devices can give {sum(own) / max(own):.2f}")


if __name__ == "__main__":
    main()
