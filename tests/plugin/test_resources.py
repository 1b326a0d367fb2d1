"""Resources: the words, what they become in sbatch, and what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.resources import WORDS, Refused, check, extra, parameters


def sbatch(
    threads: int = 1, packed: int = 1, overhead: int = 0, delay: int = 120, **resources: object
) -> dict[str, object]:
    check(resources)
    return parameters(resources, threads, overhead, packed, delay)


def test_words_become_options_of_sbatch() -> None:
    words = {
        "slurm_partition": "gpu",
        "slurm_account": "lab",
        "qos": "long",
        "constraint": "a100",
        "exclude": "n3",
        "reservation": "r1",
    }
    made = sbatch(
        threads=4,
        runtime=90,
        mem_mb=8000,
        overhead=256,
        gpu=2,
        gpu_model="a100",
        slurm_extra="--nice=100 --exclusive",
        **words,
    )
    assert (
        made["partition"],
        made["account"],
        made["qos"],
        made["constraint"],
        made["exclude"],
    ) == ("gpu", "lab", "long", "a100", "n3")
    assert (made["time"], made["mem"], made["cpus_per_task"], made["gres"]) == (
        90,
        "8256MB",
        4,
        "gpu:a100:2",
    )
    assert made["additional_parameters"] == {
        "nice": "100",
        "exclusive": True,
        "reservation": "r1",
        "requeue": True,
    }


def test_a_step_gets_the_cpus_of_its_job() -> None:
    """Since Slurm 22.05 srun does not inherit them."""
    assert "--cpus-per-task=6" in sbatch(cpus_per_task=6)["srun_args"]


def test_of_several_nodes_the_first_runs_the_command() -> None:
    assert {"--nodes=1", "--ntasks=1"} <= set(sbatch(nodes=2)["srun_args"])
    assert "--nodes=1" not in sbatch()["srun_args"]


def test_packed_jobs_add_up_but_share_their_gpus() -> None:
    alone, packed = (
        sbatch(threads=2, mem_mb=1000, overhead=100, gpu=1),
        sbatch(threads=2, mem_mb=1000, overhead=100, gpu=1, packed=4),
    )
    assert (packed["cpus_per_task"], packed["mem"]) == (8, "4400MB")
    assert packed["gres"] == alone["gres"] == "gpu:1"


@pytest.mark.parametrize(
    "asked", [{"gpu": 2}, {"gres": "gpu:a100:2"}, {"gres": "lustre:1,gpu:2"}, {"gpu": "2"}]
)
def test_cpus_of_a_gpu_are_counted_for_all_gpus_and_shared_like_them(asked: dict[str, Any]) -> None:
    for packed in (1, 4):
        made = sbatch(threads=3, cpus_per_gpu=8, packed=packed, **asked)
        assert made["cpus_per_task"] == 16 and "--cpus-per-task=16" in made["srun_args"]


@pytest.mark.parametrize(("said", "option"), [(0, "no-requeue"), (1, "requeue"), (None, "requeue")])
def test_whether_slurm_starts_a_job_again_can_be_chosen(said: int | None, option: str) -> None:
    made = sbatch(**({} if said is None else {"slurm_requeue": said}))
    assert made["additional_parameters"] == {option: True}


def test_the_maker_of_a_gpu_is_for_readers() -> None:
    assert sbatch(gpu=1, gpu_manufacturer="nvidia", tasks_per_gpu=1) == sbatch(gpu=1)


@pytest.mark.parametrize(("minutes", "delay"), [(1, 15), (2, 30), (8, 120), (600, 120)])
def test_a_short_limit_leaves_at_most_a_quarter_for_the_warning(minutes: int, delay: int) -> None:
    assert sbatch(runtime=minutes)["signal_delay_s"] == delay


def test_memory_of_a_cpu_has_a_unit() -> None:
    assert (
        sbatch(mem_per_cpu=500)["mem_per_cpu"]
        == sbatch(mem_mb_per_cpu=500)["mem_per_cpu"]
        == "500MB"
    )
    assert sbatch(mem_per_cpu="2G")["mem_per_cpu"] == "2G"


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (
            {"slurm_partitio": "x"},
            r"'slurm_partitio' is unknown; did you mean slurm_partition\? Valid: runtime, ",
        ),
        ({"zzzz": 1}, "'zzzz' is unknown; valid: runtime, "),
        ({"mem_mb": 10, "mem_per_cpu": 10}, "mem_mb and mem_per_cpu contradict"),
        ({"mem_mb_per_cpu": 10, "mem_per_cpu": 10}, "mem_per_cpu and mem_mb_per_cpu contradict"),
        ({"gpu": 1, "gres": "gpu:2"}, "gpu and gres both ask"),
        ({"gpu_model": "a100"}, "gpu_model needs gpu"),
        ({"runtime": "soon"}, "runtime='soon': a whole number is needed, minutes"),
        ({"pack": 0}, "pack=0: a whole number is needed"),
        ({"nodes": -1}, "nodes=-1"),
        ({"tasks": 2}, "tasks=2: valid is 1"),
        ({"slurm_extra": "--job-name=x"}, "--job-name is set by the plugin"),
        (
            {"slurm_extra": "--no-requeue"},
            "--no-requeue is to be given as the resource slurm_requeue",
        ),
        ({"slurm_requeue": "never"}, "slurm_requeue='never': valid are 0 and 1"),
        ({"cpus_per_gpu": 8}, "cpus_per_gpu needs gpu"),
        ({"cpus_per_gpu": "x", "gpu": 1}, "cpus_per_gpu='x': a whole number is needed"),
        (
            {"cpus_per_gpu": 8, "cpus_per_task": 4, "gpu": 1},
            "cpus_per_task and cpus_per_gpu contradict",
        ),
        ({"tasks_per_gpu": 2, "gpu": 1}, "tasks_per_gpu=2: valid is 1"),
        (
            {"slurm_extra": "--cpus-per-gpu=8"},
            "--cpus-per-gpu is to be given as the resource cpus_per_gpu",
        ),
        (
            {"slurm_extra": "-p x", "slurm_partition": "y"},
            "--partition contradicts the resource slurm_partition",
        ),
        ({"slurm_extra": "--time=5", "runtime": 6}, "--time contradicts the resource runtime"),
        ({"slurm_extra": "loose"}, "'loose' belongs to no option"),
        ({"slurm_extra": "--comment='x"}, "slurm_extra: No closing quotation"),
        ({"tasks": "many"}, "tasks=many: valid is 1"),
        ({"slurm_extra": "--time=5"}, "--time is to be given as the resource runtime"),
        ({"slurm_extra": "-N 2"}, "--nodes is to be given as the resource nodes"),
        ({"slurm_extra": "-n 2"}, "--ntasks is to be given as the resource tasks"),
        (
            {"slurm_extra": "--ntasks-per-node=2"},
            "--ntasks-per-node is to be given as the resource tasks",
        ),
        ({"slurm_extra": "--gres=gpu:2", "gpu": 1}, "--gres contradicts the resource gpu"),
        (
            {"slurm_extra": "--gpus-per-node=2", "gres": "gpu:1"},
            "--gpus-per-node contradicts the resource gres",
        ),
        ({"slurm_extra": "--wait"}, "--wait is set by the plugin"),
        ({"slurm_extra": "-M other"}, "--clusters is set by the plugin"),
        ({"slurm_extra": "-z 1"}, "-z: write the option's long name"),
    ],
)
def test_nonsense_is_refused_in_one_line(resources: dict[str, object], said: str) -> None:
    with pytest.raises(Refused, match=said) as error:
        check(resources)
    assert "\n" not in str(error.value)


def test_a_resource_the_user_limits_is_known() -> None:
    check({"downloads": 1}, frozenset({"downloads"}))
    with pytest.raises(Refused, match="downloads"):
        check({"downloads": 1})


def test_a_gres_that_is_no_gpu_goes_with_gpus() -> None:
    check({"gpu": 1, "gres": "lustre:1"})


@given(st.text(alphabet=st.characters(codec="ascii", categories=("Ll",)), min_size=1, max_size=12))
def test_every_word_is_valid_or_refused_with_the_valid_ones(word: str) -> None:
    try:
        check({word: 1, "gpu": 1} if word in ("gpu_model", "cpus_per_gpu") else {word: 1})
    except Refused as error:
        if word not in WORDS:
            assert all(valid in str(error) for valid in WORDS)
    else:
        assert word in WORDS or word in {"mem", "disk", "tmpdir", "threads"}


@given(
    st.dictionaries(
        st.sampled_from(["nice", "exclusive", "mail-type", "wckey"]),
        st.sampled_from(["1", "a b", "x=y"]),
        max_size=4,
    )
)
def test_extra_options_survive(options: dict[str, str]) -> None:
    assert extra({"slurm_extra": " ".join(f"--{k}='{v}'" for k, v in options.items())}) == options


def test_every_process_of_a_command_has_its_own_cpus_memory_and_gpu() -> None:
    made = sbatch(threads=4, mem_mb=1000, overhead=100, gpu=1, gpu_model="a100", devices=3)
    assert (made["cpus_per_task"], made["mem"], made["gres"]) == (12, "3100MB", "gpu:a100:3")
    assert made["ntasks_per_node"] == 1
    assert sbatch(gpu=1, cpus_per_gpu=2, devices=3)["cpus_per_task"] == 6


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"nodes": 2}, "nodes=2: valid is 1 for a job with devices=2"),
        ({"pack": 4}, "pack=4: valid is 1 for a job with devices=2"),
        ({"gres": "gpu:2"}, "resource gres: give GPUs as gpu"),
        ({"devices": 0}, "resource devices=0: a whole number is needed"),
    ],
)
def test_several_processes_of_a_command_run_on_one_node(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        sbatch(**{"devices": 2, **asked})
