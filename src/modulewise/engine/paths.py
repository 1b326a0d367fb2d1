"""Faster and smaller ways to the same numbers: which of them a method can take."""

from __future__ import annotations

from modulewise.config.training import TrainConfig
from modulewise.errors import InvalidInput
from modulewise.method import Method


def check(method: Method, training: TrainConfig, where: str) -> None:
    """Refuse settings that the method cannot be trained with.

    Args:
        method: the method.
        training: the cell's settings.
        where: for the message.

    Raises:
        InvalidInput: `step_in_backward` for a method that reads weights of modules that have moved.
    """
    whole = method.horizon == method.k and method.feedback == "none"
    if training.step_in_backward and method.joint_only and not whole:
        raise InvalidInput(
            f"{where}: step_in_backward: the losses of this method need something of several "
            f"modules at once; valid: false"
        )
