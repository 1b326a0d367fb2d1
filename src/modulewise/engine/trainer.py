"""The loop around a schedule: train, evaluate, record, checkpoint, resume.

A CPU run that is stopped at any step and resumed ends with the weights and the record of one that
was not.
"""

from __future__ import annotations

import itertools
import logging
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from modulewise import schedules
from modulewise.config.cell import Cell
from modulewise.data.base import Data, Part
from modulewise.data.stretches import stretched
from modulewise.engine import budget, checkpoint, compiled, device, gradients, reuse, usage
from modulewise.engine import distributed as ranks
from modulewise.engine.build import build
from modulewise.engine.evaluate import evaluate, test_metrics
from modulewise.engine.graphs import Step, graphed
from modulewise.engine.losses import Losses
from modulewise.engine.memory import MemoryProbe
from modulewise.engine.origin import origin_of, start_event
from modulewise.engine.progress import Progress
from modulewise.engine.reuse import Reused
from modulewise.engine.scales import at_scales
from modulewise.engine.stop import Interrupted, Stop
from modulewise.engine.summary import Ended, cost_of, no_room, summarise, within_memory
from modulewise.files import write_atomic
from modulewise.method import Batch
from modulewise.optim import ModuleOptimizers, learning_rate
from modulewise.rng import fork, seed_of
from modulewise.runs.files import CELL, CHECKPOINT
from modulewise.runs.record import Record
from modulewise.runs.result import Result, Status
from modulewise.schedules import Phase
from modulewise.task import Counters, secondary
from modulewise.units import duration

log = logging.getLogger(__name__)
WARM, TIMED = 2, 6
"""Number of steps run first, for cuDNN's search and the optimiser's memory; and of those timed."""


