"""Freed memory stays with the process: large blocks are used again without page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from modulewise.engine.allocator import keep_freed_memory
print(keep_freed_memory())
bytearray(64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    bytearray(64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 8 * (64 << 20) // os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
@pytest.mark.parametrize("way", ["kept", "system"])
def test_large_blocks_are_used_again(way: str) -> None:
    environment = os.environ | {"MODULEWISE_ALLOCATOR": way}
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True
    )
    kept, faults = out.stdout.split()
    assert kept == str(way == "kept")
    # Huge pages make fewer faults of the same memory: 512 pages each.
    assert (int(faults) < PAGES / 2048) == (way == "kept"), faults
