"""Small methods of families that the package does not have yet, for the contract tests alone.

Importing this puts them on the package's path, so that they are found by file, like any method:
rows, cells and trainers know no difference. It must be imported before the configuration is.
"""

from pathlib import Path

import modulewise

modulewise.__path__.append(str(Path(__file__).parent))

import modulewise.methods  # noqa: E402

modulewise.methods.__path__.append(str(Path(__file__).parent / "methods"))
