"""Names of the files of a run's folder that are written in one room and looked for in others."""

from __future__ import annotations

CELL = "cell.json"
"""What was asked for."""
CHECKPOINT = "checkpoint.pt"
"""What an unfinished run resumes from."""
WEIGHTS = "weights.pt"
"""The trained weights, if they were to be kept."""
