"""The asynchronous schedule: joint training where nothing is late; else the promised pace, budget,
buffers and labels."""

from __future__ import annotations

import heapq
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cases import (
    Case,
    Row,
    data_of,
    data_with,
    images,
    rows,
    same,
    snapshot,
    trainer_of,
)
from modulewise import schedules
from modulewise.config.training import TrainConfig
from modulewise.engine.trainer import TIMED, WARM, Trainer
from modulewise.errors import InvalidInput, parse
from modulewise.method import Method
from modulewise.optim import ModuleOptimizers
from modulewise.planning import profile
from modulewise.runs import record
from modulewise.schedules._replay import Replay
from modulewise.schedules.asynchronous import Asynchronous

pytestmark = pytest.mark.usefixtures("uncounted")
TOY = Row(Case("greedy"), "mlp3x16")
STEPS = 6
"""Batches of an epoch."""
MEASURED = ("time/", "throughput/", "memory/", "system/")


def training(epochs: int = 2, lr: float = 0.05, **options: Any) -> TrainConfig:
    return TrainConfig(
        batch_size=8,
        lr=lr,
        warmup_epochs=0,
        epochs=epochs,
        schedule="asynchronous",
        asynchronous=options,
    )


class Run:
    """The schedule driven by hand."""

    def __init__(
        self, row: Row = TOY, seed: int = 0, epochs: int = 2, lr: float = 0.05, **options: Any
    ) -> None:
        t = training(epochs, lr, **options)
        self.method = row.build()
        self.schedule = Asynchronous(t, self.method.k, STEPS, seed, **t.schedule_options)
        self.optimiser = ModuleOptimizers(self.method, t)
        self.numbered = data_with(t).batch
        self.schedule.begin(self.method, 0, epochs)

    def update(self) -> int:
        """One update; the module that made it."""
        batch = self.schedule.turn(self.method, self.numbered, nullcontext)
        values = self.schedule.step(self.method, batch, self.optimiser, nullcontext)
        (module,) = {int(name.rpartition("_")[2]) for name in values}
        return module

    def updates(self, n: int) -> list[int]:
        return [self.update() for _ in range(n)]


def fit(
    row: Row, folder: Path, epochs: int = 3, **changes: Any
) -> tuple[Trainer, dict[tuple[str, int], float]]:
    """A finished run and its record without what a clock or an allocator measured."""
    trainer = trainer_of(
        row.cell(epochs=epochs, **changes),
        folder,
    )
    trainer.fit()
    return trainer, {
        k: v for k, (v, _) in record.read(folder).settled().items() if not k[0].startswith(MEASURED)
    }


@rows(lambda row: row.splits, one_a_method=True)
def test_one_state_by_the_clock_is_joint_training(row: Row, tmp_path: Path) -> None:
    joint, of_joint = fit(row, tmp_path / "joint")
    alone, of_alone = fit(row, tmp_path / "asynchronous", schedule="asynchronous")
    assert same(joint.method.state_dict(), alone.method.state_dict())
    assert of_joint == of_alone


def test_another_pace_is_not_joint_training(tmp_path: Path) -> None:
    """The comparison itself can fail."""
    joint, _ = fit(TOY, tmp_path / "joint")
    late, _ = fit(
        TOY, tmp_path / "late", schedule="asynchronous", asynchronous={"slowdown": {1: 2}}
    )
    assert not same(joint.method.state_dict(), late.method.state_dict())


@rows(lambda row: row.splits)
def test_a_step_leaves_the_states_that_wait_as_they_are(row: Row) -> None:
    run = Run(row, epochs=9, buffer=2, turns="random", reads="uniform")
    run.updates(8)
    for _ in range(6):
        before = [(t, t.clone()) for t in run.schedule.held()]
        run.update()
        assert all(
            torch.equal(t, copy) and not t.requires_grad and t.grad_fn is None for t, copy in before
        )


