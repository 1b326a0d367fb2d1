"""Sequential: module after module. In phase p only module p learns; the modules before it are
frozen and in eval mode. Modules after p are not run at all.

Each phase has a fresh optimiser and runs the learning-rate schedule from its start. By default the
budget's epochs are shared out evenly over the K phases; published layer-wise training gives every
phase the whole of it (greedy layer-wise, Belilovsky et al., arXiv 1812.11446), or more and more
(deep cascade learning, Marquez et al., IEEE TNNLS 2018), and settings of its own to the last, which
trains the classifier (pairwise training, Duan et al., arXiv 2005.05541).

What enters the module of a phase comes of frozen modules: where images are not augmented it is the
same in every epoch. With `cache: auto` it is made once, at the start of the phase, and read from
then on. Steps see the same features but for rounding, for they are made in batches of another size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from modulewise.config.training import TrainConfig
from modulewise.config.types import Count, PhaseSettings, Whole
from modulewise.data.base import Data
from modulewise.errors import parse
from modulewise.method import Batch, Method, State
from modulewise.optim import ModuleOptimizers
from modulewise.schedules import _features as features
from modulewise.schedules._base import Phase, Precision, Schedule, descend, freeze

log = logging.getLogger(__name__)


class Sequential(Schedule):
    """One module a phase. The default options share the budget's epochs out among the phases.

    Args:
        training: the cell's settings.
        k: number of modules.
        batches: of an epoch.
        seed: of the run.
        frozen: number of first modules that never learn: their phases have no epochs.
        epochs: Rule of how many epochs a phase has: the budget is `shared` out evenly among the
            phases, or `each` has all of it.
        growth: Number of epochs that a phase has more than the one before it, where `each` has the
            budget.
        last: Settings of the last phase that differ from the cell's; with `epochs` of its own, the
            budget is that of the phases before it.
        cache: Whether features of frozen modules are made once a phase: never (`off`), or where
            images are not augmented and there is room (`auto`).
        cache_mib: Room for them on the device, in MiB.

    Attributes:
        reasons: of every phase, why its features are not kept; empty where they are.

    Raises:
        ValueError: fewer epochs than phases that share them, growth of shared epochs, or settings
            of the last phase that do not fit together.
    """

    def __init__(
        self,
        training: TrainConfig,
        k: int,
        batches: int,
        seed: int,
        frozen: int = 0,
        *,
        epochs: Literal["shared", "each"] = "shared",
        growth: Whole = 0,
        last: PhaseSettings | None = None,
        cache: Literal["off", "auto"] = "off",
        cache_mib: Count = 2048,
    ) -> None:
        super().__init__(training, k, batches, seed)
        self.shared, self.growth = epochs == "shared", growth
        own = last.model_dump(exclude_none=True) if last else {}
        self.cache, self.room = cache == "auto", cache_mib
        self.reasons = ["off"] * k
        self.made: list[int] = []
        self.features: State = ()
        self.images = 0
        self.last = parse(TrainConfig, training.model_dump() | own, "sequential.last")
        self.last_epochs: int | None = own.get("epochs")
        self.frozen = frozen
        if growth and self.shared:
            raise ValueError("sequential: growth needs epochs: each")
        free = k - frozen - (self.last_epochs is not None)
        if self.shared and not training.flops and training.planned < free:
            raise ValueError(
                f"sequential training of {free} modules needs at least {free} epochs, got "
                f"{training.planned}"
            )

    def phases(self, epochs: int) -> list[Phase]:
        """One a module. Of shared epochs the first phases get what does not divide, and none gets
        less than one."""
        last = [] if self.last_epochs is None else [self.last_epochs]
        n = self.k - self.frozen - len(last)
        free = [
            max(1, epochs // n + (p < epochs % n))
            if self.shared
            else epochs + (self.frozen + p) * self.growth
            for p in range(n)
        ]
        own = [self.training] * (self.k - 1) + [self.last]
        return [
            Phase(e, training)
            for e, training in zip([0] * self.frozen + free + last, own, strict=True)
        ]

    def trained(self, phase: int) -> range:
        """The phase's module alone."""
        return range(phase, phase + 1)

    def prepare(self, method: Method, data: Data) -> None:
        """Find the phases whose features can be kept."""
        if not self.cache:
            return
        self.images = data.sizes.train
        sizes = features.sizes(method, data.image)
        self.reasons = [self._reason(k, sizes[k], data) for k in range(self.k)]

    def _reason(self, k: int, size: int | None, data: Data) -> str:
        """Why the features that enter module k, of so many bytes an image, are not kept."""
        if k == 0:
            return "no module is frozen"
        if data.augmented:
            return "images are augmented"
        if size is None:
            return "the method's state has not one row an image"
        needed = features.mib(size * self.images)
        return f"{needed} MiB, cache_mib is {self.room}" if needed > self.room else ""

    def entered(self, phase: int) -> int:
        """The phase's module, where its features are kept."""
        return 0 if self.reasons[phase] else phase

    def begin(self, method: Method, phase: int, epochs: int) -> None:
        """Freeze the modules before `phase`, with their helpers."""
        if phase != self.phase:
            self.features = ()
        self.phase = phase
        freeze(method, lambda k: k < phase)

    def batches(
        self, method: Method, data: Data, epoch: int, done: int, precision: Precision
    ) -> Iterator[Batch]:
        """The batches of an epoch; where features are kept and not yet there, they are made."""
        if self.entered(self.phase) and not self.features:
            self.features = features.collect(method, self.phase, data, precision)
        if self.cache and self.phase and self.phase not in self.made:
            self.made.append(self.phase)
            held = features.mib(sum(t.nbytes for t in self.features))
            why = self.reasons[self.phase]
            said = f"are computed in every epoch: {why}" if why else f"are kept: {held} MiB"
            log.info(f"features that enter module {self.phase} {said}")
        yield from data.batches(epoch, done)

    def step(
        self, method: Method, batch: Batch, optimizers: ModuleOptimizers, precision: Precision
    ) -> dict[str, Tensor]:
        """Carry the batch to the phase's module without gradients, then one step of it alone."""
        if self.features:
            state = tuple(t[batch.index] for t in self.features)
        else:
            with torch.no_grad(), precision():
                state = method.entering(self.phase, batch.x)
        local = method.local(self.phase, batch, state)
        return descend(local, optimizers, precision, self.phase)[0]

    def held(self) -> Iterator[Tensor]:
        """Features that are kept."""
        yield from self.features

    def extra_flops(self, module_flops: list[float]) -> float:
        """The passes that made the features that were kept, one a phase."""
        return self.images * sum(sum(module_flops[:k]) for k in self.made if self.entered(k))

    def state_dict(self) -> dict[str, Any]:
        """The phases that have begun to read features. The features are made anew."""
        return {"made": list(self.made)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.made = list(saved.get("made", []))
