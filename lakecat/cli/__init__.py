"""The command line: every command only parses, calls the facade ``lakecat.lake.Lake``, and prints."""

from lakecat.cli.app import main

__all__ = ["main"]
