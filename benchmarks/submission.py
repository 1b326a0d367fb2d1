"""Seconds a job costs beside its command, by how it is submitted; and seconds until a large sweep
is planned.

On a cluster, or on one machine:  echo 'python benchmarks/submission.py' | make cluster
The official plugin is measured if it is installed: in this environment, or in another's Python
given by --official.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(int(config["jobs"])))
rule one:
    output: "out/{i}"
    shell: "echo {wildcards.i} > {output}"
"""
SWEEP = """
sweep: large
grids:
  - datasets: [digits]
    networks: [resnet8]
    recipes: [greedy, dgl]
    modules: [2]
    seeds: SEEDS
"""
ROOT = Path(__file__).parents[1]
ON_SLURM = [
    "--default-resources",
    "runtime=5",
    "mem_mb=1000",
    "--seconds-between-status-checks",
    "1",
    "--latency-wait",
    "5",
]
OURS = ["--executor", "submitit", *ON_SLURM, "--submitit-logdir", "logs"]
OFFICIAL = ["--executor", "slurm", *ON_SLURM, "--slurm-init-seconds-before-status-checks", "1"]


def seconds(python: str, jobs: int, options: list[str]) -> float:
    """Wall time of a workflow of so many empty jobs."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE)
        command = [
            python,
            "-m",
            "snakemake",
            "--quiet",
            "rules",
            "host",
            "progress",
            "--config",
            f"jobs={jobs}",
            *options,
        ]
        path = f"{Path(python).parent}:{os.environ['PATH']}"
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
            timeout=1200,
        )
        took = time.perf_counter() - begun
        if done.returncode or len(list((folder / "out").iterdir())) != jobs:
            sys.exit(f"error: {' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")
    return took


def planning(cells: int) -> float:
    """Wall time of a dry run of the real workflow."""
    with tempfile.TemporaryDirectory() as name:
        sweep = Path(name) / "sweep.yaml"
        sweep.write_text(SWEEP.replace("SEEDS", str(cells // 2)))
        command = [
            "snakemake",
            "-n",
            "--quiet",
            "all",
            "-s",
            str(ROOT / "Snakefile"),
            "-d",
            name,
            "--configfile",
            str(sweep),
        ]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begun


def main() -> None:
    """Print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jobs", type=int, default=24)
    arguments.add_argument(
        "--official",
        default=sys.executable,
        help="Python of an environment with the official plugin",
    )
    arguments.add_argument("--cells", type=int, nargs="*", default=[1000, 10000])
    given = arguments.parse_args()
    ways = {
        "local, 2 at once": (sys.executable, ["--cores", "2"]),
        "this plugin, one array": (sys.executable, ["-j", "100", *OURS]),
        "this plugin, single": (sys.executable, ["-j", "100", *OURS, "--submitit-no-arrays"]),
    }
    if (
        subprocess.run(
            [given.official, "-c", "import snakemake_executor_plugin_slurm"], capture_output=True
        ).returncode
        == 0
    ):
        ways["official plugin, single"] = (given.official, ["-j", "100", *OFFICIAL])
    else:
        print("the official plugin is not installed: left out")
    print(f"{given.jobs} empty jobs on {os.cpu_count()} cores")
    print(f"{'':26}{'wall':>9}{'per job':>10}{'ratio':>8}")
    first = 0.0
    for name, (python, options) in ways.items():
        took = seconds(python, given.jobs, options)
        first = first if "one array" not in name else took
        ratio = f"{took / first:.2f}" if first else "-"
        print(f"{name:26}{took:7.1f} s{took / given.jobs:8.2f} s{ratio:>8}", flush=True)
    for cells in given.cells:
        print(f"{f'dry run of {cells:,} cells':26}{planning(cells):7.1f} s", flush=True)


if __name__ == "__main__":
    main()
