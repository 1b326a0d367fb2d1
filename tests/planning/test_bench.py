"""`modulewise bench`: arms take turns, memory adds up to its peak, ratios and bounds are right."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cases import Case, Row, trainer_of
from modulewise.cli import app
from modulewise.config.plan import Plan, load_plan
from modulewise.engine.trainer import Trainer
from modulewise.errors import InvalidInput
from modulewise.planning import bench, capacity, products, profile
from modulewise.planning.arms import Arm, Group, groups
from modulewise.report import ratios
from modulewise.report.bench import sentences

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["mlp3x8"],
    "recipes": ["backprop", "greedy"],
    "modules": [2],
    "seeds": 2,
    "training": {"batch_size": 8, "train_images": 64},
}


@pytest.fixture(autouse=True)
def small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's peak matters to nothing here but that there is one."""
    monkeypatch.setattr(products, "ROWS", {"cpu": 32})


def sweep(folder: Path, *grids: dict[str, Any]) -> Path:
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({"sweep": "s", "grids": [GRID | g for g in grids or [{}]]}))
    return path


def plan_of(folder: Path, *grids: dict[str, Any]) -> Plan:
    return load_plan(sweep(folder, *grids), ROOT)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `modulewise bench` on the folder's sweep."""
    given = ["--sweep", str(folder / "s.yaml"), "--root", str(ROOT), "--out", str(folder / "out")]
    monkeypatch.setattr(sys, "argv", ["modulewise", "bench", *given, "--device", "cpu", *words])
    with pytest.raises(SystemExit) as left:
        app.main()
    return int(left.value.code or 0)


def arm_of(case: Case, network: str = "resnet8", **training: Any) -> Arm:
    cell = Row(case, network).cell(**training)
    return Arm(case.method, cell, case.method == "backprop")


def measured(arm: Arm, *caps: int) -> dict[str, Any]:
    """What a bench finds of one arm without timing it."""
    group = Group("fake", arm.cell.training.batch_size, (arm,))
    found = bench.measure([group], Path("unused"), CPU, 0, caps)
    return dict(found["groups"][0]["arms"][0])


