"""Seconds of `modulewise track` over many runs: all new, then all unchanged, beside a bare `import
mlflow`.

python benchmarks/track.py [--runs 1000] [--epochs 30]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from modulewise.config.cell import Cell
from modulewise.runs.record import Record
from modulewise.runs.result import Cost, Origin, Result


def write_run(runs: Path, seed: int, epochs: int) -> None:
    """A finished run of four modules as the trainer leaves it: 12 metrics an epoch."""
    names = {
        "dataset": "toy",
        "network": "resnet20",
        "recipe": "greedy-sgd",
        "method": "dgl",
        "modules": 4,
        "seed": seed,
    }
    cell = Cell.model_validate(
        names | {"training": {"epochs": epochs}, "data": {"source": "digits"}}
    )
    folder = runs / cell.path
    log = Record(folder)
    content = cell.model_dump(mode="json", exclude_defaults=True)
    log.write(
        "start",
        cell=content,
        id=cell.id,
        epochs=epochs,
        epoch=1,
        host="node1",
        device="a CPU",
        commit=None,
        source="0",
    )
    metrics = [f"test_error/{n}" for n in ("overall", "best", "module_0", "module_1", "module_2")]
    metrics += [
        *(f"train_loss/module_{k}" for k in range(4)),
        "throughput/samples_per_s",
        "time/train_s",
        "memory/peak_mib",
    ]
    for epoch in range(1, epochs + 1):
        log.metrics(epoch, {name: (seed + i + 1) / epoch for i, name in enumerate(metrics)})
    log.write("end", status="done", reason=None)
    log.close()
    (folder / "train.log").write_text("epoch\n" * epochs)
    origin = Origin(
        device="a CPU", exclusive=True, host="node1", starts=1, commit=None, source="0", versions={}
    )
    cost = Cost(peak_memory_bytes=2**20, memory_source="cpu allocator", train_seconds=1.0)
    Result(
        cell=cell,
        status="done",
        reason=None,
        epochs=epochs,
        planned_epochs=epochs,
        test_last=1.0,
        cuts=[1, 2, 3],
        cost=cost,
        origin=origin,
    ).save(folder)


def seconds(*words: str) -> tuple[float, str]:
    """Wall-clock time and last line of a command."""
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {
        "MLFLOW_DISABLE_TELEMETRY": "true"
    }
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], env=env, stdout=subprocess.PIPE, text=True, check=True
    )
    return time.perf_counter() - begun, (done.stdout.splitlines() or [""])[-1]


def main() -> None:
    """Write the runs into a temporary folder, track them twice, print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    bare = min(seconds("-c", "import mlflow")[0] for _ in range(3))
    print(f"bare import of mlflow, best of 3: {bare:.1f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        for seed in range(args.runs):
            write_run(runs, seed, args.epochs)
        track = ("-c", "from modulewise.cli.app import main; main()", "track", "--runs", str(runs))
        for what in ("new", "unchanged", "unchanged, again"):
            took, line = seconds(*track)
            print(
                f"{args.runs} runs, {what}: {took:.1f} s, {took / bare:.1f} times the bare import "
                f"({line})",
                flush=True,
            )


if __name__ == "__main__":
    main()
