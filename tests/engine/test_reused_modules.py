"""Trained modules of one run as the first modules of another: which weights they have, which move,
and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import Case, Row, data_of, heard, same, snapshot, trainer_of
from modulewise.config.cell import Cell
from modulewise.engine import budget, reuse
from modulewise.engine.flops import Flops
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.errors import InvalidInput
from modulewise.runs import result
from modulewise.schedules.sequential import Sequential

GREEDY, DGL = Row(Case("greedy"), "resnet8"), Row(Case("dgl", {"feature_dim": 8}), "resnet8")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one of GREEDY, weights kept."""
    folder = tmp_path_factory.mktemp("runs")
    cell = GREEDY.cell(epochs=1)
    trainer_of(cell, folder / cell.path, keep_weights=True).fit()
    return folder


def reusing(row: Row, modules: int, frozen: bool = True, seed: int = 1, **training: Any) -> Cell:
    """A cell of another seed with the first modules of that run."""
    schedule = {"schedule": "sequential"} if frozen else {}
    source = {"source": GREEDY.cell(epochs=1).path, "modules": modules, "frozen": frozen}
    cell = row.cell(seed=seed, **(schedule | training))
    return Cell.model_validate(cell.model_dump() | {"reuse": source})


def trainer(cell: Cell, runs: Path, folder: Path, **more: Any) -> Trainer:
    return trainer_of(cell, folder, reused=reuse.read(cell, runs), **more)


def modules(method: torch.nn.Module, kind: str, numbers: range) -> dict[str, Tensor]:
    """A copy of the entries of some modules."""
    starts = tuple(f"{kind}.{k}." for k in numbers)
    return {n: v for n, v in snapshot(method).items() if n.startswith(starts)}


def source_of(runs: Path) -> Any:
    folder = runs / GREEDY.cell(epochs=1).path
    return torch.load(folder / "weights.pt", weights_only=True)["method"]


@pytest.mark.parametrize("row", [GREEDY, DGL], ids=["same method", "another method"])
@pytest.mark.parametrize("n", [1, 2])
def test_frozen_modules_end_as_they_were(n: int, row: Row, runs: Path, tmp_path: Path) -> None:
    """Weights and BatchNorm's statistics, bit for bit; all other modules move."""
    made = trainer(reusing(row, n, epochs=3), runs, tmp_path)
    before = snapshot(made.method)
    outcome = made.fit()
    source, after = source_of(runs), snapshot(made.method)
    kept = modules(made.method, "trunk", range(n))
    assert kept and all(torch.equal(value, source[name]) for name, value in kept.items())
    assert outcome.epochs == outcome.planned_epochs == 3
    for k in range(n, 3):
        mine = [name for name in after if name.startswith(f"trunk.{k}.")]
        assert not all(torch.equal(after[name], before[name]) for name in mine)
    heads = modules(made.method, "heads", range(n))
    expected = source if row is GREEDY else before
    assert heads and same(heads, {name: expected[name] for name in heads})


@pytest.mark.parametrize("schedule", ["joint", "sequential", "asynchronous"])
def test_modules_that_are_not_frozen_begin_with_the_weights(
    schedule: str, runs: Path, tmp_path: Path
) -> None:
    made = trainer(reusing(GREEDY, 3, frozen=False, schedule=schedule, epochs=3), runs, tmp_path)
    source = source_of(runs)
    assert same(snapshot(made.method), source), "all modules, with their helpers"
    made.fit()
    after = snapshot(made.method)
    assert all(not torch.equal(after[n], source[n]) for n in after if n.endswith("weight"))


def test_what_is_kept_of_earlier_steps_is_not_reused(tmp_path: Path) -> None:
    row = Row(Case("ddg"), "mlp3x16")
    source = row.cell(epochs=1)
    trainer_of(source, tmp_path / source.path, keep_weights=True).fit()
    given = {"reuse": {"source": source.path, "modules": 2, "frozen": False}}
    cell = Cell.model_validate(row.cell(seed=1).model_dump() | given)
    made = trainer(cell, tmp_path, tmp_path / "mine")
    weights = torch.load(tmp_path / source.path / "weights.pt", weights_only=True)["method"]
    kept = [name for name in weights if name.startswith("past.")]
    assert kept and not made.method.state_dict().keys() & set(kept)
    mine = modules(made.method, "trunk", range(2))
    assert mine and all(torch.equal(value, weights[name]) for name, value in mine.items())
    made.fit()


def test_the_result_says_where_the_modules_come_from(runs: Path, tmp_path: Path) -> None:
    source = GREEDY.cell(epochs=1)
    trainer(reusing(GREEDY, 1, epochs=2), runs, tmp_path).fit()
    found = result.load(tmp_path / "result.json").origin.reused
    assert found is not None
    file = (runs / source.path / "weights.pt").read_bytes()
    assert found.cell == source.id
    assert found.weights == hashlib.sha256(file).hexdigest()[:12]
    assert found.source == result.load(runs / source.path / "result.json").origin.source
    assert result.load(runs / source.path / "result.json").origin.reused is None


