"""Arms of `benchmarks/step.py` with and without kept memory (`modulewise/engine/allocator.py`), in
fresh processes that take turns; the first arm with the C library as it is counts 1:

python benchmarks/allocator.py --batch 1024 --rounds 2 infopro:16
python benchmarks/allocator.py infopro:16:resize=plain infopro:16 infopro:16:channels_last=true
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PROCESSES = 3
"""Of each way."""
WAYS = ("system", "kept")


def main() -> None:
    """Print the median of every arm, either way, and its ratio; options are those of step.py."""
    command = [sys.executable, str(Path(__file__).with_name("step.py")), *sys.argv[1:], "--json"]
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(PROCESSES):
        for way in WAYS:
            environment = os.environ | {"MODULEWISE_ALLOCATOR": way}
            said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            for arm, (seconds, *_) in json.loads(said.stdout).items():
                found.setdefault((arm, way), []).extend(seconds)
    first = statistics.median(next(iter(found.values())))
    for (arm, way), seconds in found.items():
        middle = statistics.median(seconds)
        print(f"{arm:50}{way:8}{middle:8.3f} CPU-s a step{middle / first:8.3f}")


if __name__ == "__main__":
    main()
