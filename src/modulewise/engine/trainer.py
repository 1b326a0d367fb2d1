"""The loop around a schedule: train, evaluate, record, checkpoint, resume.

A CPU run that is stopped at any step and resumed ends with the weights and the record of one that
was not.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from modulewise import methods, models
from modulewise.config.cell import Cell
from modulewise.data import batches
from modulewise.data.batches import Data
from modulewise.engine import checkpoint, device, flops, memory
from modulewise.engine.summary import summarise
from modulewise.errors import InvalidInput, memory_short
from modulewise.method import Method
from modulewise.models import partition
from modulewise.models.network import cut
from modulewise.optim import Optimiser, learning_rate
from modulewise.planning import profile
from modulewise.rng import fork, seed_of
from modulewise.runs.provenance import source_hash
from modulewise.runs.record import Record
from modulewise.runs.result import Result, Status
from modulewise.schedules import Precision, joint, sequential
from modulewise.schedules.asynchronous import Asynchronous
from modulewise.units import duration

SCHEDULES: dict[str, ModuleType] = {"joint": joint, "sequential": sequential}
Ended = tuple[Status, str | None]  # how a run ended, and why


class Interrupted(Exception):
    """The run was asked to stop; its state is saved."""


@dataclass
class Stop:
    """Set by a signal handler; the trainer looks at it after every step."""

    asked: bool = False


@dataclass
class Progress:
    """Where a run stands: the part of a checkpoint that is plain values."""

    epochs: int = 0
    """Number of epochs the budget resolved to; 0 until it is known."""
    epoch: int = 1
    """The current epoch, 1-based."""
    step: int = 0
    """Steps of it that are done."""
    seconds: float = 0.0
    """Spent in training steps, this epoch's included."""
    busy: float = 0.0
    """Of these, seconds that the training thread was computing rather than waiting for a core."""
    epoch_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of every finished epoch."""
    times: list[float] = field(default_factory=list)
    """Seconds of every finished epoch's steps."""
    peak: int = 0
    growth: int = 0
    """Largest growth of live bytes in a measured step of this phase; on a CPU."""
    exclusive: bool = True


def build(cell: Cell, image: tuple[int, int, int], task: Any) -> tuple[Method, list[int]]:
    """The method of a cell on its network, cut; and the cut points.

    Raises:
        InvalidInput: unknown network, K larger than it allows, or a method that cannot be trained
            so.
    """
    where = str(cell)
    with fork(cell.seed, "trunk"):
        network = models.build(cell.network, image, task.outputs, where)
    cuts = partition.resolve(network, cell.partition, cell.modules, where)
    with fork(cell.seed, "helpers"):
        return methods.build(
            cell.method, cut(network, cuts, task), cell.options, cell.training.schedule, where
        ), cuts


