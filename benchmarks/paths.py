"""CPU time and memory of a step of ResNet-32 by training setting: arms in turn, in one process.

    OMP_NUM_THREADS=1 python benchmarks/paths.py [--batch 128] [--rounds 7] [--method backprop]

Prints of every arm the median CPU-seconds of a step, the median over rounds of the ratio to the
plain arm of the same round, and the largest growth of live bytes in a step (MiB).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.engine import allocator, compiled, memory
from modulewise.engine.build import build
from modulewise.method import Batch
from modulewise.optim import ModuleOptimizers
from modulewise.tasks.classification import Classification

ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "again": {},
    "recompute norms": {"recompute": "norms"},
    "recompute stages": {"recompute": "stages"},
    "accumulate 2": {"accumulate": 2},
    "accumulate 4": {"accumulate": 4},
    "step_in_backward": {"step_in_backward": True},
    "channels_last": {"channels_last": True},
    "bf16": {"precision": "bf16"},
    "bf16, channels_last": {"precision": "bf16", "channels_last": True},
    "norms, step_in_backward": {"recompute": "norms", "step_in_backward": True},
    "compile inductor": {"compile": "inductor"},
}


class Arm:
    """A method with its optimisers, and how its steps are made."""

    def __init__(self, arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
        self.training = TrainConfig(batch_size=arguments.batch, **settings)
        cell = Cell(
            dataset="fake",
            network=arguments.network,
            recipe=arguments.method,
            modules=arguments.modules,
            seed=0,
            method=arguments.method,
            options=arguments.options,
            training=self.training,
            data=Dataset(source="fake", shape=(3, 32, 32), classes=10, train_size=100),
        )
        self.method = build(cell, (3, 32, 32), Classification(10))[0]
        x = torch.rand(arguments.batch, 3, 32, 32)
        self.batch = Batch(x, torch.arange(arguments.batch) % 10, x, torch.arange(arguments.batch))
        if self.training.channels_last:
            self.method.to(memory_format=torch.channels_last)
            x = x.contiguous(memory_format=torch.channels_last)
            self.batch = Batch(x, self.batch.y, self.batch.image, self.batch.index)
        self.joint = schedules.build(self.training, arguments.modules, 1, 0)
        self.joint.begin(self.method, 0, 1)
        self.optimizers = ModuleOptimizers(self.method, self.training)
        bf16 = self.training.precision == "bf16"
        self.precision = partial(torch.autocast, "cpu", torch.bfloat16) if bf16 else nullcontext
        if self.training.compile != "off":
            begun = time.thread_time()
            data: Any = SimpleNamespace(batches=lambda _: iter([self.batch]))
            compiled.try_on(self.method, self.training.compile, data, self.precision, cell)
            print(f"compiled in {time.thread_time() - begun:.0f} CPU-s of the main thread")

    def step(self) -> float:
        """CPU-seconds of a step."""
        begun = time.thread_time()
        self.joint.step(self.method, self.batch, self.optimizers, self.precision)
        return time.thread_time() - begun

    def grown(self) -> float:
        """MiB that a step needs beside what is there between steps."""
        with memory.growth() as found:
            self.step()
        return found.live / 2**20


def main() -> None:
    """Measure all arms."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--method", default="backprop")
    parser.add_argument("--modules", type=int, default=1)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    allocator.keep_freed_memory()
    arms = {name: Arm(arguments, ARMS[name]) for name in arguments.arms}
    for arm in arms.values():
        arm.step()
    rounds = [{name: arm.step() for name, arm in arms.items()} for _ in range(arguments.rounds)]
    print(
        f"{arguments.network} {arguments.method} K={arguments.modules} batch {arguments.batch}, "
        f"torch {torch.__version__}, {arguments.rounds} rounds"
    )
    for name, arm in arms.items():
        seconds = statistics.median(r[name] for r in rounds)
        ratio = statistics.median(r[name] / r[arguments.arms[0]] for r in rounds)
        print(f"{name:26} {seconds:7.3f} CPU-s  x{ratio:5.3f}  {arm.grown():7.1f} MiB")


if __name__ == "__main__":
    main()
