"""A run that was stopped at any step, or killed, and started again ends like one that was not:
weights, record and result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from torch import Tensor

from cases import (
    IMAGES,
    ROWS,
    SCHEDULES,
    Case,
    Row,
    heard,
    images,
    rows,
    same,
    snapshot,
    trainer_of,
)
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data.load import resident
from modulewise.data.resident import Resident
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.optim import ModuleOptimizers
from modulewise.runs import record
from modulewise.runs.result import Result
from modulewise.schedules.parallel import Parallel

pytestmark = pytest.mark.usefixtures("uncounted")

STEPS = 6
"""Of one epoch."""
_BY_TEXT: dict[str, Row] = {}
MEASURED = ("time/", "throughput/", "memory/", "system/")


class KilledError(Exception):
    """Stands for SIGKILL: the process is gone, nothing is saved."""


@contextmanager
def after_step(n: int, act: Callable[[], None]) -> Iterator[None]:
    """Act when the n-th step of a schedule has moved the weights: of a module, or, where modules
    move in other processes, of all."""
    count = 0

    def counted(inner: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            nonlocal count
            made = inner(*args)
            count += 1
            if count == n:
                act()
            return made

        return step

    with pytest.MonkeyPatch.context() as patch:
        for owner in (ModuleOptimizers, Parallel):
            patch.setattr(owner, "step", counted(owner.step))
        yield


def make(
    row: Row, folder: Path, stop: Stop | None = None, schedule: str = "joint", **more: object
) -> Trainer:
    """A trainer of three epochs."""
    cell = row.cell(epochs=3, **SCHEDULES[schedule])
    return trainer_of(cell, folder, stop=stop, **more)


def what_counts(folder: Path) -> dict[tuple[str, int], float]:
    """The folded record without what was measured by a clock or an allocator."""
    return {
        k: v for k, (v, _) in record.read(folder).settled().items() if not k[0].startswith(MEASURED)
    }


def outcome(result: Result) -> dict[str, object]:
    """The result without origin and what was measured by a clock or an allocator."""
    return result.model_dump(exclude={"cost", "origin"}) | {"train_flops": result.cost.train_flops}


@cache
def _whole(
    row: str, schedule: str
) -> tuple[dict[str, Tensor], dict[tuple[str, int], float], dict[str, object]]:
    with TemporaryDirectory() as folder:
        trainer = make(_BY_TEXT[row], Path(folder), schedule=schedule)
        result = trainer.fit()
        return snapshot(trainer.method), what_counts(Path(folder)), outcome(result)


def whole(
    row: Row, schedule: str = "joint"
) -> tuple[dict[str, Tensor], dict[tuple[str, int], float], dict[str, object]]:
    """Weights, metrics and outcome of a run that was left alone."""
    _BY_TEXT[str(row)] = row
    return _whole(str(row), schedule)


def check(
    row: Row,
    tmp_path: Path,
    interrupt: Callable[[Path], None],
    schedule: str = "joint",
    starts: int = 2,
) -> None:
    """Interrupt a run, resume it, and compare with one that was left alone."""
    state, metrics, expected = whole(row, schedule)
    folder = tmp_path / "stopped"
    interrupt(folder)
    assert not (folder / "result.json").exists()
    again = make(row, folder, schedule=schedule)
    result = again.fit()
    assert same(again.method.state_dict(), state)
    assert what_counts(folder) == metrics
    assert {epoch for _, epoch in metrics} == {1, 2, 3}
    assert outcome(result) == expected
    assert result.origin.starts == starts
    assert not (folder / "checkpoint.pt").exists(), "nothing is left to resume"


def stop_after(row: Row, n: int, folder: Path, schedule: str = "joint") -> None:
    """Ask a run to stop during its n-th step."""
    stop = Stop()
    with after_step(n, lambda: setattr(stop, "asked", True)), pytest.raises(Interrupted):
        make(row, folder, stop, schedule).fit()


def kill_at_report(row: Row, folder: Path) -> None:
    """Kill a run, which saves after every step, while it reports its second epoch."""

    def say(line: str) -> None:
        if "epoch 2/" in line:
            raise KilledError

    with pytest.raises(KilledError), heard(say):
        make(row, folder, save_every=0).fit()


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_stopped_within_an_epoch_then_killed_at_its_report(row: Row, tmp_path: Path) -> None:
    def interrupt(folder: Path) -> None:
        stop_after(row, STEPS + 3, folder)
        kill_at_report(row, folder)

    check(row, tmp_path, interrupt, starts=3)


@pytest.mark.parametrize("n", [1, 2, 5, STEPS, STEPS + 1, 2 * STEPS, 3 * STEPS])
def test_stopped_at_any_step(n: int, tmp_path: Path) -> None:
    row = Row(Case("dgl", {"feature_dim": 8}), "mlp3x16")
    check(row, tmp_path, lambda folder: stop_after(row, n, folder))


@pytest.mark.parametrize("n", [2, STEPS, STEPS + 2, 2 * STEPS, 3 * STEPS - 1])
def test_stopped_under_the_sequential_schedule(n: int, tmp_path: Path) -> None:
    row = Row(Case("contsup", {"context": "R1E", "feature_dim": 8}), "resnet8")
    check(row, tmp_path, lambda folder: stop_after(row, n, folder, "sequential"), "sequential")


@pytest.mark.parametrize("n", [2, STEPS + 3])
def test_stopped_with_dropout_in_net_and_helpers(n: int, tmp_path: Path) -> None:
    """It draws from torch's global stream, which a checkpoint holds."""
    row = Row(Case("cascade", {"units": 8}), "vgg8b-w2-d30")
    check(row, tmp_path, lambda folder: stop_after(row, n, folder))


