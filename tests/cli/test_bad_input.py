"""Wrong input is one line that names the place and the valid choices, never a traceback."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases import Case, Row, heard, trainer_of
from modulewise.cli import app
from modulewise.cli.data import growing
from modulewise.config.dataset import Dataset
from modulewise.config.loading import read_yaml
from modulewise.config.recipes import Recipes
from modulewise.config.resolve import Catalog
from modulewise.config.sweep import Sweep
from modulewise.data.load import load
from modulewise.data.sources import arrays
from modulewise.errors import InvalidInput, parse

GRID: dict[str, Any] = {
    "datasets": ["fake"],
    "networks": ["resnet8"],
    "recipes": ["dgl"],
    "modules": [1],
    "seeds": 1,
}


def sweep(**changes: Any) -> dict[str, Any]:
    return {"sweep": "s", "grids": [{k: v for k, v in (GRID | changes).items() if v is not None}]}


@pytest.mark.parametrize("kind", ["empty", "npy", "text"])
def test_a_file_that_is_no_npz(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    if kind == "npy":
        with path.open("wb") as f:
            np.save(f, np.zeros(3))
    else:
        path.write_text("" if kind == "empty" else "hello")
    with pytest.raises(InvalidInput, match="not a readable npz file") as error:
        load(Dataset(source="npz", path=str(path)), tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_labels_too_large_for_an_index(tmp_path: Path) -> None:
    x, y = np.zeros((3, 8, 8), np.uint8), np.arange(3)
    np.savez(
        tmp_path / "a.npz",
        x_train=x,
        y_train=np.array([0, 1, 2**63 + 5], np.uint64),
        x_test=x,
        y_test=y,
    )
    with pytest.raises(InvalidInput, match=f"y_train holds labels 0 to {2**63 + 5}"):
        load(Dataset(source="npz", path=str(tmp_path / "a.npz")), tmp_path)


def test_a_single_training_image(tmp_path: Path) -> None:
    x, y = np.zeros((3, 8, 8), np.uint8), np.arange(3)
    np.savez(tmp_path / "a.npz", x_train=x[:1], y_train=y[:1], x_test=x, y_test=y)
    with pytest.raises(InvalidInput, match="1 training images; at least 2 are needed"):
        load(Dataset(source="npz", path=str(tmp_path / "a.npz")), tmp_path)


def test_more_reflection_than_image(tmp_path: Path) -> None:
    entry = Dataset(source="fake", shape=(3, 4, 4), classes=4, pad=4, padding="reflect")
    with pytest.raises(InvalidInput, match="at most 3"):
        load(entry, tmp_path)
    load(entry.model_copy(update={"pad": 3}), tmp_path)


def test_an_unknown_key_inside_a_union_is_named() -> None:
    override = {"when": {"net": "a"}, "set": {}, "source": "x"}
    content = {
        "training": {},
        "recipes": {"a": {"method": "dgl", "label": "x", "overrides": [override]}},
    }
    with pytest.raises(
        InvalidInput,
        match=r"recipes\.a\.overrides\[0\]\.when: unknown key 'net'.*valid: dataset, modules, "
        r"network",
    ):
        parse(Recipes, content, "r.yaml")


def test_a_misspelt_key_is_named_rather_than_the_missing_one() -> None:
    with pytest.raises(InvalidInput, match="unknown key 'dataset'; did you mean 'datasets'"):
        parse(Sweep, sweep(datasets=None, dataset=["fake"]), "s.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^s\.yaml: grids\[0\]\.recipes: missing$"):
        parse(Sweep, sweep(recipes=None), "s.yaml")


@pytest.mark.parametrize("seeds", [[], 0, [-1], "three"])
def test_wrong_seeds_are_told_at_their_place(seeds: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^s\.yaml: grids\[0\]\.seeds(\[0\])?: ") as error:
        parse(Sweep, sweep(seeds=seeds), "s.yaml")
    assert "constrained" not in str(error.value)


def test_a_method_that_does_not_cut_is_refused_with_several_modules(
    catalog: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidInput, match="backprop does not cut the network; valid modules: 1, got 4"
    ):
        catalog.cell("fake", "resnet8", "backprop", 4, 0)
    with pytest.raises(
        InvalidInput, match="backprop does not cut the network; valid modules: 1, got 4"
    ):
        trainer_of(
            Row(Case("backprop"), "resnet8").cell(modules=4),
            tmp_path,
        )


def test_sequential_training_needs_an_epoch_a_module(tmp_path: Path) -> None:
    cell = Row(Case("greedy"), "resnet8").cell(schedule="sequential", epochs=2)
    with pytest.raises(
        InvalidInput, match="sequential training of 3 modules needs at least 3 epochs, got 2"
    ):
        trainer_of(cell, tmp_path)


def test_a_small_flops_budget_still_trains_every_module(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")
    trainer = trainer_of(
        row.cell(schedule="sequential", epochs=160, flops=1.0),
        tmp_path,
    )
    before = [p.clone() for p in trainer.method.parameters()]
    assert trainer.fit().epochs == 3
    assert all(
        not torch.equal(a, b) for a, b in zip(before, trainer.method.parameters(), strict=True)
    )


def test_a_checkpoint_of_another_cell_is_refused(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")

    class Enough(Exception):
        pass

    def stop(line: str) -> None:
        raise Enough

    with pytest.raises(Enough), heard(stop):
        trainer_of(row.cell(), tmp_path, save_every=0).fit()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InvalidInput, match="holds the checkpoint of another cell"):
        trainer_of(row.cell(lr=0.01), tmp_path).fit()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    at=st.floats(0, 1),
    piece=st.binary(min_size=1, max_size=4),
    packed=st.booleans(),
    cut=st.booleans(),
)
def test_a_damaged_npz_is_read_or_refused(
    at: float, piece: bytes, packed: bool, cut: bool, tmp_path: Path
) -> None:
    path, x, y = tmp_path / "a.npz", np.zeros((6, 4, 4), np.uint8), np.arange(6) % 3
    (np.savez_compressed if packed else np.savez)(path, x_train=x, y_train=y, x_test=x, y_test=y)
    sound = path.read_bytes()
    n = int(at * len(sound))
    path.write_bytes(sound[:n] if cut else sound[:n] + piece + sound[n + len(piece) :])
    try:
        arrays(Dataset(source="npz", path=str(path)), tmp_path)
    except InvalidInput as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_numbers_written_as_yaml_1_1_text_are_numbers() -> None:
    assert yaml.safe_load("1e-3") == "1e-3"
    row = Row(Case("greedy"), "resnet8")
    assert (
        row.cell(lr="1e-3").training.lr == 0.001 and row.cell(lr="1e-3").id == row.cell(lr=0.001).id
    )


def test_anchors_and_merge_keys_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_a_cell_that_cannot_be_built_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Row(Case("greedy"), "resnet8").cell(modules=9)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "modulewise",
            "train",
            "--cell",
            cell.to_json(),
            "--out",
            str(tmp_path / "run"),
            "--device",
            "cpu",
        ],
    )
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    with pytest.raises(SystemExit) as left:
        app.main()
    for name, handler in before.items():
        signal.signal(name, handler)
    assert left.value.code == 2 and not (tmp_path / "run").exists()


def test_a_log_says_how_far_a_download_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "modulewise")
    (tmp_path / "part").write_bytes(b"x" * 3_000_000)
    with growing("mnist", tmp_path, terminal=False, every=0.01):
        time.sleep(0.2)
    assert f"mnist: at work, 3 MB in {tmp_path}" in caplog.messages
    caplog.clear()
    with growing("mnist", tmp_path, terminal=True, every=0.01):
        time.sleep(0.1)
    assert caplog.messages == []


def test_an_endless_value_does_not_make_an_endless_line() -> None:
    said = str(InvalidInput(f"sweep.yaml: {'x' * 10_000}: File name too long"))
    assert (
        len(said) <= 4000
        and said.startswith("sweep.yaml: xxx")
        and said.endswith("x: File name too long")
    )
