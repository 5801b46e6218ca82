"""``python -m hayhooks.cli`` is ``hayhooks``."""

from hayhooks.cli.app import main

main()
