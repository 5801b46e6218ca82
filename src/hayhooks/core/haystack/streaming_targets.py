"""Which components of a pipeline stream."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import networkx  # type: ignore[import-untyped]

from hayhooks.core.context import current_context
from hayhooks.core.haystack.platform import is_pipeline

StreamingComponents = Sequence[str] | Literal["all"]

default_streaming_components: ContextVar[StreamingComponents | None] = ContextVar(
    "hayhooks_streaming_components", default=None
)
"""What streams when neither the call nor its run context says.

It speaks for many pipelines: names that a pipeline does not have are passed over.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A component that can stream."""

    name: str  # its name in the pipeline; empty for an agent or component that is run by itself
    instance: Any
    takes_input: bool  # the callback is an input of its run; else it is only an attribute
    is_async: bool  # it awaits its callback in an asynchronous run


def find_targets(pipeline: Any, requested: StreamingComponents | None) -> tuple[Target, ...]:
    """The components of *pipeline* that are to stream.

    Args:
        pipeline: A pipeline, or an agent or component run by itself, which always is the one.
        requested: Names, "all", or None for the default: `default_streaming_components`, else the last
            streaming-capable component in the pipeline's flow.

    Raises:
        ValueError: If nothing can stream, or a requested name is unknown or cannot.
    """
    if not is_pipeline(pipeline):
        alone = _target("", pipeline)
        if alone is None:
            raise ValueError(f"{type(pipeline).__name__} cannot stream: its run takes no streaming_callback.")
        return (alone,)
    nodes = pipeline.graph.nodes
    capable = _capable(pipeline)
    names = _names(requested)
    if names is None:
        names = _default_names(capable)
    elif isinstance(names, list):
        _check(names, list(nodes), list(capable))
    if not capable:
        raise ValueError("No streaming-capable components found in the pipeline")
    if names is None:
        return (capable[_last(pipeline.graph, list(capable), capable)],)
    return tuple(capable.values()) if names == "all" else tuple(capable[name] for name in dict.fromkeys(names))


def capable_components(pipeline: Any) -> list[str]:
    """The names of the components that can stream."""
    return list(_capable(pipeline))


def last_capable(pipeline: Any, names: Sequence[str]) -> str | None:
    """Of these components the last in the pipeline's flow that can stream; None when none can."""
    capable = {name: target for name, target in _capable(pipeline).items() if name in names}
    return _last(pipeline.graph, list(capable), capable) if capable else None


def default_components(pipeline: Any) -> list[str] | Literal["all"] | None:
    """What the server's setting, or that of this run, has to say about *pipeline*; None when it says nothing."""
    return _default_names(_capable(pipeline))


def _capable(pipeline: Any) -> dict[str, Target]:
    nodes = pipeline.graph.nodes
    found = {name: _target(name, nodes[name]["instance"]) for name in nodes}
    return {name: target for name, target in found.items() if target is not None}


def _names(requested: StreamingComponents | None) -> list[str] | Literal["all"] | None:
    if requested == "all":
        return "all"
    if isinstance(requested, str):  # a comma list, as the environment writes it
        requested = [name.strip() for name in requested.split(",") if name.strip()]
    return list(requested) if requested else None


def _default_names(capable: dict[str, Target]) -> list[str] | Literal["all"] | None:
    run = current_context.get()
    default = run.streaming_components if run is not None else None
    names = _names(default or default_streaming_components.get())
    if isinstance(names, list):
        return [name for name in names if name in capable] or None
    return names


def _check(names: list[str], known: list[str], capable: list[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"Unknown streaming components: {_listed(unknown)}. The pipeline has {_listed(known)}.")
    mute = [name for name in names if name not in capable]
    if mute and capable:
        raise ValueError(f"Components that cannot stream: {_listed(mute)}. Those that can: {_listed(capable)}.")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _target(name: str, instance: Any) -> Target | None:
    takes_input = "streaming_callback" in vars(getattr(instance, "__haystack_input__", None) or _Nothing())
    if not takes_input and not hasattr(instance, "streaming_callback"):
        return None
    is_async = bool(getattr(instance, "__haystack_supports_async__", False))
    generator = getattr(instance, "chat_generator", None)
    if generator is not None and not hasattr(generator, "run_async"):
        is_async = False  # an agent is as asynchronous as the generator that streams for it
    return Target(name, instance, takes_input, is_async)


class _Nothing:
    """Stands for the inputs of an object that is no component."""


def _last(graph: Any, names: list[str], capable: dict[str, Target]) -> str:
    """The name furthest down the flow; of names in one loop, or on parallel branches, the one added last."""
    # In a loop of model and tools the model speaks; a tool invoker only repeats what tools returned.
    speakers = [name for name in names if type(capable[name].instance).__name__ != "ToolInvoker"] or names
    if len(speakers) == 1:
        return speakers[0]
    added = {name: position for position, name in enumerate(graph.nodes)}
    loops = networkx.condensation(networkx.DiGraph(graph))
    members = loops.nodes(data="members")
    order = networkx.lexicographical_topological_sort(loops, key=lambda loop: max(added[n] for n in members[loop]))
    place = {name: position for position, loop in enumerate(order) for name in members[loop]}
    return max(speakers, key=lambda name: (place[name], added[name]))
