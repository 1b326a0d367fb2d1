"""CPU-seconds of what surrounds the steps of an epoch, on one thread: 50,000 training images of
CIFAR-10's shape, cropped, flipped and normalised; and the evaluation of 10,000, in batches of
several sizes that take turns, with every module's own head or the net's own output alone:

python benchmarks/data.py
python benchmarks/data.py --evaluate --recipe dgl --modules 16 --sizes 125 250 1000
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]
TRAINED, TESTED = 50_000, 10_000


def cpu_seconds(act: Callable[[], object]) -> float:
    """User and system CPU-seconds that `act` takes."""
    begun = resource.getrusage(resource.RUSAGE_SELF)
    act()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime - begun.ru_utime + ended.ru_stime - begun.ru_stime


def trainer(words: argparse.Namespace, channels_last: bool) -> Any:
    """A trainer whose net is in eval mode, on images of noise."""
    from modulewise.config.resolve import Catalog
    from modulewise.engine import device
    from modulewise.engine.trainer import Trainer
    from modulewise.planning import profile

    on = device.begin("cpu", 1)
    catalog = Catalog(ROOT / "config/recipes.yaml", ROOT / "config/datasets.yaml")
    training = {"batch_size": words.batch, "channels_last": channels_last}
    cell = catalog.cell("cifar10", words.network, words.recipe, words.modules, 0, training)
    with tempfile.TemporaryDirectory() as folder:
        made = Trainer(cell, profile.images(cell, Path(folder)), Path(folder), on)
        made.prepare()
    made.method.eval()
    return made


def epochs(words: argparse.Namespace) -> None:
    """Print what an epoch's batches take."""
    for channels_last in (False, True):
        data = trainer(words, channels_last).data
        for batch in itertools.islice(data.batches(1), 5):  # what is made once
            del batch

        def epoch(number: int, data: Any = data) -> None:
            for batch in data.batches(number):
                del batch

        spent = [cpu_seconds(lambda n=n: epoch(n)) for n in range(2, 2 + words.rounds)]  # type: ignore[misc]
        print(f"an epoch's batches, channels_last {channels_last}: {_said(spent)}")


def evaluations(words: argparse.Namespace) -> None:
    """Print what the evaluation of the test images takes."""
    import torch

    trainers = {last: trainer(words, last) for last in (False, True)}

    @torch.inference_mode()
    def evaluate(size: int, channels_last: bool, heads: bool) -> None:
        made = trainers[channels_last]
        batches = made.data.eval_batches("test", size)
        for x, _ in itertools.islice(batches, max(1, words.images // size)):
            _ = made.method.outputs(x) if heads else made.method.predict(x)

    arms = list(itertools.product(words.sizes, (False, True), (False, True)))
    spent: dict[Any, list[float]] = {arm: [] for arm in arms}
    for _ in range(words.rounds):
        for size, last, heads in arms:
            evaluate_arm = lambda s=size, c=last, h=heads: evaluate(s, c, h)  # noqa: E731
            seconds = cpu_seconds(evaluate_arm)
            done = max(1, words.images // size) * size
            spent[size, last, heads].append(seconds * TESTED / done)
    for (size, last, heads), each in spent.items():
        ran = "all heads" if heads else "the net alone"
        print(f"batches of {size:4}, channels_last {last!s:5}, {ran:13}: {_said(each)}")


def _said(seconds: list[float]) -> str:
    return (
        f"{statistics.median(seconds):.2f} CPU-s ({min(seconds):.2f} to {max(seconds):.2f} in "
        f"{len(seconds)} rounds)"
    )


def main() -> None:
    """Print one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--recipe", default="infopro-softmax")
    parser.add_argument("--modules", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="+", default=[125, 250, 500, 1000])
    parser.add_argument("--images", type=int, default=2000, help="evaluated; scaled to 10,000")
    parser.add_argument("--rounds", type=int, default=3)
    words = parser.parse_args()
    evaluations(words) if words.evaluate else epochs(words)


if __name__ == "__main__":
    main()
