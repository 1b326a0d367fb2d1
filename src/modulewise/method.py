"""The contract between a method and everything that drives it.

A method owns the K modules of the trunk and its own helpers (heads, decoders, encoders). Its verb
is `local(k, batch, state)`, a generator that yields the losses of module k and returns the state
that crosses the cut.

Sharp edges:

- When control returns after a `yield`, that loss's backward pass has run: `grad` of a leaf or of a
  tensor with `retain_grad()` can be read, the graph is gone.
- In `local` each module's graph dies before the next is built, and the state that crosses a cut is
  detached tensors only. A method with feedback may keep several graphs: it overrides `losses`.
- `Loss.groups` is the isolation promise: only these groups may receive gradient from the loss, and
  they span no more than `horizon` modules.
- Only a method with feedback may mark a loss as a surrogate; never the net's own loss.
- Precision is fp32 or bf16: a loss scaler would corrupt gradients a method reads.
- Never yield inside `torch.no_grad` or `torch.autocast`: the mode leaks into the trainer.
- Run every stage in train mode once per step, for BatchNorm counts each pass; further passes stand
  inside `parts.statistics.frozen_statistics`.
- Every parameter gets a gradient in every step. Weights that never learn are buffers.
- State older than a step is tensors in the `state_dict`, never graphs: an optimiser step in place
  kills a kept graph.
- No host synchronisation and no branch on data in `local`; otherwise declare `graphable = False`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from modulewise.models.network import CutNetwork

State = tuple[Tensor, ...]
Local = Generator["Loss", None, State]
Feedback = Literal["none", "later", "fixed"]
"""What reaches a module from beyond the gradient horizon.

- `none`: nothing. A module's gradients do not depend on modules beyond the horizon.
- `later`: detached tensors of later modules. What they compute: targets (target propagation), or
  gradients that a synthesiser learns to predict (synthetic gradients). Or their weights: a moving
  average of them in a helper, or the net's classifier, read by all modules. A module's gradients
  depend on some modules beyond the horizon. Where feedback is learnt, it reaches every module
  within K steps.
- `fixed`: the error at the net's output, carried back by fixed random weights (direct feedback
  alignment). A module's gradients depend on all modules beyond the horizon, but only through the
  values of the net's scores. The weights are buffers of the module's helpers: a checkpoint holds
  them, no step moves them.
"""
Locking = Literal["input", "scores", "later"]
"""What the update of a module's stages waits for within a step.

