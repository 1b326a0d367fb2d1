"""End-to-end backpropagation: one module, the task's own loss. The baseline.

Deviations: none.
"""

from __future__ import annotations

from modulewise.parts.end_to_end import EndToEnd


class Backprop(EndToEnd):
    """min L(net(x), y) over all parameters at once."""
