"""What a run uses of its machine stands in its record and its result, beside what it asked for."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from cases import Case, Row, trainer_of
from modulewise.engine import device, nvml, processes, usage
from modulewise.engine.nvml import Gpu, Look
from modulewise.engine.usage import Sums, Usage, asked
from modulewise.runs import record
from modulewise.runs.result import Use

CPU = torch.device("cpu")
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_CPUS_PER_TASK": "4",
    "SLURM_MEM_PER_NODE": "8000",
    "SLURM_GPUS_ON_NODE": "2",
    "SLURM_JOB_START_TIME": "1800000000",
    "SLURM_JOB_END_TIME": "1800003600",
}


def test_cpu_time_is_that_of_the_clock_and_of_children() -> None:
    """In an interpreter that has begun nothing else."""
    code = """
import subprocess, sys, time, torch
from modulewise.engine.usage import Usage
used = {}
with Usage([torch.device("cpu")]) as watch:
    begun = time.process_time()
    while time.process_time() - begun < 0.3:
        pass
    child = "import time\\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", child], check=True)
    watch.add(used)
    spent = time.process_time() - begun
print(used["cpu"] - spent)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert 0.5 <= float(done.stdout) < 1.5, "the child's start is on top"


def test_memory_is_what_the_system_says() -> None:
    now, before = processes.resident()
    mine = psutil.Process()
    own, others = mine.memory_info().rss, [p.memory_info().rss for p in mine.children(True)]
    assert 0.95 * own < now < 1.05 * own + sum(others)
    held = bytearray(os.urandom(before - now + 150 * 2**20))
    assert processes.resident()[1] >= before + 140 * 2**20
    del held


def test_a_child_counts_while_it_lives() -> None:
    """Its CPU time and its memory; at its end its CPU time is not counted twice."""
    code = "import time\nx = bytearray(200 * 2**20)\nwhile time.process_time() < 0.5: pass\n"
    code += "print(flush=True)\ninput()"
    busy, (now, _) = processes.cpu_seconds(), processes.resident()
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        alive, (more, most) = processes.cpu_seconds(), processes.resident()
        child.communicate(b"\n")
    assert 0.45 < alive - busy < 2  # the system counts in hundredths
    assert 195 * 2**20 < more - now < 250 * 2**20 and most >= more
    assert alive <= processes.cpu_seconds() < alive + 0.5


def test_as_many_processes_ask_for_as_many_threads() -> None:
    assert asked([CPU] * 3, {}).cpus == 3 * torch.get_num_threads()
    assert asked([CPU] * 3, SLURM).cpus == 4


def test_an_epoch_has_mlflows_names_and_the_result_has_the_whole_run(tmp_path: Path) -> None:
    made = trainer_of(Row(Case("greedy"), "resnet8").cell(epochs=2), tmp_path).fit()
    said = record.read(tmp_path)
    names = {name for name, _ in said.metrics if name.startswith("system/")}
    assert names == {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}
    assert {epoch for name, epoch in said.metrics if name in names} == {1, 2}
    assert said.starts[0]["asked"] == {"cpus": torch.get_num_threads(), "gpus": 0.0}
    use = made.cost.use
    assert use and use.asked.cpus == torch.get_num_threads()
    assert made.cost.train_seconds and use.seconds > made.cost.train_seconds
    assert 0 < use.cpu_seconds < use.seconds * os.cpu_count()  # type: ignore[operator]
    rounded = said.metrics["system/system_memory_usage_megabytes", 2][0]
    assert use.peak_bytes >= 1e6 * (rounded - 0.05)
    assert (use.gpu_percent, use.gpu_peak_bytes, use.gpu_watts) == (None, None, None)


def test_what_earlier_starts_used_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([(10.0, 3.0), (14.0, 5.0), (20.0, 8.0)])
    monkeypatch.setattr(usage, "cpu_seconds", lambda: now[1])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(usage, "resident", lambda: (2_000_000, 3_000_000))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    used: Sums = {"wall": 100.0, "cpu": 90.0, "peak": 4_000_000.0}
    now = next(clock)
    with Usage([CPU]) as watch:
        now = next(clock)
        watch.add(used)  # a checkpoint in the middle of the epoch
        now = next(clock)
        epoch, whole = watch.epoch(used), watch.whole(used)
    assert epoch == {
        "system/cpu_utilization_percentage": 25.0,  # 5 of 10 seconds of 2 CPUs
        "system/system_memory_usage_megabytes": 2.0,
    }
    assert (whole.seconds, whole.cpu_seconds, whole.peak_bytes) == (110.0, 95.0, 4_000_000)