- `input`: for what enters the module. Modules after it, beyond the horizon, need not have run.
- `scores`: for the net's scores, so for the forward pass of all later modules (update locking).
- `later`: for gradients or targets that later modules make of the same batch (backward locking).
"""
Supervision = Literal["class", "pair", "none"]
"""What of labels the losses that move the trunk are told: which class an image is of, or only which
images are of one class, or nothing. The net's own classifier, and what shares its parameter group,
is left aside: it learns the task."""


@dataclass(frozen=True)
class Batch:
    """What a step sees.

    Attributes:
        x: normalised, augmented images (B C H W); what the trunk is given.
        y: targets of the task; labels (B) in classification.
        image: the same augmented images before normalisation, in [0, 1] (B C H W).
        index: which training samples they are (B).
        view: makes another augmentation of the same samples, normalised like `x`; a new tensor of
            its size at every call.
    """

    x: Tensor
    y: Tensor
    image: Tensor
    index: Tensor
    view: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Loss:
    """A scalar to be minimised, and the only parameter groups it may reach.

    Attributes:
        value: the scalar, with its graph.
        groups: names of the parameter groups that may receive gradient from it.
        name: of the metric `train_loss/<name>`; no two losses of a step share one.
        surrogate: the value measures no progress: it carries a gradient that was made by other
            means, such as (h * g).sum() for a given g, or its target moves as the net learns. It is
            reported like any other, but need not fall.
    """

    value: Tensor
    groups: tuple[str, ...]
    name: str
    surrogate: bool = False


class Method(nn.Module):
    """A way to train the modules of a trunk.

    Args:
        trunk: the network, cut into K modules.

    Class attributes (declarations that the tests hold true; where an option decides, the
    constructor sets `joint_only` and `feedback` of the instance):
        single: the method does not cut; it is defined for K = 1 only.
        joint_only: it runs under the joint schedule only. Every method whose horizon is beyond 1
            or that has feedback declares this.
        feedback: what the gradients of a module depend on beside the modules in the horizon.
        locked: what the update of a module's stages waits for within a step.
        passes: forward passes that a layer of the trunk makes of each image in a step, at most.
        two_views: a step asks for a second augmentation of its images, so that the data set must
            have one.
        supervision: what of labels the losses that move the trunk are told.
        graphable: a step has no host synchronisation and no branch on data.
        whole_modules: it runs a module by calling it; False where it runs the stages one by one, or
            recomputes them itself, so that `recompute: stages` cannot.
        equals_backprop: with K = 1 it is end-to-end backpropagation, bit for bit.
    """

    single = False
    joint_only = False
    feedback: Feedback = "none"
    locked: Locking = "input"
    passes = 1
    two_views = False
    supervision: Supervision = "class"
    graphable = True
    whole_modules = True
    equals_backprop = True

    def __init__(self, trunk: CutNetwork) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(trunk.modules)
        self.heads = nn.ModuleList()
        self.task = trunk.task

    @property
    def k(self) -> int:
        """K, the number of modules."""
        return len(self.trunk)

    @property
    def horizon(self) -> int:
        """Through how many modules the gradient of a loss reaches back, the loss's own included; K
        is end-to-end training."""
        return 1

    @property
    def alive(self) -> int:
        """Number of modules whose activations are kept for a backward pass at one time, at most."""
        return self.horizon

    @property
    def history(self) -> int:
        """Number of steps before the present one whose images the gradients depend on."""
        return 0

    def initial_state(self, x: Tensor) -> State:
        """The state that enters module 0, for normalised images (B C H W)."""
        return (x,)

    def forward_module(self, k: int, state: State) -> State:
        """Run module k on the state that enters it; the state that leaves it, the feature first,
        nothing detached."""
        return (self.trunk[k](state[0]),)

    def entering(self, k: int, x: Tensor) -> State:
        """The state that enters module k, for normalised images (B C H W); nothing detached. What
        would enter module K begins with the scores."""
        state = self.initial_state(x)
        for j in range(k):
            state = self.forward_module(j, state)
        return state

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """Yield the losses of module k, given the state that enters it; return the state that
        leaves it, detached. A generator function."""
        raise NotImplementedError  # abstract

    def losses(self, batch: Batch) -> Iterator[Loss]:
        """All losses of one step, module by module. A method that needs something back from later
        modules overrides this."""
        state = self.initial_state(batch.x)
        for k in range(self.k):
            state = yield from self.local(k, batch, state)

    def trace(self, x: Tensor) -> None:
        """Make what the first step on images like these (B C H W, without data) makes once, such as
        a graph; called before operations are counted, for torch's counter bears no tracing."""

    def scores(self, k: int, h: Tensor) -> Tensor | None:
        """Class scores (B classes) of module k's own head (k < K-1) on its output h: by default
        those of `heads[k]`, None if there are no heads."""
        return self.heads[k](h) if len(self.heads) else None

    def outputs(self, x: Tensor) -> list[Tensor | None]:
        """Class scores (B classes) of every module's own head, the net's own last; `None` where a
        head gives none."""
        out: list[Tensor | None] = []
        state = self.initial_state(x)
        for k in range(self.k):
            state = self.forward_module(k, state)
            out.append(state[0] if k == self.k - 1 else self.scores(k, state[0]))
        return out

    def predict(self, x: Tensor) -> Tensor:
        """Class scores (B classes) of the deployed net for normalised images (B C H W)."""
        return self.entering(self.k, x)[0]

    def deployed(self) -> list[nn.Module]:
        """The parts that stay at inference."""
        return [self.trunk]

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of their group; the groups of module k end in `/k`.

        By default one group per module and list of helpers: `trunk/0`, `heads/0`, ...
        """
        out = {}
        for name, child in self.named_children():
            parts = child if isinstance(child, nn.ModuleList) else [child]
            for k, part in enumerate(parts):
                if params := list(part.parameters()):
                    out[f"{name}/{k}"] = params
        return out

    @cached_property
    def _names(self) -> list[tuple[str, ...]]:
        return [tuple(g for g in self.groups() if g.endswith(f"/{k}")) for k in range(self.k)]

    def of_module(self, k: int) -> tuple[str, ...]:
        """Names of all groups of module k."""
        return self._names[k]


class LocalMethod(Method):
    """The common case: one loss per module, on that module's output. Fill `heads` with classifiers,
    or write `local_loss`."""

    def local_loss(self, k: int, h: Tensor, batch: Batch) -> Tensor:
        """Scalar loss of module k < K-1 on its output h; by default the task's, of `heads[k]`."""
        return self.task.loss(self.heads[k](h), batch.y)

    def local(self, k: int, batch: Batch, state: State) -> Local:
        """One loss on the module's output; the last module's is the task's own."""
        state = self.forward_module(k, state)
        h = state[0]
        value = self.task.loss(h, batch.y) if k == self.k - 1 else self.local_loss(k, h, batch)
        yield Loss(value, self.of_module(k), f"module_{k}")
        return tuple(t.detach() for t in state)
