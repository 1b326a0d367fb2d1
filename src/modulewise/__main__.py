"""`python -m modulewise` is `modulewise`."""

from modulewise.cli.app import main

main()