@pytest.mark.parametrize("schedule", ["asynchronous", "by the clock"])
@pytest.mark.parametrize("n", [2, 3 * STEPS, 3 * STEPS + 4, 8 * STEPS + 5, 9 * STEPS - 1])
def test_stopped_with_states_in_buffers(n: int, schedule: str, tmp_path: Path) -> None:
    """Three modules: an epoch is three times as many updates; towards the end some modules only
    feed."""
    row = Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}), "mlp3x16")
    check(row, tmp_path, lambda folder: stop_after(row, n, folder, schedule), schedule)


@rows(
    lambda row: row.case.modules > 1 and row.network == row.case.networks[0] and row.splits,
    one_a_method=True,
)
def test_stopped_under_the_asynchronous_schedule(row: Row, tmp_path: Path) -> None:
    check(
        row,
        tmp_path,
        lambda folder: stop_after(row, STEPS + 5, folder, "asynchronous"),
        "asynchronous",
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stopped_under_every_schedule(schedule: str, tmp_path: Path) -> None:
    row = Row(Case("greedy"), "mlp3x16")
    check(row, tmp_path, lambda folder: stop_after(row, STEPS + 5, folder, schedule), schedule)


def held_out(
    row: Row, folder: Path, entry: Dataset, schedule: str, stop: Stop | None = None
) -> Trainer:
    """A trainer of three epochs on what is left when eight images are held out."""
    cell = row.cell(epochs=3, **SCHEDULES[schedule]).model_copy(update={"data": entry})
    return trainer_of(cell, folder, stop=stop)


def check_held_out(row: Row, tmp_path: Path, schedule: str) -> None:
    """Stopped, resumed and evaluated on images held out, a run ends like one that never sees
    them."""
    entry = IMAGES.model_copy(update={"validation": 8})
    loaded = resident(entry, Path("unused"), TrainConfig(), 0)
    assert loaded.parts.val and (len(loaded.parts.val), len(loaded.parts.train)) == (
        8,
        images().sizes.train - 8,
    )
    stop = Stop()
    with after_step(STEPS + 1, lambda: setattr(stop, "asked", True)), pytest.raises(Interrupted):
        held_out(row, tmp_path / "a", entry, schedule, stop).fit()
    again, blind = (held_out(row, tmp_path / name, entry, schedule) for name in "ab")
    without = blind.data
    assert isinstance(without, Resident)
    parts, statistics = replace(without.parts, val=None), (without.mean, without.std)
    blind.data = Resident(
        parts, without.task, entry, without.digest, without.training, 0, statistics
    )
    result = again.fit()
    assert blind.fit().val_last is None
    assert same(again.method.state_dict(), blind.method.state_dict())
    again.method.eval()
    x = loaded.normalise(loaded.parts.val.x.float() / 255)
    wrong = (again.method.predict(x).argmax(1) != loaded.parts.val.y).double().mean().item()
    assert result.val_last == pytest.approx(100 * wrong)


@rows(lambda row: row.network == row.case.networks[0], one_a_method=True)
def test_images_held_out_are_evaluated_and_move_nothing(row: Row, tmp_path: Path) -> None:
    check_held_out(row, tmp_path, "joint")


@pytest.mark.parametrize("schedule", ["sequential", "asynchronous", "by the clock"])
def test_images_held_out_under_every_schedule(schedule: str, tmp_path: Path) -> None:
    check_held_out(
        Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}), "mlp3x16"),
        tmp_path,
        schedule,
    )


@pytest.mark.parametrize("save_every", [0.0, 1e9], ids=["saved", "never-saved"])
@pytest.mark.parametrize("n", [1, STEPS - 1, STEPS + 2])
def test_killed_within_a_step(n: int, save_every: float, tmp_path: Path) -> None:
    row = Row(Case("infopro", {"mode": "softmax", "feature_dim": 8}), "mlp3x16")

    def killed(folder: Path) -> None:
        def act() -> None:
            raise KilledError

        with after_step(n, act), pytest.raises(KilledError):
            make(row, folder, save_every=save_every).fit()

    check(row, tmp_path, killed)


def test_stopped_again_and_again(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "mlp3x16")
    state, metrics, _ = whole(row)
    for _ in range(5):
        stop_after(row, 3, tmp_path)
    last = make(row, tmp_path)
    assert last.fit().origin.starts == 6
    assert same(last.method.state_dict(), state)
    assert what_counts(tmp_path) == metrics


def test_a_save_in_the_middle_of_writing_leaves_the_old_one(tmp_path: Path) -> None:
    row = ROWS[0]
    stop_after(row, 2, tmp_path)
    (tmp_path / ".checkpoint.pt.123.tmp").write_bytes(b"half")
    make(row, tmp_path).fit()
    assert not list(tmp_path.glob("*.tmp"))


def test_another_seed_gives_another_record(tmp_path: Path) -> None:
    """The comparison itself can fail."""
    row = Row(Case("greedy"), "mlp3x16")
    for seed in (0, 1):
        trainer_of(
            row.cell(seed=seed),
            tmp_path / str(seed),
        ).fit()
    assert what_counts(tmp_path / "0") != what_counts(tmp_path / "1")
