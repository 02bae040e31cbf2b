"""The command line: one module for each command, nothing in them but reading arguments and showing results."""

from outlast.cli.main import main

__all__ = ["main"]