class Trainer:
    """One run of one cell in its folder.

    Args:
        cell: what to run.
        data: its data, on the CPU.
        folder: where record, checkpoint and result go.
        on: the device.
        save_every: seconds between periodic checkpoints.
        stop: looked at after every step.
        keep_weights: leave `weights.pt` of the deployed net beside the result.
        reused: the weights that the cell's first modules begin with.

    Raises:
        InvalidInput: a network, method or schedule that refuses the cell.
    """

    def __init__(
        self,
        cell: Cell,
        data: Data,
        folder: Path,
        on: torch.device,
        save_every: float = 300.0,
        stop: Stop | None = None,
        keep_weights: bool = False,
        reused: Reused | None = None,
    ) -> None:
        self.cell, self.training, self.folder, self.device = cell, cell.training, folder, on
        self.stop, self.keep_weights = stop or Stop(), keep_weights
        self.saved = checkpoint.Every(save_every)
        device.set_numerics(cell.training.tf32, cell.training.deterministic)
        torch.manual_seed(seed_of(cell.seed, "global"))
        self.data = data = stretched(ranks.share(data, cell.training), cell.training)
        self.metric = data.task.metric
        self.method, self.cuts = build(cell, data.image, data.task)
        self.reused = reused.origin if reused else None
        if reused:
            reuse.put(self.method, cell, reused)
        self.schedule = schedules.build(
            self.training, cell.modules, data.steps, cell.seed, str(cell), cell.frozen
        )
        self.schedule.ready = device.like_here(cell.training)
        self.schedule.check(self.method, str(cell))
        self.schedule.prepare(self.method, data)
        self.flops = budget.prices(self.method, self.schedule, data, self.training.micro_batch)
        self.precision = device.precision(self.training, on.type)
        self.progress, self.memory = Progress(), MemoryProbe(on)
        self.losses, self.phase = Losses(), -1

    def fit(self) -> Result:
        """Run the cell to its end, from the checkpoint if there is one.

        Raises:
            Interrupted: asked to stop; the state is saved.
            InvalidInput: a checkpoint of another cell or of other images, or too little memory that
                may be others' doing.
        """
        ranks.check(self.training)
        if self.cell.reuse and not self.reused:
            raise ValueError(f"{self.cell}: the weights that it reuses were not given")
        self.folder.mkdir(parents=True, exist_ok=True)
        places = self.schedule.places(self.device)
        with device.claim(*places) as self.alone, usage.Usage(places) as self.usage:
            with fork(self.cell.seed, "steps", *ranks.stream()):
                ended = within_memory(self.prepare)
                if ended and (self.folder / CHECKPOINT).exists():
                    raise no_room(self.folder, ended, "the checkpoint is kept")
                self.progress.exclusive &= self.alone()
                write_atomic(self.folder / CELL, self.cell.model_dump_json(indent=1) + "\n")
                with closing(Record(self.folder)) as self.record:
                    start = start_event(self.cell, self.metric, places, self.progress)
                    self.record.write("start", **start)
                    ended = ended or within_memory(self._train) or ("done", None)
            self.progress.exclusive &= self.alone()
            shared = self.device.type == "cuda" and not self.progress.exclusive
            if ended[0] == "out_of_memory" and shared:
                raise no_room(self.folder, ended, "others use the device too")
            return self._finish(*ended)

    def prepare(self) -> None:
        """Bring weights and data to the device, and the run to where its checkpoint stands; resolve
        the budget, unless steps must be timed for it."""
        self.method.to(self.device)
        if self.training.channels_last:
            self.method.to(memory_format=torch.channels_last)
        self.data = self.data.to(self.device)
        if self.training.compile != "off":
            compiled.try_on(
                self.method, self.training.compile, self.data, self.precision, self.cell
            )
        self._resume()
        if not self.progress.epochs and (self.training.step_seconds or not self.training.seconds):
            self.plan()

    def enter_phase(self) -> None:
        """Make the optimisers of the phase the current epoch belongs to, if it is another one than
        before, and set modes and learning rate for the epoch."""
        ends = list(itertools.accumulate(phase.epochs for phase in self.phases))
        phase = next(i for i, end in enumerate(ends) if self.progress.epoch <= end)
        if phase != self.phase:
            self.phase = phase
            self._new_optimizers()
            self.memory.begin_phase()
        self.schedule.begin(self.method, phase, self.progress.epochs)
        before = ends[phase - 1] if phase else 0
        self.phase_epoch, self.phase_epochs = self.progress.epoch - before, ends[phase] - before
        self._set_rate()

    def time_steps(self) -> float:
        """Median seconds of a joint step, or of what takes its place, in the present phase. The
        steps really happen: the weights move."""
        # More steps than a short run has: no schedule may come to its end in them.
        self.schedule.begin(self.method, self.phase, self.progress.epochs + WARM + TIMED)
        batches = itertools.chain.from_iterable(
            self._batches(epoch) for epoch in itertools.count(1)
        )

        def step() -> None:
            for batch in itertools.islice(batches, self.schedule.updates):
                self.step(batch)

        for _ in range(WARM):
            device.timed(step, self.device)
        self.memory.begin_epoch()
        return statistics.median(device.timed(step, self.device) for _ in range(TIMED))

    def evaluate(
        self, part: Part, most: int | None = None, heads: bool = True, others: Counters = ()
    ) -> list[float | None]:
        """The primary metric of every module's own head on a part, the net's last; `None` where a
        head gives no outputs of the task, or is left out.

        Args:
            part: `val` or `test`.
            most: number of batches; all of them if not given.
            heads: whether the modules' own heads are run.
            others: metrics that count the net's outputs too.
        """
        found = evaluate(self.method, self.data, part, self.precision, most, heads, others)
        self.schedule.begin(self.method, self.phase, self.progress.epochs)
        return found

    def held(self) -> Iterator[Tensor]:
        """What is alive between two steps, data aside: weights, buffers, the optimisers' state, and
        what the schedule keeps."""
        yield from self.method.parameters()
        yield from self.method.buffers()
        yield from self.optimizers.held()
        yield from self.schedule.held()

    @property
    def phases(self) -> list[Phase]:
        """Phases of the run."""
        return self.schedule.phases(self.progress.budget)

    def plan(self, step_seconds: float | None = None) -> None:
        """Resolve the budget to epochs, given the seconds of a joint step where it is in
        seconds."""
        p, seen, steps = self.progress, self.data.seen, self.data.steps
        p.budget = budget.epochs(
            self.training, self.schedule, self.flops, seen, steps, step_seconds
        )
        p.epochs = sum(phase.epochs for phase in self.phases)

    def _train(self) -> Ended | None:
        p = self.progress
        if not p.epochs:
            self._time_budget()
        if (p.epoch, p.step) == (1, 0) and (angles := self._gradients()):
            self.record.metrics(0, angles)
        while p.epoch <= p.epochs:
            self.enter_phase()
            if not self._epoch():
                return "diverged", f"the loss is not finite in epoch {p.epoch}"
            p.epoch, p.step = p.epoch + 1, 0
            if p.epoch > p.epochs or any(ranks.agree(self.saved.due())):
                self._save()
                self.record.commit(p.epoch - 1)
        if scales := self.cell.data.test_scales:
            found = at_scales(self.method, self.data, scales, self.precision, self.stop)
            p.history[-1] |= found
            self.record.metrics(p.epochs, found)
        return None

    def _epoch(self) -> bool:
        """Train and evaluate one epoch; whether all losses were finite."""
        p = self.progress
        begun = time.perf_counter(), time.thread_time()
        if p.step == 0:
            self.losses, p.epoch_seconds = Losses(), 0.0
        self.memory.begin_epoch()
        for batch in self._batches(p.epoch, p.step):
            done = (self.phase_epoch - 1) * self.data.steps * self.schedule.updates + p.step
            measured = self.schedule.memory_step(done)
            if self.training.lr_update == "step":
                self._set_rate()
            with self.memory.step(self.optimizers, batch) if measured else nullcontext():
                values = self.step(batch)
            self.losses.add(values, len(batch.y))
            del values  # nothing of this step is alive in the next
            p.step += 1
            stopped, due = ranks.agree(self.stop.asked, self.saved.due())
            if (stopped or due) and self.schedule.settled():
                self._clock(begun)
                self._save()
                self.record.commit(p.epoch - 1)
                if stopped:
                    raise Interrupted
                begun = time.perf_counter(), time.thread_time()
        self._clock(begun)
        losses = self.losses.means()
        if not all(map(math.isfinite, losses.values())):
            return False
        self.memory.end_epoch(self.held(), self.data.held(), last=p.epoch == p.epochs)
        p.times.append(p.epoch_seconds)
        self._end_epoch(losses)
        return True

    def _set_rate(self) -> None:
        """Set the learning rate of the epoch, or of the step that comes next."""
        training = self.phases[self.phase].training
        done = self.progress.step / self.data.steps if training.lr_update == "step" else None
        self.optimizers.set_lr(learning_rate(training, self.phase_epoch, self.phase_epochs, done))

    def _batches(self, epoch: int, done: int = 0) -> Iterator[Batch]:
        return self.schedule.batches(self.method, self.data, epoch, done, self.precision)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the schedule; the losses by name."""
        return self._run(batch)

    def _new_optimizers(self) -> None:
        training, trained = self.phases[self.phase].training, self.schedule.trained(self.phase)
        self.optimizers = ModuleOptimizers(self.method, training, trained, ranks.averager())
        self._run: Step = lambda batch: self.schedule.step(
            self.method, batch, self.optimizers, self.precision
        )
        if self.training.cuda_graphs:
            self._run = graphed(self._run, self.method, self.device, self.cell)

    def _clock(self, begun: tuple[float, float]) -> None:
        """Add the time since `begun` (wall, thread) to the training time."""
        wall, busy = device.clock(self.device)
        self.progress.trained(wall - begun[0], busy - begun[1])
        self.usage.add(self.progress.used)

    def _end_epoch(self, losses: dict[str, float]) -> None:
        """Evaluate, record the epoch's metrics, and say how the run stands."""
        p, name = self.progress, self.metric.name
        heads = self.training.module_metrics == "every" or p.epoch == p.epochs
        others = secondary(self.data.task)
        values = self.evaluate("test", heads=heads, others=others)
        metrics = test_metrics(self.metric, values, p.history, others)
        if self.data.sizes.val:
            own = self.evaluate("val", heads=False)[-1]
            metrics[f"val_{name}/overall"] = own  # type: ignore[assignment]
        metrics |= {f"train_loss/{loss}": value for loss, value in losses.items()}
        metrics |= self._gradients() | p.costs(self.data.seen, self.memory.peak.live)
        metrics |= self.usage.epoch(p.used)
        p.history.append(metrics)
        self.record.metrics(p.epoch, metrics)
        left = duration((p.epochs - p.epoch) * statistics.median(p.times[-self.phase_epoch :]))
        figure = self.metric.text(metrics[f"test_{name}/overall"])
        log.info(f"{self.cell}  epoch {p.epoch}/{p.epochs}  {figure}  {left} left")

    def _gradients(self) -> dict[str, float]:
        """Angles of the present gradients to backpropagation's, if they are asked for."""
        return gradients.metrics(self.method, self.data, self.training, self.cell.seed)

    def _time_budget(self) -> None:
        """Resolve a budget in seconds on the seconds of steps that are then undone."""
        self.progress.epochs = self.progress.budget = 2 * self.training.warmup_epochs or 1
        state = {k: v.clone() for k, v in self.method.state_dict().items()}
        random = device.random_state(self.device)
        self.enter_phase()
        (step,) = ranks.largest(self.time_steps())
        self.method.load_state_dict(state)
        device.set_random_state(random, self.device)
        self.phase = -1
        self.plan(step)
        self._save()

    def _save(self) -> None:
        self.progress.exclusive &= not any(ranks.agree(not self.alone()))
        state = device.random_state(self.device) | {
            "format": checkpoint.FORMAT,
            "cell": self.cell.id,
            "device": device.describe(self.device),
            "data": self.data.digest,
            "reused": self.reused.weights if self.reused else None,
            "progress": asdict(self.progress),
            "memory": self.memory.state_dict(),
            "method": self.method.state_dict(),
            "optimizers": self.optimizers.state_dict() if self.phase >= 0 else None,
            "phase": self.phase,
            "sums": self.losses.sums,
            "schedule": self.schedule.state_dict(),
        }
        state = ranks.gathered(state, self.method)
        if not ranks.rank():
            checkpoint.save(self.folder, state)
        self.saved.done()

    def _resume(self) -> None:
        state = checkpoint.load(self.folder, self.device)
        if state is None:
            return
        reused = self.reused.weights if self.reused else None
        state = ranks.own(state)
        checkpoint.belongs(self.folder, state, self.cell.id, self.data.digest, reused)
        p = self.progress = Progress(**state["progress"])
        if state["device"] == device.describe(self.device):
            self.memory.load_state_dict(state["memory"])
        else:
            p.moved(state["device"])
        path, again = self.folder / CHECKPOINT, "remove it to train from the start"
        checkpoint.put(self.method, state["method"], path, again)
        self.losses = Losses(state["sums"])
        self.schedule.load_state_dict(state["schedule"])
        self.phase = state["phase"]
        if self.phase >= 0:
            self._new_optimizers()
            self.optimizers.load_state_dict(state["optimizers"])
        device.set_random_state(state, self.device)
        log.info(
            f"{self.cell}  resumed in epoch {p.epoch} after step {p.step}, "
            f"{len(p.history)} epochs done"
        )

    def _finish(self, status: Status, reason: str | None) -> Result:
        method, p = self.method, self.progress
        peak, use = self.memory.peak, self.usage.whole(p.used)
        cost = cost_of(method, self.schedule, self.data, self.flops, p, peak, use)
        origin = origin_of(self.cell, self.folder, self.device, p, self.data, self.reused)
        result = summarise(
            self.cell, self.data.task, status, reason, p, self.cuts, method, cost, origin
        )
        if self.keep_weights:
            checkpoint.keep(self.folder, self.cell.to_json(), method.state_dict(), self.data)
        with closing(Record(self.folder)) as record:
            record.write("end", status=status, reason=reason)
        result.save(self.folder)
        checkpoint.remove(self.folder)
        return result
