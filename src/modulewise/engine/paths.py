"""Smaller ways to the same numbers, and which of them a method can take."""

from __future__ import annotations

from dataclasses import replace

from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput
from modulewise.method import Method
from modulewise.models.network import CutNetwork
from modulewise.models.normed import Normed
from modulewise.parts import recompute
from modulewise.parts.synchronised import synchronise


def trunk(given: CutNetwork, training: TrainConfig) -> CutNetwork:
    """The network, cut, with modules that recompute their stages if the settings say so."""
    if training.recompute != "stages":
        return given
    modules = [recompute.RecomputedStages(*module) for module in given.modules]
    modules[-1].plain = 2
    return replace(given, modules=list(modules))


def take(method: Method, training: TrainConfig, where: str) -> None:
    """Let the method's blocks recompute, and its BatchNorms synchronise, if the settings say so;
    refuse settings that it cannot be trained with.

    Args:
        method: the method, on what `trunk` gave.
        training: the cell's settings.
        where: for the message.

    Raises:
        InvalidInput: `step_in_backward` for a method that reads weights of modules that have moved,
            `recompute` where there is nothing of the kind, `accumulate` for one that learns from
            earlier steps.
    """
    if training.sync_batchnorm:
        synchronise(method)
    whole = method.horizon == method.k and method.feedback == "none"
    if training.step_in_backward and method.joint_only and not whole:
        raise InvalidInput(
            f"{where}: step_in_backward: the losses of this method need something of several "
            f"modules at once; valid: false"
        )
    if training.accumulate > 1 and method.history:
        raise InvalidInput(
            f"{where}: accumulate: this method learns from earlier steps, and a micro-batch is "
            f"none; valid: 1"
        )
    if training.recompute == "stages" and not method.whole_modules:
        raise InvalidInput(
            f"{where}: recompute: this method runs or recomputes stages by itself; valid: none, "
            f"norms"
        )
    if training.recompute == "norms":
        blocks = [part for part in method.modules() if isinstance(part, Normed)]
        if not blocks:
            raise InvalidInput(
                f"{where}: recompute: no block of this network has a convolution behind BatchNorm "
                f"and ReLU; valid: none, stages"
            )
        for block in blocks:
            block.runner = recompute.norms
