"""The installed Haystack: its major version and the names that differ between 2 and 3."""

import sys
from importlib.metadata import version
from typing import Any

from haystack import Pipeline
from haystack.core.component import component

MAJOR = int(version("haystack-ai").partition(".")[0])

if MAJOR >= 3:
    AsyncPipeline: Any = Pipeline
else:
    from haystack import AsyncPipeline  # type: ignore[attr-defined,no-redef]  # Haystack 2 only

__all__ = [
    "MAJOR",
    "AsyncPipeline",
    "Pipeline",
    "close",
    "forget_components",
    "is_agent",
    "is_pipeline",
    "runs_own_tools",
    "warm_up",
]


def is_pipeline(value: object) -> bool:
    """Whether *value* is a pipeline of either kind."""
    return isinstance(value, (Pipeline, AsyncPipeline))


def is_agent(value: object) -> bool:
    """Whether *value* is an Agent. Whoever made one has loaded its module; it takes long, so nobody else does."""
    module = sys.modules.get("haystack.components.agents.agent")
    cls = getattr(module, "Agent", None)  # another thread may be in the middle of importing it
    return cls is not None and isinstance(value, cls)


def warm_up(value: object) -> None:
    """Load models and resolve keys now, so that what is missing fails the deploy and not the first caller.

    Does nothing for an object without ``warm_up``. Raises whatever the components raise.
    """
    method = getattr(value, "warm_up", None)
    if callable(method):
        method()


def close(value: object) -> None:
    """Release what the components hold (Haystack 3); does nothing where there is no ``close``."""
    method = getattr(value, "close", None)
    if callable(method):
        method()


def runs_own_tools(value: object) -> bool:
    """Whether the pipeline or agent executes tool calls itself, so that they are not the caller's to make."""
    if is_agent(value):
        return True
    if not is_pipeline(value):
        return False
    return any(
        is_agent(instance) or type(instance).__name__ == "ToolInvoker"
        for _, instance in value.walk()  # type: ignore[attr-defined]
    )


def forget_components(package: str) -> None:
    """Take the component classes defined in *package* out of Haystack's registry, which would keep them alive."""
    registry = component.registry
    for path in [path for path in list(registry) if path.startswith(package + ".")]:
        registry.pop(path, None)
