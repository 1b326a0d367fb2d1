"""The device a run uses: its name, and whether the run has it to itself."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.engine.allocator import keep_freed_memory
from modulewise.engine.nvml import Gpu
from modulewise.errors import InvalidInput
from modulewise.schedules import Precision

SHARED = "MODULEWISE_SHARED_DEVICE"
"""Set to 1 by whoever packs several runs on one device."""
PACK = "SNAKEMAKE_SUBMITIT_PACK"
"""Set by the submitit executor: the number of jobs that share the allocation, and so its device."""


def pick(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        InvalidInput: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidInput(f"device {name!r}: valid: auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device {name!r}: no CUDA device is visible; valid here: auto, cpu")
    return device


def begin(name: str, threads: int | None = None) -> torch.device:
    """Make this process ready to train: number of CPU threads, memory allocation, device.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: of the CPU; torch's default if not given.

    Raises:
        InvalidInput: there is no such device.
    """
    if threads:
        torch.set_num_threads(threads)
    device = pick(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def like_here(training: TrainConfig) -> Callable[[], object]:
    """What makes another process ready to train like this one; it can be pickled.

    Args:
        training: has the numerics.
    """
    return partial(_begin_like, torch.get_num_threads(), training.tf32, training.deterministic)


def _begin_like(threads: int, tf32: bool, deterministic: bool) -> None:
    begin("cpu", threads)
    set_numerics(tf32, deterministic)


def describe(device: torch.device) -> str:
    """What makes numbers comparable: numbers of two devices with one such name have equal digits
    and comparable times, as far as the device tells.

    A CPU's model, its instruction set, the number of threads; a GPU's model with the part of it
    that is used (MIG), its compute mode if that is not the default, and whether TF32 is forced on
    or off from outside.

    Example:
        >>> describe(torch.device("cpu")).endswith((" thread", " threads"))
        True
    """
    if device.type == "cuda":
        mode = Gpu(str(torch.cuda.get_device_properties(device).uuid)).mode
        forced = {"0": "off", "1": "on"}.get(os.environ.get("NVIDIA_TF32_OVERRIDE", ""))
        more = (mode and f"compute mode {mode}", forced and f"TF32 forced {forced}")
        return ", ".join(filter(None, [torch.cuda.get_device_name(device), *more]))
    n = torch.get_num_threads()
    model = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{model}, {instructions()}, {n} thread{'s' if n > 1 else ''}"


def instructions() -> str:
    """The CPU's instruction set that torch's operators use; with `bf16` if the CPU multiplies
    numbers of 16 bits itself."""
    said = torch.backends.cpu.get_cpu_capability()
    native = {"avx512_bf16", "amx_bf16"} & set(_cpuinfo("flags").split())
    if said == "AVX512":
        return "AVX-512 with bf16" if native else "AVX-512"
    return "default instructions" if said == "DEFAULT" else said


@cache
def _cpuinfo(name: str) -> str:
    """What Linux says of the first CPU; empty elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(f"{name}\t"):
                return line.split(":", 1)[1].strip()
    return ""


def pack() -> int:
    """Number of runs that were put on one device on purpose; 1 unless somebody says otherwise."""
    given = os.environ.get(PACK, "1")
    return max(int(given) if given.isdigit() else 1, 2 if os.environ.get(SHARED, "0") == "1" else 1)


def visible(device: torch.device) -> int:
    """Number of devices the run holds: the visible GPUs, or the one CPU."""
    return torch.cuda.device_count() if device.type == "cuda" else 1


def slurm_job() -> str | None:
    """Slurm's number of this job, `12_0` of an array; `None` outside Slurm."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{word}_ID") for word in ("JOB", "TASK"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


@contextmanager
def claim(*devices: torch.device) -> Iterator[Callable[[], bool]]:
    """Hold the GPUs, or the CPU with as many cores for each time that it is given as there are
    threads; gives what says whether nobody else held or wanted them since.

    Runs of this package on one host see one another through lock files: who finds one held appends
    a byte to the file beside it, which tells its holder. Of the cores that a process may use it
    takes the first free ones. On a GPU, memory that others occupy at the start counts too.
    """
    folder = Path(tempfile.gettempdir()) / f"modulewise-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if devices[0].type == "cuda":
        busy = any(map(_occupied, devices))
        slots = [str(torch.cuda.get_device_properties(device).uuid) for device in devices]
        wanted = len(slots)
    else:
        busy, wanted = False, len(devices) * torch.get_num_threads()
        slots = [f"core-{i}" for i in sorted(os.sched_getaffinity(0))]
    held: dict[int, int] = {}
    others: list[int] = []
    with ExitStack() as open_files:
        for slot in slots:
            if len(held) == wanted:
                break
            calls = open_files.enter_context((folder / f"{slot}.calls").open("ab")).fileno()
            try:
                open_files.enter_context(FileLock(folder / slot, blocking=False))
                held[calls] = os.fstat(calls).st_size
            except Timeout:
                others.append(calls)
        alone = len(held) == wanted and not busy and pack() == 1
        if len(held) < wanted:
            for calls in others:
                os.write(calls, b".")
        yield lambda: alone and all(os.fstat(fd).st_size == size for fd, size in held.items())


def _occupied(gpu: torch.device) -> bool:
    """Whether more of its memory is taken than this process has and a context or two."""
    free, total = torch.cuda.mem_get_info(gpu)
    return total - free - torch.cuda.memory_reserved(gpu) > 2**30


def set_numerics(tf32: bool, deterministic: bool) -> None:
    """Set the process's numerics: TF32 products on a GPU, deterministic kernels."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if deterministic or torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)


def random_state(device: torch.device) -> dict[str, Tensor | None]:
    """States of torch's random streams, as a checkpoint holds them: the CPU's, a GPU's."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"rng": torch.get_rng_state(), "cuda_rng": cuda}


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put back what `random_state` gave, maybe on another device."""
    torch.set_rng_state(state["rng"].cpu())
    if state["cuda_rng"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), device)


def precision(training: TrainConfig, kind: str) -> Precision:
    """The context in which forward passes run.

    Args:
        training: has the precision.
        kind: of device: `cpu` or `cuda`.
    """
    return (
        partial(torch.autocast, kind, torch.bfloat16)
        if training.precision == "bf16"
        else nullcontext
    )


def timed(act: Callable[[], object], device: torch.device) -> float:
    """Seconds that `act` takes, until the device has done it."""
    begun = time.perf_counter()
    act()
    return clock(device)[0] - begun


def clock(device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds of this thread, once the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter(), time.thread_time()


def tidy(device: torch.device) -> None:
    """Free what nothing holds any more, so that what comes next finds all of the memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def versions() -> dict[str, str]:
    """Versions of Python, of the libraries that decide the numbers, and of this package."""
    names = ("modulewise", "torch", "torchvision", "numpy")
    out = {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in names}
    return out | (
        {"cuda": torch.version.cuda} if torch.version.cuda and torch.cuda.is_available() else {}
    )
