"""The Anthropic wire."""
