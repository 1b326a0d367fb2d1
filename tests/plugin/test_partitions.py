"""Partitions chosen by a file of limits, in the form of the official plugin."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.partitions import LIMITS, asked_for, choose, read
from snakemake_executor_plugin_submitit.resources import Refused

FILE = """
partitions:
  small: {max_runtime: 12h, max_mem_mb: 64000, max_threads: 24, available_constraints: [old]}
  large: {max_runtime: 2-00:00:00, max_mem_mb: 512000, max_threads: 48,
          available_constraints: [big, old]}
  gpu: {max_runtime: 2d, max_threads: 32, max_gpu: 4, available_gpu_models: [a100, v100],
        max_cpus_per_gpu: 8, available_constraints: [old], supports_mpi: false}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "partitions.yaml"
    path.write_text(FILE)
    return path


def place(path: Path, threads: int = 1, packed: int = 1, **words: Any) -> str:
    return choose(words, asked_for(words, threads, packed), read(path))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({"mem_mb": 8000, "runtime": 60}, "small"),
        ({"mem_mb": 65000, "runtime": 60}, "large"),
        ({"mem_mb": 8000, "runtime": 721}, "large"),
        ({"mem_mb": 8000, "runtime": 721, "resumable": 1}, "small"),
        ({"constraint": "big"}, "large"),
        ({"gpu": 1}, "gpu"),
        ({"gres": "gpu:a100:4"}, "gpu"),
        ({"gpu": 1, "gpu_model": "v100", "cpus_per_gpu": 8}, "gpu"),
        ({"mem_mb": 20000, "pack": 4}, "large"),
        ({"cpus_per_task": 40}, "large"),
    ],
)
def test_a_job_goes_where_it_fits_best(path: Path, words: dict[str, Any], name: str) -> None:
    assert place(path, packed=int(words.get("pack", 1)), **words) == name


def test_what_wraps_a_command_needs_memory_too() -> None:
    asked = asked_for({"mem_mb": 64000}, 1, 2, overhead_mb=256)
    assert asked["max_mem_mb"] == 2 * (64000 + 256) and asked_for({}, 1, 2, 256)["max_mem_mb"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"gpu": 5}, "gpu: max_gpu 4, asked for 5"),
        ({"gpu": 1, "gpu_model": "h100"}, "gpu: available_gpu_models a100, v100"),
        ({"gpu": 1, "cpus_per_gpu": 9}, "gpu: max_cpus_per_gpu 8, asked for 9"),
        ({"runtime": 99999}, "small: max_runtime 720, asked for 99999"),
        ({"constraint": "odd"}, "large: available_constraints big, old"),
    ],
)
def test_one_that_fits_nowhere_is_refused_with_the_reasons(
    path: Path, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match="no partition fits the job; ") as error:
        place(path, **words)
    assert said in str(error.value) and "\n" not in str(error.value)


@given(
    mem=st.integers(1, 600000),
    cpus=st.integers(1, 60),
    gpu=st.integers(0, 5),
    runtime=st.integers(1, 4000),
)
def test_what_is_chosen_fits(path: Path, mem: int, cpus: int, gpu: int, runtime: int) -> None:
    limits = {
        "small": (720, 64000, 24, 0),
        "large": (2880, 512000, 48, 0),
        "gpu": (2880, 10**9, 32, 4),
    }
    asked = (runtime, mem, cpus, gpu)
    fit = {
        name
        for name, most in limits.items()
        if all(a <= b for a, b in zip(asked, most, strict=True))
    }
    try:
        chosen = place(path, threads=cpus, mem_mb=mem, gpu=gpu, runtime=runtime)
    except Refused:
        assert not fit
    else:
        assert chosen in fit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "`partitions`, with a name and its limits each, is needed"),
        ("partitions: {a: {max_mem: 3}}", "partition a: 'max_mem' is unknown; valid: max_runtime"),
        ("partitions: {a: {max_runtime: soon}}", "max_runtime='soon': minutes, or text"),
        ("partitions: {a: {max_gpu: -1}}", "max_gpu=-1: number of GPUs"),
        ("partitions: {a: {available_gpu_models: a100}}", "a list of names is needed"),
        ("partitions: {a: {cluster: b}}", "jobs cannot go to another cluster"),
        ("partitions: [", "while parsing"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"p\.yaml") as error:
        read(tmp_path / "p.yaml")
    assert said in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ValueError, match="No such file"):
        read(tmp_path / "none.yaml")


def test_every_limit_is_read(tmp_path: Path) -> None:
    listed = ", ".join(f"{key}: 7" for key in LIMITS)
    (tmp_path / "p.yaml").write_text(f"partitions: {{a: {{{listed}}}}}")
    (only,) = read(tmp_path / "p.yaml")
    assert only.limits == dict.fromkeys(LIMITS, 7.0)
