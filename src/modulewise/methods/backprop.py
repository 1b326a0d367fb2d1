"""End-to-end backpropagation (Rumelhart, Hinton & Williams, Nature 323, 1986): one module, the
task's own loss. The baseline.

    min L(net(x), y)

Deviations: none.
"""

from __future__ import annotations

from modulewise.parts.end_to_end import EndToEnd


class Backprop(EndToEnd):
    """min L(net(x), y) over all parameters at once."""