class Trainer:
    """One run of one cell in its folder.

    Args:
        cell: what to run.
        loaded: its data, on the CPU.
        folder: where record, checkpoint and result go.
        on: the device.
        save_every: seconds between periodic checkpoints.
        say: called with a line now and then.
        stop: looked at after every step.
        keep_weights: leave `weights.pt` of the deployed net beside the result.
    """

    def __init__(
        self,
        cell: Cell,
        loaded: Data,
        folder: Path,
        on: torch.device,
        save_every: float = 300.0,
        say: Callable[[str], None] = print,
        stop: Stop | None = None,
        keep_weights: bool = False,
    ) -> None:
        self.cell, self.training, self.folder, self.device, self.say = (
            cell,
            cell.training,
            folder,
            on,
            say,
        )
        self.save_every, self.stop, self.keep_weights = save_every, stop or Stop(), keep_weights
        device.set_numerics(cell.training.tf32, cell.training.deterministic)
        torch.manual_seed(seed_of(cell.seed, "global"))
        self.method, self.cuts = build(cell, loaded.image, loaded.task)
        self.steps = batches.batches_per_epoch(len(loaded.train), self.training.batch_size)
        own_pace = self.training.schedule == "asynchronous"
        self.updates = cell.modules if own_pace else 1  # that take the place of a joint step
        self.asynchronous = (
            Asynchronous(self.training, cell.modules, self.steps, cell.seed) if own_pace else None
        )
        self.schedule = self.asynchronous or SCHEDULES[self.training.schedule]
        self.seen = min(self.steps * self.training.batch_size, len(loaded.train))
        phases = [
            self.schedule.trained(cell.modules, i)
            for i in range(len(self.schedule.phases(cell.modules, 1)))
        ]
        self.flops = flops.flops(
            self.method, loaded.image, min(self.training.batch_size, len(loaded.train)), phases
        )
        self.data = loaded
        bf16 = self.training.precision == "bf16"
        self.precision: Precision = (
            partial(torch.autocast, on.type, torch.bfloat16) if bf16 else nullcontext
        )
        self.progress = Progress()
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.phase = -1
        self.warm = False
        self.last_save = time.monotonic()

    def fit(self) -> Result:
        """Run the cell to its end, from the checkpoint if there is one.

        Raises:
            Interrupted: asked to stop; the state is saved.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "cell.json").write_text(self.cell.model_dump_json(indent=1) + "\n")
        with device.claim(self.device) as self.alone:
            with fork(self.cell.seed, "steps"):
                ended = _within_memory(self._place)
                if ended and (self.folder / checkpoint.FILE).exists():
                    raise InvalidInput(
                        f"{self.folder}: {ended[1]}; the checkpoint is kept, start the run again "
                        f"when there is room"
                    )
                self.progress.exclusive &= self.alone()
                with closing(Record(self.folder)) as self.record:
                    self.record.write("start", **self._origin_of_start())
                    ended = ended or _within_memory(self._train) or ("done", None)
            self.progress.exclusive &= self.alone()
            if (
                ended[0] == "out_of_memory"
                and self.device.type == "cuda"
                and not self.progress.exclusive
            ):
                raise InvalidInput(
                    f"{self.folder}: {ended[1]}; others use the device too, start the run again "
                    f"when there is room"
                )
            return self._finish(*ended)

    def _place(self) -> None:
        """Bring weights and images to the device, and the run to where its checkpoint stands."""
        self.method.to(self.device)
        if self.training.channels_last:
            self.method.to(memory_format=torch.channels_last)
        self.data = self.data.to(self.device)
        self._resume()

    def _train(self) -> Ended | None:
        p = self.progress
        if not p.epochs:
            self._plan()
        while p.epoch <= p.epochs:
            self._enter_phase()
            if not self._epoch():
                return "diverged", f"the loss is not finite in epoch {p.epoch}"
            p.epoch, p.step = p.epoch + 1, 0
            if p.epoch > p.epochs or time.monotonic() - self.last_save > self.save_every:
                self._save()
                self.record.commit(p.epoch - 1)
        return None

    def _enter_phase(self) -> None:
        """Make the optimiser of the phase the current epoch belongs to, if it is another one than
        before."""
        ends = list(
            itertools.accumulate(self.schedule.phases(self.cell.modules, self.progress.epochs))
        )
        phase = next(i for i, end in enumerate(ends) if self.progress.epoch <= end)
        if phase != self.phase:
            self.phase = phase
            self.optimiser = Optimiser(self.method, self.training)
            self.warm, self.progress.growth = False, 0
        if self.asynchronous:
            self.asynchronous.epochs = self.progress.epochs
        self.schedule.begin(self.method, phase)
        before = ends[phase - 1] if phase else 0
        self.phase_epoch = self.progress.epoch - before
        self.optimiser.set_lr(learning_rate(self.training, self.phase_epoch, ends[phase] - before))

    def _epoch(self) -> bool:
        """Train and evaluate one epoch; whether all losses were finite."""
        p = self.progress
        begun = time.perf_counter(), time.thread_time()
        if p.step == 0:
            self.sums, p.epoch_seconds = {}, 0.0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        for batch in self._batches(p.epoch, p.step):
            with self._memory():
                values = self._step(batch)
            self._add(values, len(batch.y))
            del values  # nothing of this step is alive in the next
            p.step += 1
            if self.stop.asked or time.monotonic() - self.last_save > self.save_every:
                self._clock(begun)
                self._save()
                self.record.commit(p.epoch - 1)
                if self.stop.asked:
                    raise Interrupted
                begun = time.perf_counter(), time.thread_time()
        self._clock(begun)
        losses = {name: value.item() / images for name, (value, images) in self.sums.items()}
        if not all(map(math.isfinite, losses.values())):
            return False
        if self.device.type == "cuda" and (
            self.warm or p.epoch == p.epochs
        ):  # the first epoch holds cuDNN's search for algorithms
            p.peak = max(p.peak, torch.cuda.max_memory_allocated(self.device))
        elif p.growth:
            p.peak = max(p.peak, memory.live_bytes(memory.held(self)) + p.growth)
        self.warm = True
        p.times.append(p.epoch_seconds)
        self._evaluate(losses)
        return True

    def _batches(self, epoch: int, done: int = 0) -> Iterator[batches.Batch]:
        if not (schedule := self.asynchronous):
            return batches.batches(self.data, self.training, self.cell.seed, epoch, done)
        numbered = batches.numbered(self.data, self.training, self.cell.seed)
        return (
            schedule.batch(self.method, numbered, self.precision)
            for _ in range(done, self.updates * self.steps)
        )

    def _add(self, values: dict[str, Tensor], images: int) -> None:
        """Add a step's mean losses to the epoch's sums."""
        for name, value in values.items():
            total, seen = self.sums.get(name, (torch.zeros((), device=self.device), 0))
            self.sums[name] = total + value.float() * images, seen + images

    def _step(self, batch: batches.Batch) -> dict[str, Tensor]:
        return self.schedule.step(self.method, batch, self.optimiser, self.phase, self.precision)

    def _clock(self, begun: tuple[float, float]) -> None:
        """Add the time since `begun` (wall, thread) to the training time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall = time.perf_counter() - begun[0]
        self.progress.seconds += wall
        self.progress.epoch_seconds += wall
        self.progress.busy += time.thread_time() - begun[1]

    def _memory(self) -> AbstractContextManager[None]:
        """On a CPU, measures the second step of every phase; on a GPU the allocator keeps count by
        itself."""
        second = (
            self.asynchronous.second()
            if self.asynchronous
            else (self.phase_epoch - 1) * self.steps + self.progress.step == 1
        )
        return memory.measured(self) if self.device.type == "cpu" and second else nullcontext()

    def _evaluate(self, losses: dict[str, float]) -> None:
        p = self.progress
        errors = self._errors(self.data.test)
        metrics: dict[str, float] = {"test_error/overall": errors[-1]}  # type: ignore[dict-item]
        metrics |= {f"test_error/module_{k}": e for k, e in enumerate(errors[:-1]) if e is not None}
        metrics["test_error/best"] = min(
            [h["test_error/overall"] for h in p.history] + [metrics["test_error/overall"]]
        )
        if self.data.val:
            metrics["val_error/overall"] = self._errors(self.data.val)[-1]  # type: ignore[assignment]
        metrics |= {f"train_loss/{name}": value for name, value in losses.items()}
        metrics["throughput/samples_per_s"] = self.seen / p.epoch_seconds
        metrics["time/train_s"] = p.seconds
        if p.peak:
            metrics["memory/peak_mib"] = p.peak / 2**20
        p.history.append(metrics)
        self.record.metrics(p.epoch, metrics)
        left = (p.epochs - p.epoch) * statistics.median(p.times)
        self.say(
            f"{self.cell}  epoch {p.epoch}/{p.epochs}  error {errors[-1]:.2f} %  {duration(left)} left"
        )

    @torch.no_grad()
    def _errors(self, split: batches.Split) -> list[float | None]:
        """Error in percent of every module's own head, the net's last."""
        self.method.eval()
        wrong: list[Tensor | None] = [torch.zeros((), device=self.device)] * self.cell.modules
        for x, y in batches.plain(self.data, split):
            with self.precision():
                outputs = self.method.outputs(x)
            for k, scores in enumerate(outputs):
                before = wrong[k]
                wrong[k] = (
                    None
                    if scores is None or before is None
                    else before + self.data.task.wrong(scores, y)
                )
        self.schedule.begin(self.method, self.phase)
        return [None if w is None else 100 * w.item() / len(split) for w in wrong]

    def _plan(self) -> None:
        """Resolve the budget to epochs; seconds of a step that are not known are measured on steps
        that are then undone."""
        t, p = self.training, self.progress
        if t.seconds and not t.step_seconds:
            p.epochs = 2 * t.warmup_epochs or 1
            state, rng = (
                {k: v.clone() for k, v in self.method.state_dict().items()},
                torch.get_rng_state(),
            )
            self._enter_phase()
            step = profile.step_seconds(self)
            self.method.load_state_dict(state)
            torch.set_rng_state(rng)
            self.phase = -1
            p.epochs = profile.epochs(self, step)
            self._save()
        else:
            p.epochs = profile.epochs(self)

    def _save(self) -> None:
        self.progress.exclusive &= self.alone()
        state = {
            "cell": self.cell.id,
            "device": device.describe(self.device),
            "data": self.data.digest,
            "progress": asdict(self.progress),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.inner.state_dict() if self.phase >= 0 else None,
            "phase": self.phase,
            "sums": self.sums,
            "asynchronous": self.asynchronous.state_dict() if self.asynchronous else None,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device)
            if self.device.type == "cuda"
            else None,
        }
        checkpoint.save(self.folder, state)
        self.last_save = time.monotonic()

    def _resume(self) -> None:
        state = checkpoint.load(self.folder, self.device)
        if state is None:
            return
        if state["cell"] != self.cell.id:
            raise InvalidInput(
                f"{self.folder}: holds the checkpoint of another cell ({state['cell']}); train "
                f"{self.cell.id} elsewhere"
            )
        if state["data"] != self.data.digest:
            raise InvalidInput(
                f"{self.folder}: the images have changed since the run began; remove the folder to "
                f"train from the start"
            )
        self.progress = Progress(**state["progress"])
        if state["device"] != device.describe(self.device):  # costs of two devices do not add up
            (
                self.progress.exclusive,
                self.progress.peak,
                self.progress.growth,
                self.progress.times,
            ) = False, 0, 0, []
        self.method.load_state_dict(state["method"])
        self.sums = state["sums"]
        if self.asynchronous:
            self.asynchronous.load_state_dict(state["asynchronous"])
        self.phase = state["phase"]
        if self.phase >= 0:
            self.optimiser = Optimiser(self.method, self.training)
            self.optimiser.inner.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)
        p = self.progress
        self.say(
            f"{self.cell}  resumed in epoch {p.epoch} after step {p.step}, {len(p.history)} epochs "
            f"done"
        )

    def _finish(self, status: Status, reason: str | None) -> Result:
        result = summarise(self, status, reason)
        if self.keep_weights:
            checkpoint.save(
                self.folder,
                {"method": self.method.state_dict(), "cell": self.cell.to_json()},
                checkpoint.WEIGHTS,
            )
        record = Record(self.folder)
        record.write("end", status=status, reason=reason)
        record.close()
        result.save(self.folder)
        (self.folder / checkpoint.FILE).unlink(missing_ok=True)
        return result

    def _origin_of_start(self) -> dict[str, Any]:
        return {
            "cell": self.cell.model_dump(mode="json", exclude_defaults=True),
            "id": self.cell.id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device.describe(self.device),
            "commit": device.git_commit(),
            "source": source_hash(),
            "slurm_job": device.slurm_job(),
            "slurm_restart": os.environ.get("SLURM_RESTART_COUNT"),
            "devices": device.visible(self.device),
            "pack": device.pack(),
            "epochs": self.progress.epochs or self.training.epochs,
            "epoch": self.progress.epoch,
        }


def _within_memory(act: Callable[[], Ended | None]) -> Ended | None:
    """How the run ended in `act`, if it did: also for want of memory."""
    try:
        return act()
    except (RuntimeError, MemoryError) as error:
        if reason := memory_short(error):
            return "out_of_memory", reason
        raise