@pytest.mark.parametrize(
    ("env", "pack", "expected"),
    [
        ({}, "1", {"cpus": 3, "gpus": 0}),
        (
            SLURM,
            "1",
            {"cpus": 4, "memory_bytes": 8000 * 2**20, "gpus": 2, "seconds": 3600},
        ),
        (
            SLURM,
            "4",
            {"cpus": 1, "memory_bytes": 2000 * 2**20, "gpus": 0.5, "seconds": 3600},
        ),
        (
            {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "500", "SLURM_CPUS_PER_TASK": "4"},
            "1",
            {"cpus": 4, "memory_bytes": 2000 * 2**20, "gpus": 0},
        ),
        (SLURM | {"SLURM_MEM_PER_NODE": "0"}, "1", {"cpus": 4, "gpus": 2, "seconds": 3600}),
        ({"SLURM_CPUS_PER_TASK": "4"}, "1", {"cpus": 3, "gpus": 0}),
    ],
    ids=["no job", "job", "packed", "memory a CPU", "all the memory", "left over"],
)
def test_a_run_asked_for_its_share_of_the_job(
    env: dict[str, str], pack: str, expected: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setenv(device.PACK, pack)
    assert asked([CPU], env).model_dump(exclude_none=True) == expected


class FakeNvml:
    """A driver of one GPU, `GPU-a` or `MIG-b`; a part of a GPU has no figures but its memory."""

    def __init__(self) -> None:
        self.part = False

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        self.part = uuid == b"MIG-b"
        return 0 if uuid in (b"GPU-a", b"MIG-b") else 6

    def nvmlDeviceGetMemoryInfo(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.total, answer._obj.used = 80_000_000_000, 2_000_000_000
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.gpu = 0 if self.part else 63
        return 3 if self.part else 0

    def nvmlDeviceGetPowerUsage(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 210_000
        return 3 if self.part else 0

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 700_000
        return 3 if self.part else 0

    def nvmlDeviceGetComputeMode(self, handle: Any, answer: Any) -> int:  # noqa: N802
        answer._obj.value = 3
        return 3 if self.part else 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "_library", FakeNvml)


@pytest.mark.usefixtures("driver")
def test_a_gpu_tells_what_its_driver_tells() -> None:
    assert Gpu("a").look() == Look(63.0, 2_000_000_000, 80_000_000_000, 210.0, 700.0)
    assert Gpu("a").mode == "exclusive process"
    assert Gpu("b").look() == Look(None, 2_000_000_000, 80_000_000_000, None, None)
    assert Gpu("b").mode == ""
    assert not Gpu("c").known


def test_without_a_driver_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml._library.cache_clear()
    monkeypatch.setattr(nvml, "LIBRARY", "libnone.so.1")
    try:
        assert not Gpu("a").known and Gpu("a").mode == ""
        assert Gpu("a").look() == Look(None, None, None, None, None)
    finally:
        nvml._library.cache_clear()
    with pytest.raises(OSError, match="libnone"):
        ctypes.CDLL("libnone.so.1")


@pytest.fixture
def on_gpu(driver: None, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A GPU of the driver above."""
    made = SimpleNamespace(uuid="a")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: made)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU A")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    return torch.device("cuda")


def test_a_gpus_figures_are_means_over_the_looks_at_it(
    on_gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "EVERY", 0.005)
    used: Sums = {}
    with Usage([on_gpu]) as watch:
        while len(watch._seen) < 3:
            time.sleep(0.005)
        epoch, whole = watch.epoch(used), watch.whole(used)
    assert used["gpu_percent_n"] >= 4, "the thread's and one at the end of the epoch"
    assert {k: v for k, v in epoch.items() if "gpu" in k} == {
        "system/gpu_0_utilization_percentage": 63.0,
        "system/gpu_0_memory_usage_megabytes": 2000.0,
        "system/gpu_0_memory_usage_percentage": 2.5,
        "system/gpu_0_power_usage_watts": 210.0,
        "system/gpu_0_power_usage_percentage": 30.0,
    }
    assert (whole.gpu_percent, whole.gpu_peak_bytes, whole.gpu_watts) == (63, 2_000_000_000, 210)
    assert isinstance(whole, Use) and whole.asked.gpus == 1


def test_a_gpus_name_has_its_compute_mode(
    on_gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.describe(on_gpu) == "GPU A, compute mode exclusive process"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert device.describe(on_gpu) == "GPU A, compute mode exclusive process, TF32 forced off"


def test_a_cpus_name_has_the_instruction_set_that_torch_uses() -> None:
    """The environment chooses it, as another CPU would."""
    code = "import torch; from modulewise.engine import device\nprint(device.describe(CPU))"
    said = subprocess.run(
        [sys.executable, "-c", code.replace("CPU", "torch.device('cpu')")],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.strip().endswith(", AVX2, 1 thread")


@pytest.mark.parametrize(
    ("capability", "flags", "said"),
    [
        ("AVX512", "avx2 avx512f avx512_bf16", "AVX-512 with bf16"),
        ("AVX512", "avx2 avx512f", "AVX-512"),
        ("AVX2", "avx2 avx512f avx512_bf16", "AVX2"),
        ("DEFAULT", "", "default instructions"),
    ],
)
def test_instruction_sets_have_names(
    capability: str, flags: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(device, "_cpuinfo", lambda name: {"flags": flags}[name])
    assert device.instructions() == said


@pytest.mark.gpu
def test_a_real_gpu_tells_what_nvidia_smi_tells() -> None:
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    asked = "memory.total,memory.used,enforced.power.limit,compute_mode"
    said = subprocess.run(
        ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={asked}", "--format=csv,noheader,nounits"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    total, used, limit, mode = said.strip().split(", ")
    look = Gpu(uuid).look()
    assert (look.total or 0) / 2**20 == pytest.approx(float(total), rel=0.02)
    assert (look.used or 0) / 2**20 >= float(used) - 50, "what the driver holds is on top"
    assert look.most_watts == pytest.approx(float(limit), abs=0.01)
    assert look.watts and 0 < look.watts <= 1.1 * float(limit)
    assert look.percent is not None and 0 <= look.percent <= 100
    assert Gpu(uuid).mode == {"Default": ""}.get(mode, mode.lower().replace("_", " "))
