"""`python -m modulewise` is `modulewise`."""

from .cli import main

main()
