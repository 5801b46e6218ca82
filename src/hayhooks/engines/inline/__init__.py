"""The engine that runs deployments in this process."""

from hayhooks.engines.inline.engine import InlineEngine

__all__ = ["InlineEngine"]
