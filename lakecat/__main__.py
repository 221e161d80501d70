"""``python -m lakecat``."""

from lakecat.cli import main

main()
