"""One protocol each, translated to runs and back."""