@pytest.mark.parametrize("reads", ["fresh", "uniform"])
def test_labels_belong_to_the_state_they_travel_with(
    reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate of zero a state is a function of its batch: it can be made again."""
    run = Run(TOY, epochs=9, lr=0.0, buffer=4, turns="random", reads=reads)
    seen: list[int] = []
    local = type(run.method).local

    def spy(self: Method, k: int, batch: Any, state: tuple[Tensor, ...]) -> Any:
        expected = self.initial_state(batch.x)
        with torch.no_grad():
            for j in range(k):
                expected = self.forward_module(j, expected)
        assert torch.equal(state[0], expected[0])
        assert torch.equal(batch.y, images().parts.train.y[batch.index])
        seen.append(k)
        return local(self, k, batch, state)

    monkeypatch.setattr(type(run.method), "local", spy)
    run.updates(30)
    assert set(seen) == {0, 1, 2}


def test_any_batch_of_a_run_by_its_number() -> None:
    t = training()
    numbered = data_with(t, 3).batch
    in_order = [b for epoch in (1, 2, 3) for b in data_with(t, 3).batches(epoch)]
    for n in (17, 0, 5, 6, 11, 12, 0):
        a, b = numbered(n), in_order[n]
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.view(), b.view())


@settings(max_examples=10)
@given(st.lists(st.sampled_from([1.0, 1.2, 1.5, 2.0, 3.0, 7.0]), min_size=3, max_size=3))
def test_the_clock_gives_turns_in_order_of_time(slowdown: list[float]) -> None:
    """Oracle: a queue of events (time, module)."""
    run = Run(epochs=9, slowdown=dict(enumerate(slowdown)))
    queue = [(0.0, k) for k in range(3)]
    turns = [0, 0, 0]
    for _ in range(50):
        _, k = heapq.heappop(queue)
        turns[k] += 1
        heapq.heappush(queue, (slowdown[k] * turns[k], k))
        assert run.update() == k


def test_clocks_keep_the_ratio() -> None:
    counts = Counter(Run(epochs=99, slowdown={1: 4}).updates(9 * 20))
    assert counts == {0: 80, 1: 20, 2: 80}


def test_random_turns_keep_the_ratio_on_average() -> None:
    n = 900
    counts = Counter(Run(epochs=999, turns="random", slowdown={0: 2, 2: 4}).updates(n))
    for k, share in enumerate([2 / 7, 4 / 7, 1 / 7]):
        assert abs(counts[k] - n * share) < 4 * (n * share * (1 - share)) ** 0.5


def test_turns_come_from_their_own_stream() -> None:
    """Neither buffers nor the method move them; another seed does."""
    orders = [
        Run(turns="random", buffer=1).updates(30),
        Run(turns="random", buffer=5, reads="uniform").updates(30),
        Run(Row(Case("dgl", {"feature_dim": 8}), "resnet8"), turns="random").updates(30),
    ]
    assert orders[0] == orders[1] == orders[2]
    assert orders[0] != Run(turns="random", seed=1).updates(30)
    assert orders[0][:3] == [0, 1, 2], "no buffer is empty"


@pytest.mark.parametrize(
    "options",
    [
        {"turns": "random"},
        {"slowdown": {0: 3}},
        {"slowdown": {2: 2.5}, "turns": "random", "buffer": 3},
    ],
)
def test_every_module_makes_its_share_of_updates(options: dict[str, Any]) -> None:
    run = Run(epochs=2, **options)
    assert Counter(run.updates(3 * 2 * STEPS)) == dict.fromkeys(range(3), 2 * STEPS)
    with pytest.raises(RuntimeError, match="every module has made its updates"):
        run.update()


def test_a_step_that_is_timed_is_as_many_updates_as_there_are_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when the run itself is shorter than the timing."""
    made: list[str] = []
    step = Asynchronous.step

    def spy(self: Asynchronous, *args: Any) -> dict[str, Tensor]:
        values = step(self, *args)
        made.extend(values)
        return values

    monkeypatch.setattr(Asynchronous, "step", spy)
    found = profile.measure(
        cell := TOY.cell(epochs=1, schedule="asynchronous"), data_of(cell), torch.device("cpu")
    )
    assert Counter(made) == {f"module_{k}": WARM + TIMED for k in range(3)}
    assert found.epochs == 1
    assert found.epoch_seconds == pytest.approx(STEPS * found.step_seconds)


def test_a_finished_module_feeds_and_learns_no_more() -> None:
    row = Row(Case("greedy"), "resnet8")
    run = Run(row, epochs=1, slowdown={2: 4}, buffer=2)
    while run.schedule.turns[1] < STEPS:
        run.update()
    assert [m.training for m in run.method.trunk] == [False, False, True]
    assert [m.training for m in run.method.heads] == [False, False]
    before = snapshot(run.method)
    left = STEPS - run.schedule.turns[2]
    assert run.updates(left) == [2] * left
    after = snapshot(run.method)
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"2"}
    newest = [buffer.entries[-1].number for buffer in run.schedule.buffers]
    assert min(newest) >= STEPS, "data of the epochs after the first, for the last module alone"


