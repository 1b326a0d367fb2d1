"""Pictures that are decoded as they are needed: the same batches whoever decodes them, stopped and
resumed, shared by ranks; errors with a path, also out of a worker process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import made_up
from cases import StopAt
from modulewise.config.cell import Cell
from modulewise.config.dataset import Dataset
from modulewise.config.training import TrainConfig
from modulewise.data import workers
from modulewise.data.load import load, streamed
from modulewise.data.streamed import Streamed
from modulewise.engine.trainer import Interrupted, Stop, Trainer
from modulewise.errors import InvalidInput
from modulewise.method import Batch
from modulewise.runs.result import Result

Made = Callable[..., Dataset]
BOTH = pytest.mark.parametrize("kind", [made_up.pictures, made_up.scenes], ids=["labels", "maps"])


def loaded(config: Dataset, seed: int = 0, batch_size: int = 4, **training: object) -> Streamed:
    return streamed(config, Path(), TrainConfig(batch_size=batch_size, **training), seed)


def equal(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("x", "y", "image", "index")
    )


@BOTH
def test_no_batch_depends_on_the_number_of_workers(
    kind: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = kind(tmp_path), []
    before = torch.get_rng_state()
    for n in (0, 1, 3):
        monkeypatch.setenv(workers.WORKERS, str(n))
        data = loaded(config)
        found.append((list(data.batches(2)), [x for x, _ in data.eval_batches("test")]))
        assert data.workers == n
    assert torch.equal(torch.get_rng_state(), before), "the global stream is not drawn from"
    for batches, evaluated in found[1:]:
        assert all(map(equal, found[0][0], batches))
        assert all(map(torch.equal, found[0][1], evaluated))


@BOTH
def test_batches_are_functions_of_seed_epoch_and_number(kind: Made, tmp_path: Path) -> None:
    config = kind(tmp_path)
    data, again = loaded(config), loaded(config)
    whole = list(data.batches(1))
    index = [int(i) for b in whole for i in b.index]
    assert len(index) == len(set(index)) == data.seen and max(index) < data.sizes.train
    assert [len(b.y) for b in whole] == [4] * (data.seen // 4) == [4] * data.steps
    for start in range(data.steps + 1):
        assert all(map(equal, whole[start:], again.batches(1, start)))
    assert equal(data.batch(data.steps + 1), list(again.batches(2))[1])
    other = loaded(config, seed=1)
    assert not torch.equal(whole[0].index, next(other.batches(1)).index)
    first, second = (next(data.batches(epoch)) for epoch in (1, 2))
    assert not torch.equal(first.image, second.image)


def test_a_second_view_shows_the_same_pictures_otherwise(tmp_path: Path) -> None:
    data, again = (loaded(made_up.pictures(tmp_path)) for _ in range(2))
    asked = [(batch.x, batch.view()) for batch in data.batches(1) if batch.view]
    assert data.views == 2
    for (x, view), batch in zip(asked, again.batches(1), strict=True):
        assert torch.equal(x, batch.x), "asking for a view changes no first one"
        assert batch.view and torch.equal(view, batch.view())
        assert not torch.equal(x, view)


@BOTH
@pytest.mark.parametrize("world", [2, 3])
def test_shares_make_up_the_batch(kind: Made, world: int, tmp_path: Path) -> None:
    config = kind(tmp_path)
    data = loaded(config, batch_size=6)
    shares = [loaded(config, batch_size=6).shard(rank, world) for rank in range(world)]
    assert {(s.steps, s.seen, s.sizes) for s in shares} == {(data.steps, data.seen, data.sizes)}
    for whole, *parts in zip(data.batches(1), *(s.batches(1) for s in shares), strict=True):
        for name in ("x", "y", "image", "index"):
            share = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(share, getattr(whole, name)[: len(share)])
            assert len(getattr(whole, name)) - len(share) < world
    assert torch.equal(shares[1].batch(0).x, next(shares[1].batches(1)).x)
    every = [x for x, _ in data.eval_batches("test")]
    for rank, share in enumerate(shares):
        own = [x for x, _ in share.eval_batches("test")]
        assert len(own) == len(every[rank::world])
        assert all(map(torch.equal, own, every[rank::world]))


def test_a_run_that_is_stopped_in_an_epoch_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = made_up.pictures(tmp_path / "data")
    cell = Cell(
        dataset="mine", network="mlp3x8", recipe="greedy", modules=2, seed=0, method="greedy",
        training=TrainConfig(epochs=2, batch_size=4, lr=0.05, warmup_epochs=0), data=config,
    )  # fmt: skip

    def train(folder: str, n: int, stop: Stop | None = None) -> Result:
        monkeypatch.setenv(workers.WORKERS, str(n))
        data = load(config, Path(), cell.training, cell.seed)
        on, place = torch.device("cpu"), tmp_path / folder
        return Trainer(cell, data, place, on, stop=stop, keep_weights=True).fit()

    train("whole", 0)
    with pytest.raises(Interrupted):
        train("halves", 2, StopAt(5))  # in the second epoch, of three batches
    train("halves", 1)
    whole, halves = (
        torch.load(tmp_path / name / "weights.pt", weights_only=False)["method"]
        for name in ("whole", "halves")
    )
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.parametrize("n", [0, 2])
def test_a_damaged_picture_is_named_in_one_line(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = made_up.pictures(tmp_path)
    monkeypatch.setenv(workers.WORKERS, str(n))
    data, bad = loaded(config), tmp_path / "train" / "a" / "04.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(InvalidInput) as caught:
        list(data.batches(1))
    assert str(caught.value).startswith(f"{bad}: not a readable picture")
    assert "Traceback" not in str(caught.value)
    bad.unlink()
    with pytest.raises(InvalidInput, match=r"a/04\.jpg: not a readable picture: No such file"):
        list(data.batches(1))


def test_a_worker_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(workers.WORKERS, "1")
    data = loaded(made_up.pictures(tmp_path))
    monkeypatch.setattr(type(data.parts.train), "__getitem__", lambda *_: os._exit(1))
    with pytest.raises(InvalidInput, match="a worker process that decodes pictures died"):
        next(data.batches(1))


def test_held_out_and_chosen_images_are_apart(tmp_path: Path) -> None:
    config = made_up.pictures(tmp_path, validation=4)
    data = loaded(config, train_images=6)
    assert data.sizes == (6, 4, 5)
    held, trained = data.parts.val, data.parts.train
    assert held and not {*held.files.pictures} & {*trained.files.pictures}
    assert sorted(trained.files.targets) == [0, 0, 0, 1, 1, 1]
    assert [len(y) for _, y in data.eval_batches("val")] == [4]
    assert data.digest == loaded(made_up.pictures(tmp_path)).digest


def test_the_digest_tells_names_and_sizes(tmp_path: Path) -> None:
    config = made_up.pictures(tmp_path)
    first, picture = loaded(config).digest, tmp_path / "test" / "b" / "01.jpg"
    content = picture.read_bytes()
    picture.write_bytes(content + b"\0")
    longer = loaded(config).digest
    picture.write_bytes(content)
    assert loaded(config).digest == first
    picture.rename(picture.with_name("02.jpg"))
    assert len({first, longer, loaded(config).digest}) == 3
    picture.with_name("02.jpg").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"test/b/02.jpg: empty file"):
        loaded(config)


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, 0),
        ({"MODULEWISE_WORKERS": "3", "SLURM_JOB_ID": "1"}, 3),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "8"}, 7),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "8", "SNAKEMAKE_SUBMITIT_PACK": "4"}, 1),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "8", "LOCAL_WORLD_SIZE": "2"}, 3),
    ],
    ids=["threads", "given", "job", "packed", "ranks"],
)
def test_workers_are_the_cpus_but_one(env: dict[str, str], wanted: int) -> None:
    assert torch.get_num_threads() == 1
    assert workers.number(env) == wanted


def test_workers_are_a_number() -> None:
    with pytest.raises(InvalidInput, match="MODULEWISE_WORKERS=many: a number of processes"):
        workers.number({"MODULEWISE_WORKERS": "many"})
