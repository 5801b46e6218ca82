"""What holds for all tests."""

import os

# Each of hundreds of servers that the tests start would compile all its libraries again, where somebody has set this.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
