"""CPU-seconds of `modulewise report` and `modulewise status` over thousands of finished runs, and
the page's bytes.

python benchmarks/report.py [--shape wide] [--shape tall] [--epochs 30] [--keep FOLDER]

The runs are made up: folders as the trainer leaves them, random values. `wide` is many data sets,
networks, recipes and K with few seeds and epochs, `tall` is one data set and network with many.
Every verb runs in a process of its own; its seconds are those that the kernel charges to it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modulewise.config.cell import Cell
from modulewise.config.plan import load_plan
from modulewise.runs.provenance import source_hash
from modulewise.runs.result import Cost, Origin, Result

ROOT = Path(__file__).parents[1]
RECIPES = [
    "backprop",
    "greedy",
    "greedy-plus",
    "dgl",
    "dgl-mlp-sr",
    "infopro",
    "infopro-softmax",
    "contsup-r0",
    "contsup-e",
    "contsup-e-softmax",
    "contsup-r1",
    "contsup-r1e",
    "contsup-r1e-softmax",
    "contsup-r0-decoder",
    "contsup-r2",
    "contsup-r4",
    "trgl",
    "auglocal",
    "predsim",
    "horizon",
    "random-heads",
]
EPOCHS = {"wide": 30, "tall": 160}
SHAPES: dict[str, dict[str, Any]] = {
    "wide": {
        "datasets": ["cifar10", "svhn", "stl10", "cifar100", "mnist"],
        "networks": ["resnet14", "resnet20", "resnet26", "resnet32", "resnet56"],
        "seeds": 2,
    },
    "tall": {"datasets": ["cifar10"], "networks": ["resnet32"], "seeds": 50},
}
"""Each of 5,050 cells: 20 recipes at five K, and the baseline."""
MODULES = [2, 3, 4, 5, 6]
BEGUN = 1_780_000_000_000
"""Time of the first event, in milliseconds since 1970."""
VERSIONS = {"python": "3.11.7", "modulewise": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6"}


def write_sweep(folder: Path, shape: str, epochs: int) -> Path:
    """The sweep's file."""
    grid = SHAPES[shape] | {"recipes": RECIPES, "modules": MODULES, "training": {"epochs": epochs}}
    path = folder / f"{shape}.yaml"
    path.write_text(yaml.safe_dump({"sweep": shape, "grids": [grid]}))
    return path


def write_run(runs: Path, cell: Cell, random: np.random.Generator) -> None:
    """A finished run as the trainer leaves it: a record, a training log and a result."""
    modules, epochs = cell.modules, cell.training.epochs
    level = 8 + 2 * RECIPES.index(cell.recipe) ** 0.5 + modules + random.normal(0, 0.3)
    depth = np.linspace(level + 20, level, modules)
    decay = 1 + 4 * np.exp(-5 * np.arange(1, epochs + 1) / epochs)
    errors = (depth[None] * decay[:, None] + random.normal(0, 0.4, (epochs, modules))).clip(0, 90)
    losses = (errors / 40 + random.random((epochs, modules))).tolist()
    errors = errors.round(2).tolist()
    best = np.minimum.accumulate([e[-1] for e in errors]).tolist()
    content = cell.model_dump(mode="json", exclude_defaults=True)
    begin = {"cell": content, "id": cell.id, "host": "node1", "pid": 1, "device": "GPU A"}
    begin |= {"commit": "0" * 40, "source": source_hash(cell), "devices": 1, "pack": 1}
    lines = [{"ev": "start", "t": BEGUN, **begin, "epochs": epochs, "epoch": 1}]
    for n in range(epochs):
        values = {"test_error/overall": errors[n][-1]}
        values |= {f"test_error/module_{k}": e for k, e in enumerate(errors[n][:-1])}
        values |= {"test_error/best": best[n]}
        values |= {f"train_loss/module_{k}": loss for k, loss in enumerate(losses[n])}
        values |= {"throughput/samples_per_s": 4000.0 + random.random() * 100}
        values |= {"time/train_s": 12.5 * (n + 1), "memory/peak_mib": 130.4375}
        at = BEGUN + 14_000 * (n + 1)
        lines.append({"ev": "metrics", "t": at, "epoch": n + 1, "values": values})
    lines.append({"ev": "commit", "t": at, "epoch": epochs})
    lines.append({"ev": "end", "t": at, "status": "done", "reason": None})
    folder = runs / cell.path
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (folder / "record.jsonl").write_text(text)
    (folder / "train.log").write_text("".join(f"epoch {n}/{epochs}\n" for n in range(epochs)))
    helpers = 0 if modules == 1 else modules * (1 + RECIPES.index(cell.recipe))
    cost = Cost(
        peak_memory_bytes=int(3e8 / modules**0.5 * (1 + 0.02 * helpers)),
        memory_source="live tensors",
        workspace_bytes=2**22,
        step_seconds=0.03 * (1 + 0.02 * helpers) * (1 + 0.02 * random.random()),
        epoch_seconds=12.5,
        train_seconds=12.5 * epochs,
        samples_per_second=4000.0,
        train_flops=4e14,
        trunk_flops=4.1e8,
        helper_flops=1e7 * helpers,
        parameters=464_000 + 10_000 * helpers,
        helper_parameters=10_000 * helpers,
        inference_parameters=464_000,
        inference_macs=6.9e7,
    )
    origin = Origin(
        device="GPU A",
        exclusive=True,
        host="node1",
        starts=1,
        commit="0" * 40,
        source=source_hash(cell),
        versions=VERSIONS,
        data="ae60f4e7320d",
    )
    result = Result(
        cell=cell,
        status="done",
        epochs=epochs,
        planned_epochs=epochs,
        test_last=errors[-1][-1],
        test_best_epoch=best[-1],
        module_metrics=errors[-1],
        module_losses={f"module_{k}": loss for k, loss in enumerate(losses[-1])},
        cuts=list(range(1, modules)),
        cost=cost,
        origin=origin,
    )
    (folder / "result.json").write_text(result.model_dump_json(indent=1) + "\n")


