"""The net's own classifier as a readout: it learns from features that it does not shape."""

from __future__ import annotations

from typing import cast

from torch import nn

from modulewise.method import Method


class Readout(Method):
    """A method whose last module learns in two parts: its stages by a local loss, like any other
    module's, and the net's classifier by the task's loss on detached features.

    The classifier is a group of its own, `readout/<K-1>`; `trunk/<K-1>` holds the stages alone.
    """

    equals_backprop = False

    def stages(self, k: int) -> nn.Sequential:
        """The stages of module k, without the net's classifier."""
        whole = cast(nn.Sequential, self.trunk[k])
        return whole[:-1] if k == self.k - 1 else whole

    @property
    def classifier(self) -> nn.Module:
        """The net's own classifier: last stage's output -> scores (B outputs)."""
        return list(self.trunk[-1].children())[-1]

    @property
    def readout(self) -> tuple[str]:
        """The classifier's group, as `Loss.groups` takes it."""
        return (f"readout/{self.k - 1}",)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """As of any method, the classifier apart."""
        stages = {f"trunk/{self.k - 1}": list(self.stages(self.k - 1).parameters())}
        return super().groups() | stages | {self.readout[0]: list(self.classifier.parameters())}
