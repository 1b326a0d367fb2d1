"""CPU-seconds of a training step with and without kept memory (`modulewise/engine/allocator.py`),
in fresh processes that take turns:

python benchmarks/allocator.py --network resnet32 --batch 1024 --recipe infopro --modules 16
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAYS = ("system", "kept")


def step_seconds(words: argparse.Namespace, steps: int) -> list[float]:
    """User and system CPU-seconds of every step but the first, in this process."""
    import torch

    from modulewise.config.resolve import Catalog
    from modulewise.data.load import load
    from modulewise.engine import device
    from modulewise.engine.trainer import Trainer

    on = device.begin("cpu", 1)
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    shape = {"shape": (3, 32, 32), "classes": 10, "train_size": (steps + 1) * words.batch}
    catalog.datasets["fake"] = catalog.datasets["fake"].model_copy(update=shape)
    training = {"batch_size": words.batch, "epochs": 1, "warmup_epochs": 0}
    cell = catalog.cell("fake", words.network, words.recipe, words.modules, 0, training)
    with tempfile.TemporaryDirectory() as folder:
        data = load(cell.data, Path(folder), cell.training)
        trainer = Trainer(cell, data, Path(folder), on)
        trainer.prepare()
        trainer.progress.epochs = 1
        trainer.enter_phase()
        out = []
        for batch in trainer.data.batches(1):
            begun = resource.getrusage(resource.RUSAGE_SELF)
            trainer.schedule.step(trainer.method, batch, trainer.optimizers, trainer.precision)
            ended = resource.getrusage(resource.RUSAGE_SELF)
            spent = ended.ru_utime - begun.ru_utime + ended.ru_stime - begun.ru_stime
            out.append(spent)
    assert torch.get_num_threads() == 1
    return out[1:]


def main() -> None:
    """Print the median of each way, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--recipe", default="infopro")
    parser.add_argument("--modules", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--here", action="store_true", help="measure in this process")
    words = parser.parse_args()
    if words.here:
        print(*step_seconds(words, words.steps))
        return
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(words.rounds):
        for way in WAYS:
            environment = os.environ | {"MODULEWISE_ALLOCATOR": way}
            command = [sys.executable, *sys.argv, "--here"]
            said = subprocess.run(command, env=environment, check=True, capture_output=True)
            found[way] += map(float, said.stdout.split())
    middle = {way: statistics.median(values) for way, values in found.items()}
    for way, value in middle.items():
        print(f"{way:8} {value:7.2f} CPU-s a step")
    print(f"ratio    {middle['kept'] / middle['system']:7.2f}")


if __name__ == "__main__":
    main()
