"""The command line: ``hayhooks``. It answers fast because no command imports more than it needs."""

from hayhooks.cli.app import main

__all__ = ["main"]