def test_arms_take_turns_and_the_file_has_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    step = Trainer.step
    monkeypatch.setattr(
        Trainer, "step", lambda self, batch: (made.append(self.cell.recipe), step(self, batch))[1]
    )
    arms = groups(plan_of(tmp_path, {"recipes": ["backprop", "greedy", "dgl"]}))
    found = bench.measure(arms, Path("unused"), CPU, 3, [])["groups"][0]
    order = [s["arm"].split()[0] for s in found["steps"]]
    assert order == ["backprop", "greedy", "dgl"] * 3 == made[-9:]
    assert [s["round"] for s in found["steps"]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert all(s["seconds"] > 0 and s["cpu_seconds"] > 0 for s in found["steps"])
    for arm in found["arms"]:
        mine = sorted(s["seconds"] for s in found["steps"] if s["arm"] == arm["name"])
        batches = sorted(s["batch_seconds"] for s in found["steps"] if s["arm"] == arm["name"])
        assert arm["step"]["seconds"]["median"] == mine[1]
        assert arm["epoch"]["steps"] == 8  # 64 images in batches of 8
        assert arm["epoch"]["seconds"] == pytest.approx(8 * (mine[1] + batches[1]))
        assert arm["over_bound"]["step_seconds"] > 0


@pytest.mark.parametrize(
    "case",
    [
        Case("backprop", modules=1),
        Case("checkpointed", {"at": "blocks"}, modules=1),
        Case("infopro", {"mode": "contrast", "feature_dim": 16}),
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_parts_of_memory_add_up_to_the_peak_of_a_run(
    case: Case, optimizer: str, tmp_path: Path
) -> None:
    arm = arm_of(case, epochs=1, optimizer=optimizer)
    memory = measured(arm)["memory"]
    parts = {k: v for k, v in memory.items() if k not in ("peak", "workspace")}
    cost = trainer_of(arm.cell, tmp_path).fit().cost
    assert sum(parts.values()) == memory["peak"] == cost.peak_memory_bytes
    assert cost.parameters and cost.helper_parameters is not None
    own = 4 * (cost.parameters - cost.helper_parameters)
    assert memory["parameters"] == own
    tensors = 2 if optimizer == "adamw" else 1
    assert memory["optimizer"] - tensors * own in range(1000 if tensors == 2 else 1)  # step counts
    assert memory["helpers"] >= 4 * cost.helper_parameters
    assert memory["other"] == 0


@pytest.mark.parametrize(("modules", "activations"), [(1, 64), (2, 32)])
def test_bound_of_a_small_mlp_by_hand(modules: int, activations: int) -> None:
    """Images of 3 x 8 x 8, two layers of 8 units with ReLU, 4 classes. Each layer keeps what ReLU
    gave, 32 bytes an image; the first keeps the images, which the batch counts already."""
    case = Case("backprop" if modules == 1 else "greedy", modules=modules)
    found = measured(arm_of(case, "mlp2x8-relu"))
    parameters = 192 * 8 + 8 + 8 * 8 + 8 + 8 * 4 + 4
    batch = 8 * (2 * 192 * 4 + 8)  # normalised and plain images, and a label
    batch += 42 * 8  # the order of the epoch, of which the indices are a part
    assert found["memory"]["batch"] == batch
    by_hand = 2 * 4 * parameters + batch + 8 * activations
    assert found["bound"]["memory"] == by_hand
    assert found["over_bound"]["memory"] == found["memory"]["peak"] / by_hand > 1


def test_bound_in_half_the_precision() -> None:
    """Of bf16 the first layer keeps a copy of the images, 192 numbers; the classifier's matrix
    product keeps nothing more than what ReLU gave."""
    full, half = (
        measured(arm_of(Case("backprop", modules=1), "mlp2x8-relu", precision=p))["bound"]["memory"]
        for p in ("fp32", "bf16")
    )
    assert full - half == 8 * (64 - 2 * (192 + 8 + 8))


@pytest.mark.parametrize(
    ("case", "cap"),
    [
        (Case("backprop", modules=1), 1_300_000),
        pytest.param(
            Case("contsup", {"context": "E", "mode": "contrast"}), 2_000_000, marks=pytest.mark.slow
        ),
    ],
)
def test_the_largest_batch_is_the_largest(case: Case, cap: int, tmp_path: Path) -> None:
    """The same peak as that of runs with as many images in a step, and with one more."""
    found = measured(arm_of(case), cap)["fits"][0]
    assert found["cap"] == cap and found["how"] == "measured" and 8 < found["batch"] < 21

    def peak(n: int) -> int:
        row = Row(case, "resnet8").cell(batch_size=n, epochs=1)
        return trainer_of(row, tmp_path / str(n)).fit().cost.peak_memory_bytes or 0

    assert peak(found["batch"]) <= cap < peak(found["batch"] + 1)


def test_no_batch_fits_or_a_projected_one() -> None:
    case = Case("backprop", modules=1)
    none, far = measured(arm_of(case), 1000, 2**30)["fits"]
    assert none == {"cap": 1000, "batch": None, "how": "measured"}
    assert far["how"] == "projected" and far["batch"] > 4 * 8


@pytest.mark.parametrize(
    ("curve", "largest", "told"),
    [
        (lambda n: 100 + 7 * n, 1414, 1414),
        (lambda n: 100 + 7 * n + 3 * n * n, 56, 56),
        (lambda n: max(500 + n, 20 * n), 500, 1239),  # the peak moves beyond what is known
        (lambda n: max(100 + n, 10 * n), 1000, 1000),  # and before
        (lambda n: 7 * n if n < 40 else 10**9, 39, 1428),
        (lambda n: 7 * n if n < 40 else math.inf, 39, 1428),
    ],
)
def test_search_for_the_largest_batch(curve: Any, largest: int, told: int) -> None:
    """In a memory of 10,000 bytes, from four sizes: found, and told without measuring more."""
    known = {n: float(curve(n)) for n in (4, 8, 16, 32)}
    asked: list[int] = []

    def peak(n: int) -> float:
        asked.append(n)
        return float(curve(n))

    assert capacity.largest(peak, known, 10_000, 10**9) == (largest, "measured")
    assert len(asked) <= capacity.TRIES
    asked.clear()
    assert capacity.largest(peak, known, 10_000, 33) == (told, "projected") and not asked


def made_up(name: str, peak: int, seconds: float, end_to_end: bool) -> dict[str, Any]:
    """An arm's figures, all in proportion to two numbers."""
    return {
        "name": name,
        "status": "measured",
        "end_to_end": end_to_end,
        "step": {"seconds": {"median": seconds}},
        "epoch": {"seconds": 10 * seconds, "evaluation_seconds": seconds},
        "memory": {"peak": peak, "activations": peak - 20},
        "fits": [{"batch": 10000 // peak}],
        "flops": {"trunk": 4.0, "helpers": seconds},
        "inference_macs": 5.0,
        "parameters": {"trained": peak},
    }


def test_ratios_and_verdicts_by_hand() -> None:
    arms = [
        made_up("backprop", 100, 1.0, True),
        made_up("checkpointed", 50, 1.5, True),
        made_up("small", 40, 3.0, False),
        made_up("between", 60, 1.2, False),
        made_up("slow", 80, 2.0, False),
        made_up("equal", 50, 1.5, False),
    ]
    seconds = {"backprop": [1.0, 2.0, 4.0], "slow": [2.0, 5.0, 9.0]}
    steps = [
        {"round": n, "arm": name, "seconds": s, "cpu_seconds": 2 * s if name == "slow" else s}
        for name, mine in seconds.items()
        for n, s in enumerate(mine)
    ]
    ratios.compare(group := {"reference": "backprop", "arms": arms, "steps": steps})
    assert arms[4]["over_reference"] == {
        "step_seconds": 2.25,  # of 2, 2.5, 2.25
        "cpu_seconds": 4.5,
        "epoch_seconds": 2.0,
        "evaluation_seconds": 2.0,
        "peak": 0.8,
        "activations": 0.75,
        "fits": [1.25],
        "flops": 6 / 5,
        "inference_macs": 1.0,
        "parameters": 0.8,
    }
    assert arms[0]["verdict"] is None and arms[1]["verdict"] is None
    assert arms[2]["verdict"] == {"outside": True, "beaten_by": None, "margin": 1.25}
    assert arms[3]["verdict"] == {"outside": True, "beaten_by": None, "margin": 1.25}
    assert arms[4]["verdict"] == {
        "outside": False,
        "beaten_by": "checkpointed",
        "margin": max(50 / 80, 1.5 / 2),
    }
    assert arms[5]["verdict"] == {"outside": False, "beaten_by": "checkpointed", "margin": 1.0}
    said = sentences(group | {"dataset": "d", "networks": ["n"], "batch_size": 1})
    assert [line.split(":")[0] for line in said] == ["small", "between", "slow", "equal"]
    assert "outside" in said[0] and "checkpointed is as small and as fast" in said[2]


def test_groups_and_their_references(tmp_path: Path) -> None:
    """By data set and batch size; a network joins the first with a plain backprop unless it has
    its own; another precision is no reference."""
    found = groups(
        plan_of(
            tmp_path,
            {},
            {"networks": ["mlp2x8-relu"], "recipes": ["greedy"]},
            {"training": {"batch_size": 8, "precision": "bf16"}, "recipes": ["backprop"]},
            {"networks": ["mlp2x4-relu"]},
            {"training": {"batch_size": 4, "channels_last": True}},
        )
    )
    assert [(g.batch_size, g.networks, g.reference) for g in found] == [
        (8, ["mlp3x8", "mlp2x8-relu"], "backprop"),
        (8, ["mlp2x4-relu"], "mlp2x4-relu backprop"),
        (4, ["mlp3x8"], None),
    ]
    assert [arm.name for arm in found[0].arms] == [
        "backprop",
        "greedy K=2",
        "mlp2x8-relu greedy K=2",
        "backprop bf16",
    ]
    assert [a.name for a in found[2].arms] == [
        "backprop channels_last batch=4",
        "greedy K=2 channels_last batch=4",
    ]
    resized = groups(plan_of(tmp_path), batch=16)
    assert [a.cell.training.batch_size for a in resized[0].arms] == [16, 16]
    assert [a.name for a in resized[0].arms] == ["backprop", "greedy K=2"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(InvalidInput, match=r"unknown arm 'gredy K=2'; did you mean 'greedy K=2'"):
        groups(plan, only=["gredy K=2"])
    assert [a.name for a in groups(plan, only=["greedy K=2"])[0].arms] == ["greedy K=2"]
    sequential = plan_of(tmp_path, {"training": {"schedule": "sequential"}})
    with pytest.raises(InvalidInput, match="schedule sequential; bench compares steps of schedule"):
        groups(sequential)


KEYS = {
    "": "format sweep title device versions commit rounds memory_caps peak_flops groups",
    "group": "dataset networks batch_size reference arms steps",
    "arm": "name recipe method network modules precision channels_last configuration status reason "
    "horizon end_to_end memory peaks fits flops inference_macs parameters bound step epoch "
    "over_bound over_reference verdict",
    "memory": "parameters buffers optimizer helpers helper_optimizer other batch activations "
    "workspace peak",
    "over_reference": "step_seconds cpu_seconds epoch_seconds evaluation_seconds peak activations "
    "fits flops inference_macs parameters",
    "step": "seconds cpu_seconds batch_seconds",
    "steps": "round arm seconds cpu_seconds batch_seconds",
    "epoch": "steps seconds evaluation_seconds",
    "parameters": "trained helpers inference",
    "verdict": "outside beaten_by margin",
}
"""Keys of the file, format 1: whoever changes one raises the format."""


def test_files_of_a_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path)
    assert run(tmp_path, monkeypatch, "--rounds", "2", "--memory-cap", "1MiB") == 0
    found = json.loads((tmp_path / "out/bench.json").read_text())
    group = found["groups"][0]
    end, local = group["arms"]
    seen = {"": found, "group": group, "arm": local, "steps": group["steps"][0]}
    for name, keys in KEYS.items():
        assert set(seen.get(name, local.get(name))) == set(keys.split()), name
    assert found["format"] == 1 and found["memory_caps"] == [2**20]
    assert end["end_to_end"] and not local["end_to_end"] and group["reference"] == "backprop"
    assert end["over_reference"]["step_seconds"] == end["over_reference"]["peak"] == 1
    rows = list(csv.DictReader((tmp_path / "out/table.csv").open()))
    assert [r["name"] for r in rows] == ["backprop", "greedy K=2"]
    assert float(rows[1]["memory.peak"]) == local["memory"]["peak"]
    page = (tmp_path / "out/table.md").read_text()
    assert "| greedy K=2 |" in page and "- greedy K=2: " in page
    picture = tmp_path / "out/pareto_fake_mlp3x8_b8.svg"
    assert picture.read_text().lstrip().startswith("<?xml")
    assert picture.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "greedy K=2: " in said and max(map(len, said.splitlines())) <= 80


def test_memory_alone_and_no_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, {"recipes": ["greedy"]})
    assert run(tmp_path, monkeypatch, "--rounds", "0", "--memory-cap", "1MiB") == 0
    arm = json.loads((tmp_path / "out/bench.json").read_text())["groups"][0]["arms"][0]
    assert arm["step"] is arm["epoch"] is arm["over_reference"] is arm["verdict"] is None
    assert arm["memory"]["peak"] > 0 and arm["over_bound"]["memory"] > 1
    assert "no plain backprop" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("pareto*"))
    assert run(tmp_path, monkeypatch, "--memory-cap", "8 buckets") == 2
    assert "--memory-cap: '8 buckets' is no size of memory" in capsys.readouterr().err


def test_too_little_memory_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer.step

    def short(self: Trainer, batch: Any) -> Any:
        if self.cell.recipe == "greedy":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes")
        return step(self, batch)

    monkeypatch.setattr(Trainer, "step", short)
    sweep(tmp_path)
    assert run(tmp_path, monkeypatch, "--rounds", "1", "--memory-cap", "1MiB") == 0
    end, local = json.loads((tmp_path / "out/bench.json").read_text())["groups"][0]["arms"]
    assert (end["status"], local["status"]) == ("measured", "out_of_memory")
    assert set(local) == set(end) and "can't allocate" in local["reason"]
    assert "| greedy K=2 | out of memory |" in (tmp_path / "out/table.md").read_text()


def test_noise_of_the_data_sets_own_shape_and_number() -> None:
    noise = profile.images(Row(Case("backprop", modules=1), "resnet8").cell(), Path("unused"))
    assert noise.sizes.train == 42 and noise.image == (3, 8, 8)