def test_a_stopped_run_goes_on_with_the_same_weights_only(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, stop = reusing(GREEDY, 1, epochs=2), Stop(asked=True)
    whole = trainer(cell, runs, tmp_path / "whole")
    whole.fit()
    with pytest.raises(Interrupted):
        trainer(cell, runs, tmp_path / "stopped", stop=stop).fit()
    given = reuse.read(cell, runs)
    assert given
    changed = reuse.Reused(
        given.weights, given.cell, given.origin.model_copy(update={"weights": "other"})
    )
    with pytest.raises(InvalidInput, match="reused weights have changed since the run began"):
        trainer_of(cell, tmp_path / "stopped", reused=changed).fit()
    again = trainer(cell, runs, tmp_path / "stopped")
    again.fit()
    assert same(snapshot(again.method), snapshot(whole.method))


def test_a_run_without_the_weights_does_not_begin(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the weights that it reuses were not given"):
        trainer_of(reusing(GREEDY, 1, epochs=2), tmp_path).fit()


@pytest.mark.parametrize(
    ("row", "modules_", "message"),
    [
        (
            Row(Case("greedy"), "resnet14"),
            2,
            r"do not fit: trunk.0.2.bn1.bias is \(16,\) here and missing there",
        ),
        (Row(Case("greedy"), "mlp3x16"), 1, "do not fit: trunk.*"),
    ],
    ids=["more stages", "another network"],
)
def test_modules_that_do_not_fit_are_refused(
    row: Row, modules_: int, message: str, runs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=message) as error:
        trainer(reusing(row, modules_, epochs=3), runs, tmp_path)
    assert str(error.value).startswith(f"fake {row.network} greedy K=3 s1: reuse: the modules of ")


def broken(runs: Path) -> Iterator[tuple[str, bytes | None, str]]:
    """File of the source, what it holds, and what is said."""
    yield "result.json", None, "no result.json; train the source first"
    yield "result.json", b"{", "result.json: damaged; remove it to train again"
    yield "weights.pt", None, "no weights.pt; remove .*/result.json and train the source again"
    yield "weights.pt", b"hello", "weights.pt: damaged; remove .*/result.json and train the source"


@pytest.mark.parametrize("n", range(4))
def test_a_source_without_weights_is_refused_with_what_to_do(
    n: int, runs: Path, tmp_path: Path
) -> None:
    file, content, message = list(broken(runs))[n]
    cell = reusing(GREEDY, 1, epochs=2)
    assert cell.reuse
    for name in ("result.json", "weights.pt"):
        copy = tmp_path / cell.reuse.source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((runs / cell.reuse.source / name).read_bytes())
    place = tmp_path / cell.reuse.source / file
    place.unlink() if content is None else place.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"^{cell}: reuse: .*{message}"):
        reuse.read(cell, tmp_path)


def test_weights_of_another_cell_are_refused(runs: Path) -> None:
    cell = reusing(GREEDY, 1, epochs=2)
    assert cell.reuse
    elsewhere = cell.reuse.source[:-8] + "01234567"
    (runs / elsewhere).mkdir(parents=True)
    for name in ("result.json", "weights.pt"):
        (runs / elsewhere / name).write_bytes((runs / cell.reuse.source / name).read_bytes())
    other = cell.model_copy(update={"reuse": cell.reuse.model_copy(update={"source": elsewhere})})
    with pytest.raises(InvalidInput, match="weights of another cell"):
        reuse.read(other, runs)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [0, 5, 4]),
        ({"epochs": "each", "growth": 2}, [0, 11, 13]),
        ({"last": {"epochs": 4}}, [0, 9, 4]),
    ],
    ids=str,
)
def test_phases_of_frozen_modules_are_left_out(options: dict[str, Any], epochs: list[int]) -> None:
    training = GREEDY.cell(schedule="sequential", epochs=9, sequential=options).training
    made = Sequential(training, 3, 1, 0, 1, **training.schedule_options)
    assert [phase.epochs for phase in made.phases(9)] == epochs


def test_a_budget_in_flops_pays_for_the_phases_that_are_left() -> None:
    """At 100, 3 and 5 an image, the first left out: four epochs each are 32, one more of the
    second phase is 35."""
    training = GREEDY.cell(schedule="sequential", flops=36.0).training
    made = Sequential(training, 3, 1, 0, 1)
    prices = [Flops(float(p), 0.0, 1.0) for p in (100, 3, 5)]
    n = budget.epochs(training, made, prices, seen=1, steps=1)
    assert [phase.epochs for phase in made.phases(n)] == [0, 5, 4]


def test_features_of_reused_modules_can_be_kept(runs: Path, tmp_path: Path) -> None:
    plain = reusing(GREEDY, 2, epochs=1, sequential={"cache": "auto"})
    still = plain.data.model_copy(update={"pad": 0, "flip": False})
    cell = plain.model_copy(update={"data": still})
    lines: list[str] = []
    with heard(lines.append):
        trainer(cell, runs, tmp_path).fit()
    assert [line for line in lines if "features" in line] == [
        "features that enter module 2 are kept: 1 MiB"
    ]
    assert len(data_of(cell).parts.train) == 42
