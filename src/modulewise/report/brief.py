"""What a report came to, in the few lines that a terminal has for it."""

from __future__ import annotations

import json
from pathlib import Path

from modulewise.report import answer_section, contrasts_section


def brief(folder: Path) -> list[str]:
    """What was planned, then the answers.

    Args:
        folder: of a report that was made.
    """
    answers = json.loads((folder / answer_section.FILE).read_bytes())
    return [*contrasts_section.brief(folder), *answer_section.terminal(answers)]