def cpu_seconds(*words: str) -> float:
    """CPU-seconds of `modulewise` with these words, user and system, children included."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "modulewise", *words], env=env, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parts(page: str) -> Counter[str]:
    """Bytes of a page by what they are of: figures by their kind, tables, and the rest."""
    sizes: Counter[str] = Counter()
    for figure in re.findall(r"<figure.*?</figure>", page, re.DOTALL):
        name = re.search(r'href="figures/([^"_]*)', figure)
        sizes[f"figures {name[1] if name else '?'}"] += len(figure.encode())
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        sizes["tables"] += len(table.encode())
    sizes["the rest"] = len(page.encode()) - sum(sizes.values())
    return sizes


def measure(folder: Path, shape: str, epochs: int) -> None:
    """Write the runs unless they are there, make the report and ask for the status; print what it
    took."""
    runs, out = folder / shape / "runs", folder / shape / "report"
    sweep = write_sweep(folder, shape, epochs)
    plan, random = load_plan(sweep, ROOT), np.random.default_rng(0)
    for cell in plan.cells if not runs.exists() else ():
        write_run(runs, cell, random)
    common = ("--sweep", str(sweep), "--runs", str(runs), "--root", str(ROOT))
    print(f"{shape}: {len(plan.cells)} finished cells, {epochs} epochs each", flush=True)
    print(f"  status: {cpu_seconds('status', *common):.1f} CPU-s", flush=True)
    print(f"  report: {cpu_seconds('report', *common, '--out', str(out)):.1f} CPU-s", flush=True)
    page = (out / "report.html").read_text()
    files = [p for p in out.rglob("*") if p.is_file()]
    whole = sum(p.stat().st_size for p in files) / 1e6
    print(f"  page: {len(page.encode()) / 1e6:.2f} MB; {len(files)} files, {whole:.1f} MB")
    for name, size in parts(page).most_common(8):
        print(f"    {name}: {size / 1e6:.2f} MB")


def main() -> None:
    """Measure every shape that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", action="append", choices=[*SHAPES], help="both if not given")
    parser.add_argument("--epochs", type=int, help="30 of wide, 160 of tall if not given")
    parser.add_argument("--keep", type=Path, help="folder of the runs; made and removed otherwise")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for shape in args.shape or SHAPES:
            measure(folder.resolve(), shape, args.epochs or EPOCHS[shape])


if __name__ == "__main__":
    main()
