"""The identity of a cell: what changes it, what does not, and its way through JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.options import names, options_model
from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput, parse

IMAGES = {"source": "fake", "shape": (3, 8, 8), "classes": 4}


def make(method: str = "infopro", modules: int = 4, **changes: Any) -> Cell:
    places = {"dataset": "fake", "network": "resnet8", "recipe": "r", "modules": modules, "seed": 0}
    return parse(Cell, places | {"method": method, "data": IMAGES} | changes, "here")


@pytest.mark.parametrize(
    "name", [n for n, f in TrainConfig.model_fields.items() if f.default is not None]
)
def test_a_training_setting_written_out_at_its_default_changes_nothing(name: str) -> None:
    default = TrainConfig.model_fields[name].default
    assert make(training={name: default}).id == make().id


@pytest.mark.parametrize("method", names("methods"))
def test_an_option_written_out_at_its_default_changes_nothing(method: str) -> None:
    k = 1 if method == "backprop" else 4
    for name, info in options_model("methods", method).model_fields.items():
        written = list(info.default) if isinstance(info.default, tuple) else info.default
        assert make(method, k, options={name: written}).id == make(method, k).id, name
        assert make(method, k, options={name: written}) == make(method, k)


OTHER: dict[str, Any] = {
    "epochs": 8,
    "flops": 1e9,
    "seconds": 5.0,
    "step_seconds": 0.5,
    "iterations": 12,
    "evaluate_every": 4,
    "lr_power": 1.0,
    "lr_floor": 0.01,
    "batch_size": 7,
    "train_images": 9,
    "optimizer": "adamw",
    "lr": 0.1,
    "momentum": 0.5,
    "nesterov": False,
    "weight_decay": 0.0,
    "schedule": "sequential",
    "lr_schedule": "step",
    "lr_milestones": (0.5,),
    "lr_factor": 0.2,
    "warmup_epochs": 1,
    "warmup_lr": 0.5,
    "precision": "bf16",
    "tf32": True,
    "channels_last": True,
    "deterministic": True,
    "module_metrics": "last",
    "gradient_angles": True,
    "accumulate": 2,
    "devices": 2,
    "sync_batchnorm": True,
    "recompute": "norms",
    "step_in_backward": True,
    "compile": "inductor",
    "cuda_graphs": True,
    "lr_update": "step",
    "asynchronous": {"buffer": 2},
    "sequential": {"epochs": "each"},
}
NEEDS: dict[str, dict[str, Any]] = {
    "asynchronous": {"schedule": "asynchronous"},
    "sequential": {"schedule": "sequential"},
    "step_seconds": {"seconds": 5.0},
    "evaluate_every": {"iterations": 12},
}
"""Settings that another one has a meaning with only."""


@pytest.mark.parametrize("name", TrainConfig.model_fields)
def test_every_other_training_setting_changes_the_id(name: str) -> None:
    needs = NEEDS.get(name, {})
    assert make(training=needs | {name: OTHER[name]}).id != make(training=needs).id


@pytest.mark.parametrize(
    "change",
    [
        {"buffer": 3},
        {"turns": "random"},
        {"reads": "uniform"},
        {"slowdown": {1: 2}},
        {"slowdown": {0: 2}},
    ],
    ids=str,
)
def test_every_setting_of_the_asynchronous_schedule_changes_the_id(change: dict[str, Any]) -> None:
    ids = {
        make(training={"schedule": "asynchronous", "asynchronous": options}).id
        for options in ({}, {"buffer": 2}, change)
    }
    assert len(ids) == 3
    plain = make(training={"schedule": "asynchronous", "asynchronous": change})
    assert Cell.model_validate_json(plain.to_json()) == plain


@pytest.mark.parametrize(
    "change",
    [
        {"growth": 3},
        {"last": {"epochs": 3}},
        {"last": {"optimizer": "adam"}},
        {"cache": "auto"},
        {"cache_mib": 1},
    ],
    ids=str,
)
def test_every_setting_of_the_sequential_schedule_changes_the_id(change: dict[str, Any]) -> None:
    made = [
        make(training={"schedule": "sequential", "sequential": {"epochs": "each"} | options})
        for options in ({}, {"last": {"lr": 0.25}}, change)
    ]
    assert len({cell.id for cell in made}) == 3
    assert Cell.model_validate_json(made[2].to_json()) == made[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "other"},
        {"network": "resnet14"},
        {"recipe": "s"},
        {"modules": 3},
        {"seed": 1},
        {"method": "dgl"},
        {"partition": "memory"},
        {"partition": ("0.0", "1.0", "2.0")},
        {"partition": {"budget": "4GiB"}},
        {"options": {"mode": "softmax"}},
        {"options": {"lambda1": [5, 0.25]}},
        {"data": {**IMAGES, "flip": True}},
        {"data": {**IMAGES, "pad": 1}},
        {"data": {**IMAGES, "classes": 5}},
        {"data": {**IMAGES, "mean": (0.5, 0.5, 0.5)}},
    ],
    ids=str,
)
def test_everything_else_changes_the_id(changes: dict[str, Any]) -> None:
    assert make(**changes).id != make().id


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"devices": 3, "batch_size": 8}, "devices: 3 equal shares .* batch_size, 8"),
        ({"devices": 5, "batch_size": 5}, "devices: 5 equal shares of at least 2 images"),
        ({"devices": 2, "batch_size": 8, "accumulate": 3}, "than a device's 4; valid: 1 to 2"),
        ({"devices": 2, "schedule": "sequential"}, "devices needs schedule joint"),
        ({"devices": 2, "step_in_backward": True}, "devices and step_in_backward exclude"),
        ({"devices": 2, "cuda_graphs": True}, "devices and cuda_graphs exclude"),
    ],
    ids=str,
)
def test_devices_that_a_step_cannot_be_shared_out_to_are_refused(
    training: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make(training=training)


def test_the_place_of_the_data_is_no_part_of_the_id() -> None:
    here, there = ({"source": "npz", "path": path} for path in ("/here/a.npz", "b.npz"))
    assert make(data=here).id == make(data=there).id
    assert make(data=here) != make(data=there)


def test_the_id_is_short_and_the_same_in_every_process() -> None:
    made = make()
    assert len(made.id) == 8
    assert int(made.id, 16) >= 0
    assert made.canonical() == (
        '{"data":{"classes":4,"shape":[3,8,8],"source":"fake"},"dataset":"fake","method":"infopro","modules":4,'
        '"network":"resnet8","recipe":"r","seed":0}'
    )


def test_the_path_names_every_axis() -> None:
    made = make()
    assert made.path == f"dataset~fake/network~resnet8/recipe~r/modules~4/seed~0/cell~{made.id}"


CELLS = st.builds(
    make,
    modules=st.just(4),
    seed=st.integers(0, 99),
    partition=st.sampled_from(
        ["even", "memory", "single", ("0.0", "1.0", "2.0"), {"budget": "1.5GiB"}]
    ),
    options=st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["softmax", "contrast"]),
            "lambda1": st.tuples(st.floats(0, 10), st.floats(0, 10)),
            "feature_dim": st.integers(1, 256),
        },
    ),
    training=st.fixed_dictionaries(
        {},
        optional={
            n: st.sampled_from([v, OTHER[n]])
            for n, v in {
                "epochs": 160,
                "lr": 0.8,
                "precision": "fp32",
                "schedule": "joint",
                "train_images": None,
            }.items()
        },
    ),
)


@given(CELLS)
def test_json_and_back(cell: Cell) -> None:
    again = Cell.model_validate_json(cell.to_json())
    assert again == cell
    assert again.id == cell.id
    assert again.to_json() == cell.to_json()


def test_json_keeps_the_place_of_the_data() -> None:
    made = make(data={"source": "npz", "path": "/here/a.npz"})
    assert Cell.model_validate_json(made.to_json()).data.path == "/here/a.npz"


def test_a_cell_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["a/b", "a b", "", "~x", ".hidden", "-x", "a=b"])
def test_names_stand_in_paths(name: str) -> None:
    with pytest.raises(InvalidInput, match="recipe"):
        make(recipe=name)


@pytest.mark.parametrize("cuts", [("0.0",), ("0.0", "1.0", "2.0", "3.0")])
def test_explicit_cuts_are_one_fewer_than_modules(cuts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=f"4 modules need 3 cuts, got {len(cuts)}"):
        make(partition=cuts)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"flops": 1e9, "seconds": 3}, "one budget"),
        ({"iterations": 9, "seconds": 3}, "one budget: epochs, flops, seconds or iterations"),
        ({"iterations": 9, "evaluate_every": 2}, "evaluate_every: 2 does not divide iterations, 9"),
        ({"evaluate_every": 2}, "evaluate_every needs a budget in iterations"),
        ({"lr_schedule": "poly", "lr": 1e-5}, "lr_floor: 0.0001 is above lr, 1e-05"),
        ({"momentum": 0}, "nesterov"),
        ({"epochs": 0}, "epochs.*greater than or equal to 1, got 0"),
        ({"lr": float("inf")}, "lr"),
        ({"precision": "fp16"}, "'fp32' or 'bf16'"),
        ({"learning_rate": 1}, "unknown key 'learning_rate'; .*valid: .*lr, lr_factor"),
    ],
)
def test_wrong_training_settings_are_refused_in_one_line(
    training: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        make(training=training)
    assert str(error.value).startswith("here: training")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "missing"),
    [
        ({"source": "npz"}, "path"),
        ({"source": "torchvision", "shape": (3, 8, 8), "classes": 4}, "torchvision_class"),
        ({"source": "fake", "classes": 4}, "shape"),
        ({"source": "imagefolder", "shape": (3, 8, 8), "classes": 4}, "path"),
    ],
)
def test_an_incomplete_data_set_is_refused_with_what_it_needs(
    entry: dict[str, Any], missing: str
) -> None:
    with pytest.raises(InvalidInput, match=f"needs .*{missing}"):
        parse(Dataset, entry, "here")


def test_a_copy_with_other_values_has_an_identity_of_its_own() -> None:
    first = make()
    assert first.path.endswith(first.id)
    other = first.model_copy(update={"seed": 1})
    assert (other.id, other.path) == (make(seed=1).id, make(seed=1).path)
    assert other.id != first.id and other == make(seed=1)


def test_a_budget_is_its_bytes() -> None:
    texts = ["4GiB", "4096MiB", "4 GiB", 2**32]
    assert len({make(partition={"budget": text}).id for text in texts}) == 1
    assert make(partition={"budget": "5GiB"}).id != make(partition={"budget": "4GiB"}).id
    assert '"partition":{"budget":4294967296}' in make(partition={"budget": "4GiB"}).canonical()


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ({"budget": "4 gigs"}, "partition.budget: '4 gigs' is no size of memory; valid: 512MiB"),
        ({"budget": "0GiB"}, "partition.budget: .* is no size of memory"),
        ({"budget": "much"}, "partition.budget: .* is no size of memory"),
        ({"budget": -3}, "partition.budget: .*greater than or equal to 1"),
        ({"budget": True}, "partition.budget: input should be a number, got true"),
        ({"bugdet": "4GiB"}, "partition: unknown key 'bugdet'; did you mean 'budget'?"),
        ("evn", "partition: .*'even'"),
    ],
)
def test_wrong_budgets_are_refused_in_one_line(partition: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make(partition=partition)


@pytest.mark.parametrize("schedule", ["sequential", "asynchronous"])
def test_a_budget_is_for_joint_steps(schedule: str) -> None:
    with pytest.raises(InvalidInput, match=f"valid schedule: joint, got {schedule}"):
        make(partition={"budget": "4GiB"}, training={"schedule": schedule})