def test_forward_passes_that_only_feed_are_counted(tmp_path: Path) -> None:
    """Images that pass a module in eval mode are those it feeds, and the test images of every
    epoch; mlp3x16 by hand."""
    cell = TOY.cell(
        epochs=2, schedule="asynchronous", asynchronous={"buffer": 2, "slowdown": {2: 4}}
    )
    trainer = trainer_of(cell, tmp_path)
    passed: Counter[int] = Counter()

    def count(k: int) -> Any:
        def hook(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not module.training and not inputs[0].is_meta:
                passed[k] += len(inputs[0])

        return hook

    for k, module in enumerate(trainer.method.trunk):
        module.register_forward_hook(count(k))
    cost = trainer.fit().cost
    fed = [passed[k] - 2 * images().sizes.test for k in range(3)]
    assert fed[0] >= fed[1] > 2 * images().sizes.train
    assert fed[2] == 0
    learnt = 2 * images().sizes.train
    assert cost.helper_flops == pytest.approx(2 * (192 * 16 * fed[0] + 16 * 16 * fed[1]) / learnt)
    assert cost.train_flops == pytest.approx(learnt * (cost.trunk_flops + cost.helper_flops))


def test_where_nothing_is_late_nothing_only_feeds(tmp_path: Path) -> None:
    trainer, _ = fit(TOY, tmp_path, schedule="asynchronous")
    assert trainer.schedule.fed == [0, 0, 0]


def test_each_module_follows_the_schedule_by_its_own_epochs() -> None:
    run = Run(epochs=4, lr=1.0, slowdown={0: 3})
    rate = {k: one.param_groups[0] for k, one in run.optimiser.inner.items()}
    cosine = [
        0.5 * (1 + torch.cos(torch.tensor(torch.pi * e / 4, dtype=torch.float64)).item())
        for e in (1, 2, 3, 4)
    ]
    made = [0, 0, 0]
    for _ in range(3 * 4 * STEPS):
        k = run.update()
        assert rate[k]["lr"] == pytest.approx(cosine[made[k] // STEPS], abs=1e-12)
        made[k] += 1


PUTS_AND_TAKES = st.lists(st.sampled_from(["put", "take"]), max_size=60)


@given(st.integers(1, 5), PUTS_AND_TAKES)
def test_a_buffer_drops_the_oldest_and_gives_the_freshest_of_the_least_taken(
    size: int, acts: list[str]
) -> None:
    """Oracle: a plain list of (number, times taken)."""
    buffer, mirror = Replay(size, "fresh"), []
    random = torch.Generator()
    for n, act in enumerate(["put", *acts]):
        if act == "put":
            buffer.put((torch.tensor(n),), n)
            mirror = [*mirror, [n, 0]][-size:]
        else:
            fewest = min(times for _, times in mirror)
            best = max(n for n, times in mirror if times == fewest)
            assert buffer.take(random).number == best
            next(m for m in mirror if m[0] == best)[1] += 1
        assert [e.number for e in buffer.entries] == [n for n, _ in mirror]
        assert [t.item() for t in buffer.tensors()] == [n for n, _ in mirror]


def test_uniform_reads_take_every_state_equally_often() -> None:
    buffer, random = Replay(4, "uniform"), torch.Generator().manual_seed(0)
    for n in range(6):
        buffer.put((torch.zeros(1),), n)
    counts = Counter(buffer.take(random).number for _ in range(4000))
    assert set(counts) == {2, 3, 4, 5}
    assert max(abs(c - 1000) for c in counts.values()) < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_buffers_are_bounded() -> None:
    row = Row(Case("contsup", {"context": "R1E", "mode": "softmax", "feature_dim": 8}), "resnet8")
    run = Run(row, epochs=9, buffer=3, turns="random")
    run.updates(60)
    assert [len(b.entries) for b in run.schedule.buffers] == [3, 3]
    assert [b.entries.maxlen for b in run.schedule.buffers] == [3, 3]


def test_waiting_states_count_as_memory(tmp_path: Path) -> None:
    row = Row(Case("greedy"), "resnet8")
    peaks = []
    for size in (1, 5):
        trainer, _ = fit(
            row, tmp_path / str(size), schedule="asynchronous", asynchronous={"buffer": size}
        )
        states = {t.data_ptr(): t.nbytes for t in trainer.schedule.held()}
        peaks.append((trainer.memory.peak.live, sum(states.values())))
    (small, few), (large, many) = peaks
    assert many > 4 * few, "one of the states is of a short batch"
    assert large - small == many - few


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_prototypes_are_learnt_though_one_module_is_slow(slow: int, tmp_path: Path) -> None:
    row = Row(Case("dgl", {"feature_dim": 16}), "mlp3x32")
    options = {"buffer": 4, "turns": "random", "slowdown": {slow: 3}}
    trainer, _ = fit(row, tmp_path, schedule="asynchronous", asynchronous=options, epochs=15)
    history = trainer.progress.history
    assert history[-1]["test_error/overall"] < 50, "chance is 75"
    first = [h["train_loss/module_0"] for h in history if "train_loss/module_0" in h]
    assert first[-1] < 0.6 * first[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffers": 3}, "unknown key 'buffers'; did you mean 'buffer'"),
        ({"buffer": 0}, "buffer.*greater than or equal to 1, got 0"),
        ({"turns": "rnd"}, "turns.*'clock' or 'random'"),
        ({"reads": "last"}, "reads.*'fresh' or 'uniform'"),
        ({"slowdown": {1: 0.5}}, "slowdown.*greater than or equal to 1, got 0.5"),
        ({"slowdown": {"a": 2}}, "slowdown"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    good = TOY.cell().model_dump(mode="json")
    good["training"] |= {"schedule": "asynchronous", "asynchronous": options}
    with pytest.raises(InvalidInput, match=message) as error:
        parse(type(TOY.cell()), good, "here")
    assert "\n" not in str(error.value)


def test_a_slowdown_of_no_module_is_refused() -> None:
    cell = TOY.cell(schedule="asynchronous", asynchronous={"slowdown": {3: 2}})
    with pytest.raises(InvalidInput, match="slowdown: there is no module 3; valid: 0 to 2"):
        schedules.build(cell.training, 3, STEPS, 0)


@pytest.mark.parametrize("schedule", ["joint", "sequential"])
def test_settings_of_another_schedule_are_refused(schedule: str) -> None:
    with pytest.raises(InvalidInput, match=f"schedule is {schedule}"):
        parse(TrainConfig, {"schedule": schedule, "asynchronous": {"buffer": 2}}, "here")


def test_a_budget_in_seconds_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a budget in seconds needs schedule joint"):
        parse(TrainConfig, {"schedule": "asynchronous", "seconds": 3.0}, "here")
