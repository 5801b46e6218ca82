"""``python -m hayhooks``."""

from hayhooks.cli import main

if __name__ == "__main__":
    main()
