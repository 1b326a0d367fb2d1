"""Matplotlib without the settings of whoever starts us: the report's figures and the mirror's
plots look the same everywhere.

To be imported before anything of matplotlib. `MPLBACKEND` of a notebook, or a `matplotlibrc` of the
user, of the working folder or named by `MATPLOTLIBRC`, can make the import itself fail; they are
kept from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

OURS = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
"""Environment of the import: a backend without a screen, and a file of settings that is empty."""


class NotDrawn(Exception):
    """A plot could not be drawn; the message is its reason, in one line."""


class Nothing(NotDrawn):
    """There is nothing that the plot could show; the message says why."""


@contextmanager
def _apart() -> Iterator[None]:
    """Environment and working folder in which matplotlib finds no settings."""
    before = {name: os.environ.get(name) for name in OURS}
    os.environ.update(OURS)
    try:
        with chdir(Path(__file__).parent):
            yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


with _apart():
    import matplotlib
    from matplotlib import style


@contextmanager
def drawing(*styles: Path) -> Iterator[None]:
    """Draw with matplotlib's own defaults and these styles; what was set before comes back.

    A `$` is a dollar sign: labels are names that people chose, not formulas.

    Args:
        styles: style files; of equal settings the last counts.

    Raises:
        Nothing: as the body says.
        NotDrawn: whatever went wrong in drawing.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        style.use(list(styles))
        try:
            yield
        except NotDrawn:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            raise NotDrawn(f"{type(error).__name__}: {said}"[:240].removesuffix(": ")) from error
