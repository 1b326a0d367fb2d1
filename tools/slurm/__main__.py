"""A throw-away Slurm from the command line.

python tools/slurm shell [--accounting]    your $SHELL on a new cluster; leaving it ends the cluster
python tools/slurm down FOLDER             end what a state file says is left of a cluster
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import slurm_conf
from cluster import Cluster
from slurm_machine import ClusterError

HINTS = """\
sbatch, squeue and sinfo of this shell reach a Slurm of three nodes with two counted GPUs each.
Try    snakemake --profile slurm --configfile config/demo.yaml
Logs   {folder}/log
End    exit"""


def shell(accounting: bool) -> int:
    """The user's shell on a new cluster, on which `profiles/slurm` works as it is; its exit
    status."""
    with Cluster(
        accounting=accounting, memory=20000, partitions={"gpu": slurm_conf.PARTITIONS["low"]}
    ) as cluster:
        print(HINTS.format(folder=cluster.folder), file=sys.stderr, flush=True)
        return subprocess.run([os.environ.get("SHELL", "/bin/sh")], env=cluster.env).returncode


def guard(folder: Path) -> None:
    """End the cluster when the other end of standard input closes without a word."""
    if not sys.stdin.buffer.read():
        Cluster.left(folder).down()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tools/slurm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("shell").add_argument(
        "--accounting", action="store_true", help="with a database: sacct, limits"
    )
    for name in ("down", "guard"):
        verbs.add_parser(name).add_argument("folder", type=Path)
    args = parser.parse_args()
    try:
        if args.verb == "shell":
            return shell(args.accounting)
        guard(args.folder) if args.verb == "guard" else Cluster.left(args.folder).down()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
